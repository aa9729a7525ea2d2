//! A bound on what somebody else can make this process write to its log.

use std::time::Duration;

/// Lines for one peer: some at once, then one per second. What is left out is counted, and told with the next line.
#[derive(Clone, Copy, Debug)]
pub struct LogBudget {
    lines: u32,
    refilled: Duration,
    left_out: u64,
}

impl LogBudget {
    /// Full, at this time since boot.
    #[must_use]
    pub fn new(boot: Duration) -> Self {
        Self { lines: BURST, refilled: boot, left_out: 0 }
    }

    /// Asks for a line. `Some` allows it, and says how many were left out since the last one.
    pub fn take(&mut self, boot: Duration) -> Option<u64> {
        let seconds = boot.saturating_sub(self.refilled).as_secs();
        if seconds > 0 {
            self.lines = self.lines.saturating_add(u32::try_from(seconds).unwrap_or(u32::MAX)).min(BURST);
            self.refilled = self.refilled.saturating_add(Duration::from_secs(seconds));
        }
        match self.lines.checked_sub(1) {
            Some(rest) => {
                self.lines = rest;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out = self.left_out.saturating_add(1);
                None
            }
        }
    }
}

/// More than a peer that behaves ever causes at once: all of its streams opened, filled and accepted.
const BURST: u32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_line_per_second_and_what_was_left_out_is_told() {
        let mut budget = LogBudget::new(Duration::from_secs(1000));
        let at = |milliseconds: u64| Duration::from_millis(1_000_000 + milliseconds);
        assert!((0..BURST).all(|_| budget.take(at(0)) == Some(0)));
        assert!((0..5).all(|_| budget.take(at(999)).is_none()));
        assert_eq!(budget.take(at(1000)), Some(5));
        assert_eq!(budget.take(at(1500)), None);
        assert_eq!(budget.take(at(2000)), Some(1));
        assert!((0..BURST).all(|_| budget.take(at(1_000_000_000)) == Some(0)), "a long silence fills it again, no further");
        assert_eq!(budget.take(at(1_000_000_000)), None);
    }
}
