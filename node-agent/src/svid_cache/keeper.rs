//! The task that writes the cache when what the node holds has changed.

use std::sync::Arc;
use std::time::Duration;

use pki::X509Svid;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::SvidCache;
use crate::ca_client::view::NodeView;
use crate::entry::EntryId;
use crate::identities::Held;
use crate::metrics::{AgentMetrics, Alarm};

/// Between two writes: many SVIDs that come one by one are written together.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// After a write that failed.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Keeps the cache.
pub(crate) struct SvidKeeper {
    cache: Arc<SvidCache>,
    held: watch::Receiver<Arc<Held>>,
    views: watch::Receiver<Arc<NodeView>>,
    metrics: AgentMetrics,
    /// What the file holds, so that it is not written anew for what is not in it.
    written: Option<Vec<(EntryId, Arc<X509Svid>)>>,
}

impl SvidKeeper {
    pub(crate) fn new(
        cache: Arc<SvidCache>,
        held: watch::Receiver<Arc<Held>>,
        views: watch::Receiver<Arc<NodeView>>,
        metrics: AgentMetrics,
    ) -> Self {
        Self { cache, held, views, metrics, written: None }
    }

    /// Writes until the end, and once more then.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), std::convert::Infallible> {
        loop {
            let gone = tokio::select! {
                changed = self.held.changed() => changed.is_err(),
                () = shutdown.fired() => true,
            };
            let pause = if self.write().await { WRITE_EVERY } else { WRITE_AGAIN_AFTER };
            if gone {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.fired() => {}
            }
            if pause == WRITE_AGAIN_AFTER {
                self.held.mark_changed();
            }
        }
    }

    /// Says whether the file is what it should be.
    async fn write(&mut self) -> bool {
        let held = Arc::clone(&self.held.borrow_and_update());
        if !held.knowledge.is_any() {
            return true;
        }
        let of =
            |identity: &crate::identities::HeldIdentity| Some((identity.entry.id.clone(), Arc::clone(identity.state.svid()?)));
        let svids: Vec<_> = held.identities.iter().filter_map(of).collect();
        let same = |written: &Vec<(EntryId, Arc<X509Svid>)>| {
            written.len() == svids.len() && written.iter().zip(&svids).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1))
        };
        if self.written.as_ref().is_some_and(same) {
            return true;
        }
        let (cache, node, storing) = (Arc::clone(&self.cache), self.views.borrow().node.clone(), svids.clone());
        let stored = tokio::task::spawn_blocking(move || cache.store(node.as_ref(), &storing)).await;
        match stored.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(()) => {
                self.metrics.svids_cached(svids.len());
                self.written = Some(svids);
                true
            }
            Err(error) => {
                self.metrics.alarm(Alarm::StateNotStored);
                tracing::error!(error, "the SVID cache could not be stored: a restart would have the one before");
                false
            }
        }
    }
}
