//! The running CA: everything bound first, then run under one group of tasks.

mod authorities;
mod error;
mod services;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mtls::{ClientAuthentication, ServerTls};
use pki::checkpoint::CheckpointKey;
use pki::{Timestamp, X509Svid};
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
use tokio::sync::{Mutex, broadcast, watch};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::checkpoints::{CheckpointDesk, CheckpointParts};
use crate::config::{CaConfig, LimitsConfig};
use crate::issuance_clock::IssuanceClock;
use crate::issuing::{Desk, DeskParts, ResultWriter, ServingNames};
use crate::jwt::desk::JwtDesk;
use crate::key_file;
use crate::keystore::KeystoreError;
use crate::metrics::{Metrics, RotationCollector, StoreCollector};
use crate::oidc::{KeyRefresher, TokenJudge};
use crate::provisioning::{self, ProvisioningSource};
use crate::report::{CLOCK, ISSUING, Report, SERVING, STORE};
use crate::revocation::{Keeper, KeeperParts, Lists, Pages, Published, StoredRevocations};
use crate::rotation::steps::{LoggedSteps, StepSeam, Steps};
use crate::rotation::{
    Driver, DriverParts, FactsOfFleet, ListSlot, Materials, Outlets, ProbeCounts, Prober, RotationHandle, ServingSlot,
};
use crate::rpc::listen::{self, AgentServices};
use crate::serving::{Credentials, ServingCertificate, SharedServing};
use crate::store::{Change, SqliteStore, Store};
use crate::store_watch::StoreWatch;
use crate::sync::SyncHub;
use crate::turns::{TurnLimits, Turns};
use crate::upkeep::Upkeep;
use authorities::Authorities;
pub use error::{RunError, StartError};
use services::csr_limit;

/// How long calls in progress may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(4);
/// What the agents' port speaks.
const ALPN: &[&[u8]] = &[b"h2"];

/// Where a bound CA can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where agents connect.
    pub listening: SocketAddr,
    /// The operators' Unix socket.
    pub admin_socket: PathBuf,
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
    provisioning: Vec<ProvisioningSource>,
}

/// What signs.
struct Keys {
    authorities: Authorities,
    audit: CheckpointKey,
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
    lists: watch::Receiver<Arc<Published>>,
    key_refreshers: Vec<KeyRefresher>,
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
            None if !config.state_dir.exists() => return Err(StartError::NotInitialised { directory: config.state_dir }),
            None => check_private_dir(&config.state_dir)?,
        }
        let lock = DirLock::acquire(&config.state_dir)?;
        let now = Timestamp::from(clock.now());
        let audit_key = key_file::load_or_make(&config, &*entropy).map_err(KeystoreError::StateKey)?;
        let provisioning = provisioning::load(&config.provisioning)?;
        for lapse in provisioning.iter().flat_map(|source| source.roots.lapsed_at(now)) {
            tracing::warn!(%lapse, "a root of [[attestation.certificate]] vouches for no node");
        }
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.store_path())?);
        let issuance_clock = Arc::new(IssuanceClock::new(Arc::clone(&clock), store.latest_issuance().await?));
        issuance_clock.look()?;
        let authorities = authorities::open(&config, &store, &entropy, Steps::new(steps), now).await?;
        let listener = bind_tcp(config.listen).await?;
        let listening = listener.local_addr().map_err(|cause| StartError::Listen { address: config.listen, cause })?;
        let admin_socket = BoundSocket::bind(&config.admin_socket, 0o600)?;
        let telemetry = match &config.telemetry {
            Some(address) => Some(AdminHttp::bind(address).await?),
            None => None,
        };
        let addresses = Addresses {
            listening,
            admin_socket: config.admin_socket.clone(),
            telemetry: telemetry.as_ref().map(AdminHttp::address),
        };
        let mut registry = telemetry::registry();
        let metrics = Metrics::register(&mut registry);
        registry.register_collector(Box::new(StoreCollector(Arc::clone(&store))));
        let ground = Ground { config, clock, entropy, issuance_clock, store, provisioning };
        let policy = ground.config.rotation.policy;
        let parts = assemble(ground, Keys { authorities, audit: audit_key }, listening, metrics).await?;
        registry.register_collector(Box::new(RotationCollector { view: parts.rotation.view(), policy }));
        Ok(BoundServer { addresses, listener, admin_socket, telemetry, registry, parts, lock })
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
        let Self { addresses: _, listener, admin_socket, telemetry, registry, parts, lock } = self;
        let mut group = TaskGroup::new(shutdown);
        let shutdown = group.shutdown();
        if let Some(telemetry) = telemetry {
            let telemetry = telemetry.with_documents(Arc::new(Pages(parts.lists.clone())));
            let readiness = parts.report.readiness.clone();
            group.spawn("telemetry", telemetry.run(Arc::new(registry), readiness, shutdown));
        }
        parts.spawn(&mut group, listener, admin_socket);
        let outcome = group.join(GRACE).await;
        drop(lock);
        Ok(outcome?)
    }
}

