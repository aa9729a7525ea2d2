//! Looks after the store by the clock: has it try to take writes again while it refuses them, and says how it is.
//!
//! A task of its own: whatever waits for a write, this does not.

use std::sync::Arc;
use std::time::Duration;

use runtime::clock::Ticker;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;

use crate::report::STORE;
use crate::store::{Store, StoreState};

const PERIOD: Duration = Duration::from_secs(1);
/// Ticks between two looks at the readers: each is a query.
const READ_EVERY: u64 = 5;
/// Ticks after which a commit that is still under way is told: the longest that a healthy disk takes, with room.
const SLOW_TICKS: u64 = 3;

/// Watches one store.
pub(crate) struct StoreWatch {
    store: Arc<dyn Store>,
    readiness: Readiness,
    /// The commit that was under way at the last tick, and for how many ticks.
    slow: Slow,
    read_error: Option<String>,
}

/// Why the store ended, and the process with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreWatchError {
    /// It lost what it had confirmed, or its writer is gone.
    #[error("the store has ended: {0}")]
    Ended(String),
    /// Nothing would be tried again.
    #[error("the kernel gives no timer: {0}")]
    Timer(#[from] std::io::Error),
}

impl StoreWatch {
    pub(crate) fn new(store: Arc<dyn Store>, readiness: Readiness) -> Self {
        Self { store, readiness, slow: Slow::default(), read_error: None }
    }

    /// Watches until the end.
    ///
    /// # Errors
    /// [`StoreWatchError`].
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), StoreWatchError> {
        let mut ticker = Ticker::new(PERIOD)?;
        let mut state = self.store.state();
        let store = Arc::clone(&self.store);
        let mut tick = 0_u64;
        loop {
            if tick.is_multiple_of(READ_EVERY) {
                self.read_error = store.issued_count().await.err().map(|error| error.to_string());
            }
            let now = state.borrow_and_update().clone();
            if let StoreState::Ended(cause) = now {
                return Err(StoreWatchError::Ended(cause));
            }
            self.tell(&now);
            tokio::select! {
                // Any order is fine: what failed at the end was answered as failed.
                () = shutdown.fired() => return Ok(()),
                // The sender lives as long as the store, which is held here.
                _ = state.changed() => continue,
                ticked = ticker.tick() => { ticked?; }
            }
            tick += 1;
            self.slow.tick(store.commit_turns());
            if !matches!(*state.borrow(), StoreState::Well) {
                self.tell(&state.borrow().clone());
                tokio::select! {
                    () = shutdown.fired() => return Ok(()),
                    () = store.recover() => {}
                }
            }
        }
    }

    fn tell(&self, state: &StoreState) {
        let why = state.refusal().or_else(|| self.slow.told()).or_else(|| self.read_error.clone());
        match why {
            None => self.readiness.met(STORE),
            Some(why) => self.readiness.unmet(STORE, &why),
        }
    }
}

/// How long the commit under way has been so, in ticks.
#[derive(Debug, Default)]
struct Slow {
    turn: u64,
    ticks: u64,
}

impl Slow {
    /// `turn` is odd while a commit is under way.
    fn tick(&mut self, turn: u64) {
        self.ticks = if turn % 2 == 1 && turn == self.turn { self.ticks + 1 } else { 0 };
        self.turn = turn;
    }

    fn told(&self) -> Option<String> {
        (self.ticks >= SLOW_TICKS).then(|| {
            format!(
                "a commit has been under way for {} s or more: the disk is slow; certificates wait for it and none is lost; look at \
                 the disk and at what else writes to it",
                self.ticks
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_and_the_same_commit_counts_as_slow() {
        let mut slow = Slow::default();
        for turn in [1, 3, 5, 7, 9, 10, 10, 10, 10, 10] {
            slow.tick(turn);
            assert_eq!(slow.told(), None, "at {turn}");
        }
        for (tick, told) in [(0, false), (1, false), (2, false), (3, true), (4, true)] {
            slow.tick(11);
            assert_eq!(slow.told().is_some(), told, "after {tick} ticks");
        }
        slow.tick(12);
        assert_eq!(slow.told(), None);
    }
}
