//! When the next checkpoint is due.

use std::time::Duration;

/// How often checkpoints are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSchedule {
    /// As soon as this many events are not covered; from 1.
    pub events: u64,
    /// And when an event is not covered and the last checkpoint was made this long ago.
    pub interval: Duration,
}

impl CheckpointSchedule {
    /// Whether one is due at `now`, when the last one covers the events up to `covered` and was made at `made_at`; both times since
    /// boot, so that a step of the wall clock moves nothing. `None`: this run has made none, and what is not covered has waited for
    /// nobody knows how long.
    #[must_use]
    pub fn is_due(&self, covered: u64, made_at: Option<Duration>, head: u64, now: Duration) -> bool {
        let waiting = head.saturating_sub(covered);
        waiting > 0 && (waiting >= self.events || made_at.is_none_or(|at| now.saturating_sub(at) >= self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: CheckpointSchedule = CheckpointSchedule { events: 10, interval: Duration::from_secs(60) };

    fn is_due(covered: u64, made_at: u64, head: u64, now: u64) -> bool {
        SCHEDULE.is_due(covered, Some(Duration::from_secs(made_at)), head, Duration::from_secs(now))
    }

    #[test]
    fn many_events_or_enough_time_make_one_due_and_nothing_new_never_does() {
        assert!(!is_due(5, 100, 5, 10_000), "nothing is new");
        assert!(!is_due(5, 100, 14, 159));
        assert!(is_due(5, 100, 14, 160));
        assert!(is_due(5, 100, 6, 160));
        assert!(is_due(5, 100, 15, 100));
        assert!(!is_due(5, 100, 4, 10_000), "a head that went back is not covered by a checkpoint");
        assert!(SCHEDULE.is_due(5, None, 6, Duration::ZERO), "the first of a run covers what was left");
        assert!(!SCHEDULE.is_due(5, None, 5, Duration::ZERO));
    }
}
