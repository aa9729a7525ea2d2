//! The Admin service: what an operator does to the CA, over its Unix socket.
//!
//! Owns the checks of what an operator asks for; the store owns the rest and writes the audit events. Who asks is what the kernel
//! says of the peer process: the socket has mode 0600, and beyond that only root and the CA's own user are served.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use identity::NodeName;
use pki::{JwksContent, Timestamp};
use proto::v1;
use runtime::clock::Clock;
use runtime::entropy::{self, Entropy};
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Extensions, Request, Response, Status};

use crate::audit::Actor;
use crate::records::{Entry, EntryId, JoinToken, NodeRecord, NodeState, TokenId, TokenRecord};
use crate::revocation::Published;
use crate::rpc::admin_audit;
use crate::rpc::admin_entries::left_of_objects;
use crate::rpc::admin_sources::{CaStatus, Fleet, StatusSource};
use crate::rpc::admin_status::AdminError;
use crate::rpc::admin_tail::{Until, tail};
use crate::rpc::entry_wire::{self, EntryLimits};
use crate::rpc::wire::{self, StoreCounts};
use crate::store::{EntryFilter, Store};

/// The longest life of a join token: it is made to be used now.
pub(crate) const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Audit events that a tail begins with when the operator does not say.
const DEFAULT_TAIL: u32 = 20;

/// The service; its parts are given by the server.
pub(crate) struct AdminService {
    /// What it changes and reads.
    pub(crate) store: Arc<dyn Store>,
    /// Who is connected.
    pub(crate) fleet: Arc<dyn Fleet>,
    /// How the CA is.
    pub(crate) status: Arc<dyn StatusSource>,
    /// For the time of each change.
    pub(crate) clock: Arc<dyn Clock>,
    /// For tokens and entry ids.
    pub(crate) entropy: Arc<dyn Entropy>,
    /// What entries must keep to.
    pub(crate) limits: EntryLimits,
    /// The life of a token when the operator does not say; at most [`MAX_TOKEN_TTL`].
    pub(crate) token_ttl: Duration,
    /// The cluster whose objects are followed, which ask for entries; `None`: those that are left of one are followed by nobody.
    pub(crate) followed_cluster: Option<String>,
    /// What agents are sent of revocations.
    pub(crate) lists: watch::Receiver<Arc<Published>>,
    /// Ends the audit streams that follow.
    pub(crate) shutdown: Shutdown,
}

impl AdminService {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// An entry, with whether its identity is revoked.
    pub(super) fn entry(&self, entry: &Entry) -> v1::Entry {
        let revoked = self.store.revoked().borrow().denied.contains(&entry.spec.spiffe_id);
        v1::Entry { revoked, ..entry_wire::entry(entry) }
    }

    async fn mint_token(&self, request: v1::CreateTokenRequest, actor: Actor) -> Result<v1::CreateTokenResponse, AdminError> {
        let v1::CreateTokenRequest { node, ttl_seconds } = request;
        let node = NodeName::parse(&node)?;
        let asked = if ttl_seconds == 0 { self.token_ttl } else { Duration::from_secs(ttl_seconds.into()) };
        if asked > MAX_TOKEN_TTL {
            return Err(AdminError::TokenTtl { asked, max: MAX_TOKEN_TTL });
        }
        let now = self.now();
        let token = JoinToken::from_random(entropy::bytes(self.entropy.as_ref()));
        let record = TokenRecord { hash: token.hash(), node: node.clone(), expires_at: now.plus(asked) };
        let (expires_at, id) = (record.expires_at, record.id());
        self.store.create_token(record, actor, now).await?;
        let CaStatus { root_fingerprint, address, .. } = self.status.status();
        Ok(v1::CreateTokenResponse {
            token: token.expose().to_owned(),
            node: node.to_string(),
            expires_at: Some(wire::timestamp(expires_at)),
            ca_fingerprint: data_encoding::HEXLOWER.encode(&root_fingerprint),
            ca_address: address,
            trust_domain: self.limits.trust_domain.to_string(),
            id: id.to_string(),
        })
    }

