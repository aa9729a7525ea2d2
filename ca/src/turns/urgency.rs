//! How urgent an issuance is, by what its caller holds.

use std::time::Duration;

use pki::Timestamp;

use crate::records::Held;

/// The order in which waiting issuances get their turn: the first before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// What is held ends soon, or has just ended; the first to end goes first.
    Ending(Timestamp),
    /// Nothing is held, as far as the CA knows.
    Fresh,
    /// What is held is good for a while, and so is another try.
    Early,
}

impl Urgency {
    /// How many there are.
    pub(super) const CLASSES: usize = 3;

    /// From what is held at `now`.
    pub(crate) fn of(held: Option<Held>, now: Timestamp) -> Self {
        let Some(Held { issued_at, not_after }) = held else { return Self::Fresh };
        // An agent renews at half life and is late at two thirds: from there on a refusal begins to cost.
        let last_third = not_after.since(issued_at) / 3;
        if now >= not_after || not_after.since(now) <= last_third { Self::Ending(not_after) } else { Self::Early }
    }

    /// Which of the classes it is in, 0 the most urgent.
    pub(super) fn class(self) -> usize {
        match self {
            Self::Ending(_) => 0,
            Self::Fresh => 1,
            Self::Early => 2,
        }
    }

    /// What orders equals within a class.
    pub(super) fn end(self) -> Timestamp {
        match self {
            Self::Ending(end) => end,
            Self::Fresh | Self::Early => Timestamp::from_unix_seconds(0),
        }
    }
}

/// How long after its end a certificate that was not replaced still counts as one that ends: its workload is without.
pub(crate) const ENDED_OF_LATE: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_third_of_a_life_is_urgent_and_the_rest_can_wait() {
        let at = Timestamp::from_unix_seconds;
        let held = Some(Held { issued_at: at(1000), not_after: at(1300) });
        for (now, expected) in [
            (1000, Urgency::Early),
            (1199, Urgency::Early),
            (1200, Urgency::Ending(at(1300))),
            (1300, Urgency::Ending(at(1300))),
            (1400, Urgency::Ending(at(1300))),
            // The clock was set back: not ended, and not near its end.
            (10, Urgency::Early),
        ] {
            assert_eq!(Urgency::of(held, at(now)), expected, "{now}");
        }
        assert_eq!(Urgency::of(None, at(0)), Urgency::Fresh);
    }

    #[test]
    fn what_ends_first_goes_first_then_who_has_nothing() {
        let at = |seconds| Urgency::Ending(Timestamp::from_unix_seconds(seconds));
        assert!(at(1) < at(2) && at(2) < Urgency::Fresh && Urgency::Fresh < Urgency::Early);
    }
}
