//! The services `istio.v1.auth.IstioCertificateService` and `IstioCAService`: certificates for callers in Istio's way.
//!
//! Owns the order of a call and how an answer is written. Who may have what is `crate::istio`'s.

use std::sync::Arc;
use std::time::Duration;

use proto::istio::istio_ca_service_server::IstioCaService;
use proto::istio::istio_certificate_service_server::IstioCertificateService;
use proto::istio::{CsrRequest, CsrResponse, IstioCertificateRequest, IstioCertificateResponse};
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::csr_limit::CsrLimit;
use crate::error_reason::{ErrorReason, Told};
use crate::issuing::{Desk, IssuedSvid};
use crate::istio::{CallError, Credential, IstioCallers, Metadata, SigningRequest};
use crate::metrics::{IstioMethod, Limit, Metrics};
use crate::rpc::connection::ConnectInfo;
use crate::rpc::status::told_with_retry;
use crate::serving::Credentials;

/// Calls worked on at once, and how long a further one waits for its turn.
const MAX_CONCURRENT: usize = 256;
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The services.
pub(crate) struct IstioService {
    pub(crate) callers: IstioCallers,
    pub(crate) desk: Arc<Desk>,
    pub(crate) credentials: Credentials,
    pub(crate) metrics: Metrics,
    pub(crate) slots: Semaphore,
    pub(crate) csr: CsrLimit,
}

/// Whose call it is, as far as that is known: what a refusal is logged with, and its advice spread by.
struct Caller {
    name: String,
    credential: &'static str,
}

impl IstioService {
    /// How many calls are worked on at once.
    pub(crate) fn slots() -> Semaphore {
        Semaphore::new(MAX_CONCURRENT)
    }

    /// One call: who is it, how often has it called, what does it ask for, may it, then the certificate. `read` is run only for an
    /// authenticated caller within its rate.
    async fn serve<T>(
        &self,
        method: IstioMethod,
        request: Request<T>,
        read: impl FnOnce(T) -> Result<SigningRequest, CallError>,
    ) -> Result<IssuedSvid, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let _in_use = info.begin_call();
        let (metadata, _, message) = request.into_parts();
        let mut caller = Caller { name: info.remote.to_string(), credential: "none" };
        let outcome = self.issue(&info, &metadata, &mut caller, || read(message)).await;
        let reason = outcome.as_ref().map(drop).map_err(Told::reason);
        self.metrics.istio_call(method, caller.credential, reason);
        outcome.map_err(|error| {
            if matches!(error, CallError::TooFast(_)) {
                self.metrics.limits.reached(Limit::IssuanceRate);
            }
            let reason = error.reason().map(ErrorReason::as_str);
            tracing::warn!(
                remote = %info.remote, caller = caller.name, ?method, credential = caller.credential, reason,
                why = error.for_log(), "certificate refused"
            );
            told_with_retry(&error, &caller.name)
        })
    }

    async fn issue(
        &self,
        info: &ConnectInfo,
        metadata: &MetadataMap,
        caller: &mut Caller,
        read: impl FnOnce() -> Result<SigningRequest, CallError>,
    ) -> Result<IssuedSvid, CallError> {
        let turn = tokio::time::timeout(LONGEST_WAIT, self.slots.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(CallError::Busy)?;
        let authorization = metadata.get_all("authorization");
        let credential = Credential::of(authorization.iter().map(|value| value.as_bytes()), info.peer.as_deref())?;
        caller.credential = credential.label();
        let authenticated = self.callers.authenticate(credential).await?;
        caller.name = authenticated.id().to_string();
        info.vouched_for(authenticated.id());
        let held = authenticated.held();
        self.callers.charge(&authenticated)?;
        let SigningRequest { request, ttl, impersonated } = read()?;
        let admitted = match impersonated {
            Some(asked) => self.callers.admit_for_pod(authenticated, &asked, ttl).await?,
            None => self.callers.admit(authenticated, ttl).await?,
        };
        Ok(self.desk.issue_to_caller(admitted, &request, held).await?)
    }
}

/// The services behind an `Arc`: two of them share one judge and one count.
#[derive(Clone)]
pub(crate) struct SharedIstioService(pub(crate) Arc<IstioService>);

#[tonic::async_trait]
impl IstioCertificateService for SharedIstioService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let read = |IstioCertificateRequest { csr, subject_id: _, validity_duration, metadata }| {
            SigningRequest::create_certificate(&csr, validity_duration, &texts(metadata), &self.0.csr)
        };
        let svid = self.0.serve(IstioMethod::CreateCertificate, request, read).await?;
        // One certificate a string, then every root in the last: clients take the last string, whole, for what to trust.
        let roots = pki::certificates_to_pem(self.0.credentials.bundle().authorities());
        let chain = svid.issued.chain.iter().map(|certificate| pki::certificates_to_pem([certificate]));
        Ok(Response::new(IstioCertificateResponse { cert_chain: chain.chain([roots]).collect() }))
    }
}

#[tonic::async_trait]
impl IstioCaService for SharedIstioService {
    async fn handle_csr(&self, request: Request<CsrRequest>) -> Result<Response<CsrResponse>, Status> {
        let read = |CsrRequest { csr_pem, node_agent_credential: _, credential_type: _, requested_ttl_minutes }| {
            SigningRequest::handle_csr(&csr_pem, requested_ttl_minutes, &self.0.csr)
        };
        let svid = self.0.serve(IstioMethod::HandleCsr, request, read).await?;
        let intermediates = svid.issued.chain.iter().skip(1);
        Ok(Response::new(CsrResponse {
            is_approved: true,
            status: None,
            signed_cert: pki::certificates_to_pem([svid.leaf()]).into_bytes(),
            cert_chain: pki::certificates_to_pem(intermediates).into_bytes(),
        }))
    }
}

/// The metadata of a request, without what its values hold when they are no text.
fn texts(metadata: Option<prost_types::Struct>) -> Metadata {
    let fields = metadata.map(|prost_types::Struct { fields }| fields).unwrap_or_default();
    let text = |prost_types::Value { kind }| {
        if let Some(prost_types::value::Kind::StringValue(text)) = kind { Some(text) } else { None }
    };
    fields.into_iter().map(|(key, value)| (key, text(value))).collect()
}
