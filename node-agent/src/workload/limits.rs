//! How many connections there may be, in all and of one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most connections to the socket at a time.
pub(super) const MAX_CONNECTIONS: usize = 2048;

/// Most connections of one user: nobody can take the socket away from the others alone.
pub(super) const MAX_CONNECTIONS_PER_UID: usize = 256;

/// Counts connections; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits(Arc<Mutex<HashMap<u32, usize>>>);

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    limits: Limits,
    uid: u32,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    OfUser,
}

impl Limits {
    pub(super) fn take(&self, uid: u32) -> Result<Slot, Full> {
        let mut taken = self.lock();
        if taken.values().sum::<usize>() >= MAX_CONNECTIONS {
            return Err(Full::Total);
        }
        let of_user = taken.entry(uid).or_default();
        if *of_user >= MAX_CONNECTIONS_PER_UID {
            return Err(Full::OfUser);
        }
        *of_user += 1;
        Ok(Slot { limits: self.clone(), uid })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.limits.lock();
        if let Some(of_user) = taken.get_mut(&self.uid) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_reaches_its_bound_and_the_others_do_not_feel_it() {
        let limits = Limits::default();
        let mut slots: Vec<_> = (0..MAX_CONNECTIONS_PER_UID).map(|_| limits.take(1).unwrap()).collect();
        assert_eq!(limits.take(1).unwrap_err(), Full::OfUser);
        assert!(limits.take(2).is_ok());
        drop(slots.pop());
        assert!(limits.take(1).is_ok(), "a place given back can be taken");
        drop(slots);
        assert!(limits.lock().is_empty(), "nothing is kept for users without a connection");
    }

    #[test]
    fn all_users_together_reach_the_bound_of_the_socket() {
        let limits = Limits::default();
        let slots: Vec<_> = (0..u32::try_from(MAX_CONNECTIONS).unwrap()).map(|uid| limits.take(uid).unwrap()).collect();
        assert_eq!(limits.take(u32::MAX).unwrap_err(), Full::Total);
        drop(slots);
        assert!(limits.take(u32::MAX).is_ok());
    }
}
