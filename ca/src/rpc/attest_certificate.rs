//! `NodeAttestation.AttestCertificate`: begin, challenge, proof, result, on one stream with one nonce.

use std::sync::Arc;

use proto::v1;
use proto::v1::attest_certificate_request::{Begin, Proof as ProofStep, Step as Ask};
use proto::v1::attest_certificate_response::{Challenge, Step as Say};
use runtime::entropy;
use tonic::{Status, Streaming};

use super::attest::AttestService;
use crate::attestation::{Attested, CertificateProof, NONCE_BYTES, Proof};
use crate::metrics::AttestationKind;
use crate::rpc::connection::ConnectInfo;
use crate::rpc::status::told_with_retry;

/// One stream.
pub(super) struct CertificateAttestation {
    pub(super) service: Arc<AttestService>,
    pub(super) info: ConnectInfo,
    pub(super) inbound: Streaming<v1::AttestCertificateRequest>,
    pub(super) dialogue: Dialogue,
}

/// Where it stands. The nonce is drawn here and used once.
pub(super) enum Dialogue {
    Begin,
    Proof { chain: Vec<Vec<u8>>, node_public_key: Vec<u8>, nonce: [u8; NONCE_BYTES] },
    Over,
}

impl CertificateAttestation {
    /// The next answer; `None` after the last.
    pub(super) async fn step(&mut self) -> Option<Result<v1::AttestCertificateResponse, Status>> {
        let step = match std::mem::replace(&mut self.dialogue, Dialogue::Over) {
            Dialogue::Begin => self.begin().await,
            Dialogue::Proof { chain, node_public_key, nonce } => {
                let outcome = self.proof(chain, node_public_key, &nonce).await;
                self.service.concluded(AttestationKind::Certificate, &self.info, outcome).map(Say::Result)
            }
            Dialogue::Over => return None,
        };
        Some(step.map(|step| v1::AttestCertificateResponse { step: Some(step) }))
    }

    async fn begin(&mut self) -> Result<Say, Status> {
        let Ask::Begin(Begin { hello, chain, node_public_key }) = self.next().await? else {
            return Err(Status::invalid_argument("the first step must be begin"));
        };
        self.service.charge(&self.info, &node_public_key)?;
        self.service.check_hello(hello)?;
        let nonce = entropy::bytes::<NONCE_BYTES>(&*self.service.entropy);
        self.dialogue = Dialogue::Proof { chain, node_public_key, nonce };
        Ok(Say::Challenge(Challenge { nonce: nonce.to_vec() }))
    }

    async fn proof(
        &mut self,
        chain: Vec<Vec<u8>>,
        node_public_key: Vec<u8>,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Attested, Status> {
        let Ask::Proof(ProofStep { csr, node_proof, certificate_proof }) = self.next().await? else {
            return Err(Status::invalid_argument("the second step must be proof"));
        };
        self.service.check_csr(&csr)?;
        let spread_by = node_public_key.clone();
        let node = Proof { node_public_key, csr, signature: node_proof, exporter: self.info.exporter };
        let proof = CertificateProof { chain, signature: certificate_proof, node };
        self.service.attestation.by_certificate(nonce, proof).await.map_err(|error| told_with_retry(&error, spread_by))
    }

    async fn next(&mut self) -> Result<Ask, Status> {
        let v1::AttestCertificateRequest { step } = self.service.next_message(&mut self.inbound).await?;
        step.ok_or_else(|| Status::invalid_argument("a message without a step"))
    }
}
