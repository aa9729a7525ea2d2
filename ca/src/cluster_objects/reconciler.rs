//! The task that keeps objects of a cluster as they should be, while this replica leads.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{Entropy, bytes};
use runtime::shutdown::Shutdown;

use super::queue::{Key, Now, Outcome, QueueLengths, SharedQueue, SweepRate};
use crate::replicas::Tenure;

/// How many objects are worked on at once.
const MAX_CONCURRENT: usize = 32;
/// How often it is looked what is due.
const PERIOD: Duration = Duration::from_millis(250);
/// At which of these looks it is shown how far things are: to go through all objects costs more.
const SHOWN_EVERY: u32 = 4;

/// What is kept, and how one of them is looked at.
pub(crate) trait KeptObjects: Send + Sync {
    /// All that are known.
    fn keys(&self) -> BTreeSet<Key>;

    /// Those whose state may have changed since this was last called.
    fn take_changes(&self) -> BTreeSet<Key>;

    /// Those that are to be looked at by and by, since what all of them should be has changed after this was last called.
    fn take_sweep(&self) -> BTreeSet<Key>;

    /// Resolves when [`Self::take_changes`] may have something.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Looks at one, and does what is to be done.
    fn look_at(&self, key: &Key) -> impl Future<Output = Outcome> + Send;

    /// Once a second: shows how far things are.
    fn show(&self, lengths: QueueLengths);
}

/// The task. One for each sort of objects.
pub(crate) struct Reconciler<T> {
    pub(crate) objects: Arc<T>,
    pub(crate) queue: SharedQueue,
    pub(crate) tenure: Tenure,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// How many of a sweep are looked at in a second.
    pub(crate) rate: u32,
}

impl<T: KeptObjects> Reconciler<T> {
    /// Works until the end. What is under way then is given up: each write is whole or none.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let end = shutdown.fired();
        tokio::pin!(end);
        let objects = &*self.objects;
        let mut working = FuturesUnordered::new();
        let (mut leads, mut rate) = (false, SweepRate::new(self.rate, self.clock.boottime()));
        let mut ticks = 0_u32;
        loop {
            let changed = objects.take_changes();
            if !changed.is_empty() {
                let mut queue = self.queue.locked();
                changed.iter().for_each(|key| queue.changed(key));
            }
            leads = self.look_at_lead(leads);
            while leads && working.len() < MAX_CONCURRENT {
                let Some(key) = self.queue.locked().next(self.now()) else { break };
                working.push(async {
                    let outcome = objects.look_at(&key).await;
                    (key, outcome)
                });
            }
            tokio::select! {
                // Any order: what is not taken now is taken at the next turn.
                () = &mut end => return Ok(()),
                Some((key, outcome)) = working.next(), if !working.is_empty() => self.queue.locked().done(&key, outcome, self.now()),
                () = objects.changed() => {}
                tick = ticker.tick() => {
                    tick?;
                    let lengths = self.tick(&mut rate);
                    if ticks.is_multiple_of(SHOWN_EVERY) {
                        objects.show(lengths);
                    }
                    ticks = ticks.wrapping_add(1);
                }
            }
        }
    }

    fn tick(&self, rate: &mut SweepRate) -> QueueLengths {
        let (swept, count) = (self.objects.take_sweep(), rate.take(self.clock.boottime()));
        let mut queue = self.queue.locked();
        queue.sweep(swept);
        queue.let_in(count);
        queue.lengths()
    }

    /// Whoever begins to lead looks at everything.
    fn look_at_lead(&self, led: bool) -> bool {
        let leads = self.tenure.fence().lead.is_some();
        if leads && !led {
            let mut queue = self.queue.locked();
            self.objects.keys().iter().for_each(|key| queue.changed(key));
        }
        leads
    }

    fn now(&self) -> Now {
        let [random] = bytes(&*self.entropy);
        Now { boot: self.clock.boottime(), wall: self.clock.now().into(), random }
    }
}
