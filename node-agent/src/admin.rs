//! The operator's door to this agent: a Unix socket of mode 0600.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use futures_util::stream;
use identity::{Selector, TrustDomain};
use pki::{RevocationList, RevocationSet, Timestamp, TrustBundle};
use proto::v1;
use proto::v1::agent_admin_server::{AgentAdmin, AgentAdminServer};
use runtime::accept::pause_after_error;
use runtime::clock::Clock;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::unix_socket::BoundSocket;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::ca_client::checkpoints::{self, RefusedCheckpoint};
use crate::ca_client::view::NodeView;
use crate::ca_client::{NodeStatus, RebootstrapDoor, RebootstrapRefusal};
use crate::explain::{self, outlook};
use crate::files::FileBoard;
use crate::files::board::FileSetStatus;
use crate::identities::{HeldIdentity, IdentityState};
use crate::secrets::CallerSecrets;
use crate::workload::{Caller, ExecutableHashes, NodePods, Unreadable, attest_pid};
use crate::workload_api::JwtSvids;

/// What the answers are made of.
pub(crate) struct AdminSources {
    pub(crate) secrets: Arc<CallerSecrets>,
    pub(crate) views: watch::Receiver<Arc<NodeView>>,
    pub(crate) statuses: watch::Receiver<NodeStatus>,
    pub(crate) readiness: Readiness,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) trust_domain: TrustDomain,
    /// The provider's name, and what it cannot give.
    pub(crate) provider: &'static str,
    pub(crate) absent: Vec<&'static str>,
    pub(crate) hashes: Arc<ExecutableHashes>,
    pub(crate) pods: NodePods,
    pub(crate) files: FileBoard,
    /// `None` where the CA signs none.
    pub(crate) jwt_svids: Option<JwtSvids>,
    /// Whether SVIDs are cached, or why not.
    pub(crate) svid_cache: String,
    /// `None` where the configuration alone says which CA is trusted.
    pub(crate) rebootstrap: Option<RebootstrapDoor>,
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
        let v1::ExplainRequest { pid, selectors, edited, selector_edits } = request.into_inner();
        let (selectors, unreadable) = process(pid, &selectors, &self.0.hashes, &self.0.pods).await?;
        let view = Arc::clone(&self.0.views.borrow());
        let (node, now) = (view.node.as_ref(), self.0.clock.now().into());
        let v1::Outlook { matched, nearest_miss, entries, ended } = outlook(&view.entries, &selectors, node, now);
        let (after, notes) = if edited.is_empty() && selector_edits.is_empty() {
            (None, Vec::new())
        } else {
            let node = node.ok_or_else(|| {
                Status::failed_precondition(
                    "this node has no name at a CA, so no entry can be edited for it: it has not attested yet, or its identities come \
                     from its configuration (`signet agent status` says which)",
                )
            })?;
            let (changed, notes) = explain::edited(&view.entries, edited, selector_edits, &self.0.trust_domain, node)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            (Some(outlook(&changed, &selectors, Some(node), now)), notes)
        };
        Ok(Response::new(v1::ExplainResponse {
            selectors: selectors.iter().map(ToString::to_string).collect(),
            unreadable,
            matched,
            nearest_miss,
            entries,
            ended,
            after,
            notes,
        }))
    }

    async fn rebootstrap(&self, request: Request<v1::RebootstrapRequest>) -> Result<Response<v1::RebootstrapResponse>, Status> {
        let v1::RebootstrapRequest { dry_run } = request.into_inner();
        let door = self.0.rebootstrap.as_ref().ok_or_else(|| {
            Status::failed_precondition(
                "this provider's CA is trusted as the configuration says, at each start: there is nothing to give up",
            )
        })?;
        if self.0.statuses.borrow().connected {
            return Err(Status::failed_precondition(RebootstrapRefusal::InStep.to_string()));
        }
        let done = door.order(dry_run).await.map_err(|why| Status::failed_precondition(why.to_string()))?;
        let hex = |digests: Vec<pki::Sha256Digest>| digests.iter().map(|digest| HEXLOWER.encode(digest)).collect();
        Ok(Response::new(v1::RebootstrapResponse {
            former_sequence: done.former_sequence,
            former_authorities: hex(done.former),
            authorities: hex(done.anew),
        }))
    }

    async fn agent_status(&self, _: Request<v1::AgentStatusRequest>) -> Result<Response<v1::AgentStatusResponse>, Status> {
        let status = self.0.statuses.borrow().clone();
        let held = self.0.secrets.held();
        let mut warnings = self.0.readiness.failing();
        let ready = warnings.is_empty();
        warnings.extend(status.trouble);
        warnings.extend(status.unstored);
        warnings.extend(status.anchor);
        warnings.extend(self.0.pods.warning());
        warnings.extend(status.refused_checkpoint.as_deref().map(RefusedCheckpoint::warning));
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
            provider: self.0.provider.to_owned(),
            absent: self.0.absent.iter().map(|capability| (*capability).to_owned()).collect(),
            file_sets: self.0.files.sets().iter().map(file_set_status).collect(),
            entries_known: held.knowledge.is_any(),
            jwt_svids_kept: self.0.jwt_svids.as_ref().map_or(0, |svids| u32::try_from(svids.held()).unwrap_or(u32::MAX)),
            svid_cache: self.0.svid_cache.clone(),
            revocation: held
                .revocation
                .as_deref()
                .map(|lists| revocation_status(lists, held.bundle.as_deref(), self.0.clock.now().into())),
            audit_checkpoint: status.checkpoint.as_deref().map(checkpoints::to_wire),
            refused_checkpoint: status.refused_checkpoint.as_deref().map(|refused| v1::RefusedCheckpoint {
                checkpoint: refused.checkpoint.as_deref().map(checkpoints::to_wire),
                why: refused.why.clone(),
            }),
        }))
    }
}

