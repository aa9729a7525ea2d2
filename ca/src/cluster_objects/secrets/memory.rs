//! What was found good or written last of each account, and which accounts an operator wants renewed. It saves work, and decides nothing that
//! the Secret itself does not.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::{SerialNumber, Timestamp, TrustBundle};

use crate::cluster_objects::healing::Healing;
use crate::cluster_objects::queue::Key;

/// A Secret that is good.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// The version that it has.
    pub(crate) version: String,
    /// The UID of its account.
    pub(crate) owner: String,
    /// Of its certificate.
    pub(crate) serial: SerialNumber,
    /// When it is to be replaced.
    pub(crate) due: Timestamp,
    /// Under which it was judged.
    pub(crate) bundle: Arc<TrustBundle>,
}

/// The memory; empty at the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    settled: Mutex<HashMap<Key, Settled>>,
    asked: Mutex<BTreeSet<Key>>,
    healing: Healing,
}

impl Memory {
    /// What was found good last.
    pub(crate) fn settled(&self, key: &Key) -> Option<Settled> {
        locked(&self.settled).get(key).cloned()
    }

    /// This is good.
    pub(crate) fn settle(&self, key: &Key, settled: Settled) {
        locked(&self.settled).insert(key.clone(), settled);
    }

    /// There is none any more; what there was.
    pub(crate) fn forget(&self, key: &Key) -> Option<Settled> {
        locked(&self.asked).remove(key);
        locked(&self.settled).remove(key)
    }

    /// An operator wants these renewed.
    pub(crate) fn ask(&self, keys: impl IntoIterator<Item = Key>) {
        locked(&self.asked).extend(keys);
    }

    /// Whether an operator wants it renewed.
    pub(crate) fn is_asked(&self, key: &Key) -> bool {
        locked(&self.asked).contains(key)
    }

    /// It was written at this time since boot.
    pub(crate) fn wrote(&self, key: &Key, boot: Duration) {
        locked(&self.asked).remove(key);
        self.healing.wrote(key, boot);
    }

    /// How long it is not to be healed yet, at this time since boot: each time is a certificate more in the ledger.
    pub(crate) fn pause_before_healing(&self, key: &Key, boot: Duration) -> Duration {
        self.healing.pause(key, boot)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
