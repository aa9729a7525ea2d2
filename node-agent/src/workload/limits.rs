//! What callers may hold of the socket, in all and of one user: nobody can take it away from the others alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounds on what callers hold at a time; `[limits]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadLimits {
    /// Connections in all. Each takes three descriptors at most.
    pub connections: usize,
    /// Connections of one user.
    pub connections_per_uid: usize,
    /// Calls and streams of one user, over all its connections.
    pub streams_per_uid: usize,
    /// Bytes that the requests of one user may take, over all its streams: for each stream, its largest message so far, also when it
    /// was only announced. An upper bound: services that read by tonic keep that room, SDS gives it back.
    pub request_bytes_per_uid: usize,
}

impl Default for WorkloadLimits {
    fn default() -> Self {
        Self { connections: 4096, connections_per_uid: 1024, streams_per_uid: 4096, request_bytes_per_uid: 256 << 20 }
    }
}

/// Counts what is held; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Limits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: WorkloadLimits,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    connections: usize,
    /// Only users that hold something.
    users: HashMap<u32, OfUser>,
}

#[derive(Debug, Default)]
struct OfUser {
    connections: usize,
    streams: usize,
    request_bytes: usize,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    OfUser,
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    limits: Limits,
    uid: u32,
}

/// One call's or stream's place, given back when dropped.
#[derive(Debug)]
pub(super) struct StreamSlot {
    limits: Limits,
    uid: u32,
}

/// The room that one stream's requests take, given back when dropped.
#[derive(Debug)]
pub(super) struct RequestRoom {
    limits: Limits,
    uid: u32,
    bytes: usize,
}

impl Limits {
    pub(super) fn new(bounds: WorkloadLimits) -> Self {
        Self(Arc::new(Shared { bounds, held: Mutex::default() }))
    }

    pub(super) fn bounds(&self) -> WorkloadLimits {
        self.0.bounds
    }

    pub(super) fn take(&self, uid: u32) -> Result<Slot, Full> {
        let mut held = self.lock();
        if held.connections >= self.0.bounds.connections {
            return Err(Full::Total);
        }
        let of_user = held.users.entry(uid).or_default();
        if of_user.connections >= self.0.bounds.connections_per_uid {
            return Err(Full::OfUser);
        }
        of_user.connections += 1;
        held.connections += 1;
        Ok(Slot { limits: self.clone(), uid })
    }

    /// A place for a call or stream; `None` when the user has as many as it may.
    pub(super) fn take_stream(&self, uid: u32) -> Option<StreamSlot> {
        let mut held = self.lock();
        let of_user = held.users.entry(uid).or_default();
        if of_user.streams >= self.0.bounds.streams_per_uid {
            return None;
        }
        of_user.streams += 1;
        Some(StreamSlot { limits: self.clone(), uid })
    }

    /// Room for the requests of a stream: none yet.
    pub(super) fn room(&self, uid: u32) -> RequestRoom {
        RequestRoom { limits: self.clone(), uid, bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn give_back(&mut self, uid: u32, give: impl FnOnce(&mut OfUser)) {
        if let Some(of_user) = self.users.get_mut(&uid) {
            give(of_user);
            let OfUser { connections, streams, request_bytes } = of_user;
            if (*connections, *streams, *request_bytes) == (0, 0, 0) {
                self.users.remove(&uid);
            }
        }
    }
}

impl RequestRoom {
    /// What one user may take in all.
    pub(super) fn share(&self) -> usize {
        self.limits.0.bounds.request_bytes_per_uid
    }

    /// Makes the room at least `bytes` wide. False when the user's share is spent; the room is as it was then.
    pub(super) fn widen(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let mut held = self.limits.lock();
        let of_user = held.users.entry(self.uid).or_default();
        let sum = of_user.request_bytes.saturating_add(more);
        let fits = sum <= self.limits.0.bounds.request_bytes_per_uid;
        if fits {
            of_user.request_bytes = sum;
            self.bytes = bytes;
        } else {
            held.give_back(self.uid, |_nothing| {});
        }
        fits
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.limits.lock();
        held.connections = held.connections.saturating_sub(1);
        held.give_back(self.uid, |of_user| of_user.connections = of_user.connections.saturating_sub(1));
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.limits.lock().give_back(self.uid, |of_user| of_user.streams = of_user.streams.saturating_sub(1));
    }
}

impl Drop for RequestRoom {
    fn drop(&mut self) {
        let bytes = self.bytes;
        self.limits.lock().give_back(self.uid, |of_user| of_user.request_bytes = of_user.request_bytes.saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: WorkloadLimits =
        WorkloadLimits { connections: 5, connections_per_uid: 3, streams_per_uid: 4, request_bytes_per_uid: 1000 };

    fn nothing_is_held(limits: &Limits) -> bool {
        let held = limits.lock();
        held.connections == 0 && held.users.is_empty()
    }

    #[test]
    fn the_bounds_are_what_the_documentation_says() {
        let WorkloadLimits { connections, connections_per_uid, streams_per_uid, request_bytes_per_uid } =
            WorkloadLimits::default();
        assert_eq!((connections, connections_per_uid, streams_per_uid), (4096, 1024, 4096));
        assert_eq!(request_bytes_per_uid, 256 * 1024 * 1024);
    }

    #[test]
    fn one_user_reaches_its_connections_and_the_others_do_not_feel_it() {
        let limits = Limits::new(WorkloadLimits::default());
        let mut slots: Vec<_> = (0..1024).map(|_| limits.take(1).unwrap()).collect();
        assert_eq!(limits.take(1).unwrap_err(), Full::OfUser);
        assert!(limits.take(2).is_ok());
        drop(slots.pop());
        assert!(limits.take(1).is_ok(), "a place given back can be taken");
        drop(slots);
        assert!(nothing_is_held(&limits), "nothing is kept for users without a connection");
    }

    #[test]
    fn all_users_together_reach_the_bound_of_the_socket() {
        let limits = Limits::new(FEW);
        let slots: Vec<_> = (0..5).map(|uid| limits.take(uid).unwrap()).collect();
        assert_eq!(limits.take(6).unwrap_err(), Full::Total);
        drop(slots);
        assert!(limits.take(6).is_ok());
        assert!(nothing_is_held(&limits));
    }

    #[test]
    fn one_user_reaches_its_streams_over_all_its_connections_and_the_others_do_not_feel_it() {
        let limits = Limits::new(WorkloadLimits::default());
        let mut slots: Vec<_> = (0..4096).map(|_| limits.take_stream(1).unwrap()).collect();
        assert!(limits.take_stream(1).is_none());
        assert!(limits.take_stream(2).is_some());
        drop(slots.pop());
        assert!(limits.take_stream(1).is_some(), "a place given back can be taken");
        drop(slots);
        assert!(nothing_is_held(&limits));
    }

    #[test]
    fn one_users_requests_have_so_much_room_and_not_a_byte_more() {
        let limits = Limits::new(FEW);
        let (mut one, mut two, mut other) = (limits.room(1), limits.room(1), limits.room(2));
        assert!(one.widen(600) && two.widen(400), "all of it");
        assert!(!two.widen(401), "a byte more");
        assert!(one.widen(10) && two.widen(400), "what is there already takes nothing more");
        assert!(other.widen(1000) && !other.widen(usize::MAX), "another user has as much");
        drop(one);
        assert!(two.widen(1000), "room given back can be taken");
        drop((two, other));
        let mut refused = limits.room(3);
        assert!(!refused.widen(1001));
        assert!(nothing_is_held(&limits), "nothing is kept for whom it was refused");
        assert!(refused.widen(1000));
    }
}