fn revocation_status(set: &RevocationSet, bundle: Option<&TrustBundle>, now: Timestamp) -> v1::HeldRevocation {
    let list = |list: &RevocationList| v1::HeldRevocationList {
        issuer: list.issuer().subject(),
        issuer_key: HEXLOWER.encode(&list.issuer_key()),
        number: list.number().to_string(),
        this_update: Some(SystemTime::from(list.this_update()).into()),
        next_update: Some(SystemTime::from(list.next_update()).into()),
        revoked: u32::try_from(list.len()).unwrap_or(u32::MAX),
        current: list.is_current(now),
    };
    v1::HeldRevocation {
        sequence: set.sequence(),
        complete: bundle.is_some_and(|bundle| set.complete_for(bundle, now)),
        lists: set.lists().iter().map(list).collect(),
    }
}

/// The selectors of a process of this node, or of one that is described.
async fn process(
    pid: i32,
    described: &[String],
    hashes: &Arc<ExecutableHashes>,
    pods: &NodePods,
) -> Result<(BTreeSet<Selector>, Vec<v1::UnreadableSelector>), Status> {
    match (pid, described.is_empty()) {
        (0, true) => Err(Status::invalid_argument("neither a process nor selectors are named")),
        (0, false) => {
            let selectors = described.iter().map(|text| Selector::parse(text)).collect::<Result<_, _>>();
            Ok((selectors.map_err(|error| Status::invalid_argument(error.to_string()))?, Vec::new()))
        }
        (_, false) => Err(Status::invalid_argument("both a process and selectors are named; name one of the two")),
        (pid, true) => {
            let hashes = Arc::clone(hashes);
            let read = tokio::task::spawn_blocking(move || attest_pid(pid, &hashes)).await;
            let mut caller = read
                .map_err(|_| Status::internal("reading the process failed"))?
                .map_err(|error| Status::not_found(format!("{error} (is it still running, on this node?)")))?;
            pods.complete_now(&mut caller);
            let Caller { selectors, unreadable, .. } = caller;
            let told = |absent: Unreadable| v1::UnreadableSelector { kind: absent.kind.to_string(), why: absent.why };
            Ok((selectors, unreadable.into_iter().map(told).collect()))
        }
    }
}

fn identity_status(identity: &HeldIdentity) -> v1::IdentityStatus {
    let svid = identity.state.svid();
    let why = match &identity.state {
        IdentityState::Unavailable(why) => Some(why),
        IdentityState::Initializing | IdentityState::Available(_) | IdentityState::Revoked => None,
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

fn file_set_status(set: &FileSetStatus) -> v1::FileSetStatus {
    v1::FileSetStatus {
        name: set.name.clone(),
        spiffe_id: set.spiffe_id.to_string(),
        directory: set.directory.display().to_string(),
        state: set.state.as_str().to_owned(),
        serial: set.written.as_ref().map(|(serial, _)| serial.to_string()).unwrap_or_default(),
        expires_at: set.written.as_ref().map(|(_, end)| SystemTime::from(*end).into()),
        trouble: set.trouble.clone().unwrap_or_default(),
    }
}

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
