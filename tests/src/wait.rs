//! Waiting for a condition instead of sleeping for a guess.

use std::time::Duration;

use runtime::clock::SystemClock;

/// Polls `probe` until it gives a value, for at most 30 s.
///
/// # Panics
/// When the time is over, naming `what` was awaited.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(what, Duration::from_secs(30), probe).await
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
