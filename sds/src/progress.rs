//! How far all peers are with what their callers have.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::service::Shared;

/// Open streams, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamProgress {
    /// How many are open.
    pub streams: usize,
    /// Of them, those whose peer has not accepted what its caller has now.
    pub behind: usize,
}

/// Looks at the streams of all connections of an [`crate::SdsService`]; clones look at the same.
#[derive(Clone, Debug, Default)]
pub struct SdsProgress {
    machines: Arc<Mutex<Vec<Weak<Shared>>>>,
}

impl SdsProgress {
    /// All streams at this moment. A state that was published before counts, whether its streams have looked at it or not.
    #[must_use]
    pub fn now(&self) -> StreamProgress {
        let machines: Vec<_> = {
            let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
            machines.retain(|machine| machine.strong_count() > 0);
            machines.iter().filter_map(Weak::upgrade).collect()
        };
        machines.iter().map(|machine| machine.progress()).fold(StreamProgress::default(), |all, one| StreamProgress {
            streams: all.streams + one.streams,
            behind: all.behind + one.behind,
        })
    }

    pub(crate) fn watch(&self, machine: &Arc<Shared>) {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.retain(|machine| machine.strong_count() > 0);
        machines.push(Arc::downgrade(machine));
    }
}
