//! What watches of the cluster are made with.

use std::sync::Arc;

use kubernetes::follower::Index;
use kubernetes::{ClusterConfig, Known, KubernetesClient, KubernetesMetrics, Selection, Watcher};
use runtime::clock::Clock;
use runtime::entropy::Entropy;

/// What the watchers are made with.
pub(crate) struct WatchParts<'a> {
    pub(crate) server: &'a ClusterConfig,
    pub(crate) calls: &'a KubernetesMetrics,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) entropy: &'a Arc<dyn Entropy>,
}

impl WatchParts<'_> {
    /// A client on a connection of its own.
    pub(crate) fn client(&self) -> KubernetesClient {
        KubernetesClient::new(self.server.clone(), Arc::clone(self.clock), self.calls.clone())
    }

    /// What will be known of a selection, and who watches it, on a connection of its own. Nothing is asked yet.
    pub(crate) fn watcher<I: Index>(&self, selection: Selection<I::Object>) -> (Known<I>, Watcher<I>) {
        let known = Known::<I>::default();
        let (clock, entropy) = (Arc::clone(self.clock), Arc::clone(self.entropy));
        let watcher = Watcher::new(self.client(), selection, known.clone(), clock, entropy);
        (known, watcher)
    }
}
