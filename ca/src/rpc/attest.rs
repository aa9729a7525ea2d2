//! The service `NodeAttestation`: open to clients without a certificate, so everything here is bounded in bytes and time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use mtls::AddressGroup;
use proto::v1;
use proto::v1::node_attestation_server::NodeAttestation;
use runtime::entropy::{self, Entropy};
use tonic::{Request, Response, Status, Streaming};

use crate::attestation::{AttestError, Attestation, Attested, NONCE_BYTES, Proof};
use crate::csr_limit::CsrLimit;
use crate::metrics::{AttestationKind, Limit, Metrics};
use crate::rate::Limiter;
use crate::rpc::attest_certificate::{self, CertificateAttestation};
use crate::rpc::connection::ConnectInfo;
use crate::rpc::credential;
use crate::rpc::hello;
use crate::rpc::message_limit::MessageLimit;
use crate::rpc::status::{told, told_with_retry};
use crate::serving::Credentials;

/// How long each step of an attestation by stream may take.
const STEP_DEADLINE: Duration = Duration::from_secs(10);

/// The service.
pub(crate) struct AttestService {
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) credentials: Credentials,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: AttestLimits,
}

/// What may be asked for before anybody has proved who it is.
pub(crate) struct AttestLimits {
    /// Tries from one address over time.
    pub(crate) rate: Limiter,
    pub(crate) csr: CsrLimit,
    pub(crate) message: MessageLimit,
}

impl AttestService {
    pub(super) fn check_hello(&self, theirs: Option<v1::Hello>) -> Result<(), Status> {
        hello::check(theirs, self.credentials.trust_domain(), self.credentials.now()).map_err(|error| told(&error))
    }

    /// Counts one try against the address that it comes from. `node_public_key` is whom the advice to wait is meant for.
    pub(super) fn charge(&self, info: &ConnectInfo, node_public_key: &[u8]) -> Result<(), Status> {
        let from = AddressGroup::from(info.remote.ip());
        self.limits.rate.charge(&from.to_string(), 1).map_err(|error| {
            self.metrics.limits.reached(Limit::AttestationRate);
            let status = told_with_retry(&AttestError::TooFast(error), node_public_key);
            tracing::warn!(remote = %info.remote, why = status.message(), "attestation refused");
            status
        })
    }

    /// Refuses a request that is too large, before its proof is looked at.
    pub(super) fn check_csr(&self, csr: &[u8]) -> Result<(), Status> {
        self.limits.csr.check(csr).map_err(|error| told(&error))
    }

    fn answer(&self, attested: &Attested) -> v1::AttestResponse {
        v1::AttestResponse {
            hello: Some(hello::ours(self.credentials.now())),
            svid: Some(credential::svid(&attested.svid)),
            bundle: Some(credential::bundle(&self.credentials.bundle())),
            node: attested.node.to_string(),
        }
    }

    /// Counts an attestation, and logs a refusal.
    pub(super) fn concluded(
        &self,
        kind: AttestationKind,
        info: &ConnectInfo,
        outcome: Result<Attested, Status>,
    ) -> Result<v1::AttestResponse, Status> {
        self.metrics.attested(kind, &outcome);
        match outcome {
            Ok(attested) => Ok(self.answer(&attested)),
            Err(status) => {
                tracing::warn!(remote = %info.remote, ?kind, code = ?status.code(), why = status.message(), "attestation refused");
                Err(status)
            }
        }
    }

    async fn reattest_begin(&self, inbound: &mut Streaming<v1::ReattestRequest>, info: &ConnectInfo) -> Result<Vec<u8>, Status> {
        match self.next_step(inbound).await? {
            v1::reattest_request::Step::Begin(v1::reattest_request::Begin { hello, node_public_key }) => {
                self.charge(info, &node_public_key)?;
                self.check_hello(hello)?;
                Ok(node_public_key)
            }
            v1::reattest_request::Step::Proof(_) => Err(Status::invalid_argument("the first step must be begin")),
        }
    }

