//! Keeps up with the pods of the cluster.

use std::io;
use std::sync::Arc;

use kubernetes::follower::Index;
use kubernetes::pods::{PodScope, PodsOfNodes};
use kubernetes::{Known, KubernetesClient, Watcher};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::shutdown::Shutdown;

use super::metrics::PodMetrics;

/// The one who watches, on a client of its own.
pub(crate) struct PodWatcher {
    pub(super) client: KubernetesClient,
    pub(super) known: Known<PodsOfNodes>,
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
        let Self { client, known, clock, entropy, metrics } = self;
        let selection = PodScope::Cluster.selection().map_err(io::Error::other)?;
        Watcher::new(client, selection, known, clock, entropy).run(shutdown, |pods| metrics.known(pods.index().count())).await
    }
}
