//! Keeps up with the pods of this node.

use std::io;
use std::sync::Arc;

use kubernetes::follower::Index;
use kubernetes::pods::{PodDetail, PodsOnNode};
use kubernetes::{Known, KubernetesClient, Watcher};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::metrics::PodMetrics;

/// The one who watches.
pub(crate) struct PodWatcher {
    pub(super) client: KubernetesClient,
    pub(super) node: String,
    pub(super) known: Known<PodsOnNode>,
    /// Hears of each change of what is known.
    pub(super) changes: watch::Sender<u64>,
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
        let Self { client, node, known, changes, clock, entropy, metrics } = self;
        let selection = PodDetail::of_node(&node).map_err(io::Error::other)?;
        let look = move |pods: &mut kubernetes::follower::Follower<PodsOnNode>| {
            metrics.known(pods.index().count());
            let now = pods.index().changes();
            changes.send_if_modified(|before| std::mem::replace(before, now) != now);
        };
        Watcher::new(client, selection, known, clock, entropy).run(shutdown, look).await
    }
}
