//! The `[audit]` table: how often the CA signs the head of its audit chain.

use std::time::Duration;

use runtime::config::Section;

use crate::audit::CheckpointSchedule;

/// Reads it.
pub(super) fn read(section: &Section<'_>) -> CheckpointSchedule {
    let events = section.integer("checkpoint_events", 1..=1_000_000).and_then(|events| u64::try_from(events).ok());
    let interval = section.duration("checkpoint_interval");
    if interval.is_some_and(|interval| !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval)) {
        section.fault(
            "checkpoint_interval",
            format!("not between {MIN_INTERVAL:?} and {MAX_INTERVAL:?}: what is not covered can be taken away unseen"),
        );
    }
    CheckpointSchedule { events: events.unwrap_or(DEFAULT_EVENTS), interval: interval.unwrap_or(DEFAULT_INTERVAL) }
}

const DEFAULT_EVENTS: u64 = 1_000;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);
