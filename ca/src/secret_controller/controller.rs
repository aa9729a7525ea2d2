//! The task that keeps Secrets as they should be, while this replica leads.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use identity::TrustDomain;
use kubernetes::KubernetesMetrics;
use pki::TrustBundle;
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{Entropy, bytes};
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::memory::Memory;
use super::metrics::{QueueLengths, SecretMetrics};
use super::operator::SecretOperator;
use super::queue::{Key, Now, Queue, SweepRate};
use super::troubles::Troubles;
use super::worker::Worker;
use super::world::{WatchParts, World, WorldWatcher};
use crate::config::{KubernetesConfig, SecretsConfig};
use crate::issuing::Desk;
use crate::replicas::Tenure;
use crate::revocation::{Revoked, StoredRevocations};
use crate::store::Store;

/// How many Secrets are worked on at once.
const MAX_CONCURRENT: usize = 16;
/// How often it is looked what is due.
const PERIOD: Duration = Duration::from_millis(250);

/// What the controller is made of.
pub(crate) struct ControllerParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) kubernetes: KubernetesConfig,
    pub(crate) secrets: SecretsConfig,
    pub(crate) desk: Arc<Desk>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) tenure: Tenure,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) calls: KubernetesMetrics,
    pub(crate) metrics: SecretMetrics,
}

/// The task. One for the process.
pub(crate) struct SecretController {
    worker: Arc<Worker>,
    queue: SharedQueue,
    tenure: Tenure,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    revoked: watch::Receiver<Arc<Revoked>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    rate: u32,
}

/// The queue, which operators put things into.
#[derive(Clone, Default)]
pub(crate) struct SharedQueue(Arc<Mutex<Queue>>);

impl SharedQueue {
    pub(crate) fn locked(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SecretController {
    /// The controller, who watches for it, and what operators may ask of it. Nothing is asked of the API server yet.
    pub(crate) fn new(parts: ControllerParts) -> (Self, Vec<WorldWatcher>, Arc<SecretOperator>) {
        let ControllerParts { trust_domain, kubernetes, secrets, desk, store, bundle, tenure, clock, entropy, calls, metrics } =
            parts;
        let watching = WatchParts { server: &kubernetes.server, calls: &calls, clock: &clock, entropy: &entropy };
        let (world, watchers) = World::new(&secrets.scope, &watching);
        let (revoked, rate, queue) = (store.revoked(), secrets.rewrites_per_second, SharedQueue::default());
        let worker = Arc::new(Worker {
            world: Arc::new(world),
            client: watching.client(),
            desk,
            store,
            trust_domain,
            cluster: kubernetes.cluster,
            config: secrets,
            bundle: bundle.clone(),
            revocation: StoredRevocations(revoked.clone()),
            clock: Arc::clone(&clock),
            metrics,
            troubles: Troubles::default(),
            memory: Memory::default(),
        });
        let operator = Arc::new(SecretOperator::new(Arc::clone(&worker), queue.clone(), tenure.clone()));
        (Self { worker, queue, tenure, bundle, revoked, clock, entropy, rate }, watchers, operator)
    }

    /// Works until the end. What is under way then is given up: each write is whole or none.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let end = shutdown.fired();
        tokio::pin!(end);
        // Before what works with it, so that it is there longer.
        let worker = Arc::clone(&self.worker);
        let mut working = FuturesUnordered::new();
        let (mut leads, mut rate) = (false, SweepRate::new(self.rate, self.clock.boottime()));
        loop {
            let changed = worker.world.take_changes();
            if !changed.is_empty() {
                let mut queue = self.queue.locked();
                changed.iter().for_each(|key| queue.changed(key));
            }
            leads = self.look_at_lead(leads);
            while leads && working.len() < MAX_CONCURRENT {
                let Some(key) = self.queue.locked().next(self.now()) else { break };
                working.push(async {
                    let outcome = worker.look_at(&key).await;
                    (key, outcome)
                });
            }
            tokio::select! {
                // Any order: what is not taken now is taken at the next turn.
                () = &mut end => return Ok(()),
                Some((key, outcome)) = working.next(), if !working.is_empty() => self.queue.locked().done(&key, outcome, self.now()),
                () = worker.world.changed() => {}
                Ok(()) = self.bundle.changed() => self.bundle_changed(),
                Ok(()) = self.revoked.changed() => self.revoked_changed(),
                tick = ticker.tick() => {
                    tick?;
                    let count = rate.take(self.clock.boottime());
                    self.queue.locked().let_in(count);
                    self.show();
                }
            }
        }
    }

    /// Whoever begins to lead looks at everything.
    fn look_at_lead(&self, led: bool) -> bool {
        let leads = self.tenure.fence().lead.is_some();
        if leads && !led {
            let mut queue = self.queue.locked();
            self.worker.world.keys().iter().for_each(|key| queue.changed(key));
        }
        leads
    }

    /// Each Secret has to show the new one, or may rest on what is tainted: all of them are looked at, so many a second.
    fn bundle_changed(&mut self) {
        let sequence = self.bundle.borrow_and_update().sequence();
        let keys = self.worker.world.secrets(|key, kept| kept.is_ours.then(|| key.clone()));
        tracing::info!(sequence, secrets = keys.len(), "the trust bundle has changed: Secrets of service accounts are looked at");
        self.queue.locked().sweep(keys);
    }

    fn revoked_changed(&mut self) {
        let revoked = Arc::clone(&self.revoked.borrow_and_update());
        let keys: BTreeSet<Key> = self
            .worker
            .world
            .secrets(|key, kept| {
                let content = kept.content.as_ref().ok()?;
                revoked.serials.contains(content.serial()).then(|| key.clone())
            })
            .into_iter()
            .collect();
        let mut queue = self.queue.locked();
        keys.iter().for_each(|key| queue.changed(key));
    }

    fn show(&self) {
        let queue = self.queue.locked();
        let (waiting, busy, paused, swept) = (queue.waiting(), queue.busy(), queue.paused(), queue.swept());
        drop(queue);
        let Worker { metrics, troubles, world, .. } = &*self.worker;
        metrics.queue(QueueLengths { waiting, busy, paused, swept });
        metrics.troubles(troubles.counts());
        let (accounts, secrets) = world.counts();
        metrics.known(accounts, secrets);
    }

    fn now(&self) -> Now {
        let [random] = bytes(&*self.entropy);
        Now { boot: self.clock.boottime(), wall: self.clock.now().into(), random }
    }
}
