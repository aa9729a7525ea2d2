//! The running CA: everything bound first, then run under one group of tasks.

mod assembly;
mod authorities;
mod cluster_objects;
mod error;
mod services;
mod tasks;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pkcs11::Token;
use pki::checkpoint::CheckpointKey;
use pki::{Timestamp, TrustBundle, X509Svid};
use prometheus_client::registry::Registry;
use runtime::admin_http::AdminHttp;
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::private_files::{DirLock, check_private_dir, ensure_private_dir};
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::TaskGroup;
use runtime::telemetry;
use runtime::unix_socket::BoundSocket;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::attestation::ClusterAgents;
use crate::checkpoints::CheckpointDesk;
use crate::config::{CaConfig, StoreConfig};
use crate::federation::{Endpoint, FederationViews, Poller};
use crate::issuance_clock::IssuanceClock;
use crate::issuing::{Desk, ResultWriter};
use crate::istio::NodeProxies;
use crate::jwt::desk::JwtDesk;
use crate::key_file;
use crate::keystore::KeystoreError;
use crate::metrics::{KeyCollector, Metrics, RotationCollector, StoreCollector};
use crate::node_pods::PodWatcher;
use crate::oidc::{KeyRefresher, TokenJudge};
use crate::pod_identities::PodIdentities;
use crate::provisioning::{self, ProvisioningSource};
use crate::replicas::{LeaseKeeper, Tenure, TenureError};
use crate::report::Report;
use crate::revocation::{Keeper, Pages, Published};
use crate::rotation::steps::{LoggedSteps, StepSeam, Steps};
use crate::rotation::{Driver, Prober, RotationHandle};
use crate::service_accounts::TokenReviewer;
use crate::serving::Credentials;
use crate::signing_keys::SigningKeys;
use crate::store::{Change, Registration, Store};
use crate::sync::SyncHub;
use crate::upkeep::Upkeep;
use crate::upstream::desk::UpstreamDesk;
use assembly::assemble;
use authorities::Authorities;
use cluster_objects::ClusterObjects;
pub use error::{RunError, StartError};

/// How long calls in progress may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(4);

/// Where a bound CA can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where agents connect.
    pub listening: SocketAddr,
    /// The operators' Unix socket.
    pub admin_socket: PathBuf,
    /// Where the own bundle is published; `None` when that is not configured.
    pub federation: Option<SocketAddr>,
    /// Metrics and health, `host:port` or `unix:/path`; `None` when not configured.
    pub telemetry: Option<String>,
}

/// The CA as a service.
pub struct Server;

/// A CA whose sockets are bound and whose credentials are loaded; it serves nobody yet.
pub struct BoundServer {
    addresses: Addresses,
    listener: TcpListener,
    admin_socket: BoundSocket,
    telemetry: Option<AdminHttp>,
    endpoint: Option<Endpoint>,
    registry: Registry,
    parts: Parts,
    lock: DirLock,
}

/// What everything stands on.
struct Ground {
    config: CaConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuance_clock: Arc<IssuanceClock>,
    store: Arc<dyn Store>,
    tenure: Tenure,
    provisioning: Vec<ProvisioningSource>,
}

/// What signs.
struct Keys {
    authorities: Authorities,
    audit: CheckpointKey,
    leases: LeaseKeeper,
}

/// What the tasks are made of.
struct Parts {
    ground: Ground,
    /// Subscribed before anybody is served, so that no change is missed.
    changes: broadcast::Receiver<Change>,
    credentials: Credentials,
    hub: Arc<SyncHub>,
    desk: Arc<Desk>,
    jwt: Arc<JwtDesk>,
    judge: Arc<TokenJudge>,
    reviewer: Option<Arc<TokenReviewer>>,
    proxies: Option<NodeProxies>,
    agents: Option<ClusterAgents>,
    pod_identities: Option<Arc<PodIdentities>>,
    pod_watcher: Option<PodWatcher>,
    cluster_objects: ClusterObjects,
    results: ResultWriter,
    report: Arc<Report>,
    checkpoints: Arc<CheckpointDesk>,
    metrics: Metrics,
    serving: watch::Receiver<Option<Arc<X509Svid>>>,
    upkeep: Upkeep,
    rotation: RotationHandle,
    driver: Driver,
    prober: Prober,
    keeper: Keeper,
    leases: LeaseKeeper,
    lists: watch::Receiver<Arc<Published>>,
    key_refreshers: Vec<KeyRefresher>,
    token: Option<Token>,
    poller: Poller,
    federation: FederationViews,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    keys: SigningKeys,
    upstream: Option<Arc<UpstreamDesk>>,
    health: HealthServer<HealthService>,
}

