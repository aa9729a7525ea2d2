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
    use super::*;

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
