//! Each caller's own secrets: what the node holds, cut down to the entries that the caller matches.
//!
//! Nothing is looked up by name here, so no name can reach another caller's key: a caller is its selectors, and gets the
//! identities whose selectors it has. The whole state of a caller is worked out anew on every change.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use identity::Selector;
use sds::{SecretSource, SecretState};
use tokio::sync::{Notify, watch};

use crate::entry::EntryId;
use crate::identities::{Held, HeldIdentity};
use crate::workload::Caller;

/// What the node holds and who is listening.
#[derive(Default)]
pub(crate) struct CallerSecrets {
    inner: Mutex<Inner>,
    subscribed: Notify,
}

#[derive(Default)]
struct Inner {
    held: Arc<Held>,
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    selectors: BTreeSet<Selector>,
    /// Whether the process still runs.
    alive: Box<dyn Fn() -> bool + Send>,
    state: watch::Sender<Arc<SecretState>>,
}

impl CallerSecrets {
    /// The state of a caller with these selectors, now and on every change, until `alive` says no.
    pub(crate) fn subscribe_as(
        &self,
        selectors: BTreeSet<Selector>,
        alive: impl Fn() -> bool + Send + 'static,
    ) -> watch::Receiver<Arc<SecretState>> {
        let mut inner = self.lock();
        let (state, receiver) = watch::channel(Arc::new(state_of(&inner.held, &selectors)));
        inner.subscribers.retain(|subscriber| !subscriber.state.is_closed());
        inner.subscribers.push(Subscriber { selectors, alive: Box::new(alive), state });
        drop(inner);
        self.subscribed.notify_one();
        receiver
    }

    /// Puts what is held now in place, and tells each caller whose part of it changed.
    pub(crate) fn publish(&self, held: Held) {
        let mut inner = self.lock();
        inner.held = Arc::new(held);
        let Inner { held, subscribers } = &mut *inner;
        subscribers.retain(|subscriber| !subscriber.state.is_closed());
        for subscriber in subscribers {
            let state = state_of(held, &subscriber.selectors);
            subscriber.state.send_if_modified(|before| {
                let changed = !same(before, &state);
                if changed {
                    *before = Arc::new(state);
                }
                changed
            });
        }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.lock().held)
    }

    /// Entries that a listening caller matches and that have no SVID: they go first.
    pub(crate) fn waiting(&self) -> BTreeSet<EntryId> {
        let inner = self.lock();
        let callers: Vec<_> = inner.subscribers.iter().filter(|subscriber| !subscriber.state.is_closed()).collect();
        inner
            .held
            .identities
            .iter()
            .filter(|identity| identity.state.svid().is_none())
            .filter(|identity| callers.iter().any(|caller| identity.entry.selectors.is_subset(&caller.selectors)))
            .map(|identity| identity.entry.id.clone())
            .collect()
    }

    /// Resolves when a caller has come since the last time.
    pub(crate) async fn subscribed(&self) {
        self.subscribed.notified().await;
    }

    /// Drops the senders of callers whose process is gone: their streams end.
    pub(crate) fn forget_gone_callers(&self) {
        self.lock().subscribers.retain(|subscriber| !subscriber.state.is_closed() && (subscriber.alive)());
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
        self.subscribe_as(caller.selectors.clone(), move || process.is_running())
    }
}

fn state_of(held: &Held, selectors: &BTreeSet<Selector>) -> SecretState {
    let matched = |identity: &&HeldIdentity| identity.entry.selectors.is_subset(selectors);
    let svids = held.identities.iter().filter(matched).filter_map(|identity| identity.state.svid().cloned()).collect();
    SecretState { svids, bundle: held.bundle.clone() }
}

/// Values are replaced, never changed in place, so being the same one is being equal.
fn same(before: &SecretState, after: &SecretState) -> bool {
    let bundle = match (&before.bundle, &after.bundle) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    bundle
        && before.svids.len() == after.svids.len()
        && before.svids.iter().zip(&after.svids).all(|(before, after)| Arc::ptr_eq(before, after))
}

#[cfg(test)]
mod tests;
