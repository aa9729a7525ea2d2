//! How often somebody may ask: a token bucket for each key, in memory that is bounded. Pure but for [`Limiter`]: time is an argument.
//!
//! A bucket is kept as the one moment at which it will be full again (the "theoretical arrival time" of a virtual schedule, as in ITU-T
//! I.371): a moment that has passed says nothing and is forgotten. A key is the identity that a caller proved, or the address that it
//! comes from where nothing is proved yet.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pki::{Sha256Digest, sha256};
use runtime::clock::Clock;

/// Keys remembered at once, each of which has used some of its bucket. 4 MiB at most.
const MAX_KEYS: usize = 65_536;

/// What every key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// Tokens in a minute, over time.
    pub(crate) per_minute: NonZeroU32,
    /// Tokens at once, after a pause.
    pub(crate) burst: NonZeroU32,
    /// Where the two are configured: the section and the keys.
    pub(crate) keys: (&'static str, [&'static str; 2]),
}

/// As a refusal names it.
impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_minute, burst, keys: (section, [of_rate, of_burst]) } = self;
        write!(f, "{section} {of_rate} = {per_minute}, {of_burst} = {burst}")
    }
}

/// The buckets of all keys.
#[derive(Debug)]
struct Rates {
    /// Between two tokens that use a bucket neither up nor fill it.
    interval: Duration,
    /// How far ahead of time a bucket that is empty will be full.
    depth: Duration,
    capacity: usize,
    /// When each bucket will be full, in time since boot; by the hash of its key.
    full_at: HashMap<Sha256Digest, Duration>,
}

/// Somebody was too fast, or there are too many who were; in how long to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFast {
    /// At least this long.
    pub(crate) wait: Duration,
    /// What was exceeded.
    pub(crate) limit: RateLimit,
}

/// Buckets that the services share.
pub(crate) struct Limiter {
    limit: RateLimit,
    rates: Mutex<Rates>,
    clock: Arc<dyn Clock>,
}

impl Limiter {
    /// Full buckets.
    pub(crate) fn new(limit: RateLimit, clock: Arc<dyn Clock>) -> Self {
        Self { limit, rates: Mutex::new(Rates::with_capacity(limit, MAX_KEYS)), clock }
    }

    /// Takes `tokens` from the bucket of this key, all or none. More than the burst can never be had at once.
    ///
    /// # Errors
    /// [`TooFast`]: nothing is taken.
    pub(crate) fn charge(&self, key: &str, tokens: usize) -> Result<(), TooFast> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        rates.take(key, tokens, self.clock.boottime()).map_err(|wait| TooFast { wait, limit: self.limit })
    }
}

impl Rates {
    fn with_capacity(limit: RateLimit, capacity: usize) -> Self {
        let interval = Duration::from_secs(60) / limit.per_minute.get();
        Self { interval, depth: interval.saturating_mul(limit.burst.get()), capacity, full_at: HashMap::new() }
    }

