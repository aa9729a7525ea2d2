//! Whether a lease is held by somebody who lives: told by its beat alone, over a time that one clock measures.

use std::time::Duration;

use crate::store::Lease;

/// How long a lease must stay as it is before another process may take it: ten beats of its holder.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

/// A lease that is looked at again and again.
#[derive(Debug, Default)]
pub(super) struct Watched {
    seen: Option<(Lease, Duration)>,
}

impl Watched {
    /// It is so at `now`, by the time since boot. Answers with it once it has stayed the same for [`SILENCE`].
    pub(super) fn look(&mut self, lease: &Lease, now: Duration) -> Option<Lease> {
        match &self.seen {
            Some((seen, since)) if seen == lease => (now.saturating_sub(*since) >= SILENCE).then(|| lease.clone()),
            _ => {
                self.seen = Some((lease.clone(), now));
                None
            }
        }
    }

    /// Whether it has moved since it was first seen, so that somebody lives behind it.
    pub(super) fn has_moved(&self, lease: &Lease) -> bool {
        self.seen.as_ref().is_some_and(|(seen, _)| seen != lease)
    }
}

#[cfg(test)]
mod tests {
    use identity::ReplicaName;

    use super::*;

    #[test]
    fn a_lease_is_silent_when_nothing_of_it_moved_for_the_whole_time_and_by_no_other_clock() {
        let lease = |epoch, beat| Lease { replica: ReplicaName::parse("a").unwrap(), instance: Some([1; 32]), epoch, beat };
        let mut watched = Watched::default();
        let at = Duration::from_secs;
        assert_eq!(watched.look(&lease(1, 7), at(100)), None, "seen for the first time");
        assert_eq!(watched.look(&lease(1, 7), at(109)), None);
        assert!(!watched.has_moved(&lease(1, 7)) && watched.has_moved(&lease(1, 8)));
        assert_eq!(watched.look(&lease(1, 8), at(110)), None, "a beat");
        assert_eq!(watched.look(&lease(1, 8), at(119)), None);
        assert_eq!(watched.look(&lease(2, 8), at(120)), None, "another holder with the same beat");
        assert_eq!(watched.look(&lease(2, 8), at(130)), Some(lease(2, 8)));
    }
}
