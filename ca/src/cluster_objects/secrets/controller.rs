//! What is kept: the Secrets that the watches know of, looked at by the worker.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use identity::TrustDomain;
use kubernetes::KubernetesMetrics;
use pki::TrustBundle;
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use tokio::sync::watch;

use super::memory::Memory;
use super::metrics::SecretMetrics;
use super::operator::SecretOperator;
use super::standing::Standing;
use super::troubles::Troubles;
use super::worker::Worker;
use super::world::{World, WorldWatcher};
use crate::authority::lifecycle::gate::ObjectFacts;
use crate::cluster_objects::queue::{Key, Outcome, QueueLengths, SharedQueue};
use crate::cluster_objects::reconciler::{KeptObjects, Reconciler};
use crate::cluster_objects::watching::WatchParts;
use crate::config::{KubernetesConfig, SecretsConfig};
use crate::issuing::Desk;
use crate::replicas::Tenure;
use crate::revocation::{Revoked, StoredRevocations};
use crate::rotation::facts::ClusterReceivers;
use crate::store::Store;

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

/// The Secrets of the accounts. One for the process.
pub(crate) struct AccountSecrets {
    worker: Arc<Worker>,
    seen: Mutex<Seen>,
    standing: Standing,
}

/// What was last looked at of what all Secrets depend on.
struct Seen {
    bundle: watch::Receiver<Arc<TrustBundle>>,
    revoked: watch::Receiver<Arc<Revoked>>,
}

/// The task that keeps them.
pub(crate) type SecretController = Reconciler<AccountSecrets>;

/// The controller, who watches for it, and what operators may ask of it. Nothing is asked of the API server yet.
pub(crate) fn controller(parts: ControllerParts) -> (SecretController, Vec<WorldWatcher>, Arc<SecretOperator>) {
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
    let objects = Arc::new(AccountSecrets { worker, seen: Mutex::new(Seen { bundle, revoked }), standing: Standing::default() });
    (Reconciler { objects, queue, tenure, clock, entropy, rate }, watchers, operator)
}

impl KeptObjects for AccountSecrets {
    fn keys(&self) -> BTreeSet<Key> {
        self.worker.world.keys()
    }

    /// Those whose certificate was revoked are among them: they do not wait for others.
    fn take_changes(&self) -> BTreeSet<Key> {
        let mut changed = self.worker.world.take_changes();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // An error: nobody revokes any more.
        if seen.revoked.has_changed().unwrap_or_default() {
            let revoked = Arc::clone(&seen.revoked.borrow_and_update());
            changed.extend(self.worker.world.secrets(|key, kept| {
                let content = kept.content.as_ref().ok()?;
                revoked.serials.contains(content.serial()).then(|| key.clone())
            }));
        }
        changed
    }

    /// Each Secret has to show the new bundle, or may rest on what is tainted: all of them are looked at.
    fn take_sweep(&self) -> BTreeSet<Key> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.bundle.has_changed().unwrap_or_default() {
            return BTreeSet::new();
        }
        let sequence = seen.bundle.borrow_and_update().sequence();
        let keys = self.worker.world.secrets(|key, kept| kept.is_ours.then(|| key.clone()));
        tracing::info!(sequence, secrets = keys.len(), "the trust bundle has changed: Secrets of service accounts are looked at");
        keys.into_iter().collect()
    }

    async fn changed(&self) {
        self.worker.world.changed().await;
    }

    async fn look_at(&self, key: &Key) -> Outcome {
        self.worker.look_at(key).await
    }

    fn show(&self, lengths: QueueLengths) {
        let Worker { metrics, troubles, world, bundle, clock, .. } = &*self.worker;
        metrics.queue(lengths);
        metrics.troubles(troubles.counts());
        let (accounts, secrets) = world.counts();
        metrics.known(accounts, secrets);
        let bundle = Arc::clone(&bundle.borrow());
        self.standing.observe(world, &bundle, clock.now().into());
    }
}

impl ClusterReceivers for AccountSecrets {
    fn standing(&self) -> ObjectFacts {
        self.standing.facts()
    }
}
