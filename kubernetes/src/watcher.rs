//! Keeps up with objects of one kind: one task, which does what [`follower`](crate::follower) says.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::clock::{Clock, Ticker};
use runtime::entropy::{Entropy, bytes};
use runtime::shutdown::Shutdown;

use crate::follower::{Follower, Index, Moment, Step};
use crate::{KubernetesClient, ObjectWatch, Resource, Selection};

/// How often it is looked whether something is due.
const PERIOD: Duration = Duration::from_millis(500);
/// The time for all parts of a list, in the largest cluster.
const LIST_DEADLINE: Duration = Duration::from_secs(120);
/// The time until a watch begins.
const WATCH_DEADLINE: Duration = Duration::from_secs(10);

/// What is known of objects of a kind; clones share it.
pub struct Known<I>(Arc<Mutex<Follower<I>>>);

impl<I> Clone for Known<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Index> Default for Known<I> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Follower::default())))
    }
}

impl<I> Known<I> {
    /// Waits for whoever holds it: nobody does for long.
    pub fn locked(&self) -> MutexGuard<'_, Follower<I>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who watches. Its client is its own: a connection on which a watch is stuck holds up nobody else.
pub struct Watcher<I: Index> {
    client: KubernetesClient,
    selection: Selection<I::Object>,
    known: Known<I>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl<I: Index> Watcher<I> {
    /// Who keeps up with these objects. Nothing is asked yet.
    #[must_use]
    pub fn new(
        client: KubernetesClient,
        selection: Selection<I::Object>,
        known: Known<I>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { client, selection, known, clock, entropy }
    }

    /// Watches until the end, and hands what is known to `look` after each step, twice a second at least. `look` is called while what is
    /// known is locked.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub async fn run(self, shutdown: Shutdown, mut look: impl FnMut(&mut Follower<I>) + Send) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let end = shutdown.fired();
        tokio::pin!(end);
        let mut watch: Option<ObjectWatch<I::Object>> = None;
        let mut told: Option<String> = None;
        loop {
            let step = self.known.locked().step(self.moment());
            tokio::select! {
                // Any order: what is not taken now is taken at the next turn.
                () = &mut end => return Ok(()),
                done = self.work(step, &mut watch, &mut ticker) => done?,
            }
            let mut known = self.known.locked();
            look(&mut known);
            tell(known.fault(), &mut told, I::Object::KIND);
        }
    }

    /// Does one step, or a part of it. What is given up half-way is begun anew.
    async fn work(&self, step: Step, watch: &mut Option<ObjectWatch<I::Object>>, ticker: &mut Ticker) -> io::Result<()> {
        match step {
            Step::List => {
                *watch = None;
                let asked = self.clock.boottime();
                let listed = self.client.list(&self.selection, LIST_DEADLINE).await;
                let mut known = self.known.locked();
                match listed {
                    Ok(list) => known.listed(Ok(list), asked, self.moment()),
                    Err(error) => known.listed(Err(&error), asked, self.moment()),
                }
            }
            Step::Watch { version } => {
                let opened = self.client.watch(&self.selection, &version, WATCH_DEADLINE).await;
                self.known.locked().opened(opened.as_ref().map(drop), self.moment());
                *watch = opened.ok();
            }
            Step::Rest { .. } => {
                *watch = None;
                ticker.tick().await?;
            }
            Step::Hear { .. } => tokio::select! {
                // Both may be ready: the other stays so for the next turn.
                tick = ticker.tick() => {
                    tick?;
                }
                () = self.hear(watch) => {}
            },
        }
        Ok(())
    }

    async fn hear(&self, watch: &mut Option<ObjectWatch<I::Object>>) {
        let next = match watch {
            Some(watch) => watch.next().await,
            None => Ok(None),
        };
        let mut known = self.known.locked();
        match next {
            Ok(Some(event)) => known.told(event, self.moment()),
            Ok(None) => known.ended(None, self.moment()),
            Err(error) => known.ended(Some(&error), self.moment()),
        }
    }

    fn moment(&self) -> Moment {
        let [random] = bytes(&*self.entropy);
        Moment { now: self.clock.boottime(), random }
    }
}

/// Says so once when it does not go on, and once when it does again.
fn tell(fault: Option<&str>, told: &mut Option<String>, kind: crate::Kind) {
    match (&*told, fault) {
        (None, Some(fault)) => {
            tracing::warn!(%kind, fault, "objects of the cluster are not watched: what is known of them grows old")
        }
        (Some(_), None) => tracing::info!(%kind, "objects of the cluster are watched again"),
        (None, None) | (Some(_), Some(_)) => {}
    }
    *told = fault.map(str::to_owned);
}
