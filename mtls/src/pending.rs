//! Which connections have not finished their handshake, and which of them makes room for a newcomer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, Id};

/// Connections in the order of their arrival.
#[derive(Default)]
pub(crate) struct Pending(VecDeque<Waiting>);

struct Waiting {
    task: AbortHandle,
    spoke: Spoke,
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

    pub(crate) fn add(&mut self, task: AbortHandle, spoke: Spoke) {
        self.0.push_back(Waiting { task, spoke });
    }

    /// Forgets a task that has ended.
    pub(crate) fn remove(&mut self, task: Id) {
        if let Some(position) = self.0.iter().position(|waiting| waiting.task.id() == task) {
            self.0.remove(position);
        }
    }

    /// Ends one to make room: the oldest silent one. When all have spoken, the oldest of all, because a peer that stops in
    /// the middle must not hold its place either.
    pub(crate) fn evict(&mut self) -> Evicted {
        let silent = self.0.iter().position(|waiting| !waiting.spoke.is_set());
        if let Some(waiting) = self.0.remove(silent.unwrap_or(0)) {
            waiting.task.abort();
        }
        if silent.is_some() { Evicted::Silent } else { Evicted::Stalled }
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

    #[tokio::test]
    async fn the_oldest_silent_one_goes_first_then_the_oldest() {
        let mut tasks = JoinSet::new();
        let mut pending = Pending::default();
        let mut ids = Vec::new();
        let spoke: Vec<_> = (0..4).map(|_| Spoke::default()).collect();
        for spoke in &spoke {
            let task = tasks.spawn(std::future::pending::<()>());
            ids.push(task.id());
            pending.add(task, spoke.clone());
        }
        spoke[0].set();
        spoke[3].set();
        let mut ended = Vec::new();
        for expected in [Evicted::Silent, Evicted::Silent, Evicted::Stalled] {
            assert_eq!(pending.evict(), expected);
            ended.push(tasks.join_next().await.unwrap().unwrap_err().id());
        }
        assert_eq!(ended, [ids[1], ids[2], ids[0]]);
        pending.remove(ids[0]);
        assert_eq!(pending.len(), 1);
        pending.remove(ids[3]);
        assert_eq!(pending.len(), 0);
    }
}
