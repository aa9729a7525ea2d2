//! Exponential backoff with jitter; pure: the caller brings the randomness and does the waiting.

use std::time::Duration;

/// Delays that double from `first` to `max`, each spread over 75 to 125 % of itself.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, or at `max` when that is shorter.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        let first = first.min(max);
        Self { first, max, next: first }
    }

    /// The delay before the next try: from 75 % (`random` is 0) to 125 % (`random` is 255) of the present step.
    pub fn next_delay(&mut self, random: u8) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.max);
        (step / 4).saturating_mul(3).saturating_add((step / 2 / 255).saturating_mul(u32::from(random)))
    }

    /// Starts again at `first`, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    proptest! {
        /// Whatever the bounds and the randomness: each delay is within a quarter of its step, the steps double up to the longest, and
        /// the same draws give the same delays.
        #[test]
        fn every_delay_is_within_a_quarter_of_its_step(
            first in 1_u64..=HOUR, max in 1_u64..=HOUR, draws in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let (first, max) = (Duration::from_millis(first), Duration::from_millis(max));
            let (mut backoff, mut again) = (Backoff::new(first, max), Backoff::new(first, max));
            let mut step = first.min(max);
            for draw in draws {
                let delay = backoff.next_delay(draw);
                prop_assert!(delay >= step * 3 / 4 && delay <= step * 5 / 4, "{delay:?} for a step of {step:?}");
                prop_assert_eq!(delay, again.next_delay(draw));
                step = (step * 2).min(max);
            }
        }

        /// Those who failed at the same moment come back spread over half of the step, each draw in a place of its own: of the 256
        /// draws no tenth of that half has more than an eighth.
        #[test]
        fn the_draws_are_spread_evenly(first in 100_u64..=HOUR) {
            let first = Duration::from_millis(first);
            let mut tenths = [0_u32; 10];
            for draw in 0..=u8::MAX {
                let into = Backoff::new(first, first).next_delay(draw).saturating_sub(first * 3 / 4);
                let tenth = into.as_nanos() * 10 / (first / 2 + Duration::from_nanos(1)).as_nanos();
                tenths[usize::try_from(tenth).unwrap().min(9)] += 1;
            }
            prop_assert!(tenths.iter().all(|count| (20..=32).contains(count)), "{tenths:?}");
        }
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(20));
        let low: Vec<_> = (0..4).map(|_| backoff.next_delay(0).as_secs()).collect();
        assert_eq!(low, [3, 6, 12, 15]);
        backoff.reset();
        assert_eq!(backoff.next_delay(0), Duration::from_secs(3));
    }

    #[test]
    fn the_spread_is_75_to_125_percent_and_nothing_overflows() {
        for random in 0..=255 {
            let delay = Backoff::new(Duration::from_secs(100), Duration::from_secs(100)).next_delay(random);
            assert!(delay >= Duration::from_secs(75) && delay <= Duration::from_secs(125), "{delay:?}");
        }
        let mut endless = Backoff::new(Duration::MAX, Duration::MAX);
        assert!(endless.next_delay(255) > Duration::from_secs(u64::MAX / 2));
        assert_eq!(Backoff::new(Duration::from_secs(9), Duration::ZERO).next_delay(255), Duration::ZERO);
    }
}
