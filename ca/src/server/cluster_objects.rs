//! What is kept in a cluster among the parts of a CA: Secrets of service accounts, and objects that show whom to trust; and what is followed there:
//! objects that ask for entries.

use std::sync::Arc;

use pki::TrustBundle;
use runtime::shutdown::Shutdown;
use runtime::tasks::TaskGroup;
use tokio::sync::watch;

use super::Ground;
use crate::cluster_objects::entries::{EntryFollower, EntryObjects, EntryParts, EntryWatcher, follower};
use crate::cluster_objects::reconciler::Reconciler;
use crate::cluster_objects::secrets::{
    AccountSecrets, ControllerParts, SecretController, SecretOperator, WorldWatcher, controller as secret_controller,
};
use crate::cluster_objects::trust::{TrustObjects, TrustParts, TrustWatcher, distribution};
use crate::issuing::Desk;
use crate::metrics::Metrics;
use crate::revocation::Published;
use crate::rotation::facts::ClusterReceivers;

/// The tasks, and the hands of operators on them.
pub(super) struct ClusterObjects {
    secrets: Option<Secrets>,
    trust: Option<Trust>,
    entries: Option<Entries>,
}

struct Secrets {
    controller: SecretController,
    watchers: Vec<WorldWatcher>,
    operator: Arc<SecretOperator>,
}

struct Trust {
    distribution: Reconciler<TrustObjects>,
    watchers: Vec<TrustWatcher>,
}

struct Entries {
    follower: EntryFollower,
    statuses: Reconciler<EntryObjects>,
    watcher: EntryWatcher,
}

impl ClusterObjects {
    /// As the configuration asks for them. Nothing is asked of the API server yet.
    pub(super) fn new(
        ground: &Ground,
        desk: &Arc<Desk>,
        bundle: &watch::Receiver<Arc<TrustBundle>>,
        lists: &watch::Receiver<Arc<Published>>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            secrets: secrets(ground, desk, bundle, metrics),
            trust: trust(ground, bundle, lists, metrics),
            entries: entries(ground, metrics),
        }
    }

    /// What operators may ask about Secrets.
    pub(super) fn secret_operator(&self) -> Option<Arc<SecretOperator>> {
        self.secrets.as_ref().map(|secrets| Arc::clone(&secrets.operator))
    }

    /// The objects that show whom to trust.
    pub(super) fn trust_objects(&self) -> Option<Arc<TrustObjects>> {
        self.trust.as_ref().map(|trust| Arc::clone(&trust.distribution.objects))
    }

    /// The objects that ask for entries.
    pub(super) fn entry_objects(&self) -> Option<Arc<EntryObjects>> {
        self.entries.as_ref().map(|entries| Arc::clone(&entries.statuses.objects))
    }

    /// Those whom a rotation waits for.
    pub(super) fn receivers(&self) -> Vec<Arc<dyn ClusterReceivers>> {
        let mut receivers: Vec<Arc<dyn ClusterReceivers>> = Vec::new();
        if let Some(trust) = self.trust_objects() {
            receivers.push(trust);
        }
        if let Some(secrets) = &self.secrets {
            let secrets: Arc<dyn ClusterReceivers> = Arc::<AccountSecrets>::clone(&secrets.controller.objects);
            receivers.push(secrets);
        }
        receivers
    }

    pub(super) fn spawn(self, group: &mut TaskGroup, shutdown: &Shutdown) {
        if let Some(Secrets { controller, watchers, operator: _ }) = self.secrets {
            for watcher in watchers {
                group.spawn("objects of the cluster", watcher.run(shutdown.clone()));
            }
            group.spawn("secrets of accounts", controller.run(shutdown.clone()));
        }
        if let Some(Trust { distribution, watchers }) = self.trust {
            for watcher in watchers {
                group.spawn("objects of the cluster", watcher.run(shutdown.clone()));
            }
            group.spawn("trust distribution", distribution.run(shutdown.clone()));
        }
        if let Some(Entries { follower, statuses, watcher }) = self.entries {
            group.spawn("objects of the cluster", watcher.run(shutdown.clone()));
            group.spawn("entries of objects", follower.run(shutdown.clone()));
            group.spawn("status of objects", statuses.run(shutdown.clone()));
        }
    }
}

fn secrets(ground: &Ground, desk: &Arc<Desk>, bundle: &watch::Receiver<Arc<TrustBundle>>, metrics: &Metrics) -> Option<Secrets> {
    let Ground { config, clock, entropy, store, tenure, .. } = ground;
    let kubernetes = config.kubernetes.clone()?;
    let parts = ControllerParts {
        trust_domain: config.trust_domain.clone(),
        secrets: kubernetes.secrets.clone()?,
        kubernetes,
        desk: Arc::clone(desk),
        store: Arc::clone(store),
        bundle: bundle.clone(),
        tenure: tenure.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        calls: metrics.kubernetes.clone(),
        metrics: metrics.secrets.clone(),
    };
    let (controller, watchers, operator) = secret_controller(parts);
    Some(Secrets { controller, watchers, operator })
}

fn trust(
    ground: &Ground,
    bundle: &watch::Receiver<Arc<TrustBundle>>,
    lists: &watch::Receiver<Arc<Published>>,
    metrics: &Metrics,
) -> Option<Trust> {
    let Ground { config, clock, entropy, tenure, .. } = ground;
    let kubernetes = config.kubernetes.clone()?;
    let (distribution, watchers) = distribution(TrustParts {
        server: kubernetes.server,
        config: kubernetes.trust?,
        bundle: bundle.clone(),
        lists: lists.clone(),
        tenure: tenure.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        calls: metrics.kubernetes.clone(),
        metrics: metrics.trust.clone(),
    });
    Some(Trust { distribution, watchers })
}

fn entries(ground: &Ground, metrics: &Metrics) -> Option<Entries> {
    let Ground { config, clock, entropy, store, tenure, .. } = ground;
    let kubernetes = config.kubernetes.clone()?;
    let (follower, statuses, watcher) = follower(EntryParts {
        trust_domain: config.trust_domain.clone(),
        max_ttl: config.leaf.max_ttl(),
        cluster: kubernetes.cluster,
        server: kubernetes.server,
        config: kubernetes.entries?,
        store: Arc::clone(store),
        tenure: tenure.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        calls: metrics.kubernetes.clone(),
        metrics: metrics.object_entries.clone(),
    });
    Some(Entries { follower, statuses, watcher })
}
