//! Clocks and ticks. The only place that reads one.
//!
//! Nothing here keeps a mapping from the wall clock to a monotonic one: such a mapping is wrong after a suspend or after
//! somebody sets the clock. Whoever waits for a point in wall time reads the wall clock anew at each [`Tick`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

    /// Moves both clocks forward.
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

/// Why a tick came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// The period has passed (suspend counted).
    Elapsed,
    /// Somebody set the wall clock.
    ClockSet,
}

/// Ticks that survive suspend and clock steps.
///
/// One timer counts periods on CLOCK_BOOTTIME; a second one, set to a wall time that never comes, is cancelled by the kernel
/// when the wall clock is set (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)). Periods that pass unread become one tick.
#[derive(Debug)]
pub struct Ticker {
    period: AsyncFd<Timer>,
    clock_set: AsyncFd<Timer>,
}

impl Ticker {
    /// Ticks each `period`; the first tick comes after one period. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A period of zero, or what the system says when it cannot make a timer.
    pub fn new(period: Duration) -> io::Result<Self> {
        if period.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the period of a ticker is zero"));
        }
        let elapsed = Timer::new(TimerClock::CLOCK_BOOTTIME)?;
        elapsed.0.set(Expiration::Interval(TimeSpec::from(period)), TimerSetTimeFlags::empty())?;
        let clock_set = Timer::new(TimerClock::CLOCK_REALTIME)?;
        clock_set.arm_for_clock_set()?;
        Ok(Self { period: elapsed.watched()?, clock_set: clock_set.watched()? })
    }

    /// Awaits the next tick (cancel safe: a tick is taken only in the poll that returns it).
    ///
    /// # Errors
    /// What the system says when a timer cannot be read; it does not get better by trying again.
    pub async fn tick(&mut self) -> io::Result<Tick> {
        let Self { period, clock_set } = self;
        tokio::select! {
            // Both may be ready at once. The clock step goes first: whoever hears it reads the wall clock anew, which is all
            // that an elapsed period asks for too, and the period stays readable for the next call.
            biased;
            read = take(clock_set) => {
                read?;
                clock_set.get_ref().arm_for_clock_set()?;
                Ok(Tick::ClockSet)
            }
            read = take(period) => read.map(|()| Tick::Elapsed),
        }
    }
}

#[derive(Debug)]
struct Timer(TimerFd);

impl Timer {
    fn new(clock: TimerClock) -> io::Result<Self> {
        Ok(Self(TimerFd::new(clock, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?))
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe, which this workspace forbids; a Timer owns its descriptor and never swaps it"
    )]
    fn watched(self) -> io::Result<AsyncFd<Self>> {
        AsyncFd::with_interest(self, Interest::READABLE)
    }

    fn arm_for_clock_set(&self) -> io::Result<()> {
        self.0.set(
            Expiration::OneShot(TimeSpec::new(NEVER, 0)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
        )?;
        Ok(())
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

async fn take(timer: &AsyncFd<Timer>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        let read = ready.try_io(|timer| match read(timer.get_ref().0.as_fd(), &mut [0; 8]) {
            // Cancelled: the wall clock was set.
            Ok(_) | Err(Errno::ECANCELED) => Ok(()),
            Err(error) => Err(io::Error::from(error)),
        });
        match read {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(outcome) => return outcome,
            Err(_would_block) => {}
        }
    }
}

/// 2199 in Unix seconds: later than any run of this program, and within what the kernel counts in nanoseconds.
const NEVER: i64 = 7_226_582_400;

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

    #[tokio::test]
    async fn ticks_come_once_per_period_and_missed_ones_become_one() {
        let clock = SystemClock::shared();
        let begin = clock.boottime();
        let mut ticker = Ticker::new(Duration::from_millis(20)).unwrap();
        assert_eq!(ticker.tick().await.unwrap(), Tick::Elapsed);
        assert!(clock.boottime() - begin >= Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(110)).await;
        assert_eq!(ticker.tick().await.unwrap(), Tick::Elapsed);
        let after_missed = clock.boottime();
        assert_eq!(ticker.tick().await.unwrap(), Tick::Elapsed);
        assert!(clock.boottime() - after_missed > Duration::from_millis(1), "missed ticks came one by one");
    }

    #[tokio::test]
    async fn a_tick_given_up_is_not_lost() {
        let mut ticker = Ticker::new(Duration::from_millis(30)).unwrap();
        for _ in 0..5 {
            assert!(tokio::time::timeout(Duration::from_millis(1), ticker.tick()).await.is_err());
        }
        let tick = tokio::time::timeout(Duration::from_secs(5), ticker.tick()).await.unwrap();
        assert_eq!(tick.unwrap(), Tick::Elapsed);
    }

    #[tokio::test]
    async fn a_period_of_zero_is_refused() {
        assert_eq!(Ticker::new(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
