//! The tasks of a CA: each part that works by itself, and the listener of agents.

use std::convert::Infallible;
use std::sync::Arc;

use mtls::{ClientAuthentication, ServerTls};
use pki::X509Svid;
use runtime::clock::Clock;
use runtime::shutdown::Shutdown;
use runtime::tasks::TaskGroup;
use runtime::unix_socket::BoundSocket;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Parts;
use crate::key_watch;
use crate::metrics::Metrics;
use crate::rpc::listen::{self, AgentServices};
use crate::serving::Credentials;
use crate::store_watch::StoreWatch;

/// What the agents' port speaks.
const ALPN: &[&[u8]] = &[b"h2"];

impl Parts {
    /// Starts every task. Nothing of the parts is kept: the result rows end when the last desk is gone.
    pub(super) fn spawn(self, group: &mut TaskGroup, listener: TcpListener, admin_socket: BoundSocket) {
        let (shutdown, limits) = (group.shutdown(), self.ground.config.limits);
        let (node, operators) = (self.node_service(&shutdown), self.operator_services(&shutdown));
        let istio = self.istio_services();
        let attest = self.attest_service(Arc::clone(&node.attestation));
        let upstream = self.upstream_service();
        let services =
            AgentServices { attest: Arc::new(attest), node: Arc::new(node), istio, upstream, health: self.health, limits };
        let shown = Shown { svid: self.serving, credentials: self.credentials.clone(), clock: Arc::clone(&self.ground.clock) };
        group.spawn("agents", serve_agents(listener, shown, services, self.metrics, shutdown.clone()));
        group.spawn("authorities", self.driver.run(shutdown.clone()));
        group.spawn("prober", self.prober.run(shutdown.clone()));
        group.spawn("revocation lists", self.keeper.run(shutdown.clone()));
        let hub = Arc::clone(&self.hub);
        group.spawn("leases", self.leases.run(move |is_so| hub.set_cut_off(is_so), shutdown.clone()));
        group.spawn("foreign bundles", self.poller.run(shutdown.clone()));
        group.spawn("admin", listen::operators(admin_socket, operators, shutdown.clone()));
        group.spawn("audit checkpoints", Arc::clone(&self.checkpoints).run(shutdown.clone()));
        group.spawn("upkeep", self.upkeep.run(shutdown.clone()));
        for refresher in self.key_refreshers {
            group.spawn("keys of an OIDC issuer", refresher.run(shutdown.clone()));
        }
        self.cluster_objects.spawn(group, &shutdown);
        if let Some(watcher) = self.pod_watcher {
            group.spawn("pods", watcher.run(shutdown.clone()));
        }
        if let Some(upstream) = self.upstream {
            group.spawn("upstream", upstream.run(shutdown.clone()));
        }
        if let Some(token) = self.token {
            group.spawn("keys", key_watch::watch(token, self.report.readiness.clone(), shutdown.clone()));
        }
        let watch = StoreWatch::new(self.ground.store, self.report.readiness.clone());
        group.spawn("store", watch.run(shutdown.clone()));
        group.spawn("sync hub", endless(self.hub.run(self.changes, shutdown)));
        group.spawn("result rows", endless(self.results.run()));
    }
}

/// What agents are shown.
struct Shown {
    svid: watch::Receiver<Option<Arc<X509Svid>>>,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
}

/// Serves agents from when there is a certificate to show them: without one no handshake could be answered.
async fn serve_agents(
    listener: TcpListener,
    shown: Shown,
    services: AgentServices,
    metrics: Metrics,
    shutdown: Shutdown,
) -> Result<(), listen::ListenError> {
    let Shown { mut svid, credentials, clock } = shown;
    let first = tokio::select! {
        // Whichever comes first: at the end nobody is served any more.
        () = shutdown.fired() => return Ok(()),
        first = svid.wait_for(Option::is_some) => first.ok().and_then(|first| first.clone()),
    };
    // Whoever makes certificates is gone, and so is the CA.
    let Some(first) = first else { return Ok(()) };
    let (newest, shown) = watch::channel(first);
    let tls = ServerTls::new(shown, credentials.bundle_changes(), ClientAuthentication::Optional, ALPN, clock).sending_root();
    let renewals = async {
        while svid.changed().await.is_ok() {
            if let Some(next) = svid.borrow_and_update().clone() {
                newest.send_replace(next);
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        // Either order is fine: renewals never end by themselves.
        ended = listen::agents(listener, tls, services, metrics, shutdown) => ended,
        never = renewals => never,
    }
}

async fn endless(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}
