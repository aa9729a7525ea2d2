//! When a bundle is asked for again, and when what is held counts as old. Pure.

use std::time::Duration;

use runtime::backoff::Backoff;

/// When the publisher gives no hint (SPIFFE Trust Domain and Bundle section 4.1.2).
const DEFAULT_REFRESH: Duration = Duration::from_secs(5 * 60);
/// Whatever the publisher says: an authority that it took out is forgotten so soon.
const MAX_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// So many intervals without a good answer make what is held stale.
const STALE_AFTER: u32 = 3;

/// How often a bundle is asked for: by the hint of the one held, within bounds; while none is held, as often as is allowed.
pub(super) fn interval(held: bool, hint: Option<Duration>, min_refresh: Duration) -> Duration {
    if !held {
        return min_refresh;
    }
    hint.unwrap_or(DEFAULT_REFRESH).clamp(min_refresh, MAX_REFRESH.max(min_refresh))
}

/// How long after a good answer it is asked for again: the interval, and up to a tenth of it more by `random`, so that those who follow one
/// publisher, and the replicas of one CA, do not all come at once.
pub(super) fn after_answer(interval: Duration, random: u8) -> Duration {
    interval.saturating_add((interval / 10 / 255).saturating_mul(u32::from(random)))
}

/// The delays after failures, each spread: from as often as is allowed, doubling, to the interval.
pub(super) fn after_failures(interval: Duration, min_refresh: Duration) -> Backoff {
    Backoff::new(min_refresh, interval)
}

/// Whether what is held is old, when the last good answer is so long ago.
pub(super) fn is_stale(since_good: Duration, interval: Duration) -> bool {
    since_good > interval.saturating_mul(STALE_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_followed_within_bounds() {
        let secs = Duration::from_secs;
        let at = |hint: Option<u64>| interval(true, hint.map(secs), secs(60)).as_secs();
        assert_eq!([at(None), at(Some(300)), at(Some(0)), at(Some(59)), at(Some(u64::MAX))], [300, 300, 60, 60, 86_400]);
        assert_eq!(interval(false, None, secs(60)), secs(60), "the first is waited for");
    }

    #[test]
    fn those_who_follow_one_publisher_spread_over_a_tenth_of_the_interval() {
        let day = Duration::from_secs(86_400);
        let delays: std::collections::BTreeSet<_> = (0..=u8::MAX).map(|random| after_answer(day, random)).collect();
        assert_eq!(delays.len(), 256, "each draw in a place of its own");
        let (first, last) = (delays.first().unwrap(), delays.last().unwrap());
        assert_eq!(*first, day, "never sooner than the publisher would have");
        assert!(*last > day * 109 / 100 && *last <= day * 11 / 10, "{last:?}");
        assert_eq!(after_answer(Duration::MAX, 255), Duration::MAX);
    }

    #[test]
    fn three_intervals_without_an_answer_are_too_long() {
        let secs = Duration::from_secs;
        assert!(!is_stale(secs(180), secs(60)) && is_stale(secs(181), secs(60)));
        assert!(!is_stale(Duration::MAX, Duration::MAX));
    }
}
