//! The whole agent: everything is bound before anything runs, and one group owns every task.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::TrustDomain;
use prometheus_client::registry::Registry;
use runtime::admin_http::{AdminBindError, AdminHttp};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::{TaskFailure, TaskGroup};
use runtime::telemetry;
use runtime::unix_socket::{BoundSocket, SocketError};
use sds::{SdsMetrics, SdsService};
use tonic::service::Routes;

use crate::admin::{AdminService, AdminSources};
use crate::ca_client::{NodeClient, NodeFailure, NodeSettings};
use crate::config::AgentConfig;
use crate::identities::IdentityWorker;
use crate::metrics::AgentMetrics;
use crate::secrets::CallerSecrets;
use crate::state::{StateDir, StateError};
use crate::workload::{WorkloadMetrics, WorkloadServer};

/// How long open streams may take to end after the shutdown. Nothing of theirs is lost: clients come back to the next agent.
const GRACE: Duration = Duration::from_secs(2);

/// Binds an agent.
pub struct Server;

/// An agent that has its sockets and its state directory, and does nothing yet.
pub struct BoundServer {
    node: NodeClient,
    worker: IdentityWorker,
    workloads: WorkloadServer,
    workload_services: Routes,
    workload_metrics: WorkloadMetrics,
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

        let state = StateDir::open(&config.state_dir)?;
        let settings = NodeSettings {
            ca_address: config.ca_address.clone(),
            trust_domain: config.trust_domain.clone(),
            pin: None,
            join_token: config.join_token.clone(),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let node = NodeClient::prepare(settings, state, config.first_trust.as_ref())?;
        let secrets = Arc::new(CallerSecrets::default());
        let workloads = WorkloadServer::bind(&config.api_socket)?;
        let sds = SdsService::new(Arc::clone(&secrets), config.validation_context, Arc::clone(&clock), sds_metrics);
        let workload_services = Routes::new(sds.into_server());
        let admin = AdminService::new(
            BoundSocket::bind(&config.admin_socket, 0o600)?,
            AdminSources {
                secrets: Arc::clone(&secrets),
                views: node.views(),
                statuses: node.statuses(),
                readiness: readiness.clone(),
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
        let issuer = Arc::new(node.issuer());
        let worker = IdentityWorker::new(issuer, node.views(), node.channels(), secrets, Arc::clone(&clock), entropy, metrics);
        Ok(BoundServer {
            node,
            worker,
            workloads,
            workload_services,
            workload_metrics,
            clock,
            admin,
            telemetry,
            readiness,
            addresses,
            trust_domain: config.trust_domain,
        })
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
        let (node, ended, told) = (self.node, tasks.shutdown(), Arc::clone(&verdict));
        tasks.spawn("node", async move {
            node.run(ended).await.map_err(|failure| {
                // The group knows only text; the caller reacts to what it was.
                let text = failure.to_string();
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                text
            })
        });
        tasks.spawn("identities", self.worker.run(tasks.shutdown()));
        let workloads = self.workloads.run(self.workload_services, self.workload_metrics, self.clock, tasks.shutdown());
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