impl Server {
    /// Checks and locks the state directory, loads the authority, opens the store, mints the serving certificate, and binds every
    /// socket. Nothing is served before [`BoundServer::run`].
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(config: CaConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<BoundServer, StartError> {
        Self::bind_stepwise(config, clock, entropy, Arc::new(LoggedSteps)).await
    }

    /// As [`Self::bind`], with a say in each step that moves an authority: tests end the CA there.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind_stepwise(
        config: CaConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        steps: Arc<dyn StepSeam>,
    ) -> Result<BoundServer, StartError> {
        match &config.plugged_authority {
            // Nothing else makes it: `ca init` is not for plugged-in authorities.
            Some(_) => ensure_private_dir(&config.state_dir)?,
            // Nor for one whose issuing CAs are signed upstream.
            None if config.upstream.is_some() => ensure_private_dir(&config.state_dir)?,
            // Nor for a replica that comes to others.
            None if matches!(config.store, StoreConfig::Postgres(_)) => ensure_private_dir(&config.state_dir)?,
            None if !config.state_dir.exists() => return Err(StartError::NotInitialised { directory: config.state_dir }),
            None => check_private_dir(&config.state_dir)?,
        }
        let lock = DirLock::acquire(&config.state_dir)?;
        let now = Timestamp::from(clock.now());
        let audit_key: CheckpointKey = key_file::load_or_make(&config, &*entropy).map_err(KeystoreError::StateKey)?;
        let provisioning = provisioning::load(&config.provisioning)?;
        for lapse in provisioning.iter().flat_map(|source| source.roots.lapsed_at(now)) {
            tracing::warn!(%lapse, "a root of [[attestation.certificate]] vouches for no node");
        }
        let store: Arc<dyn Store> = crate::store::open(&config)?;
        let issuance_clock = Arc::new(IssuanceClock::new(Arc::clone(&clock), store.latest_issuance().await?));
        issuance_clock.look()?;
        let mut registry = telemetry::registry();
        let metrics = Metrics::register(&mut registry);
        let upstream = upstream::desk(&config, &clock, &issuance_clock, &entropy, &metrics);
        if let Some(upstream) = &upstream {
            upstream.look().await;
        }
        let registration = Registration {
            replica: config.replica.clone(),
            serial_byte: config.replica_byte,
            address: config.advertise.as_ref().map_or_else(|| config.listen.to_string(), ToString::to_string),
            instance: audit_key.id(),
        };
        let (tenure, leases) = Tenure::begin(&store, registration, &clock).await?;
        let is_signed_elsewhere = config.plugged_authority.is_some() || config.upstream.is_some();
        if is_signed_elsewhere && !tenure.others().is_empty() {
            return Err(TenureError::NotAlone.into());
        }
        let steps = Steps::new(steps);
        let authorities = authorities::open(&config, &store, &entropy, steps, &tenure, upstream, now).await?;
        let listener = bind_tcp(config.listen).await?;
        let listening = listener.local_addr().map_err(|cause| StartError::Listen { address: config.listen, cause })?;
        let admin_socket = BoundSocket::bind(&config.admin_socket, 0o600)?;
        let telemetry = match &config.telemetry {
            Some(address) => Some(AdminHttp::bind(address).await?),
            None => None,
        };
        let endpoint_trouble = watch::Sender::new(None);
        let endpoint_troubles = endpoint_trouble.subscribe();
        let endpoint = match config.federation.endpoint.clone() {
            Some(endpoint) => Some(Endpoint::bind(endpoint, endpoint_trouble).await?),
            None => None,
        };
        let addresses = Addresses {
            federation: endpoint.as_ref().map(Endpoint::address),
            listening,
            admin_socket: config.admin_socket.clone(),
            telemetry: telemetry.as_ref().map(AdminHttp::address),
        };
        registry.register_collector(Box::new(StoreCollector(Arc::clone(&store))));
        registry.register_collector(Box::new(KeyCollector(authorities.keys.token().cloned())));
        let ground = Ground { config, clock, entropy, issuance_clock, store, tenure, provisioning };
        let policy = ground.config.rotation.policy;
        let keys = Keys { authorities, audit: audit_key, leases };
        let parts = assemble(ground, keys, listening, metrics, endpoint_troubles).await?;
        registry.register_collector(Box::new(RotationCollector { view: parts.rotation.view(), policy }));
        Ok(BoundServer { addresses, listener, admin_socket, telemetry, endpoint, registry, parts, lock })
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { address, cause })
}

impl BoundServer {
    /// Where it will serve; ports are the real ones.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What `/readyz` tells.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.parts.report.readiness
    }

    /// Serves until `shutdown` fires, then drains for at most 4 seconds. The first task that fails ends all: a store that lost what
    /// it had confirmed must not go on.
    ///
    /// # Errors
    /// [`RunError`] naming the task and its cause.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        let Self { addresses: _, listener, admin_socket, telemetry, endpoint, registry, parts, lock } = self;
        let mut group = TaskGroup::new(shutdown);
        let shutdown = group.shutdown();
        if let Some(telemetry) = telemetry {
            let telemetry = telemetry.with_documents(Arc::new(Pages(parts.lists.clone())));
            let readiness = parts.report.readiness.clone();
            group.spawn("telemetry", telemetry.run(Arc::new(registry), readiness, shutdown));
        }
        if let Some(endpoint) = endpoint {
            let (clock, metrics) = (Arc::clone(&parts.ground.clock), parts.metrics.federation.clone());
            let served = endpoint.run(parts.bundle.clone(), parts.serving.clone(), clock, metrics, group.shutdown());
            group.spawn("bundle endpoint", served);
        }
        let (store, tenure) = (Arc::clone(&parts.ground.store), parts.ground.tenure.clone());
        parts.spawn(&mut group, listener, admin_socket);
        let outcome = group.join(GRACE).await;
        // After everything that writes by them.
        if let Err(error) = tenure.end(&*store).await {
            tracing::warn!(%error, "what this replica holds is not given up: others wait for a while before they take it");
        }
        drop(lock);
        Ok(outcome?)
    }
}
