//! Clocks and ticks. The only place that reads one.
//!
//! Nothing here keeps a mapping from the wall clock to a monotonic one: such a mapping is wrong after a suspend or after
//! somebody sets the clock. Whoever waits for a point in wall time reads the wall clock anew at each [`Tick`].

mod ticker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

pub use ticker::{Tick, Ticker};

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock. It may step in either direction.
    fn now(&self) -> SystemTime;
    /// Time since boot, counting suspend (CLOCK_BOOTTIME). It never goes back.
    fn boottime(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(());

impl SystemClock {
    /// The clock that a shell passes on.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self(()))
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn boottime(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39").into()
    }
}

/// A clock that a test sets. Always compiled, because the tests of other crates use it too; no service makes one.
///
/// Its time stands still until told otherwise.
#[derive(Debug)]
pub struct TestClock(Mutex<TestTimes>);

#[derive(Debug)]
struct TestTimes {
    wall: SystemTime,
    boottime: Duration,
}

impl TestClock {
    /// Starts at `now`, one hour after boot.
    #[must_use]
    pub fn at(now: SystemTime) -> Arc<Self> {
        Arc::new(Self(Mutex::new(TestTimes { wall: now, boottime: Duration::from_secs(3600) })))
    }

    /// Moves both clocks forward: time passes, or the machine was suspended and wakes, which to both clocks is the same.
    pub fn advance(&self, span: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.wall += span;
        times.boottime += span;
    }

    /// Steps the wall clock alone, in either direction.
    pub fn set_wall(&self, now: SystemTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wall = now;
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wall
    }

    fn boottime(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).boottime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_clock_moves_only_when_told() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let clock = TestClock::at(start);
        let boottime = clock.boottime();
        clock.advance(Duration::from_secs(5));
        assert_eq!((clock.now(), clock.boottime()), (start + Duration::from_secs(5), boottime + Duration::from_secs(5)));
        clock.set_wall(start - Duration::from_secs(60));
        assert_eq!((clock.now(), clock.boottime()), (start - Duration::from_secs(60), boottime + Duration::from_secs(5)));
    }
}
