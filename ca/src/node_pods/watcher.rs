//! Keeps up with the pods of the cluster: one task, which does what `kubernetes::pods::follower` says.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::pods::PodScope;
use kubernetes::pods::follower::{Moment, PodFollower, Step};
use kubernetes::{KubernetesClient, PodWatch};
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{Entropy, bytes};
use runtime::shutdown::Shutdown;

use super::metrics::PodMetrics;

/// How often it is looked whether something is due.
const PERIOD: Duration = Duration::from_millis(500);
/// The time for all parts of a list, in the largest cluster.
const LIST_DEADLINE: Duration = Duration::from_secs(120);
/// The time until a watch begins.
const WATCH_DEADLINE: Duration = Duration::from_secs(10);

/// The pods that are known; clones share them.
#[derive(Clone, Default)]
pub(crate) struct KnownPods(Arc<Mutex<PodFollower>>);

impl KnownPods {
    pub(crate) fn locked(&self) -> MutexGuard<'_, PodFollower> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who watches. Its client is its own: a connection on which a watch is stuck holds up nobody else.
pub(crate) struct PodWatcher {
    pub(super) client: KubernetesClient,
    pub(super) known: KnownPods,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) metrics: PodMetrics,
}

impl PodWatcher {
    /// Watches until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let end = shutdown.fired();
        tokio::pin!(end);
        let mut watch: Option<PodWatch> = None;
        let mut told: Option<String> = None;
        loop {
            let step = self.known.locked().step(self.moment());
            tokio::select! {
                // Any order: what is not taken now is taken at the next turn.
                () = &mut end => return Ok(()),
                done = self.work(step, &mut watch, &mut ticker) => done?,
            }
            self.tell(&mut told);
        }
    }

    /// Does one step, or a part of it. What is given up half-way is begun anew.
    async fn work(&self, step: Step, watch: &mut Option<PodWatch>, ticker: &mut Ticker) -> io::Result<()> {
        match step {
            Step::List => {
                *watch = None;
                let asked = self.clock.boottime();
                let listed = self.client.pods(&PodScope::Cluster, LIST_DEADLINE).await;
                let mut known = self.known.locked();
                match listed {
                    Ok(list) => known.listed(Ok(list), asked, self.moment()),
                    Err(error) => known.listed(Err(&error), asked, self.moment()),
                }
            }
            Step::Watch { version } => {
                let opened = self.client.watch_pods(&PodScope::Cluster, &version, WATCH_DEADLINE).await;
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

    async fn hear(&self, watch: &mut Option<PodWatch>) {
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

    /// Says so once when it does not go on, and once when it does again.
    fn tell(&self, told: &mut Option<String>) {
        let known = self.known.locked();
        self.metrics.known(known.count());
        let fault = known.fault().map(str::to_owned);
        drop(known);
        match (&*told, &fault) {
            (None, Some(fault)) => {
                tracing::warn!(fault, "pods are not watched: each question about them is read from the API server")
            }
            (Some(_), None) => tracing::info!("pods are watched again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *told = fault;
    }
}
