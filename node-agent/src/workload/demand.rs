//! Whether any entry asks for the content of executables, which is costly to read.

use std::future::Future;
use std::io;
use std::sync::Arc;

use identity::SelectorKind;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::executables::ExecutableHashes;
use crate::ca_client::view::NodeView;

/// The hashes, and whether they are wanted now.
#[derive(Clone)]
pub struct ExecutableDemand {
    hashes: Arc<ExecutableHashes>,
    wanted: watch::Receiver<bool>,
}

impl ExecutableDemand {
    /// `wanted` says whether an entry asks for them.
    #[must_use]
    pub fn new(hashes: Arc<ExecutableHashes>, wanted: watch::Receiver<bool>) -> Self {
        Self { hashes, wanted }
    }

    /// The hashes, when they are wanted.
    pub(super) fn wanted(&self) -> Option<Arc<ExecutableHashes>> {
        self.wanted.borrow().then(|| Arc::clone(&self.hashes))
    }

    /// Resolves when an attestation is no longer all that counts: made without the hashes, which are wanted from then on.
    pub(super) fn outdates(&self, hashed: bool) -> impl Future<Output = ()> + Send + 'static {
        let mut wanted = self.wanted.clone();
        async move {
            let never = hashed || wanted.wait_for(|wanted| *wanted).await.is_err();
            if never {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Tells `wanted` whether an entry of the node asks for the content of an executable, until the shutdown.
pub(crate) async fn follow_demand(
    mut views: watch::Receiver<Arc<NodeView>>,
    wanted: watch::Sender<bool>,
    shutdown: Shutdown,
) -> io::Result<()> {
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let asks = view.entries.values().any(|entry| entry.selectors.iter().any(|selector| selector.is(SelectorKind::Sha256)));
        wanted.send_if_modified(|before| std::mem::replace(before, asks) != asks);
        // Either order is fine: the shutdown is heard at the next turn at the latest.
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return Ok(()) },
            () = shutdown.fired() => return Ok(()),
        }
    }
}
