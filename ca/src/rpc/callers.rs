//! Who calls: asked anew at every call and at every message of a stream.

use std::sync::Arc;

use tonic::Status;

use crate::error_reason::{ErrorReason, Told};
use crate::metrics::Metrics;
use crate::records::NodeRecord;
use crate::rpc::connection::ConnectInfo;
use crate::rpc::status::told_with_retry;
use crate::sessions::Sessions;

/// Answers whether the client of a connection stands; what it refuses is logged and counted.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) metrics: Metrics,
}

impl Callers {
    /// The record of the node that the client of this connection may speak for, now.
    ///
    /// # Errors
    /// The refusal as the caller sees it; also logged and counted here.
    pub(crate) async fn check(&self, info: &ConnectInfo) -> Result<Arc<NodeRecord>, Status> {
        self.sessions.check(info.peer.as_deref()).await.map_err(|error| {
            let reason = error.reason().map(ErrorReason::as_str);
            let id = info.peer.as_ref().map(|peer| tracing::field::display(peer.id().clone()));
            tracing::warn!(remote = %info.remote, peer = id, reason, %error, "peer refused");
            self.metrics.peer_refused(error.reason());
            let caller = info.peer.as_ref().map_or_else(|| info.remote.to_string(), |peer| peer.id().to_string());
            told_with_retry(&error, caller)
        })
    }
}
