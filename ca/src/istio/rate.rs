//! How often one caller may have a certificate: a token bucket each, in memory that is bounded. Pure: time is an argument.
//!
//! A bucket is kept as the one moment at which it will be full again (the "theoretical arrival time" of a virtual schedule, as in ITU-T
//! I.371): a moment that has passed says nothing and is forgotten.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use identity::SpiffeId;
use pki::{Sha256Digest, sha256};

/// Callers remembered at once, each of whom has used some of its bucket. 4 MiB at most.
const MAX_CALLERS: usize = 65_536;

/// What every caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// Calls in a minute, over time.
    pub(crate) per_minute: NonZeroU32,
    /// Calls at once, after a pause.
    pub(crate) burst: NonZeroU32,
}

/// The buckets of all callers.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Between two calls that use a bucket neither up nor fill it.
    interval: Duration,
    /// How far ahead of time a bucket that is empty will be full.
    depth: Duration,
    capacity: usize,
    /// When each bucket will be full, in time since boot; by the hash of its caller's identity.
    full_at: HashMap<Sha256Digest, Duration>,
}

/// A caller was too fast, or there are too many callers; in how long it may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFast {
    /// At least this long.
    pub(crate) wait: Duration,
}

impl Rates {
    /// Full buckets.
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self::with_capacity(limit, MAX_CALLERS)
    }

    fn with_capacity(limit: RateLimit, capacity: usize) -> Self {
        let interval = Duration::from_secs(60) / limit.per_minute.get();
        Self { interval, depth: interval.saturating_mul(limit.burst.get()), capacity, full_at: HashMap::new() }
    }

    /// Takes one call from the caller's bucket. `boot` is the time since boot.
    ///
    /// # Errors
    /// [`TooFast`]: nothing is taken.
    pub(crate) fn take(&mut self, caller: &SpiffeId, boot: Duration) -> Result<(), TooFast> {
        let key = sha256(caller.as_str().as_bytes());
        let full_at = self.full_at.get(&key).copied().unwrap_or(boot).max(boot).saturating_add(self.interval);
        let ahead = full_at.saturating_sub(boot);
        if ahead > self.depth {
            return Err(TooFast { wait: ahead.saturating_sub(self.depth) });
        }
        if self.full_at.len() >= self.capacity && !self.full_at.contains_key(&key) {
            self.full_at.retain(|_, full_at| *full_at > boot);
            if self.full_at.len() >= self.capacity {
                // Every one of them called of late. Forgetting one would give it a full bucket, so the newcomer waits.
                return Err(TooFast { wait: self.depth });
            }
        }
        self.full_at.insert(key, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(per_minute: u32, burst: u32) -> RateLimit {
        RateLimit { per_minute: NonZeroU32::new(per_minute).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    fn caller(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap()
    }

    #[test]
    fn a_burst_passes_then_one_call_for_each_interval_and_a_pause_fills_the_bucket() {
        let mut rates = Rates::new(limit(60, 3));
        let boot = Duration::from_secs(1000);
        for _ in 0..3 {
            assert_eq!(rates.take(&caller("a"), boot), Ok(()));
        }
        assert_eq!(rates.take(&caller("a"), boot), Err(TooFast { wait: SECOND }));
        assert_eq!(rates.take(&caller("b"), boot), Ok(()), "another caller has a bucket of its own");
        assert_eq!(rates.take(&caller("a"), boot + SECOND), Ok(()), "the wait that was told is long enough");
        assert!(rates.take(&caller("a"), boot + SECOND).is_err());
        let later = boot + SECOND * 100;
        for _ in 0..3 {
            assert_eq!(rates.take(&caller("a"), later), Ok(()));
        }
        assert!(rates.take(&caller("a"), later).is_err(), "a long pause gives no more than a full bucket");
    }

    #[test]
    fn a_refused_call_costs_nothing() {
        let mut rates = Rates::new(limit(60, 1));
        assert_eq!(rates.take(&caller("a"), SECOND), Ok(()));
        for _ in 0..100 {
            assert_eq!(rates.take(&caller("a"), SECOND), Err(TooFast { wait: SECOND }));
        }
        assert_eq!(rates.take(&caller("a"), SECOND * 2), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_only_full_buckets_are_forgotten() {
        let mut rates = Rates::with_capacity(limit(60, 1), 2);
        assert_eq!(rates.take(&caller("a"), SECOND), Ok(()));
        assert_eq!(rates.take(&caller("b"), SECOND), Ok(()));
        assert!(rates.take(&caller("c"), SECOND).is_err());
        assert!(rates.take(&caller("a"), SECOND).is_err(), "it is still remembered");
        assert_eq!(rates.take(&caller("c"), SECOND * 2), Ok(()), "the others are full again");
        assert_eq!(rates.full_at.len(), 1);
    }
}
