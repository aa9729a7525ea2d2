//! The controller of Secrets among the parts of a CA.

use std::sync::Arc;

use pki::TrustBundle;
use runtime::shutdown::Shutdown;
use runtime::tasks::TaskGroup;
use tokio::sync::watch;

use super::Ground;
use crate::issuing::Desk;
use crate::metrics::Metrics;
use crate::secret_controller::{
    ControllerParts, SecretController, SecretOperator, WorldWatcher, controller as secret_controller,
};

/// Its tasks, and the hand of operators on it.
pub(super) struct Secrets {
    controller: SecretController,
    watchers: Vec<WorldWatcher>,
    pub(super) operator: Arc<SecretOperator>,
}

/// The controller, where the configuration asks for one.
pub(super) fn controller(
    ground: &Ground,
    desk: &Arc<Desk>,
    bundle: &watch::Receiver<Arc<TrustBundle>>,
    metrics: &Metrics,
) -> Option<Secrets> {
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

impl Secrets {
    pub(super) fn spawn(self, group: &mut TaskGroup, shutdown: &Shutdown) {
        for watcher in self.watchers {
            group.spawn("objects of the cluster", watcher.run(shutdown.clone()));
        }
        group.spawn("secrets of accounts", self.controller.run(shutdown.clone()));
    }
}
