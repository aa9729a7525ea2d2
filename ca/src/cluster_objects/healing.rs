//! How fast an object is written again that somebody undoes: two that do not agree on what it should be would write it without end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::queue::Key;

/// What was written; empty at the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    /// How often in a row each was written, and when last, in time since boot.
    writes: Mutex<HashMap<Key, (u32, Duration)>>,
}

/// How often one is written in a row before it is held back.
const FREE_WRITES: u32 = 6;
/// The longest for which it is held back.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// After how long without a write all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

impl Healing {
    /// It was written at this time since boot.
    pub(crate) fn wrote(&self, key: &Key, boot: Duration) {
        let mut writes = self.writes();
        let (count, last) = writes.get(key).copied().unwrap_or((0, boot));
        let count = if boot.saturating_sub(last) >= FORGOTTEN_AFTER { 0 } else { count };
        writes.insert(key.clone(), (count.saturating_add(1), boot));
    }

    /// How long it is not to be written yet, at this time since boot.
    pub(crate) fn pause(&self, key: &Key, boot: Duration) -> Duration {
        let Some((count, last)) = self.writes().get(key).copied() else { return Duration::ZERO };
        let since = boot.saturating_sub(last);
        if count < FREE_WRITES || since >= FORGOTTEN_AFTER {
            return Duration::ZERO;
        }
        let pause = Duration::from_secs(1 << (count - FREE_WRITES).min(16)).min(LONGEST_PAUSE);
        pause.saturating_sub(since)
    }

    /// What was written before counts no more.
    pub(crate) fn forget(&self, key: &Key) {
        self.writes().remove(key);
    }

    fn writes(&self) -> MutexGuard<'_, HashMap<Key, (u32, Duration)>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_again_and_again_is_healed_ever_more_slowly_and_what_rests_is_forgotten() {
        let (healing, key) = (Healing::default(), ("shop".to_owned(), "web".to_owned()));
        let (mut now, mut waited) = (Duration::ZERO, Vec::new());
        for _ in 0..20 {
            let wait = healing.pause(&key, now);
            now += wait;
            assert_eq!(healing.pause(&key, now), Duration::ZERO);
            healing.wrote(&key, now);
            waited.push(wait.as_secs());
        }
        assert_eq!(waited[..12], [0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32]);
        assert_eq!(waited[19], 300);
        assert_eq!(healing.pause(&("shop".to_owned(), "api".to_owned()), now), Duration::ZERO);
        now += FORGOTTEN_AFTER;
        assert_eq!(healing.pause(&key, now), Duration::ZERO);
        healing.wrote(&key, now);
        assert_eq!(healing.pause(&key, now), Duration::ZERO, "it begins anew");
    }
}