    async fn reattest_proof(
        &self,
        inbound: &mut Streaming<v1::ReattestRequest>,
        info: &ConnectInfo,
        node_public_key: Vec<u8>,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Attested, Status> {
        match self.next_step(inbound).await? {
            v1::reattest_request::Step::Proof(v1::reattest_request::Proof { csr, proof }) => {
                self.check_csr(&csr)?;
                let spread_by = node_public_key.clone();
                let proof = Proof { node_public_key, csr, signature: proof, exporter: info.exporter };
                self.attestation.reattest(nonce, proof).await.map_err(|error| told_with_retry(&error, spread_by))
            }
            v1::reattest_request::Step::Begin(_) => Err(Status::invalid_argument("the second step must be proof")),
        }
    }

    /// What is shown in one call, as far as it is judged before the token beside it is.
    fn shown(&self, info: &ConnectInfo, hello: Option<v1::Hello>, proof: Proof) -> Result<Proof, Status> {
        self.charge(info, &proof.node_public_key)?;
        self.check_hello(hello)?;
        self.check_csr(&proof.csr)?;
        Ok(proof)
    }

    async fn next_step(&self, inbound: &mut Streaming<v1::ReattestRequest>) -> Result<v1::reattest_request::Step, Status> {
        let v1::ReattestRequest { step } = self.next_message(inbound).await?;
        step.ok_or_else(|| Status::invalid_argument("a message without a step"))
    }

    /// The next message of an attestation by stream.
    pub(super) async fn next_message<T>(&self, inbound: &mut Streaming<T>) -> Result<T, Status> {
        tokio::time::timeout(STEP_DEADLINE, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no message within {STEP_DEADLINE:?}")))?
            .map_err(|status| self.limits.message.explain(status))?
            .ok_or_else(|| Status::invalid_argument("the stream ended before its last step"))
    }
}

/// Where a re-attestation stands. One nonce per stream, drawn here and used once.
enum Dialogue {
    Begin,
    Proof { node_public_key: Vec<u8>, nonce: [u8; NONCE_BYTES] },
    Over,
}

struct Reattestation {
    service: Arc<AttestService>,
    info: ConnectInfo,
    inbound: Streaming<v1::ReattestRequest>,
    dialogue: Dialogue,
}

impl Reattestation {
    async fn step(&mut self) -> Option<Result<v1::ReattestResponse, Status>> {
        let dialogue = std::mem::replace(&mut self.dialogue, Dialogue::Over);
        let step = match dialogue {
            Dialogue::Begin => self.service.reattest_begin(&mut self.inbound, &self.info).await.map(|node_public_key| {
                let nonce = entropy::bytes::<NONCE_BYTES>(&*self.service.entropy);
                self.dialogue = Dialogue::Proof { node_public_key, nonce };
                v1::reattest_response::Step::Challenge(v1::reattest_response::Challenge { nonce: nonce.to_vec() })
            }),
            Dialogue::Proof { node_public_key, nonce } => {
                let outcome = self.service.reattest_proof(&mut self.inbound, &self.info, node_public_key, &nonce).await;
                let answer = self.service.concluded(AttestationKind::Reattestation, &self.info, outcome);
                answer.map(v1::reattest_response::Step::Result)
            }
            Dialogue::Over => return None,
        };
        Some(step.map(|step| v1::ReattestResponse { step: Some(step) }))
    }
}

/// The service behind an `Arc`, as its streams outlive the call.
pub(crate) struct SharedAttestService(pub(crate) Arc<AttestService>);

#[tonic::async_trait]
impl NodeAttestation for SharedAttestService {
    type AttestCertificateStream = Pin<Box<dyn Stream<Item = Result<v1::AttestCertificateResponse, Status>> + Send>>;
    type ReattestStream = Pin<Box<dyn Stream<Item = Result<v1::ReattestResponse, Status>> + Send>>;

    async fn attest_join_token(
        &self,
        request: Request<v1::AttestJoinTokenRequest>,
    ) -> Result<Response<v1::AttestResponse>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let service = &self.0;
        let v1::AttestJoinTokenRequest { hello, token, node_public_key, csr, proof } = request.into_inner();
        let token = zeroize::Zeroizing::new(token);
        let spread_by = node_public_key.clone();
        let proof = service.shown(&info, hello, Proof { node_public_key, csr, signature: proof, exporter: info.exporter })?;
        let outcome = service.attestation.redeem(&token, proof).await.map_err(|error| told_with_retry(&error, spread_by));
        service.concluded(AttestationKind::JoinToken, &info, outcome).map(Response::new)
    }

    async fn attest_service_account(
        &self,
        request: Request<v1::AttestServiceAccountRequest>,
    ) -> Result<Response<v1::AttestResponse>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let service = &self.0;
        let v1::AttestServiceAccountRequest { hello, token, node_public_key, csr, proof } = request.into_inner();
        let token = zeroize::Zeroizing::new(token);
        let spread_by = node_public_key.clone();
        let proof = service.shown(&info, hello, Proof { node_public_key, csr, signature: proof, exporter: info.exporter })?;
        let outcome = service.attestation.by_service_account(&token, proof).await;
        let outcome = outcome.map_err(|error| told_with_retry(&error, spread_by));
        service.concluded(AttestationKind::ServiceAccount, &info, outcome).map(Response::new)
    }

    async fn attest_certificate(
        &self,
        request: Request<Streaming<v1::AttestCertificateRequest>>,
    ) -> Result<Response<Self::AttestCertificateStream>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let (service, inbound) = (Arc::clone(&self.0), request.into_inner());
        let attestation = CertificateAttestation { service, info, inbound, dialogue: attest_certificate::Dialogue::Begin };
        let answers = stream::unfold(attestation, |mut attestation| async move {
            let answer = attestation.step().await?;
            Some((answer, attestation))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn reattest(&self, request: Request<Streaming<v1::ReattestRequest>>) -> Result<Response<Self::ReattestStream>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let dialogue =
            Reattestation { service: Arc::clone(&self.0), info, inbound: request.into_inner(), dialogue: Dialogue::Begin };
        let answers = stream::unfold(dialogue, |mut dialogue| async move {
            let answer = dialogue.step().await?;
            Some((answer, dialogue))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
