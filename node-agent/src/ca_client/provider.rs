//! Where this node's identities come from: the small seam between the agent and its CA.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::issuer::JwtIssuer;
use super::istio::{CaTrust, IstioCa};
use super::node::{NodeClient, NodeFailure, NodeStatus};
use super::progress::ProgressTeller;
use super::rebootstrap::RebootstrapDoor;
use super::view::NodeView;
use crate::identities::SvidIssuer;
use crate::progress::Reports;

/// What a CA can do for this node beyond issuing X.509-SVIDs. What it cannot is told as absent, and never made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// It says which process may hold which identity. Else the agent's configuration does.
    pub(crate) entry_sync: bool,
    /// It sends a changed trust bundle at once. Else a new one comes with the next certificate.
    pub(crate) bundle_push: bool,
    /// It tells which certificates are revoked.
    pub(crate) revocation: bool,
    /// It signs JWT-SVIDs.
    pub(crate) jwt_svid: bool,
}

impl Capabilities {
    /// The names of those that are absent, for people and programs.
    pub(crate) fn absent(self) -> Vec<&'static str> {
        let Self { entry_sync, bundle_push, revocation, jwt_svid } = self;
        let all = [("entry sync", entry_sync), ("bundle push", bundle_push), ("revocation", revocation), ("JWT-SVID", jwt_svid)];
        all.into_iter().filter(|(_, present)| !present).map(|(name, _)| name).collect()
    }
}

/// A CA as the agent uses it.
pub(crate) trait CaProvider: Send + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Entries and trust bundle, whenever they change.
    fn views(&self) -> watch::Receiver<Arc<NodeView>>;

    /// How the node does with it, whenever that changes.
    fn statuses(&self) -> watch::Receiver<NodeStatus>;

    /// The live connection that speaks `signet.v1`, whenever it changes; always `None` where that is not spoken.
    fn channels(&self) -> watch::Receiver<Option<Channel>>;

    /// Who signs for this node's entries.
    fn issuer(&self) -> Arc<dyn SvidIssuer>;

    /// Who signs JWT-SVIDs for them; `None` where the CA signs none.
    fn jwt_issuer(&self) -> Option<Arc<dyn JwtIssuer>>;

    /// Its door for certificates by a caller's own credential; `None` where there is none.
    fn istio_ca(&self) -> Option<IstioCa>;

    /// Where an operator has the node trust the CA anew; `None` where the configuration alone says whom to trust.
    fn rebootstrap_door(&self) -> Option<RebootstrapDoor> {
        None
    }

    /// Tells it how far the node is with what was sent, where that is spoken.
    fn report(&mut self, reports: Reports);

    /// Keeps it up until the end.
    ///
    /// # Errors
    /// [`NodeFailure`] when only an operator can help.
    fn run(self: Box<Self>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), NodeFailure>>;
}

impl CaProvider for NodeClient {
    fn name(&self) -> &'static str {
        "signet"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { entry_sync: true, bundle_push: true, revocation: true, jwt_svid: true }
    }

    fn views(&self) -> watch::Receiver<Arc<NodeView>> {
        Self::views(self)
    }

    fn statuses(&self) -> watch::Receiver<NodeStatus> {
        Self::statuses(self)
    }

    fn channels(&self) -> watch::Receiver<Option<Channel>> {
        Self::channels(self)
    }

    fn issuer(&self) -> Arc<dyn SvidIssuer> {
        Arc::new(Self::issuer(self))
    }

    fn jwt_issuer(&self) -> Option<Arc<dyn JwtIssuer>> {
        Some(Arc::new(Self::issuer(self)))
    }

    fn istio_ca(&self) -> Option<IstioCa> {
        let Self { settings, .. } = self;
        Some(IstioCa::new(settings.ca.current().clone(), CaTrust::Node(Self::views(self)), Arc::clone(&settings.clock)))
    }

    fn rebootstrap_door(&self) -> Option<RebootstrapDoor> {
        Some(Self::rebootstrap_door(self))
    }

    fn report(&mut self, reports: Reports) {
        self.progress = ProgressTeller::new(reports);
    }

    fn run(self: Box<Self>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), NodeFailure>> {
        Box::pin(Self::run(*self, shutdown))
    }
}
