//! Whether any entry asks for the content of executables, which is costly to read.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use identity::SelectorKind;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::caller::Caller;
use super::executables::ExecutableHashes;
use crate::ca_client::view::NodeView;

/// What an attestation says of the content of the caller's executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nobody asked for it.
    Unasked,
    /// Its digest, or that it has none for good.
    Known,
    /// It could not be read this time: too slowly, or while it was changed.
    NotNow,
}

impl Content {
    /// Of a caller that was attested with the hashes, if they were `asked` for.
    pub(super) fn of(caller: &Caller, asked: bool) -> Self {
        let not_now = caller.unreadable.iter().any(|absent| absent.kind == SelectorKind::Sha256 && absent.passing);
        match (asked, not_now) {
            (false, _) => Self::Unasked,
            (true, true) => Self::NotNow,
            (true, false) => Self::Known,
        }
    }
}

/// The hashes, and whether they are wanted now.
#[derive(Clone)]
pub(crate) struct ExecutableDemand {
    hashes: Arc<ExecutableHashes>,
    wanted: watch::Receiver<bool>,
}

impl ExecutableDemand {
    /// `wanted` says whether an entry asks for them.
    pub(crate) fn new(hashes: Arc<ExecutableHashes>, wanted: watch::Receiver<bool>) -> Self {
        Self { hashes, wanted }
    }

    /// The hashes, when they are wanted.
    pub(super) fn wanted(&self) -> Option<Arc<ExecutableHashes>> {
        self.wanted.borrow().then(|| Arc::clone(&self.hashes))
    }

    /// Resolves when an attestation is no longer all that counts: made without the hash, which is wanted from then on, or wanted and
    /// not to be had at that moment. Nobody else would look again while the connection lives.
    pub(super) fn outdates(&self, content: Content) -> impl Future<Output = ()> + Send + 'static {
        let mut wanted = self.wanted.clone();
        async move {
            if content == Content::NotNow {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            let never = content == Content::Known || wanted.wait_for(|wanted| *wanted).await.is_err();
            if never {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// After how long a process comes back whose executable could not be read: what was in the way, a disk that is slow at the start of the
/// node, may have passed, and trying costs [`super::executables`]' limit at most.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

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
