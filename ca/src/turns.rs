//! Turns at issuing: so many at once, and a bounded queue before it ([`queue`]). Everything that signs for somebody takes a turn
//! before its request's signature is verified, so that no crowd of callers can have more than that of the processor or the store.

mod queue;
mod urgency;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::metrics::{Limit, LimitMetrics};
use queue::{Entered, Full, Queue, Ticket};
pub(crate) use urgency::{ENDED_OF_LATE, Urgency};

/// Why there is no turn. All of it is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overloaded {
    /// Everybody who waits goes first.
    #[error(
        "{places} requests for certificates wait ([limits] issuance_queue), and all of them go before this one: try again later"
    )]
    Queue { places: usize },
    /// Too many requests of this identity wait.
    #[error(
        "{places} requests of this identity wait, which is its share, a quarter, of [limits] issuance_queue: try again later, with less at once"
    )]
    Share { places: usize },
    /// Others who are more urgent took the place.
    #[error(
        "requests of identities that end sooner took the last places in the queue ([limits] issuance_queue): try again later"
    )]
    Displaced,
    /// It took too long.
    #[error("the turn did not come within {after:?} ([limits] issuance_wait): try again later")]
    Waited { after: Duration },
}

/// How much is worked on, how much may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnLimits {
    pub(crate) concurrency: usize,
    pub(crate) places: usize,
    pub(crate) wait: Duration,
}

struct State {
    free: usize,
    queue: Queue<oneshot::Sender<Turn>>,
}

/// The turns of all callers. One for the process.
pub(crate) struct Turns {
    state: Mutex<State>,
    wait: Duration,
    metrics: LimitMetrics,
}

/// The right to be worked on; the drop gives it to the next.
#[must_use]
pub(crate) struct Turn(Option<Arc<Turns>>);

/// A place in the queue; the drop gives it up.
struct Waiting<'a> {
    turns: &'a Turns,
    ticket: Ticket,
}

impl Turns {
    /// All are free.
    pub(crate) fn new(limits: TurnLimits, metrics: LimitMetrics) -> Arc<Self> {
        let TurnLimits { concurrency, places, wait } = limits;
        Arc::new(Self { state: Mutex::new(State { free: concurrency, queue: Queue::new(places) }), wait, metrics })
    }

    /// Whether so many could have a turn at once: when not, it matters how urgent each of them is.
    pub(crate) fn has_room_for(&self, count: usize) -> bool {
        self.state().free >= count
    }

    /// Waits for a turn. `identity` is whom others are protected from.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub(crate) async fn take(self: &Arc<Self>, identity: &Arc<str>, urgency: Urgency) -> Result<Turn, Overloaded> {
        let outcome = self.wait_for_turn(identity, urgency).await;
        if outcome.is_err() {
            self.metrics.reached(Limit::IssuanceQueue);
        }
        outcome
    }

    async fn wait_for_turn(self: &Arc<Self>, identity: &Arc<str>, urgency: Urgency) -> Result<Turn, Overloaded> {
        let (sender, turn) = oneshot::channel();
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                // Nobody waits while a turn is free.
                state.free -= 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            let Entered { ticket, displaced } = state.queue.enter(identity, urgency, sender).map_err(|full| match full {
                Full::Queue { places } => Overloaded::Queue { places },
                Full::Share { places } => Overloaded::Share { places },
            })?;
            self.metrics.issuance_waiting(state.queue.len());
            // Its receiver hears that nobody will send.
            drop(displaced);
            Waiting { turns: self, ticket }
        };
        let outcome = tokio::time::timeout(self.wait, turn).await;
        drop(waiting);
        match outcome {
            Ok(turn) => turn.map_err(|_| Overloaded::Displaced),
            Err(_) => Err(Overloaded::Waited { after: self.wait }),
        }
    }

    /// Gives a turn that is over to the next who still wants one.
    fn hand_on(self: Arc<Self>) {
        let mut turn = Turn(Some(Arc::clone(&self)));
        loop {
            let mut state = self.state();
            let Some(next) = state.queue.next() else {
                state.free += 1;
                turn.0 = None;
                return;
            };
            self.metrics.issuance_waiting(state.queue.len());
            drop(state);
            match next.send(turn) {
                Ok(()) => return,
                // Its caller left in this very moment.
                Err(unwanted) => turn = unwanted,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.hand_on();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        let left = state.queue.leave(self.ticket);
        self.turns.metrics.issuance_waiting(state.queue.len());
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use pki::Timestamp;

    use super::*;

    fn turns(concurrency: usize, places: usize, wait: Duration) -> Arc<Turns> {
        let metrics = LimitMetrics::register(&mut runtime::telemetry::registry());
        Turns::new(TurnLimits { concurrency, places, wait }, metrics)
    }

    fn name(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_of_turns_one_waits_and_one_over_the_places_is_refused() {
        let turns = turns(1, 1, LONG);
        let (a, b, c) = (name("a"), name("b"), name("c"));
        let first = turns.take(&a, Urgency::Fresh).await.unwrap();
        assert!(!turns.has_room_for(1));
        let mut second = pin!(turns.take(&b, Urgency::Fresh));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(turns.take(&c, Urgency::Fresh).await.err(), Some(Overloaded::Queue { places: 1 }));
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        assert!(turns.has_room_for(1));
        assert!(turns.take(&c, Urgency::Fresh).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_sooner_takes_the_place_of_who_has_time() {
        let turns = turns(1, 1, LONG);
        let (a, b, c) = (name("a"), name("b"), name("c"));
        let first = turns.take(&a, Urgency::Fresh).await.unwrap();
        let mut patient = pin!(turns.take(&b, Urgency::Early));
        assert!(patient.as_mut().now_or_never().is_none());
        let mut urgent = pin!(turns.take(&c, Urgency::Ending(Timestamp::from_unix_seconds(1))));
        assert!(urgent.as_mut().now_or_never().is_none());
        assert_eq!(patient.await.err(), Some(Overloaded::Displaced));
        drop(first);
        assert!(urgent.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_leaves_no_trace() {
        let turns = turns(1, 4, LONG);
        let (a, b) = (name("a"), name("b"));
        let first = turns.take(&a, Urgency::Fresh).await.unwrap();
        let just = Duration::from_millis(1);
        assert!(tokio::time::timeout(LONG - just, turns.take(&b, Urgency::Fresh)).await.is_err(), "it ends early");
        let ended = tokio::time::timeout(LONG + just, turns.take(&b, Urgency::Fresh)).await.expect("it has an end");
        assert_eq!(ended.err(), Some(Overloaded::Waited { after: LONG }));
        assert_eq!(turns.state().queue.len(), 0);
        // Given up before its turn, and just when it comes.
        assert!(turns.take(&b, Urgency::Fresh).now_or_never().is_none());
        let mut late = Box::pin(turns.take(&b, Urgency::Fresh));
        assert!(late.as_mut().now_or_never().is_none());
        drop(first);
        drop(late);
        assert!(turns.has_room_for(1), "a turn that nobody took is free again");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_callers_never_exceed_the_turns_and_all_are_served() {
        let turns = turns(3, 1000, LONG);
        let working = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..200 {
            let (turns, working) = (Arc::clone(&turns), Arc::clone(&working));
            callers.spawn(async move {
                let turn = turns.take(&Arc::from(format!("caller {}", caller % 7)), Urgency::Fresh).await.unwrap();
                let now = working.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                assert!(now <= 3, "{now} at once");
                tokio::task::yield_now().await;
                working.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                drop(turn);
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
        assert!(turns.has_room_for(3) && !turns.has_room_for(4));
    }
}
