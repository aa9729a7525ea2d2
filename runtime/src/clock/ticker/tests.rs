use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::SystemClock;

/// Long enough for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn ticks_come_once_per_period_and_missed_ones_become_one() {
    let (clock, period) = (SystemClock::shared(), Duration::from_millis(20));
    let begin = clock.boottime();
    let mut ticker = Ticker::new(period).unwrap();
    let begun = clock.boottime();
    assert_eq!(ticker.tick().await.unwrap(), Tick::Elapsed);
    assert!(clock.boottime() - begin >= period);
    tokio::time::sleep(period * 5).await;
    let missed = (clock.boottime() - begun).as_nanos() / period.as_nanos();
    assert_eq!(ticker.tick().await.unwrap(), Tick::Elapsed);
    assert_eq!(ticker.tick().await.unwrap(), Tick::Elapsed);
    // The one in between took all that were missed, so this one is of a later period, however slow the machine is.
    let next = period * (u32::try_from(missed).unwrap() + 1);
    assert!(clock.boottime() - begin >= next, "missed ticks came one by one");
}

#[tokio::test]
async fn a_tick_given_up_is_not_lost() {
    let mut ticker = Ticker::new(Duration::from_secs(1)).unwrap();
    for _ in 0..5 {
        // Asked once, and given up.
        assert!(tokio::time::timeout(Duration::ZERO, ticker.tick()).await.is_err());
    }
    let tick = tokio::time::timeout(PATIENCE, ticker.tick()).await.unwrap();
    assert_eq!(tick.unwrap(), Tick::Elapsed);
}

#[tokio::test]
async fn a_period_of_zero_is_refused() {
    assert_eq!(Ticker::new(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// The kernel's side of a timer, as timerfd_create(2) describes it: while something is to be told the descriptor is readable, and
/// the read takes it.
struct FakeTimer {
    descriptor: UnixStream,
    answers: Arc<Mutex<Vec<Errno>>>,
    armed: Arc<AtomicU32>,
}

/// What makes a [`FakeTimer`] tell something.
struct Kernel {
    descriptor: UnixStream,
    answers: Arc<Mutex<Vec<Errno>>>,
    armed: Arc<AtomicU32>,
}

impl Kernel {
    fn timer() -> (Self, FakeTimer) {
        let (kernels, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (answers, armed) = (Arc::default(), Arc::default());
        let kernel = Self { descriptor: kernels, answers: Arc::clone(&answers), armed: Arc::clone(&armed) };
        (kernel, FakeTimer { descriptor: ours, answers, armed })
    }

    /// A period has passed.
    fn expires(&mut self) {
        self.descriptor.write_all(&[1]).unwrap();
    }

    /// The wall clock was set: the next read of the timer answers ECANCELED.
    fn cancels(&mut self) {
        self.answers.lock().unwrap().push(Errno::ECANCELED);
        self.descriptor.write_all(&[1]).unwrap();
    }
}

impl AsRawFd for FakeTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Ticks for FakeTimer {
    fn read(&self) -> nix::Result<usize> {
        let read = read(&self.descriptor, &mut [0; 1])?;
        self.answers.lock().unwrap().pop().map_or(Ok(read), Err)
    }
}

impl ClockSetTicks for FakeTimer {
    fn rearm(&self) -> io::Result<()> {
        self.armed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn timers() -> (Kernel, Kernel, Timers<FakeTimer, FakeTimer>) {
    let (passing, period) = Kernel::timer();
    let (setting, clock_set) = Kernel::timer();
    let timers = Timers { period: watched(period).unwrap(), clock_set: watched(clock_set).unwrap() };
    (passing, setting, timers)
}

async fn tick(timers: &mut Timers<FakeTimer, FakeTimer>) -> Tick {
    tokio::time::timeout(PATIENCE, timers.tick()).await.expect("a tick").unwrap()
}

#[tokio::test]
async fn a_cancelled_timer_tells_that_the_clock_was_set_and_is_armed_again_each_time() {
    let (mut passing, mut setting, mut timers) = timers();
    passing.expires();
    assert_eq!(tick(&mut timers).await, Tick::Elapsed);
    for times in 1..=3 {
        setting.cancels();
        assert_eq!(tick(&mut timers).await, Tick::ClockSet);
        assert_eq!(setting.armed.load(Ordering::Relaxed), times);
    }
    assert!(tokio::time::timeout(Duration::from_millis(20), timers.tick()).await.is_err(), "nothing was to be told any more");
    passing.expires();
    assert_eq!(tick(&mut timers).await, Tick::Elapsed);
    assert_eq!(setting.armed.load(Ordering::Relaxed), 3, "a period arms nothing");
}

#[tokio::test]
async fn a_clock_step_is_told_before_a_period_that_passed_meanwhile_and_neither_is_lost() {
    let (mut passing, mut setting, mut timers) = timers();
    passing.expires();
    setting.cancels();
    assert_eq!([tick(&mut timers).await, tick(&mut timers).await], [Tick::ClockSet, Tick::Elapsed]);
}

#[tokio::test]
async fn an_interrupted_read_is_tried_again_and_any_other_failure_is_told() {
    let (mut passing, _setting, mut timers) = timers();
    passing.answers.lock().unwrap().push(Errno::EINTR);
    passing.expires();
    assert!(tokio::time::timeout(Duration::from_millis(20), timers.tick()).await.is_err());
    passing.expires();
    assert_eq!(tick(&mut timers).await, Tick::Elapsed);
    passing.answers.lock().unwrap().push(Errno::EBADF);
    passing.expires();
    let told = tokio::time::timeout(PATIENCE, timers.tick()).await.unwrap().unwrap_err();
    assert_eq!(told.raw_os_error().map(Errno::from_raw), Some(Errno::EBADF));
}

/// What the kernel says of a timer of this process, proc_pid_fdinfo(5).
fn fdinfo(timer: &Timer) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", timer.as_raw_fd())).unwrap();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn the_kernel_counts_periods_on_boottime_and_cancels_the_other_timer_when_the_clock_is_set() {
    let ticker = Ticker::new(Duration::from_secs(3600)).unwrap();
    let (period, clock_set) = (fdinfo(ticker.0.period.get_ref()), fdinfo(ticker.0.clock_set.get_ref()));
    // CLOCK_BOOTTIME is 7 and CLOCK_REALTIME 0; the flags are TFD_TIMER_ABSTIME (1) and TFD_TIMER_CANCEL_ON_SET (2).
    assert!(period.contains(&"clockid: 7".to_owned()) && period.contains(&"it_interval: (3600, 0)".to_owned()), "{period:?}");
    assert!(clock_set.contains(&"clockid: 0".to_owned()) && clock_set.contains(&"settime flags: 03".to_owned()), "{clock_set:?}");
    assert_eq!(ticker.0.clock_set.get_ref().read(), Err(Errno::EAGAIN), "nobody has set the clock");
}
