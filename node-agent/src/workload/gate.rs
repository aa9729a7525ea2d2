//! Attestations on threads of their own, few at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::caller::{AttestError, Caller};
use super::limits::Slot;

/// Bounds the threads that attest; clones share the bound.
///
/// A name lookup may hang on a directory service, and a thread cannot be ended from outside. One that is given up keeps its
/// permit and its user's slot until it ends by itself, so that a hanging lookup neither piles up threads, which the rest of the
/// agent needs for its files, nor lets its user start the next ones.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs `work` on a thread, and gives the slot back with its outcome, all within `limit`.
    pub(super) async fn within(
        &self,
        limit: Duration,
        slot: Slot,
        work: impl FnOnce() -> Result<Caller, AttestError> + Send + 'static,
    ) -> Result<(Caller, Slot), AttestError> {
        let broken = |error: &dyn std::fmt::Display| AttestError::Credentials { source: io::Error::other(error.to_string()) };
        let attested = async {
            let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|closed| broken(&closed))?;
            let outcome = tokio::task::spawn_blocking(move || {
                let outcome = work().map(|caller| (caller, slot));
                drop(permit);
                outcome
            });
            outcome.await.map_err(|failed| broken(&failed))?
        };
        tokio::time::timeout(limit, attested).await.unwrap_or(Err(AttestError::TimedOut { limit }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use runtime::clock::SystemClock;

    use super::super::executables::ExecutableHashes;
    use super::super::limits::{Full, Limits, WorkloadLimits};
    use super::*;

    fn attest_pid(pid: i32) -> Result<Caller, AttestError> {
        super::super::caller::attest_pid(pid, &ExecutableHashes::new(SystemClock::shared()))
    }

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test(flavor = "multi_thread")]
    async fn attestations_that_hang_keep_their_threads_and_slots_and_take_no_more() {
        let (gate, limits) = (Gate::new(2), Limits::new(WorkloadLimits::default()));
        let own = i32::try_from(std::process::id()).unwrap();
        let mut hanging = Vec::new();
        for _ in 0..2 {
            let (release, held) = mpsc::channel::<()>();
            hanging.push(release);
            let hangs = move || {
                let _released = held.recv();
                attest_pid(own)
            };
            let refused = gate.within(SHORT, limits.take(1).unwrap(), hangs).await;
            assert!(matches!(refused, Err(AttestError::TimedOut { .. })));
        }
        let third = gate.within(SHORT, limits.take(2).unwrap(), || unreachable!("no third thread")).await;
        assert!(matches!(third, Err(AttestError::TimedOut { .. })));
        let rest: Vec<_> = (2..WorkloadLimits::default().connections_per_uid).map(|_| limits.take(1).unwrap()).collect();
        assert_eq!(limits.take(1).unwrap_err(), Full::OfUser, "two slots are with the threads");
        drop(rest);

        drop(hanging);
        let long = Duration::from_secs(10);
        let (caller, _slot) = gate.within(long, limits.take(1).unwrap(), move || attest_pid(own)).await.unwrap();
        assert_eq!(caller.pid, own);
    }
}