impl Parts {
    /// Starts every task. Nothing of the parts is kept: the result rows end when the last desk is gone.
    fn spawn(self, group: &mut TaskGroup, listener: TcpListener, admin_socket: BoundSocket) {
        let (shutdown, limits) = (group.shutdown(), self.ground.config.limits);
        let (node, operators) = (self.node_service(&shutdown), self.operator_services(&shutdown));
        let istio = self.istio_services();
        let attest = self.attest_service(Arc::clone(&node.attestation));
        let services = AgentServices { attest: Arc::new(attest), node: Arc::new(node), istio, health: self.health, limits };
        let shown = Shown { svid: self.serving, credentials: self.credentials.clone(), clock: Arc::clone(&self.ground.clock) };
        group.spawn("agents", serve_agents(listener, shown, services, self.metrics, shutdown.clone()));
        group.spawn("authorities", self.driver.run(shutdown.clone()));
        group.spawn("prober", self.prober.run(shutdown.clone()));
        group.spawn("revocation lists", self.keeper.run(shutdown.clone()));
        group.spawn("admin", listen::operators(admin_socket, operators, shutdown.clone()));
        group.spawn("audit checkpoints", Arc::clone(&self.checkpoints).run(shutdown.clone()));
        group.spawn("upkeep", self.upkeep.run(shutdown.clone()));
        for refresher in self.key_refreshers {
            group.spawn("keys of an OIDC issuer", refresher.run(shutdown.clone()));
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

/// Makes the parts. The serving certificate is issued like any other: a CA that cannot issue does not start, but for one whose own issuing
/// CA has ended, which starts so that it can have another one.
async fn assemble(ground: Ground, keys: Keys, listening: SocketAddr, metrics: Metrics) -> Result<Parts, StartError> {
    let Ground { config, clock, entropy, issuance_clock, store, provisioning: _ } = &ground;
    let Keys { authorities, audit: audit_key } = keys;
    let Authorities { authority, jwt: jwt_key, bundle, journal, materials, plugged_in, steps } = authorities;
    let now = Timestamp::from(clock.now());
    let has_ended = plugged_in.is_none() && (authority.certificate().not_after() < now || authority.root().not_after() < now);
    let sequence = bundle.sequence();
    let (bundle, bundle_changes) = watch::channel(Arc::new(bundle));
    let (authority, authority_changes) = watch::channel(Arc::new(authority));
    let (jwt_key, jwt_changes) = watch::channel(Arc::new(jwt_key));
    let credentials = Credentials::new(config.trust_domain.clone(), Arc::clone(clock), bundle_changes.clone());
    let LimitsConfig { issuance_concurrency, issuance_queue, issuance_wait, .. } = config.limits;
    let turns = TurnLimits { concurrency: issuance_concurrency, places: issuance_queue, wait: issuance_wait };
    let turns = Turns::new(turns, metrics.limits.clone());
    let (desk, results) = Desk::new(DeskParts {
        trust_domain: config.trust_domain.clone(),
        profile: config.leaf.clone(),
        agent_ttl: config.agent_ttl,
        replica: config.replica_byte,
        authority: authority_changes.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(issuance_clock),
        entropy: Arc::clone(entropy),
        metrics: metrics.clone(),
        csr: csr_limit(&config.limits, &metrics),
        turns: Arc::clone(&turns),
        revocation: Arc::new(StoredRevocations(store.revoked())),
    });
    let desk = Arc::new(desk);
    let jwt = Arc::new(JwtDesk {
        ttl: config.jwt_ttl,
        key: jwt_changes.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(issuance_clock),
        metrics: metrics.clone(),
        turns,
    });
    let names = ServingNames {
        replica: config.replica.clone(),
        dns_names: config.server_dns_names.clone(),
        ip_addresses: config.server_ip_addresses.clone(),
    };
    let serving = ServingCertificate::new(Arc::clone(&desk), names, credentials.clone());
    if has_ended {
        tracing::error!("the issuing CA has ended: agents are not served until a successor is made");
    } else {
        serving.mint_first().await.map_err(|error| StartError::Serving(error.to_string()))?;
    }
    let shown = serving.subscribe();
    let serving = SharedServing(Arc::new(Mutex::new(serving)));
    let (judge, key_refreshers) = TokenJudge::new(config.trust_domain.clone(), &config.oidc, clock, metrics.oidc.clone())?;
    let judge = Arc::new(judge);
    let readiness = Readiness::default();
    for condition in [CLOCK, ISSUING, SERVING, STORE] {
        readiness.require(condition, "not judged yet");
    }
    let hub = SyncHub::new(Arc::clone(clock));
    let plugged = plugged_in.as_ref().map(|plugged_in| plugged_in.directory.clone());
    let (view, views) = watch::channel(Arc::new(Driver::first_view(journal.state(), sequence, plugged, now)));
    let (rotation, commands) = RotationHandle::new(views.clone());
    let probes = ProbeCounts::default();
    let serving_slot: Arc<dyn ServingSlot> = Arc::new(serving.clone());
    let (keeper, lists, settle) = Keeper::new(KeeperParts {
        trust_domain: config.trust_domain.clone(),
        profile: config.leaf.clone(),
        config: config.revocation,
        plugged_in: plugged_in.as_ref().map(|plugged_in| plugged_in.directory.clone()),
        materials: Materials::new(config, Arc::clone(store), Arc::clone(entropy), steps.clone()),
        store: Arc::clone(store),
        view: views.clone(),
        authority: authority_changes.clone(),
        bundle: bundle_changes.clone(),
        clock: Arc::clone(clock),
        issuance_clock: Arc::clone(issuance_clock),
    });
    let slot: Arc<dyn ListSlot> = Arc::new(Lists(settle));
    let outlets = Outlets { authority, jwt: jwt_key, bundle, serving: serving_slot, lists: slot, retiring: Vec::new() };
    let driver = DriverParts {
        trust_domain: config.trust_domain.clone(),
        profile: config.leaf.clone(),
        config: config.rotation,
        plugged_in,
        materials,
        store: Arc::clone(store),
        steps,
        facts: Box::new(FactsOfFleet {
            store: Arc::clone(store),
            fleet: hub.clone(),
            reattest_window: config.reattest_window,
            propagation_hold: config.rotation.propagation_hold,
        }),
        outlets,
        probes: probes.clone(),
        clock: Arc::clone(clock),
        issuance_clock: Arc::clone(issuance_clock),
        entropy: Arc::clone(entropy),
    };
    let driver = Driver::new(driver, journal, commands, view);
    let prober = Prober {
        trust_domain: config.trust_domain.clone(),
        listening,
        bundle: bundle_changes.clone(),
        view: views.clone(),
        counts: probes,
        clock: Arc::clone(clock),
    };
    let checkpoints = CheckpointDesk::open(CheckpointParts {
        trust_domain: config.trust_domain.clone(),
        key: audit_key,
        schedule: config.audit_schedule,
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        metrics: metrics.checkpoints.clone(),
    })
    .await
    .map_err(|error| StartError::Checkpoints(error.to_string()))?;
    let report = Arc::new(Report {
        replica: config.replica.clone(),
        address: config.advertise.as_ref().map_or_else(|| listening.to_string(), |address| address.as_str().to_owned()),
        profile: config.leaf.clone(),
        clock: Arc::clone(clock),
        readiness,
        authority: authority_changes.clone(),
        bundle: bundle_changes.clone(),
        serving: shown.clone(),
        hub: Arc::clone(&hub),
        jwt: jwt_changes,
        rotation: views,
        judge: Arc::clone(&judge),
        checkpoints: Arc::clone(&checkpoints),
        store: store.state(),
        lists: lists.clone(),
    });
    let reporter = HealthReporter::new();
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let upkeep = Upkeep {
        authority: authority_changes,
        bundle: bundle_changes,
        serving,
        store: Arc::clone(store),
        revoked: store.revoked(),
        hub: Arc::clone(&hub),
        report: Arc::clone(&report),
        metrics: metrics.clone(),
        health: reporter,
        told: None,
        clock: Arc::clone(clock),
        issuance_clock: Arc::clone(issuance_clock),
        clock_untrusted: false,
        entropy: Arc::clone(entropy),
    };
    let changes = store.changes();
    Ok(Parts {
        ground,
        changes,
        credentials,
        hub,
        desk,
        jwt,
        judge,
        results,
        report,
        checkpoints,
        metrics,
        serving: shown,
        upkeep,
        rotation,
        driver,
        prober,
        keeper,
        lists,
        key_refreshers,
        health,
    })
}

async fn endless(task: impl Future<Output = ()>) -> Result<(), std::convert::Infallible> {
    task.await;
    Ok(())
}
