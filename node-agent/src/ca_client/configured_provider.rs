//! The provider of a node whose configuration says which process may hold which identity: what is the same whichever CA signs.
//!
//! Such a CA speaks nothing of `signet.v1`, which is told as absent, and is asked for one certificate at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use runtime::clock::Ticker;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::configured::ConfiguredNode;
use super::fault::CallFault;
use super::issuer::JwtIssuer;
use super::istio::IstioCa;
use super::node::{NodeFailure, NodeStatus};
use super::provider::{CaProvider, Capabilities};
use super::view::NodeView;
use crate::identities::{IssueAnswer, IssueItem, SvidIssuer};
use crate::metrics::AgentMetrics;
use crate::progress::Reports;
use crate::state::StateDir;

/// Calls at the same time.
const CONCURRENT_CALLS: usize = 8;
/// How often health is published.
const TICK: Duration = Duration::from_secs(1);

/// A CA that signs for identities of the configuration.
pub(crate) trait ConfiguredCa: Send + Sync + 'static {
    /// The provider's name, in the configuration and before its entries.
    const NAME: &'static str;

    /// The entries of the configuration, and the trust bundle of now.
    fn node(&self) -> &ConfiguredNode;

    /// What it signs for an identity, checked against what was asked for. The worker checks the key, which it holds.
    fn fetch(&self, item: IssueItem) -> impl Future<Output = IssueAnswer> + Send;

    /// Its door for certificates by a caller's own credential; `None` where there is none.
    fn istio_ca(&self) -> Option<IstioCa> {
        None
    }

    /// What is looked at beside the calls: the tick of this number, from 1, was just heard.
    fn look(&self, _tick: u64) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Such a CA as this node's provider.
pub(crate) struct ConfiguredProvider<C> {
    ca: Arc<C>,
    readiness: Readiness,
    metrics: AgentMetrics,
    /// One agent for a state directory, whatever its provider keeps there.
    _state: StateDir,
}

impl<C: ConfiguredCa> ConfiguredProvider<C> {
    pub(super) fn new(ca: C, state: StateDir, readiness: Readiness, metrics: AgentMetrics) -> Self {
        Self { ca: Arc::new(ca), readiness, metrics, _state: state }
    }
}

impl<C: ConfiguredCa> CaProvider for ConfiguredProvider<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { entry_sync: false, bundle_push: false, revocation: false, jwt_svid: false }
    }

    fn jwt_issuer(&self) -> Option<Arc<dyn JwtIssuer>> {
        None
    }

    fn views(&self) -> watch::Receiver<Arc<NodeView>> {
        self.ca.node().views()
    }

    fn statuses(&self) -> watch::Receiver<NodeStatus> {
        self.ca.node().statuses()
    }

    fn channels(&self) -> watch::Receiver<Option<Channel>> {
        watch::channel(None).1
    }

    fn issuer(&self) -> Arc<dyn SvidIssuer> {
        Arc::new(ConfiguredIssuer(Arc::clone(&self.ca)))
    }

    fn istio_ca(&self) -> Option<IstioCa> {
        self.ca.istio_ca()
    }

    /// Not spoken.
    fn report(&mut self, _reports: Reports) {}

    fn run(self: Box<Self>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), NodeFailure>> {
        Box::pin(async move {
            let mut ticker = Ticker::new(TICK).map_err(NodeFailure::Timer)?;
            for number in 1.. {
                self.ca.node().publish_health(&self.readiness, &self.metrics);
                tokio::select! {
                    () = shutdown.fired() => return Ok(()),
                    tick = ticker.tick() => { tick.map_err(NodeFailure::Timer)?; }
                }
                self.ca.look(number).await;
            }
            Ok(())
        })
    }
}

/// One call an item, a few at a time.
struct ConfiguredIssuer<C>(Arc<C>);

impl<C: ConfiguredCa> SvidIssuer for ConfiguredIssuer<C> {
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>> {
        let ca = Arc::clone(&self.0);
        Box::pin(async move {
            let calls = batch.into_iter().map(|item| {
                let ca = Arc::clone(&ca);
                async move {
                    let answer = ca.fetch(item).await;
                    ca.node().note(&answer);
                    answer
                }
            });
            Ok(stream::iter(calls).buffered(CONCURRENT_CALLS).collect().await)
        })
    }
}
