//! Each caller's own secrets: what the node holds, cut down to the entries that the caller matches.
//!
//! Nothing is looked up by name here, so no name can reach another caller's key: a caller is its selectors, and gets the
//! identities whose selectors it has. The whole state of a caller is worked out anew on every change, once for all that is
//! served: SDS gets its part of [`CallerState`], the Workload API all of it.

mod caller_state;
mod missing;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sds::{SecretSource, SecretState};
use tokio::sync::{Notify, watch};

use crate::entry::EntryId;
use crate::identities::Held;
use crate::workload::Caller;

pub(crate) use caller_state::{CallerState, Facts};
use missing::Missing;

/// What the node holds and who is listening.
#[derive(Default)]
pub(crate) struct CallerSecrets {
    inner: Mutex<Inner>,
    subscribed: Notify,
    /// What is held now, for those to whom all of it matters.
    held: watch::Sender<Arc<Held>>,
}

#[derive(Default)]
struct Inner {
    held: Arc<Held>,
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    facts: Facts,
    /// Whether the process still runs.
    alive: Box<dyn Fn() -> bool + Send>,
    listener: Listener,
}

/// Who listens, and so how much of the state it is told.
enum Listener {
    Secrets(watch::Sender<Arc<SecretState>>),
    Whole(watch::Sender<Arc<CallerState>>),
}

impl Listener {
    fn is_closed(&self) -> bool {
        match self {
            Self::Secrets(state) => state.is_closed(),
            Self::Whole(state) => state.is_closed(),
        }
    }

    /// Tells it the state of now, unless its part of it is the one it has.
    fn tell(&self, now: CallerState) {
        match self {
            Self::Secrets(state) => tell(state, now.secrets(), caller_state::same_secrets),
            Self::Whole(state) => tell(state, now, CallerState::same),
        }
    }
}

fn tell<T>(sender: &watch::Sender<Arc<T>>, now: T, same: impl FnOnce(&T, &T) -> bool) {
    sender.send_if_modified(|before| {
        let changed = !same(before, &now);
        if changed {
            *before = Arc::new(now);
        }
        changed
    });
}

impl CallerSecrets {
    /// The secrets of a caller with these facts, now and on every change, until `alive` says no.
    pub(crate) fn secrets_of(
        &self,
        facts: Facts,
        alive: impl Fn() -> bool + Send + 'static,
    ) -> watch::Receiver<Arc<SecretState>> {
        self.add(facts, alive, |state| {
            let (sender, receiver) = watch::channel(Arc::new(state.secrets()));
            (Listener::Secrets(sender), receiver)
        })
    }

    /// The same with everything that is known of the caller.
    pub(crate) fn states_of(&self, facts: Facts, alive: impl Fn() -> bool + Send + 'static) -> watch::Receiver<Arc<CallerState>> {
        self.add(facts, alive, |state| {
            let (sender, receiver) = watch::channel(Arc::new(state));
            (Listener::Whole(sender), receiver)
        })
    }

    /// [`Self::states_of`] for a process that called.
    pub(crate) fn follow(&self, caller: &Caller) -> watch::Receiver<Arc<CallerState>> {
        let process = Arc::clone(&caller.process);
        self.states_of(Facts::of(caller), move || process.is_running())
    }

    /// The state of a caller at this moment.
    pub(crate) fn state_now(&self, caller: &Caller) -> CallerState {
        CallerState::of(&self.held(), &Facts::of(caller))
    }

    fn add<R>(
        &self,
        facts: Facts,
        alive: impl Fn() -> bool + Send + 'static,
        open: impl FnOnce(CallerState) -> (Listener, R),
    ) -> R {
        let mut inner = self.lock();
        let (listener, receiver) = open(CallerState::of(&inner.held, &facts));
        inner.subscribers.retain(|subscriber| !subscriber.listener.is_closed());
        inner.subscribers.push(Subscriber { facts, alive: Box::new(alive), listener });
        drop(inner);
        self.subscribed.notify_one();
        receiver
    }

    /// Puts what is held now in place, and tells each caller whose part of it changed.
    pub(crate) fn publish(&self, held: Held) {
        let mut inner = self.lock();
        inner.held = Arc::new(held);
        let Inner { held, subscribers } = &mut *inner;
        subscribers.retain(|subscriber| !subscriber.listener.is_closed());
        for subscriber in subscribers {
            subscriber.listener.tell(CallerState::of(held, &subscriber.facts));
        }
        self.held.send_replace(Arc::clone(held));
    }

    /// What is held, whenever something is published.
    pub(crate) fn held_changes(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.lock().held)
    }

    /// Entries that a listening caller matches and that have no SVID, or one that must go: they are fetched first.
    pub(crate) fn waiting(&self) -> BTreeSet<EntryId> {
        let inner = self.lock();
        let missing = Missing::of(&inner.held);
        let callers = inner.subscribers.iter().filter(|subscriber| !subscriber.listener.is_closed());
        callers.flat_map(|caller| missing.of_caller(&caller.facts)).map(|identity| identity.entry.id.clone()).collect()
    }

    /// Resolves when a caller has come since the last time.
    pub(crate) async fn subscribed(&self) {
        self.subscribed.notified().await;
    }

    /// Drops the senders of callers whose process is gone: their streams end.
    pub(crate) fn forget_gone_callers(&self) {
        self.lock().subscribers.retain(|subscriber| !subscriber.listener.is_closed() && (subscriber.alive)());
    }

    /// A panic while the lock was held left whole values behind: each is replaced in one assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SecretSource for CallerSecrets {
    type Caller = Caller;

    fn subscribe(&self, caller: &Caller) -> watch::Receiver<Arc<SecretState>> {
        let process = Arc::clone(&caller.process);
        self.secrets_of(Facts::of(caller), move || process.is_running())
    }
}

#[cfg(test)]
mod tests;
