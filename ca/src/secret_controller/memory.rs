//! What was found good or written last of each account, and which accounts an operator wants renewed. It saves work, and decides nothing that
//! the Secret itself does not.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::{SerialNumber, Timestamp, TrustBundle};

use super::queue::Key;

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
    /// How often in a row each was written, and when last, in time since boot.
    writes: Mutex<HashMap<Key, (u32, Duration)>>,
}

/// How often one is written in a row before it is held back.
const FREE_WRITES: u32 = 6;
/// The longest for which it is held back.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// After how long without a write all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

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
        let mut writes = locked(&self.writes);
        let (count, last) = writes.get(key).copied().unwrap_or((0, boot));
        let count = if boot.saturating_sub(last) >= FORGOTTEN_AFTER { 0 } else { count };
        writes.insert(key.clone(), (count.saturating_add(1), boot));
    }

    /// How long it is not to be healed yet, at this time since boot: two that do not agree on what it should be would write it without end, each
    /// with a certificate more in the ledger.
    pub(crate) fn pause_before_healing(&self, key: &Key, boot: Duration) -> Duration {
        let Some((count, last)) = locked(&self.writes).get(key).copied() else { return Duration::ZERO };
        let since = boot.saturating_sub(last);
        if count < FREE_WRITES || since >= FORGOTTEN_AFTER {
            return Duration::ZERO;
        }
        let pause = Duration::from_secs(1 << (count - FREE_WRITES).min(16)).min(LONGEST_PAUSE);
        pause.saturating_sub(since)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_again_and_again_is_healed_ever_more_slowly_and_what_rests_is_forgotten() {
        let (memory, key) = (Memory::default(), ("shop".to_owned(), "web".to_owned()));
        let (mut now, mut waited) = (Duration::ZERO, Vec::new());
        for _ in 0..20 {
            let wait = memory.pause_before_healing(&key, now);
            now += wait;
            assert_eq!(memory.pause_before_healing(&key, now), Duration::ZERO);
            memory.wrote(&key, now);
            waited.push(wait.as_secs());
        }
        assert_eq!(waited[..12], [0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32]);
        assert_eq!(waited[19], 300);
        assert_eq!(memory.pause_before_healing(&("shop".to_owned(), "api".to_owned()), now), Duration::ZERO);
        now += FORGOTTEN_AFTER;
        assert_eq!(memory.pause_before_healing(&key, now), Duration::ZERO);
        memory.wrote(&key, now);
        assert_eq!(memory.pause_before_healing(&key, now), Duration::ZERO, "it begins anew");
    }
}
