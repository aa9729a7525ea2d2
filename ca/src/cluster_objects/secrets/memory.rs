//! What was found good or written last of each account, and which accounts an operator wants renewed. It saves work, and decides nothing that
//! the Secret itself does not.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::{SerialNumber, Timestamp, TrustBundle};

use super::plan::Account;
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

/// What of now decides whether a Secret that was found good is still, without a look into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// The account.
    pub(crate) account: &'a Account,
    /// The version that the Secret has.
    pub(crate) version: &'a str,
    /// Whether the namespace is managed.
    pub(crate) is_managed: bool,
    /// The trust bundle.
    pub(crate) bundle: &'a Arc<TrustBundle>,
    /// Whether its certificate is revoked.
    pub(crate) is_revoked: bool,
    /// Whether an operator wants another one.
    pub(crate) is_asked: bool,
    /// Now.
    pub(crate) now: Timestamp,
}

impl Settled {
    /// Whether this very version was found good, or written, for this very account and under this very bundle, and nothing else that counts has
    /// changed.
    pub(crate) fn still_holds(&self, circumstances: &Circumstances<'_>) -> bool {
        let Circumstances { account, version, is_managed, bundle, is_revoked, is_asked, now } = *circumstances;
        let is_it = self.version == version && self.owner == account.uid && Arc::ptr_eq(&self.bundle, bundle);
        is_it && is_managed && !account.is_terminating && !is_revoked && !is_asked && now < self.due
    }
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

#[cfg(test)]
mod tests {
    use pki::{ReplicaByte, SERIAL_RANDOM_BYTES};

    use super::*;
    use crate::cluster_objects::secrets::content::tests::Issuer;

    #[test]
    fn what_was_found_good_is_looked_at_again_as_soon_as_one_thing_is_another() {
        let issuer = Issuer::root();
        let (own, other) = (Arc::new(issuer.bundle()), Arc::new(issuer.bundle()));
        let settled = Settled {
            version: "1".to_owned(),
            owner: "a".to_owned(),
            serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [1; SERIAL_RANDOM_BYTES]),
            due: Timestamp::from_unix_seconds(100),
            bundle: Arc::clone(&own),
        };
        let account = |uid: &str, is_terminating| Account { uid: uid.to_owned(), is_terminating };
        let (live, going, again) = (account("a", false), account("a", true), account("b", false));
        let usual = Circumstances {
            account: &live,
            version: "1",
            is_managed: true,
            bundle: &own,
            is_revoked: false,
            is_asked: false,
            now: Timestamp::from_unix_seconds(99),
        };
        assert!(settled.still_holds(&usual));
        for changed in [
            Circumstances { account: &going, ..usual },
            Circumstances { account: &again, ..usual },
            Circumstances { version: "2", ..usual },
            Circumstances { is_managed: false, ..usual },
            Circumstances { bundle: &other, ..usual },
            Circumstances { is_revoked: true, ..usual },
            Circumstances { is_asked: true, ..usual },
            Circumstances { now: settled.due, ..usual },
        ] {
            assert!(!settled.still_holds(&changed), "{changed:?}");
        }
    }
}
