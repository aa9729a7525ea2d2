//! How many tokens a user may have at work, and how fast it may bring new ones: each costs the CA a connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Tokens at work at a time, of one user.
pub(super) const MAX_PER_UID: usize = 32;

/// Tokens at work at a time, in all.
const MAX_TOTAL: usize = 512;

/// Tokens that a user may bring at once; after that, one a second.
pub(super) const BURST: u32 = 32;

/// Places taken and their pace.
#[derive(Debug, Default)]
pub(super) struct Admission {
    users: HashMap<u32, User>,
}

#[derive(Debug)]
struct User {
    /// One strong count for each place taken, and one for this.
    taken: Arc<()>,
    left: u32,
    refilled: Duration,
}

/// A token's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _taken: Arc<()>,
}

impl Admission {
    /// A place for a token of this user, at this time since boot.
    pub(super) fn take(&mut self, uid: u32, boot: Duration) -> Option<Place> {
        // Whoever has no place and had the time to get all of its allowance back is as good as new.
        let rested = |user: &User| Arc::strong_count(&user.taken) == 1 && boot.saturating_sub(user.refilled) > LONG_ENOUGH;
        self.users.retain(|_, user| !rested(user));
        let total: usize = self.users.values().map(|user| Arc::strong_count(&user.taken) - 1).sum();
        let user = self.users.entry(uid).or_insert_with(|| User { taken: Arc::default(), left: BURST, refilled: boot });
        let seconds = boot.saturating_sub(user.refilled).as_secs();
        user.left = user.left.saturating_add(u32::try_from(seconds).unwrap_or(u32::MAX)).min(BURST);
        user.refilled = user.refilled.saturating_add(Duration::from_secs(seconds));
        if total >= MAX_TOTAL || Arc::strong_count(&user.taken) > MAX_PER_UID {
            return None;
        }
        user.left = user.left.checked_sub(1)?;
        Some(Place { _taken: Arc::clone(&user.taken) })
    }
}

const LONG_ENOUGH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_bounded_number_and_pace_and_the_others_do_not_feel_it() {
        let mut admission = Admission::default();
        let at = Duration::from_secs;
        let mut places: Vec<_> = (0..MAX_PER_UID).map(|_| admission.take(1, at(10)).unwrap()).collect();
        assert!(admission.take(1, at(1000)).is_none(), "too many at work");
        assert!(admission.take(2, at(1000)).is_some());
        places.pop();
        places.push(admission.take(1, at(1000)).unwrap());
        places.clear();
        for _ in 0..BURST - 1 {
            drop(admission.take(1, at(1000)).unwrap());
        }
        assert!(admission.take(1, at(1000)).is_none(), "too fast");
        assert!(admission.take(1, at(1001)).is_some() && admission.take(1, at(1001)).is_none());
        assert!(admission.take(3, at(5000)).is_some());
        assert_eq!(admission.users.len(), 1, "nothing is kept of users at rest");
    }
}
