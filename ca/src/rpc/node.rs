//! The service `Node`: what an attested agent may call. Every call begins with the question whether its caller still stands.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use pki::JwtSvid;
use proto::v1;
use proto::v1::node_server::Node;
use tonic::{Request, Response, Status, Streaming};

use crate::admission::Admitted;
use crate::attestation::{AttestError, Attestation};
use crate::csr_limit::CsrLimit;
use crate::error_reason::{ErrorReason, Told};
use crate::issuing::{Desk, IssuedSvid, IssuingError};
use crate::jwt::desk::{JwtDesk, JwtIssuingError};
use crate::metrics::{Limit, LimitMetrics};
use crate::pod_identities::{self, ClusterAgent, PodIdentities, PodIdentityError};
use crate::rate::Limiter;
use crate::records::{Held, NodeEntries, NodeRecord};
use crate::rpc::callers::Callers;
use crate::rpc::connection::ConnectInfo;
use crate::rpc::credential;
use crate::rpc::status::{retry_delay, told, told_with_retry};
use crate::rpc::sync_stream::{SyncParts, SyncStream};
use crate::sessions::StandingError;
use crate::store::{Store, StoreError};

/// Items of one batch that are issued at the same time, so that their records share commits.
const BATCH_CONCURRENCY: usize = 64;

/// The service.
pub(crate) struct NodeService {
    pub(crate) callers: Callers,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) jwt: Arc<JwtDesk>,
    pub(crate) attestation: Arc<Attestation>,
    /// Where agents get the identities of service accounts.
    pub(crate) pod_identities: Option<Arc<PodIdentities>>,
    pub(crate) sync: Arc<SyncParts>,
    pub(crate) limits: NodeLimits,
}

/// What one node may ask for.
pub(crate) struct NodeLimits {
    /// Most items of one batch.
    pub(crate) batch_items: usize,
    /// Certificates and tokens over time.
    pub(crate) rate: Limiter,
    pub(crate) csr: CsrLimit,
    pub(crate) metrics: LimitMetrics,
}

impl NodeLimits {
    fn charge(&self, caller: &NodeRecord, count: usize) -> Result<(), IssuingError> {
        self.rate.charge(caller.node.as_str(), count).map_err(|error| {
            self.metrics.reached(Limit::IssuanceRate);
            IssuingError::TooFast(error)
        })
    }
}

impl NodeService {
    async fn issue_item(
        &self,
        caller: &NodeRecord,
        known: &NodeEntries,
        agent: Option<&ClusterAgent<'_>>,
        held: Option<Held>,
        item: v1::batch_issue_request::Item,
    ) -> Result<IssuedSvid, IssuingError> {
        let v1::batch_issue_request::Item { entry_id, csr, service_account } = item;
        if let Some(account) = service_account {
            let (rule, admitted) = self.admit_account(agent, &entry_id, account).await?;
            let held = if self.desk.has_room_for(1) { None } else { rule.held(&caller.node, &admitted).await? };
            return self.desk.issue_to_node(caller, admitted, &csr, held).await;
        }
        match known.entry(&entry_id) {
            Some(entry) => self.desk.issue_entry(caller, known.memberships(), entry, &csr, held).await,
            None => Err(not_found(&entry_id, caller)),
        }
    }