    async fn counts(&self) -> Result<StoreCounts, AdminError> {
        let nodes = self.store.nodes().await?;
        let attested = nodes.iter().filter(|record| record.state == NodeState::Attested).count();
        let entries = self.store.entries(EntryFilter::All).await?;
        Ok(StoreCounts {
            attested: u32::try_from(attested).unwrap_or(u32::MAX),
            entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            warnings: left_of_objects(&entries, self.followed_cluster.as_deref()),
            certificates_issued: self.store.issued_count().await?,
        })
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn create_entry(&self, request: Request<v1::CreateEntryRequest>) -> Result<Response<v1::Entry>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.make_entry(request.into_inner(), actor).await?))
    }

    type ListEntriesStream = BoxStream<'static, Result<v1::ListEntriesResponse, Status>>;

    async fn list_entries(&self, request: Request<v1::ListEntriesRequest>) -> Result<Response<Self::ListEntriesStream>, Status> {
        operator(request.extensions())?;
        let pages = self.pages_of_entries(request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream::iter(pages.map(Ok)))))
    }

    async fn get_entry(&self, request: Request<v1::GetEntryRequest>) -> Result<Response<v1::Entry>, Status> {
        operator(request.extensions())?;
        let v1::GetEntryRequest { id } = request.into_inner();
        let entry = self.store.entry(entry_id(&id)?).await.map_err(AdminError::Store)?;
        Ok(Response::new(self.entry(&entry)))
    }

    async fn update_entry(&self, request: Request<v1::UpdateEntryRequest>) -> Result<Response<v1::Entry>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.change_entry(request.into_inner(), actor).await?))
    }

    async fn delete_entry(&self, request: Request<v1::DeleteEntryRequest>) -> Result<Response<v1::DeleteEntryResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::DeleteEntryRequest { id, revoke, reason } = request.into_inner();
        if revoke {
            return Ok(Response::new(self.delete_and_revoke(&id, reason, actor).await?));
        }
        let id = entry_id(&id)?;
        self.check_deletable(&id).await?;
        let deleted = self.store.delete_entry(id, actor, self.now()).await;
        let (entry, outstanding) = deleted.map_err(AdminError::Store)?;
        let outstanding = outstanding.map(entry_wire::outstanding);
        Ok(Response::new(v1::DeleteEntryResponse { entry: Some(self.entry(&entry)), outstanding, revoked: 0 }))
    }

    async fn apply_entries(
        &self,
        request: Request<v1::ApplyEntriesRequest>,
    ) -> Result<Response<v1::ApplyEntriesResponse>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.apply_document(request.into_inner(), actor).await?))
    }

    async fn create_node_alias(&self, request: Request<v1::CreateNodeAliasRequest>) -> Result<Response<v1::NodeAlias>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.make_alias(request.into_inner(), actor).await?))
    }

    async fn list_node_aliases(
        &self,
        request: Request<v1::ListNodeAliasesRequest>,
    ) -> Result<Response<v1::ListNodeAliasesResponse>, Status> {
        operator(request.extensions())?;
        let v1::ListNodeAliasesRequest {} = request.into_inner();
        let aliases = self.store.aliases().await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::ListNodeAliasesResponse { aliases: aliases.iter().map(entry_wire::alias).collect() }))
    }

    async fn change_node_alias(&self, request: Request<v1::ChangeNodeAliasRequest>) -> Result<Response<v1::NodeAlias>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.change_alias(request.into_inner(), actor).await?))
    }

    async fn delete_node_alias(
        &self,
        request: Request<v1::DeleteNodeAliasRequest>,
    ) -> Result<Response<v1::DeleteNodeAliasResponse>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.delete_alias(request.into_inner(), actor).await?))
    }

    async fn get_bundle(&self, request: Request<v1::GetBundleRequest>) -> Result<Response<v1::GetBundleResponse>, Status> {
        operator(request.extensions())?;
        let v1::GetBundleRequest {} = request.into_inner();
        let bundle = self.status.bundle();
        let (trust_domain, document) = (bundle.trust_domain().to_string(), bundle.to_jwks(JwksContent::All));
        Ok(Response::new(v1::GetBundleResponse { trust_domain, document }))
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.mint_token(request.into_inner(), actor).await?))
    }

    async fn list_tokens(&self, request: Request<v1::ListTokensRequest>) -> Result<Response<v1::ListTokensResponse>, Status> {
        operator(request.extensions())?;
        let v1::ListTokensRequest {} = request.into_inner();
        let tokens = self.store.open_tokens(self.now()).await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::ListTokensResponse { tokens: tokens.iter().map(wire::token).collect() }))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::RevokeTokenRequest { id } = request.into_inner();
        let id: TokenId = id.parse().map_err(AdminError::TokenId)?;
        let token = self.store.revoke_token(id, actor, self.now()).await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::RevokeTokenResponse { token: Some(wire::token(&token)) }))
    }

    async fn list_nodes(&self, request: Request<v1::ListNodesRequest>) -> Result<Response<v1::ListNodesResponse>, Status> {
        operator(request.extensions())?;
        let v1::ListNodesRequest {} = request.into_inner();
        let records = self.store.nodes().await.map_err(AdminError::Store)?;
        let acknowledged = self.store.acknowledged().await.map_err(AdminError::Store)?;
        let told = |record: &NodeRecord| {
            let kept = acknowledged.get(&record.node).copied().unwrap_or(0);
            wire::node(record, &self.limits.trust_domain, self.fleet.connection(&record.node), kept)
        };
        Ok(Response::new(v1::ListNodesResponse { nodes: records.iter().map(told).collect() }))
    }

    async fn evict_node(&self, request: Request<v1::EvictNodeRequest>) -> Result<Response<v1::EvictNodeResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::EvictNodeRequest { node } = request.into_inner();
        self.store.evict_node(node_name(&node)?, actor, self.now()).await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::EvictNodeResponse {}))
    }

    async fn ban_node(&self, request: Request<v1::BanNodeRequest>) -> Result<Response<v1::BanNodeResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::BanNodeRequest { node } = request.into_inner();
        self.store.ban_node(node_name(&node)?, actor, self.now()).await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::BanNodeResponse {}))
    }

    async fn unban_node(&self, request: Request<v1::UnbanNodeRequest>) -> Result<Response<v1::UnbanNodeResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::UnbanNodeRequest { node } = request.into_inner();
        self.store.unban_node(node_name(&node)?, actor, self.now()).await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::UnbanNodeResponse {}))
    }

    type TailAuditStream = BoxStream<'static, Result<v1::AuditEvent, Status>>;

    async fn tail_audit(&self, request: Request<v1::TailAuditRequest>) -> Result<Response<Self::TailAuditStream>, Status> {
        operator(request.extensions())?;
        let v1::TailAuditRequest { lines, follow } = request.into_inner();
        let lines = if lines == 0 { DEFAULT_TAIL } else { lines };
        let until = if follow { Until::Stopped } else { Until::Now };
        Ok(Response::new(tail(Arc::clone(&self.store), self.shutdown.clone(), lines, until)))
    }

    type VerifyAuditStream = BoxStream<'static, Result<v1::VerifyAuditResponse, Status>>;

    async fn verify_audit(&self, request: Request<v1::VerifyAuditRequest>) -> Result<Response<Self::VerifyAuditStream>, Status> {
        operator(request.extensions())?;
        let (shown, keys) = admin_audit::shown(request.into_inner())?;
        Ok(Response::new(admin_audit::verify(Arc::clone(&self.store), shown, keys)))
    }

    type ListOrphansStream = BoxStream<'static, Result<v1::ListOrphansResponse, Status>>;

    async fn list_orphans(&self, request: Request<v1::ListOrphansRequest>) -> Result<Response<Self::ListOrphansStream>, Status> {
        operator(request.extensions())?;
        let now = Timestamp::from(self.clock.now());
        Ok(Response::new(admin_audit::orphans(Arc::clone(&self.store), request.into_inner(), now)))
    }

    async fn acknowledge_fork(
        &self,
        request: Request<v1::AcknowledgeForkRequest>,
    ) -> Result<Response<v1::AcknowledgeForkResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::AcknowledgeForkRequest {} = request.into_inner();
        let now = Timestamp::from(self.clock.now());
        let acknowledged = self.status.acknowledge_fork(actor, now).await.map_err(AdminError::Store)?;
        Ok(Response::new(v1::AcknowledgeForkResponse { acknowledged }))
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Result<Response<v1::RevokeResponse>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.revoke_target(request.into_inner(), actor).await?))
    }

    async fn unrevoke(&self, request: Request<v1::UnrevokeRequest>) -> Result<Response<v1::UnrevokeResponse>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.restore_target(request.into_inner(), actor).await?))
    }

    type ListRevocationsStream = BoxStream<'static, Result<v1::ListRevocationsResponse, Status>>;

    async fn list_revocations(
        &self,
        request: Request<v1::ListRevocationsRequest>,
    ) -> Result<Response<Self::ListRevocationsStream>, Status> {
        operator(request.extensions())?;
        let v1::ListRevocationsRequest {} = request.into_inner();
        let pages = self.pages_of_revocations().await?;
        Ok(Response::new(Box::pin(stream::iter(pages.into_iter().map(Ok)))))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        operator(request.extensions())?;
        let v1::StatusRequest {} = request.into_inner();
        let counts = self.counts().await?;
        let status = wire::status(self.status.status(), &self.limits.trust_domain, counts);
        Ok(Response::new(v1::StatusResponse { revocation: Some(self.revocation_status()), ..status }))
    }
}

/// Who asks, as the kernel says. The server puts tonic's [`UdsConnectInfo`] among the extensions, which every stream of
/// `tokio::net::UnixStream` does by itself.
pub(super) fn operator(extensions: &Extensions) -> Result<Actor, AdminError> {
    let credentials = extensions.get::<UdsConnectInfo>().and_then(|peer| peer.peer_cred).ok_or(AdminError::NoPeer)?;
    let uid = credentials.uid();
    let own = nix::unistd::geteuid().as_raw();
    if may_operate(uid, own) { Ok(Actor::Operator { uid }) } else { Err(AdminError::NotAnOperator { uid }) }
}

fn may_operate(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

pub(super) fn node_name(text: &str) -> Result<NodeName, AdminError> {
    Ok(NodeName::parse(text)?)
}

pub(super) fn entry_id(text: &str) -> Result<EntryId, AdminError> {
    Ok(EntryId::parse(text)?)
}

#[cfg(test)]
mod tests;
