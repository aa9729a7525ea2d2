//! The whole agent: everything is bound before anything runs, and one group owns every task.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::TrustDomain;
use prometheus_client::registry::Registry;
use runtime::admin_http::{AdminBindError, AdminHttp};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::readiness::Readiness;
use runtime::secret_source::SecretSource;
use runtime::shutdown::Shutdown;
use runtime::tasks::{TaskFailure, TaskGroup};
use runtime::telemetry;
use runtime::unix_socket::{BoundSocket, SocketError};
use sds::{SdsMetrics, SdsService};
use tokio::sync::watch;
use tonic::service::Routes;
use vault::VaultClient;

use crate::admin::{AdminService, AdminSources};
use crate::bearer::{BearerIdentities, BearerWorker};
use crate::ca_client::view::NodeView;
use crate::ca_client::{CaAddresses, CaProvider, IstioProvider, NodeClient, NodeFailure, NodeSettings, VaultProvider};
use crate::config::{AgentConfig, Provider, SdsConfig};
use crate::file_secrets::FileSecretWorker;
use crate::files::{FileBoard, FileKeeper};
use crate::identities::{Held, IdentityWorker};
use crate::key_file;
use crate::metrics::{AgentMetrics, Alarm};
use crate::progress::ProgressSources;
use crate::sds_source::SdsSource;
use crate::secrets::CallerSecrets;
use crate::state::{StateDir, StateError};
use crate::svid_cache::{self, SvidCache, SvidKeeper};
use crate::workload::{
    AccountEntries, CallerFacts, ExecutableDemand, ExecutableHashes, NodePods, PodMetrics, PodWatcher, WorkloadMetrics,
    WorkloadServer, follow_demand,
};
use crate::workload_api::{JwtSvids, WorkloadApi, WorkloadApiMetrics};

/// How long open streams may take to end after the shutdown. Nothing of theirs is lost: clients come back to the next agent.
const GRACE: Duration = Duration::from_secs(2);

/// Binds an agent.
pub struct Server;

/// An agent that has its sockets and its state directory, and does nothing yet.
pub struct BoundServer {
    provider: Box<dyn CaProvider>,
    progress: ProgressSources,
    worker: IdentityWorker,
    file_secrets: Option<FileSecretWorker>,
    bearer: Option<BearerWorker>,
    keeper: Option<SvidKeeper>,
    /// With what they are kept for.
    jwt_svids: Option<(JwtSvids, watch::Receiver<Arc<Held>>)>,
    files: Vec<FileKeeper>,
    workloads: WorkloadServer,
    workload_services: Routes,
    workload_metrics: WorkloadMetrics,
    hashes: Arc<ExecutableHashes>,
    pods: NodePods,
    pod_watcher: Option<PodWatcher>,
    account_entries: Option<AccountEntries>,
    views: watch::Receiver<Arc<NodeView>>,
    clock: Arc<dyn Clock>,
    admin: AdminService,
    telemetry: Option<(AdminHttp, Registry)>,
    readiness: Readiness,
    addresses: AgentAddresses,
    trust_domain: TrustDomain,
}

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAddresses {
    /// For workloads.
    pub api_socket: PathBuf,
    /// For operators.
    pub admin_socket: PathBuf,
    /// `host:port` or `unix:/path`; `None` when telemetry is not served.
    pub telemetry: Option<String>,
}

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory is refused or damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// A needed piece is missing.
    #[error(transparent)]
    Node(#[from] NodeFailure),
    /// A socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Telemetry cannot be bound.
    #[error(transparent)]
    Telemetry(#[from] AdminBindError),
}

/// Why a running agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Only an operator can help: a CA that is not the pinned one, or a join token that cannot be used.
    #[error(transparent)]
    Node(NodeFailure),
    /// A task failed.
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

impl RunError {
    /// What an operator does about it, where the error's own words do not say so.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Node(failure) => failure.advice(),
            Self::Task(_) => None,
        }
    }
}

