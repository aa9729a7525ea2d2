//! The `[revocation]` table: the lists of what was called back.

use std::time::Duration;

use runtime::config::Section;

/// The lists of what was called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationConfig {
    /// How long a list is good. The next one is signed when half of that is over.
    pub list_life: Duration,
}

/// Reads it.
pub(super) fn read(section: &Section<'_>) -> RevocationConfig {
    let list_life = section.duration("list_life");
    if list_life.is_some_and(|life| !(MIN_LIST_LIFE..=MAX_LIST_LIFE).contains(&life)) {
        section.fault(
            "list_life",
            format!("not between {MIN_LIST_LIFE:?} and {MAX_LIST_LIFE:?}: a verifier refuses everything by a list that is stale, and takes what was revoked since by one that is not"),
        );
    }
    RevocationConfig { list_life: list_life.unwrap_or(DEFAULT_LIST_LIFE) }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_LIST_LIFE: Duration = DAY.saturating_mul(7);
/// Long enough that a CA that is away for a night leaves good lists behind.
const MIN_LIST_LIFE: Duration = DAY;
const MAX_LIST_LIFE: Duration = DAY.saturating_mul(90);
