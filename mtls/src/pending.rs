//! Which connections have not finished their handshake, and which of them makes room for a newcomer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, Id};

use crate::AddressGroup;

/// Connections in the order of their arrival.
#[derive(Default)]
pub(crate) struct Pending(VecDeque<Waiting>);

struct Waiting {
    task: AbortHandle,
    spoke: Spoke,
    from: AddressGroup,
}

/// Set once the whole client hello is there.
#[derive(Clone, Default)]
pub(crate) struct Spoke(Arc<AtomicBool>);

impl Spoke {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them come from there.
    pub(crate) fn count_from(&self, from: AddressGroup) -> usize {
        self.0.iter().filter(|waiting| waiting.from == from).count()
    }

    pub(crate) fn add(&mut self, task: AbortHandle, spoke: Spoke, from: AddressGroup) {
        self.0.push_back(Waiting { task, spoke, from });
    }

    /// Forgets a task that has ended.
    pub(crate) fn remove(&mut self, task: Id) {
        if let Some(position) = self.0.iter().position(|waiting| waiting.task.id() == task) {
            self.0.remove(position);
        }
    }

    /// Ends one to make room: the oldest silent one. When all have spoken, the oldest of all, because a peer that stops in
    /// the middle must not hold its place either. `None`: there is none.
    pub(crate) fn evict(&mut self) -> Option<Evicted> {
        self.evict_where(|_| true)
    }

    /// The same among those from one place.
    pub(crate) fn evict_from(&mut self, from: AddressGroup) -> Option<Evicted> {
        self.evict_where(|waiting| waiting.from == from)
    }

    /// Ends the oldest silent one, if one is silent.
    pub(crate) fn evict_silent(&mut self) -> Option<Evicted> {
        self.evict_where(|waiting| !waiting.spoke.is_set())
    }

    fn evict_where(&mut self, among: impl Fn(&Waiting) -> bool) -> Option<Evicted> {
        let oldest = |silent: bool| self.0.iter().position(|waiting| among(waiting) && (!silent || !waiting.spoke.is_set()));
        let (position, evicted) = match (oldest(true), oldest(false)) {
            (Some(position), _) => (position, Evicted::Silent),
            (None, Some(position)) => (position, Evicted::Stalled),
            (None, None) => return None,
        };
        self.0.remove(position)?.task.abort();
        Some(evicted)
    }
}

/// What made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evicted {
    /// A peer that had not sent a client hello.
    Silent,
    /// A peer that had, and did not go on.
    Stalled,
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::task::JoinSet;

    use super::*;

    struct Crowd {
        tasks: JoinSet<()>,
        pending: Pending,
        ids: Vec<Id>,
        spoke: Vec<Spoke>,
    }

    fn from(last: u8) -> AddressGroup {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn crowd(places: &[u8]) -> Crowd {
        let (mut tasks, mut pending, mut ids, mut spoke) = (JoinSet::new(), Pending::default(), Vec::new(), Vec::new());
        for place in places {
            let task = tasks.spawn(std::future::pending::<()>());
            ids.push(task.id());
            spoke.push(Spoke::default());
            pending.add(task, spoke.last().unwrap().clone(), from(*place));
        }
        Crowd { tasks, pending, ids, spoke }
    }

    impl Crowd {
        async fn ended(&mut self) -> usize {
            let ended = self.tasks.join_next().await.unwrap().unwrap_err().id();
            self.ids.iter().position(|id| *id == ended).unwrap()
        }
    }

    #[tokio::test]
    async fn the_oldest_silent_one_goes_first_then_the_oldest() {
        let mut crowd = crowd(&[1, 1, 1, 1]);
        crowd.spoke[0].set();
        crowd.spoke[3].set();
        for (expected, which) in [(Evicted::Silent, 1), (Evicted::Silent, 2), (Evicted::Stalled, 0)] {
            assert_eq!(crowd.pending.evict(), Some(expected));
            assert_eq!(crowd.ended().await, which);
        }
        crowd.pending.remove(crowd.ids[0]);
        assert_eq!(crowd.pending.len(), 1);
        crowd.pending.remove(crowd.ids[3]);
        assert_eq!(crowd.pending.len(), 0);
        assert_eq!(crowd.pending.evict(), None);
    }

    #[tokio::test]
    async fn a_full_address_gives_up_one_of_its_own() {
        let mut crowd = crowd(&[1, 2, 2, 2]);
        crowd.spoke[1].set();
        assert_eq!((crowd.pending.count_from(from(1)), crowd.pending.count_from(from(2))), (1, 3));
        for (expected, which) in [(Evicted::Silent, 2), (Evicted::Silent, 3), (Evicted::Stalled, 1)] {
            assert_eq!(crowd.pending.evict_from(from(2)), Some(expected));
            assert_eq!(crowd.ended().await, which);
        }
        assert_eq!(crowd.pending.evict_from(from(2)), None, "others are not touched");
        assert_eq!(crowd.pending.len(), 1);
        crowd.spoke[0].set();
        assert_eq!(crowd.pending.evict_silent(), None);
    }
}
