//! The operator's door to this agent: a Unix socket of mode 0600.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream;
use identity::NodeName;
use proto::v1;
use proto::v1::agent_admin_server::{AgentAdmin, AgentAdminServer};
use runtime::accept::pause_after_error;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::unix_socket::BoundSocket;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::ca_client::NodeStatus;
use crate::ca_client::view::NodeView;
use crate::entry::Entry;
use crate::identities::{HeldIdentity, IdentityState};
use crate::secrets::CallerSecrets;
use crate::workload::{Caller, Unreadable, attest_pid, match_entries, nearest_miss};

/// What the answers are made of.
pub(crate) struct AdminSources {
    pub(crate) secrets: Arc<CallerSecrets>,
    pub(crate) views: watch::Receiver<Arc<NodeView>>,
    pub(crate) statuses: watch::Receiver<NodeStatus>,
    pub(crate) readiness: Readiness,
}

/// The service and its socket.
pub(crate) struct AdminService {
    socket: BoundSocket,
    sources: AdminSources,
}

impl AdminService {
    pub(crate) fn new(socket: BoundSocket, sources: AdminSources) -> Self {
        Self { socket, sources }
    }

    /// Serves until the shutdown.
    ///
    /// # Errors
    /// When the transport cannot be set up.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), tonic::transport::Error> {
        let Self { socket, sources } = self;
        let accepted = stream::unfold(socket, async |socket| {
            loop {
                match socket.accept().await {
                    Ok(connection) => return Some((Ok::<_, std::io::Error>(connection), socket)),
                    Err(error) => pause_after_error(&error).await,
                }
            }
        });
        tonic::transport::Server::builder()
            .timeout(DEADLINE)
            .concurrency_limit_per_connection(16)
            .add_service(AgentAdminServer::new(Answers(sources)))
            .serve_with_incoming_shutdown(accepted, shutdown.fired())
            .await
    }
}

struct Answers(AdminSources);

#[tonic::async_trait]
impl AgentAdmin for Answers {
    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let v1::ExplainRequest { pid } = request.into_inner();
        let read = tokio::task::spawn_blocking(move || attest_pid(pid)).await;
        let caller = read
            .map_err(|_| Status::internal("reading the process failed"))?
            .map_err(|error| Status::not_found(format!("{error} (is it still running, on this node?)")))?;
        let view = Arc::clone(&self.0.views.borrow());
        let mut entries: Vec<_> = view.entries.values().map(Arc::as_ref).collect();
        entries.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(Response::new(explain(&caller, &entries, view.node.as_ref())))
    }

    async fn agent_status(&self, _: Request<v1::AgentStatusRequest>) -> Result<Response<v1::AgentStatusResponse>, Status> {
        let status = self.0.statuses.borrow().clone();
        let held = self.0.secrets.held();
        let mut warnings = self.0.readiness.failing();
        let ready = warnings.is_empty();
        warnings.extend(status.trouble);
        warnings.extend(status.unstored);
        let failing = held.identities.iter().filter_map(|identity| {
            identity.last_error.as_ref().map(|error| format!("{} cannot be fetched: {error}", identity.entry.spiffe_id))
        });
        warnings.extend(failing);
        let svid = status.svid.as_ref();
        Ok(Response::new(v1::AgentStatusResponse {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            warnings,
            spiffe_id: svid.map(|svid| svid.id().to_string()).unwrap_or_default(),
            serial: svid.map(|svid| svid.leaf().serial().to_string()).unwrap_or_default(),
            svid_expires_at: svid.map(|svid| SystemTime::from(svid.leaf().not_after()).into()),
            bundle_sequence: held.bundle.as_ref().map_or(0, |bundle| bundle.sequence()),
            connected: status.connected,
            identities: held.identities.iter().map(identity_status).collect(),
        }))
    }
}

fn explain(caller: &Caller, entries: &[&Entry], node: Option<&NodeName>) -> v1::ExplainResponse {
    let wire = |entry: &Entry| node.map(|node| entry.to_wire(node));
    let matched: Vec<_> = match_entries(entries.iter().copied(), &caller.selectors).filter_map(wire).collect();
    let nearest_miss = match nearest_miss(entries.iter().copied(), &caller.selectors) {
        Some(miss) if matched.is_empty() => {
            let missing = miss.missing.iter().map(ToString::to_string).collect();
            Some(v1::NearestMiss { entry: wire(miss.entry), missing })
        }
        Some(_) | None => None,
    };
    let unreadable = |absent: &Unreadable| v1::UnreadableSelector { kind: absent.kind.to_string(), why: absent.why.clone() };
    v1::ExplainResponse {
        selectors: caller.selectors.iter().map(ToString::to_string).collect(),
        unreadable: caller.unreadable.iter().map(unreadable).collect(),
        matched,
        nearest_miss,
        entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
    }
}

fn identity_status(identity: &HeldIdentity) -> v1::IdentityStatus {
    let svid = identity.state.svid();
    let why = match &identity.state {
        IdentityState::Unavailable(why) => Some(why),
        IdentityState::Initializing | IdentityState::Available(_) => None,
    };
    v1::IdentityStatus {
        spiffe_id: identity.entry.spiffe_id.to_string(),
        state: identity.state.as_str().to_owned(),
        serial: svid.map(|svid| svid.leaf().serial().to_string()).unwrap_or_default(),
        expires_at: svid.map(|svid| SystemTime::from(svid.leaf().not_after()).into()),
        renew_at: svid.map(|svid| SystemTime::from(svid.renew_at()).into()),
        last_error: identity.last_error.as_ref().or(why).cloned().unwrap_or_default(),
    }
}

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
