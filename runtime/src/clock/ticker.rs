//! The timer shell: ticks from two timers of the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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
pub struct Ticker(Timers<Timer, Timer>);

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
        clock_set.rearm()?;
        Ok(Self(Timers { period: watched(elapsed)?, clock_set: watched(clock_set)? }))
    }

    /// Awaits the next tick (cancel safe: a tick is taken only in the poll that returns it).
    ///
    /// # Errors
    /// What the system says when a timer cannot be read; it does not get better by trying again.
    pub async fn tick(&mut self) -> io::Result<Tick> {
        self.0.tick().await
    }
}

/// What the kernel says through a descriptor: the seam where its ticks enter, at which a test stands in for it.
trait Ticks: AsRawFd {
    /// One read(2) of the descriptor, without waiting.
    fn read(&self) -> nix::Result<usize>;
}

/// The same for the timer that is cancelled when the wall clock is set.
trait ClockSetTicks: Ticks {
    /// Arms it for the next time; once it was cancelled it tells nothing more by itself.
    fn rearm(&self) -> io::Result<()>;
}

#[derive(Debug)]
struct Timers<P: AsRawFd, S: AsRawFd> {
    period: AsyncFd<P>,
    clock_set: AsyncFd<S>,
}

impl<P: Ticks, S: ClockSetTicks> Timers<P, S> {
    async fn tick(&mut self) -> io::Result<Tick> {
        let Self { period, clock_set } = self;
        tokio::select! {
            // Both may be ready at once. The clock step goes first: whoever hears it reads the wall clock anew, which is all
            // that an elapsed period asks for too, and the period stays readable for the next call.
            biased;
            read = take(clock_set) => {
                read?;
                clock_set.get_ref().rearm()?;
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
}

impl Ticks for Timer {
    fn read(&self) -> nix::Result<usize> {
        read(self.0.as_fd(), &mut [0; 8])
    }
}

impl ClockSetTicks for Timer {
    fn rearm(&self) -> io::Result<()> {
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

#[expect(
    deprecated,
    reason = "its successor is unsafe, which this workspace forbids; what is watched owns its descriptor and never swaps it"
)]
fn watched<T: AsRawFd>(timer: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(timer, Interest::READABLE)
}

async fn take(timer: &AsyncFd<impl Ticks>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        let read = ready.try_io(|timer| match timer.get_ref().read() {
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
mod tests;
