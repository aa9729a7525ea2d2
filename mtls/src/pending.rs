//! Which connections have not finished their handshake, and which of them makes room for a newcomer.

use std::sync::Arc;

use tokio::task::{AbortHandle, Id};

use crate::Presence;

/// Connections whose handshake is under way.
#[derive(Default)]
pub(crate) struct Pending(Vec<Waiting>);

struct Waiting {
    task: AbortHandle,
    /// Busy once the whole client hello is there.
    presence: Arc<Presence>,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, task: AbortHandle, presence: Arc<Presence>) {
        self.0.push(Waiting { task, presence });
    }

    /// Forgets a task that has ended.
    pub(crate) fn remove(&mut self, task: Id) {
        if let Some(position) = self.0.iter().position(|waiting| waiting.task.id() == task) {
            self.0.swap_remove(position);
        }
    }

    /// Ends one to make room: the oldest silent one. When all have spoken, the one that spoke first, because a peer that stops in
    /// the middle must not hold its place either. `None`: there is none.
    pub(crate) fn evict(&mut self) -> Option<Evicted> {
        self.evict_where(|_| true)
    }

    /// Ends the oldest silent one, if one is silent.
    pub(crate) fn evict_silent(&mut self) -> Option<Evicted> {
        self.evict_where(|presence| !presence.is_busy())
    }

    /// Ends those that were told to close.
    pub(crate) fn end_closed(&mut self) -> Vec<Evicted> {
        self.0.extract_if(.., |waiting| waiting.presence.is_closed()).map(Waiting::end).collect()
    }

    fn evict_where(&mut self, among: impl Fn(&Presence) -> bool) -> Option<Evicted> {
        let candidates = self.0.iter().enumerate().filter(|(_, waiting)| among(&waiting.presence));
        let (position, _) = candidates.min_by_key(|(_, waiting)| waiting.presence.worth())?;
        Some(self.0.swap_remove(position).end())
    }
}

impl Waiting {
    fn end(self) -> Evicted {
        self.task.abort();
        if self.presence.is_busy() { Evicted::Stalled } else { Evicted::Silent }
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
    use tokio::task::JoinSet;

    use super::*;
    use crate::{Busy, Order, Place, PlaceLimits, Places};

    struct Crowd {
        tasks: JoinSet<()>,
        pending: Pending,
        ids: Vec<Id>,
        presences: Vec<Arc<Presence>>,
        order: Arc<Order>,
    }

    fn crowd(size: usize) -> Crowd {
        let (mut tasks, mut pending, order) = (JoinSet::new(), Pending::default(), Arc::default());
        let (mut ids, mut presences) = (Vec::new(), Vec::new());
        for _ in 0..size {
            let task = tasks.spawn(std::future::pending::<()>());
            ids.push(task.id());
            presences.push(Presence::new(&order));
            pending.add(task, Arc::clone(&presences[presences.len() - 1]));
        }
        Crowd { tasks, pending, ids, presences, order }
    }

    impl Crowd {
        async fn ended(&mut self) -> usize {
            let ended = self.tasks.join_next().await.unwrap().unwrap_err().id();
            self.ids.iter().position(|id| *id == ended).unwrap()
        }
    }

    #[tokio::test]
    async fn the_oldest_silent_one_goes_first_then_the_oldest() {
        let mut crowd = crowd(4);
        for spoke in [0, 3] {
            crowd.presences[spoke].heard();
            crowd.presences[spoke].begin_work();
        }
        for (expected, which) in [(Evicted::Silent, 1), (Evicted::Silent, 2), (Evicted::Stalled, 0)] {
            assert_eq!(crowd.pending.evict(), Some(expected));
            assert_eq!(crowd.ended().await, which);
        }
        crowd.pending.remove(crowd.ids[0]);
        assert_eq!((crowd.pending.len(), crowd.pending.evict_silent()), (1, None));
        crowd.pending.remove(crowd.ids[3]);
        assert_eq!((crowd.pending.len(), crowd.pending.evict()), (0, None));
    }

    #[tokio::test]
    async fn only_those_that_were_told_to_close_are_ended() {
        let mut crowd = crowd(3);
        assert_eq!(crowd.pending.end_closed(), []);
        let places = Places::new(PlaceLimits { per_holder: Some(1), in_all: None, busy: Busy::Closed });
        let enter = |presence: &Arc<Presence>| -> Place<()> { places.enter((), presence).0 };
        let _places = [enter(&crowd.presences[1]), enter(&Presence::new(&crowd.order))];
        assert_eq!(crowd.pending.end_closed(), [Evicted::Silent]);
        assert_eq!((crowd.ended().await, crowd.pending.len()), (1, 2));
    }
}
