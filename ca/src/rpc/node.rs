//! The service `Node`: what an attested agent may call. Every call begins with the question whether its caller still stands.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use identity::AliasName;
use pki::{JwtSvid, VerifiedRequest};
use proto::v1;
use proto::v1::node_server::Node;
use tonic::{Request, Response, Status, Streaming};

use crate::attestation::{AttestError, Attestation};
use crate::error_reason::{ErrorReason, Told};
use crate::issuing::{Desk, IssuingError};
use crate::jwt::desk::{JwtDesk, JwtIssuingError};
use crate::records::{Entry, NodeEntries, NodeRecord};
use crate::rpc::callers::Callers;
use crate::rpc::connection::ConnectInfo;
use crate::rpc::credential;
use crate::rpc::status::told;
use crate::rpc::sync_stream::{SyncParts, SyncStream};
use crate::sessions::StandingError;
use crate::store::Store;

/// Largest message taken: a full batch of CSRs of the usual kinds.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Most items of one batch.
const MAX_BATCH: usize = 500;
/// Items of one batch that are issued at the same time, so that their records share commits.
const BATCH_CONCURRENCY: usize = 64;

/// The service.
pub(crate) struct NodeService {
    pub(crate) callers: Callers,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) jwt: Arc<JwtDesk>,
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) sync: Arc<SyncParts>,
}

impl NodeService {
    async fn issue_item(
        &self,
        caller: &NodeRecord,
        aliases: &BTreeSet<AliasName>,
        entries: &HashMap<String, Entry>,
        item: v1::batch_issue_request::Item,
    ) -> v1::batch_issue_response::Item {
        let v1::batch_issue_request::Item { entry_id, csr } = item;
        let outcome = match entries.get(&entry_id) {
            Some(entry) => self.desk.issue_entry(caller, aliases, entry, &csr).await,
            None => Err(not_found(&entry_id, caller)),
        };
        let outcome = match outcome {
            Ok(issued) => v1::batch_issue_response::item::Outcome::Svid(credential::svid(&issued)),
            Err(error) => {
                let status = told(&error);
                tracing::warn!(node = %caller.node, reason = error.reason().map(ErrorReason::as_str), why = status.message(), "issuance refused");
                v1::batch_issue_response::item::Outcome::Error(v1::IssueError {
                    code: status.code().into(),
                    reason: error.reason().map_or("INTERNAL", ErrorReason::as_str).to_owned(),
                    message: status.message().to_owned(),
                })
            }
        };
        v1::batch_issue_response::Item { outcome: Some(outcome) }
    }

    async fn issue_jwt(&self, caller: &NodeRecord, request: v1::IssueJwtSvidRequest) -> Result<JwtSvid, JwtIssuingError> {
        let v1::IssueJwtSvidRequest { entry_id, audiences } = request;
        let NodeEntries { aliases, entries } = self.store.node_entries(caller.node.clone()).await.map_err(IssuingError::Store)?;
        let admitted = match entries.iter().find(|entry| entry.id.as_str() == entry_id) {
            Some(entry) => self.desk.admit_jwt(caller, &aliases, entry),
            None => Err(not_found(&entry_id, caller)),
        };
        self.jwt.issue(admitted, &audiences).await
    }
}

fn not_found(entry_id: &str, caller: &NodeRecord) -> IssuingError {
    IssuingError::EntryNotFound { entry: entry_id.chars().take(64).collect(), node: caller.node.clone() }
}

/// The service behind an `Arc`, as its streams outlive the call.
pub(crate) struct SharedNodeService(pub(crate) Arc<NodeService>);

#[tonic::async_trait]
impl Node for SharedNodeService {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<v1::SyncResponse, Status>> + Send>>;

    async fn renew_agent(&self, request: Request<v1::RenewAgentRequest>) -> Result<Response<v1::RenewAgentResponse>, Status> {
        let service = &self.0;
        let info = ConnectInfo::of(request.extensions())?;
        let record = service.callers.check(&info).await?;
        let v1::RenewAgentRequest { csr } = request.into_inner();
        let request = VerifiedRequest::parse(&csr).map_err(|error| told(&IssuingError::Csr(error)))?;
        let presented =
            info.peer.as_ref().map(|peer| peer.serial().clone()).ok_or_else(|| told(&StandingError::NoCertificate))?;
        let issued = service.attestation.renew(&record, presented, &request).await.map_err(|error: AttestError| told(&error))?;
        Ok(Response::new(v1::RenewAgentResponse { svid: Some(credential::svid(&issued)) }))
    }

    async fn sync(&self, request: Request<Streaming<v1::SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let node = self.0.callers.check(&info).await?.node.clone();
        let stream = SyncStream::new(Arc::clone(&self.0.sync), info, node, request.into_inner());
        let messages = stream::unfold(stream, |mut stream| async move {
            let message = stream.next_message().await?;
            Some((message, stream))
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn issue_jwt_svid(
        &self,
        request: Request<v1::IssueJwtSvidRequest>,
    ) -> Result<Response<v1::IssueJwtSvidResponse>, Status> {
        let service = &self.0;
        let info = ConnectInfo::of(request.extensions())?;
        let record = service.callers.check(&info).await?;
        let svid = service.issue_jwt(&record, request.into_inner()).await.map_err(|error| {
            let status = told(&error);
            tracing::warn!(node = %record.node, reason = error.reason().map(ErrorReason::as_str), why = status.message(), "JWT-SVID refused");
            status
        })?;
        // An eviction during the call: the token is in the ledger, but does not leave.
        service.callers.check(&info).await?;
        Ok(Response::new(credential::jwt_svid(&svid)))
    }

    async fn batch_issue(&self, request: Request<v1::BatchIssueRequest>) -> Result<Response<v1::BatchIssueResponse>, Status> {
        let service = &self.0;
        let info = ConnectInfo::of(request.extensions())?;
        let record = service.callers.check(&info).await?;
        let v1::BatchIssueRequest { items } = request.into_inner();
        if items.len() > MAX_BATCH {
            return Err(Status::invalid_argument(format!("{} items; at most {MAX_BATCH} are allowed in a batch", items.len())));
        }
        let NodeEntries { aliases, entries } =
            service.store.node_entries(record.node.clone()).await.map_err(|error| told(&IssuingError::Store(error)))?;
        let entries: HashMap<_, _> = entries.into_iter().map(|entry| (entry.id.as_str().to_owned(), entry)).collect();
        let items = stream::iter(items)
            .map(|item| service.issue_item(&record, &aliases, &entries, item))
            .buffered(BATCH_CONCURRENCY)
            .collect()
            .await;
        // An eviction during the batch: its certificates are in the ledger, but do not leave.
        service.callers.check(&info).await?;
        Ok(Response::new(v1::BatchIssueResponse { items }))
    }
}
