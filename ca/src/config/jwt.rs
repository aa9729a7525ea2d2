//! `[jwt]`: the life of JWT-SVIDs.

use std::time::Duration;

use pki::MAX_JWT_TTL;
use runtime::config::Section;

const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);
/// Below this a token could end on its way.
const MIN_TTL: Duration = Duration::from_secs(10);

/// Reads the section: the life of each JWT-SVID. `max_ttl` bounds it, and itself is at most an hour: nothing takes a JWT-SVID back.
pub(super) fn read(section: &Section<'_>) -> Duration {
    let max_ttl = section.duration("max_ttl").unwrap_or(MAX_JWT_TTL);
    if !(MIN_TTL..=MAX_JWT_TTL).contains(&max_ttl) {
        section.fault("max_ttl", format!("not between {MIN_TTL:?} and {MAX_JWT_TTL:?}"));
    }
    // A maximum below the built-in default lowers the default too, so that one key is enough to shorten every token.
    let default_ttl = section.duration("default_ttl").unwrap_or(DEFAULT_TTL.min(max_ttl));
    if !(MIN_TTL..=max_ttl).contains(&default_ttl) {
        section.fault("default_ttl", format!("not between {MIN_TTL:?} and max_ttl, {max_ttl:?}"));
    }
    default_ttl
}
