//! Waiting for a condition instead of sleeping for a guess, and limits of time that bear a busy machine.

use std::time::Duration;

use runtime::clock::SystemClock;

/// How long is waited for what has no limit of its own: longer than the longest pause of an agent between two tries (30 s and a quarter)
/// on a machine with too much to do. It keeps a test from hanging and is no bound of anything; a bound is measured and asserted.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How many round trips are allowed beside what a limit says.
const ALLOWED_PROBES: u32 = 10;

/// A limit that is meant for a machine at rest, as it is on this one now: with as much more time as ten of these probes take, which
/// start a process or make a round trip as what is awaited does.
pub fn on_this_machine(limit: Duration, mut probe: impl FnMut()) -> Duration {
    let clock = SystemClock::shared();
    let slowest = (0..3).map(|_| {
        let begun = clock.boottime();
        probe();
        clock.boottime().saturating_sub(begun)
    });
    limit + slowest.max().unwrap_or_default() * ALLOWED_PROBES
}

/// Polls `probe` until it gives a value, for at most [`PATIENCE`].
///
/// # Panics
/// When the time is over, naming `what` was awaited.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(what, PATIENCE, probe).await
}

/// Polls `probe` every 20 ms until it gives a value, for at most `limit`.
///
/// # Panics
/// When the time is over, naming `what` was awaited.
pub async fn eventually_within<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let clock = SystemClock::shared();
    let deadline = clock.boottime() + limit;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(clock.boottime() < deadline, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