impl Server {
    /// Takes the state directory and binds every socket. Nothing is sent to the CA. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] naming the piece at fault.
    pub async fn bind(config: AgentConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<BoundServer, StartError> {
        let readiness = Readiness::default();
        let mut registry = telemetry::registry();
        let metrics = AgentMetrics::register(&mut registry);
        let sds_metrics = SdsMetrics::register(&mut registry);
        let workload_metrics = WorkloadMetrics::register(&mut registry);
        let hashes = Arc::new(ExecutableHashes::new(Arc::clone(&clock)));
        hashes.register(&mut registry);
        let pod_metrics = PodMetrics::register(&mut registry);
        let (pods, pod_watcher) = match config.pods.clone() {
            Some(pods) => {
                let (pods, watcher) = NodePods::new(pods, &clock, &entropy, metrics.kubernetes(), pod_metrics);
                (pods, Some(watcher))
            }
            None => (NodePods::off(), None),
        };
        let board = FileBoard::register(&mut registry, &config.files);
        let workload_api_metrics = WorkloadApiMetrics::register(&mut registry);

        let protection = key_file::protection(config.key_passphrase.as_ref()).map_err(StateError::from)?;
        let state = StateDir::open(&config.state_dir)?.protecting(protection);
        let common = Common {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let provider = provider(&config, common, state)?;
        let by_pods = config.pods.as_ref().is_some_and(|pods| pods.pod_identities);
        let (account_entries, views) = if by_pods {
            let (entries, views) = AccountEntries::new(config.trust_domain.clone(), pods.clone(), provider.views());
            (Some(entries), views)
        } else {
            (None, provider.views())
        };
        let secrets = Arc::new(CallerSecrets::default());
        let workloads = WorkloadServer::bind(&config.api_socket, config.limits)?;
        let SdsConfig { validation_context, file_secrets, bearer_tokens } = config.sds;
        let file_secrets = file_secrets.map(|settings| FileSecretWorker::new(settings, Arc::clone(&clock), metrics.clone()));
        let door = if bearer_tokens { provider.istio_ca() } else { None };
        let (bearer, bearer_worker) = match door {
            Some(ca) => {
                let (views, domain) = (provider.views(), config.trust_domain.clone());
                let bearer = BearerIdentities::new(ca, domain, views, Arc::clone(&clock), Arc::clone(&entropy), metrics.clone());
                (Some(bearer.0), Some(bearer.1))
            }
            None => (None, None),
        };
        let in_use = bearer.as_ref().map(BearerIdentities::in_use);
        let source = Arc::new(SdsSource { secrets: Arc::clone(&secrets), files: file_secrets.clone(), bearer });
        let sds = SdsService::new(source, validation_context, Arc::clone(&clock), sds_metrics);
        let (cache, cache_state) =
            match svid_cache(&config.state_dir, config.svid_cache_secret.as_ref(), &config.trust_domain, &entropy) {
                Ok(Some(cache)) => (Some(cache), "encrypted".to_owned()),
                Ok(None) => (None, "off".to_owned()),
                Err(why) => {
                    metrics.alarm(Alarm::SvidCacheUnusable);
                    tracing::warn!(why, "no SVID cache is kept: a restart while the CA is away would serve nobody");
                    (None, why)
                }
            };
        let jwt_svids =
            provider.jwt_issuer().map(|issuer| JwtSvids::new(issuer, Arc::clone(&clock), workload_api_metrics.clone()));
        let granted = secrets.held_changes();
        let workload_api = WorkloadApi::new(Arc::clone(&secrets), jwt_svids.clone(), Arc::clone(&clock), workload_api_metrics);
        let progress = ProgressSources {
            secrets: Arc::clone(&secrets),
            sds: sds.progress(),
            workload_api: workload_api.streams(),
            files: board.clone(),
            bearer: in_use,
        };
        let workload_services = workload_api.add_to(Routes::new(sds.into_server()));
        let admin = AdminService::new(
            BoundSocket::bind(&config.admin_socket, 0o600)?,
            AdminSources {
                secrets: Arc::clone(&secrets),
                views: views.clone(),
                statuses: provider.statuses(),
                readiness: readiness.clone(),
                clock: Arc::clone(&clock),
                trust_domain: config.trust_domain.clone(),
                provider: provider.name(),
                absent: provider.capabilities().absent(),
                hashes: Arc::clone(&hashes),
                pods: pods.clone(),
                files: board.clone(),
                jwt_svids: jwt_svids.clone(),
                svid_cache: cache_state,
                rebootstrap: provider.rebootstrap_door(),
            },
        );
        let telemetry = match &config.telemetry {
            Some(address) => Some((AdminHttp::bind(address).await?, registry)),
            None => None,
        };
        let addresses = AgentAddresses {
            api_socket: config.api_socket,
            admin_socket: config.admin_socket,
            telemetry: telemetry.as_ref().map(|(http, _)| http.address()),
        };
        let (issuer, channels) = (provider.issuer(), provider.channels());
        let keep = |set| FileKeeper::new(set, Arc::clone(&secrets), board.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        let files = config.files.into_iter().map(keep).collect();
        let keeper = cache.clone().map(|cache| SvidKeeper::new(cache, secrets.held_changes(), views.clone(), metrics.clone()));
        let worker =
            IdentityWorker::new(issuer, views.clone(), channels, secrets, Arc::clone(&clock), entropy, metrics).with_cache(cache);
        Ok(BoundServer {
            provider,
            progress,
            worker,
            file_secrets,
            bearer: bearer_worker,
            keeper,
            jwt_svids: jwt_svids.map(|svids| (svids, granted)),
            files,
            workloads,
            workload_services,
            workload_metrics,
            hashes,
            pods,
            pod_watcher,
            account_entries,
            views,
            clock,
            admin,
            telemetry,
            readiness,
            addresses,
            trust_domain: config.trust_domain,
        })
    }
}

/// The cache of SVIDs, where one is configured; where none is, what an earlier one left is removed.
fn svid_cache(
    state_dir: &Path,
    secret: Option<&SecretSource>,
    trust_domain: &TrustDomain,
    entropy: &Arc<dyn Entropy>,
) -> Result<Option<Arc<SvidCache>>, String> {
    let Some(secret) = secret else {
        svid_cache::remove(state_dir);
        return Ok(None);
    };
    let cache = SvidCache::new(state_dir, secret, trust_domain.clone(), Arc::clone(entropy))?;
    Ok(Some(Arc::new(cache)))
}

/// What every provider takes.
struct Common {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    readiness: Readiness,
    metrics: AgentMetrics,
}

fn provider(config: &AgentConfig, common: Common, state: StateDir) -> Result<Box<dyn CaProvider>, NodeFailure> {
    let Common { clock, entropy, readiness, metrics } = common;
    match &config.provider {
        Provider::Signet { ca_address, other_addresses } => {
            let [random] = runtime::entropy::bytes(&*entropy);
            let settings = NodeSettings {
                ca: CaAddresses::new(ca_address.clone(), other_addresses.clone(), random),
                trust_domain: config.trust_domain.clone(),
                pin: None,
                first_proof: config.first_proof.clone(),
                clock,
                entropy,
                readiness,
                metrics,
            };
            Ok(Box::new(NodeClient::prepare(settings, state, config.first_trust.as_ref())?))
        }
        Provider::Istio(istio) => {
            Ok(Box::new(IstioProvider::prepare(istio, &config.trust_domain, state, clock, readiness, metrics)?))
        }
        Provider::Vault(vault) => {
            let client = VaultClient::new(vault.server.clone(), Arc::clone(&clock), entropy, metrics.vault());
            Ok(Box::new(VaultProvider::prepare(vault, client, &config.trust_domain, state, clock, readiness, metrics)?))
        }
    }
}

impl BoundServer {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &AgentAddresses {
        &self.addresses
    }

    /// What `/readyz` tells.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Runs until the shutdown fires, or until only an operator can help.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        tracing::info!(trust_domain = %self.trust_domain, api_socket = %self.addresses.api_socket.display(), "the agent runs");
        let mut tasks = TaskGroup::new(shutdown);
        let verdict = Arc::new(Mutex::new(None));
        let (mut provider, ended, told) = (self.provider, tasks.shutdown(), Arc::clone(&verdict));
        let (report, reports) = watch::channel(None);
        provider.report(reports);
        tasks.spawn("node", async move {
            provider.run(ended).await.map_err(|failure| {
                // The group knows only text; the caller reacts to what it was.
                let text = failure.to_string();
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                text
            })
        });
        let worker = self.worker.opened().await;
        tasks.spawn("identities", worker.run(tasks.shutdown()));
        tasks.spawn("progress", self.progress.watch(report, tasks.shutdown()));
        if let Some(file_secrets) = self.file_secrets {
            tasks.spawn("file secrets", file_secrets.run(tasks.shutdown()));
        }
        if let Some(bearer) = self.bearer {
            tasks.spawn("identities by token", bearer.run(tasks.shutdown()));
        }
        if let Some(keeper) = self.keeper {
            tasks.spawn("SVID cache", keeper.run(tasks.shutdown()));
        }
        if let Some((svids, granted)) = self.jwt_svids {
            tasks.spawn("JWT-SVIDs", svids.follow(granted, tasks.shutdown()));
        }
        for keeper in self.files {
            tasks.spawn("files", keeper.run(tasks.shutdown()));
        }
        let (wanted, demand) = watch::channel(false);
        tasks.spawn("demand for executable hashes", follow_demand(self.views, wanted, tasks.shutdown()));
        if let Some(watcher) = self.pod_watcher {
            tasks.spawn("pods of this node", watcher.run(tasks.shutdown()));
        }
        if let Some(entries) = self.account_entries {
            tasks.spawn("entries of service accounts", entries.run(tasks.shutdown()));
        }
        let facts = CallerFacts { executables: ExecutableDemand::new(self.hashes, demand), pods: self.pods };
        let workloads = self.workloads.run(self.workload_services, self.workload_metrics, facts, self.clock, tasks.shutdown());
        tasks.spawn("workload socket", workloads);
        tasks.spawn("admin socket", self.admin.run(tasks.shutdown()));
        if let Some((http, registry)) = self.telemetry {
            tasks.spawn("telemetry", http.run(Arc::new(registry), self.readiness, tasks.shutdown()));
        }
        let ended = tasks.join(GRACE).await;
        match verdict.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(RunError::Node(failure)),
            None => Ok(ended?),
        }
    }
}

#[cfg(test)]
mod tests;