    /// What is known of a caller that asks for identities of service accounts; `None` where there are none.
    async fn cluster_agent<'c>(&self, caller: &'c NodeRecord) -> Result<Option<ClusterAgent<'c>>, StoreError> {
        match &self.pod_identities {
            Some(rule) => rule.cluster_agent(caller).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether a caller may have the identity of a service account now, and by which rule.
    async fn admit_account(
        &self,
        agent: Option<&ClusterAgent<'_>>,
        entry_id: &str,
        account: v1::ServiceAccount,
    ) -> Result<(&PodIdentities, Admitted), PodIdentityError> {
        let (rule, agent) = self.pod_identities.as_deref().zip(agent).ok_or(PodIdentityError::Off)?;
        let account = pod_identities::account(entry_id, account)?;
        Ok((rule, rule.admit(agent, account).await?))
    }

    /// Issues a batch, the most urgent items first; the outcomes are in the order of the items.
    async fn issue_batch(
        &self,
        caller: &NodeRecord,
        items: Vec<v1::batch_issue_request::Item>,
    ) -> Result<Vec<Result<IssuedSvid, IssuingError>>, IssuingError> {
        let known = self.store.node_entries(caller.node.clone()).await?;
        let is_for_accounts = items.iter().any(|item| item.service_account.is_some());
        let agent = if is_for_accounts { self.cluster_agent(caller).await? } else { None };
        let asked = items
            .iter()
            .filter_map(|item| known.entry(&item.entry_id))
            .map(|entry| (entry.id.clone(), entry.spec.spiffe_id.clone()))
            .collect();
        let held = self.desk.held_for(caller, asked).await?;
        let mut items: Vec<_> = items
            .into_iter()
            .enumerate()
            .map(|(position, item)| {
                let held = held.get(item.entry_id.as_str()).copied();
                (position, item, held)
            })
            .collect();
        items.sort_by_key(|(_, _, held)| self.desk.urgency(*held));
        let issue = |(position, item, held): (usize, v1::batch_issue_request::Item, Option<Held>)| {
            let issued = self.issue_item(caller, &known, agent.as_ref(), held, item);
            async move { (position, issued.await) }
        };
        let mut outcomes: Vec<_> = stream::iter(items).map(issue).buffer_unordered(BATCH_CONCURRENCY).collect().await;
        outcomes.sort_by_key(|(position, _)| *position);
        let outcomes: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        // When all of it came to nothing for want of room, the call says so, with advice that every client understands.
        let is_overloaded = |outcome: &Result<IssuedSvid, IssuingError>| match outcome {
            Err(IssuingError::Overloaded(overloaded)) => Some(*overloaded),
            Ok(_) | Err(_) => None,
        };
        match outcomes.first().and_then(is_overloaded) {
            Some(overloaded) if outcomes.iter().all(|outcome| is_overloaded(outcome).is_some()) => Err(overloaded.into()),
            Some(_) | None => Ok(outcomes),
        }
    }

    async fn issue_jwt(&self, caller: &NodeRecord, request: v1::IssueJwtSvidRequest) -> Result<JwtSvid, JwtIssuingError> {
        let v1::IssueJwtSvidRequest { entry_id, audiences, service_account } = request;
        self.limits.charge(caller, 1)?;
        if let Some(account) = service_account {
            let agent = self.cluster_agent(caller).await.map_err(IssuingError::Store)?;
            let admitted = self.admit_account(agent.as_ref(), &entry_id, account).await.map_err(IssuingError::from);
            let admitted = admitted.and_then(|(_, admitted)| self.desk.not_denied(admitted));
            return self.jwt.issue(admitted, &audiences).await;
        }
        let known = self.store.node_entries(caller.node.clone()).await.map_err(IssuingError::Store)?;
        let admitted = match known.entry(&entry_id) {
            Some(entry) => self.desk.admit_jwt(caller, known.memberships(), entry),
            None => Err(not_found(&entry_id, caller)),
        };
        self.jwt.issue(admitted, &audiences).await
    }
}

fn item_answer(caller: &NodeRecord, outcome: Result<IssuedSvid, IssuingError>) -> v1::batch_issue_response::Item {
    let outcome = match outcome {
        Ok(issued) => v1::batch_issue_response::item::Outcome::Svid(credential::svid(&issued)),
        Err(error) => {
            let status = told(&error);
            let retry_after = retry_delay(&error, caller.node.as_str()).and_then(|delay| delay.try_into().ok());
            tracing::warn!(node = %caller.node, reason = error.reason().map(ErrorReason::as_str), why = status.message(), "issuance refused");
            v1::batch_issue_response::item::Outcome::Error(v1::IssueError {
                code: status.code().into(),
                reason: error.reason().map_or("INTERNAL", ErrorReason::as_str).to_owned(),
                message: status.message().to_owned(),
                retry_after,
            })
        }
    };
    v1::batch_issue_response::Item { outcome: Some(outcome) }
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
        let refused = |error: &AttestError| told_with_retry(error, record.node.as_str());
        let v1::RenewAgentRequest { csr } = request.into_inner();
        service.limits.charge(&record, 1).map_err(|error| refused(&error.into()))?;
        let request = service.limits.csr.read(&csr).map_err(|error| refused(&error.into()))?;
        let presented =
            info.peer.as_ref().map(|peer| peer.serial().clone()).ok_or_else(|| told(&StandingError::NoCertificate))?;
        let issued = service.attestation.renew(&record, presented, &request).await.map_err(|error| refused(&error))?;
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
            let status = told_with_retry(&error, record.node.as_str());
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
        let NodeLimits { batch_items, metrics, .. } = &service.limits;
        if items.len() > *batch_items {
            metrics.reached(Limit::BatchItems);
            return Err(Status::invalid_argument(format!(
                "{} items; at most [limits] batch_items = {batch_items} are allowed in a batch",
                items.len()
            )));
        }
        let refused = |error: &IssuingError| told_with_retry(error, record.node.as_str());
        // Before anything is charged or waits: every item would meet the same.
        if let Some(refusal) = service.store.state().borrow().refusal() {
            return Err(refused(&StoreError::Unavailable(refusal).into()));
        }
        service.limits.charge(&record, items.len()).map_err(|error| refused(&error))?;
        let outcomes = service.issue_batch(&record, items).await.map_err(|error| refused(&error))?;
        // An eviction during the batch: its certificates are in the ledger, but do not leave.
        service.callers.check(&info).await?;
        let items = outcomes.into_iter().map(|outcome| item_answer(&record, outcome)).collect();
        Ok(Response::new(v1::BatchIssueResponse { items }))
    }
}