    /// Takes tokens from the bucket of a key. `boot` is the time since boot; the error, how long to wait at least.
    fn take(&mut self, key: &str, tokens: u32, boot: Duration) -> Result<(), Duration> {
        if tokens == 0 {
            return Ok(());
        }
        let key = sha256(key.as_bytes());
        let full_at = self.full_at.get(&key).copied().unwrap_or(boot).max(boot);
        let full_at = full_at.saturating_add(self.interval.saturating_mul(tokens));
        let ahead = full_at.saturating_sub(boot);
        if ahead > self.depth {
            return Err(ahead.saturating_sub(self.depth));
        }
        if self.full_at.len() >= self.capacity && !self.full_at.contains_key(&key) {
            self.full_at.retain(|_, full_at| *full_at > boot);
            if self.full_at.len() >= self.capacity {
                // Every one of them called of late. Forgetting one would give it a full bucket, so the newcomer waits.
                return Err(self.depth);
            }
        }
        self.full_at.insert(key, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(per_minute: u32, burst: u32) -> RateLimit {
        let count = |count| NonZeroU32::new(count).unwrap();
        RateLimit { per_minute: count(per_minute), burst: count(burst), keys: ("[limits]", ["per_minute", "burst"]) }
    }

    fn rates(per_minute: u32, burst: u32) -> Rates {
        Rates::with_capacity(limit(per_minute, burst), MAX_KEYS)
    }

    #[test]
    fn a_burst_passes_then_one_call_for_each_interval_and_a_pause_fills_the_bucket() {
        let mut rates = rates(60, 3);
        let boot = Duration::from_secs(1000);
        for _ in 0..3 {
            assert_eq!(rates.take("a", 1, boot), Ok(()));
        }
        assert_eq!(rates.take("a", 1, boot), Err(SECOND));
        assert_eq!(rates.take("b", 1, boot), Ok(()), "another caller has a bucket of its own");
        assert_eq!(rates.take("a", 1, boot + SECOND), Ok(()), "the wait that was told is long enough");
        assert!(rates.take("a", 1, boot + SECOND).is_err());
        let later = boot + SECOND * 100;
        for _ in 0..3 {
            assert_eq!(rates.take("a", 1, later), Ok(()));
        }
        assert!(rates.take("a", 1, later).is_err(), "a long pause gives no more than a full bucket");
    }

    #[test]
    fn a_batch_passes_whole_or_costs_nothing() {
        let mut rates = rates(60, 5);
        assert_eq!(rates.take("a", 3, SECOND), Ok(()));
        assert_eq!(rates.take("a", 3, SECOND), Err(SECOND), "two are left");
        assert_eq!(rates.take("a", 2, SECOND), Ok(()));
        assert_eq!(rates.take("a", 0, SECOND), Ok(()), "nothing costs nothing");
        assert_eq!(rates.take("a", 3, SECOND * 3), Err(SECOND));
        assert_eq!(rates.take("a", 3, SECOND * 4), Ok(()));
    }

    #[test]
    fn a_refused_call_costs_nothing() {
        let mut rates = rates(60, 1);
        assert_eq!(rates.take("a", 1, SECOND), Ok(()));
        for _ in 0..100 {
            assert_eq!(rates.take("a", 1, SECOND), Err(SECOND));
        }
        assert_eq!(rates.take("a", 1, SECOND * 2), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_only_full_buckets_are_forgotten() {
        let mut rates = Rates::with_capacity(limit(60, 1), 2);
        assert_eq!(rates.take("a", 1, SECOND), Ok(()));
        assert_eq!(rates.take("b", 1, SECOND), Ok(()));
        assert!(rates.take("c", 1, SECOND).is_err());
        assert!(rates.take("a", 1, SECOND).is_err(), "it is still remembered");
        assert_eq!(rates.take("c", 1, SECOND * 2), Ok(()), "the others are full again");
        assert_eq!(rates.full_at.len(), 1);
    }

    #[test]
    fn a_refusal_names_what_was_exceeded_and_where_it_is_configured() {
        let limiter = Limiter::new(limit(6, 2), runtime::clock::TestClock::at(std::time::SystemTime::UNIX_EPOCH));
        limiter.charge("a", 2).unwrap();
        let refused = limiter.charge("a", 1).unwrap_err();
        assert_eq!((refused.wait, refused.limit.to_string().as_str()), (SECOND * 10, "[limits] per_minute = 6, burst = 2"));
    }

    proptest! {
        /// Whatever is asked for when, in no span does a key get more than the burst and what the span adds; and whoever waits as told
        /// is let through.
        #[test]
        fn nobody_gets_more_than_the_burst_and_the_rate(
            burst in 1_u32..20,
            asked in prop::collection::vec((0_u64..5_000, 1_u32..6), 1..60),
        ) {
            let mut rates = rates(60, burst);
            let (mut now, mut granted) = (SECOND, Vec::new());
            for (pause, tokens) in asked {
                now += Duration::from_millis(pause);
                let tokens = tokens.min(burst);
                match rates.take("a", tokens, now) {
                    Ok(()) => granted.push((now, tokens)),
                    Err(wait) => {
                        now += wait;
                        prop_assert_eq!(rates.take("a", tokens, now), Ok(()));
                        granted.push((now, tokens));
                    }
                }
            }
            for (index, (begin, _)) in granted.iter().enumerate() {
                let mut sum = 0;
                for (end, tokens) in &granted[index..] {
                    sum += tokens;
                    let added = (*end - *begin).as_secs_f64();
                    prop_assert!(f64::from(sum) <= f64::from(burst) + added + 1e-6, "{sum} in {added} s with a burst of {burst}");
                }
            }
        }
    }
}
