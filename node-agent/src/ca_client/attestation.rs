//! Node attestation over one connection: by join token, by an existing certificate, and again by the node key.
//!
//! The connection was verified before any of this runs ([`super::connection`]); every proof is bound to its exporter, so that
//! nobody in between can use it on another.

use std::sync::Arc;

use identity::{NodeName, SystemIdentity, TrustDomain};
use pki::{KeyAlgorithm, PrivateKey, TrustBundle, X509Svid};
use proto::v1;
use runtime::clock::Clock;
use tokio_stream::StreamExt;

use super::connection::CaConnection;
use super::fault::{CallFault, call};
use super::view::{self, BundleChange};
use super::wire::{self, AnswerFault};
use crate::certificate_directory::CertificateDirectory;
use crate::token::JoinToken;

/// Why an attestation gave no SVID.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestationFault {
    /// The CA refused, or did not answer.
    #[error(transparent)]
    Call(#[from] CallFault),
    /// The answer is not what was asked for.
    #[error("the CA's answer to the attestation is refused: {0}")]
    Answer(#[from] AnswerFault),
    /// The CA named another node than the one this state directory belongs to.
    #[error("the CA answered for node {found}, this is {ours}")]
    OtherNode {
        /// Whom the CA named.
        found: NodeName,
        /// Who this is.
        ours: NodeName,
    },
    /// The CA sent an older bundle than the one held, or another one under its sequence.
    #[error(
        "the CA sent bundle sequence {found}, this node holds {held}: refused, as bundles never go back and one sequence never means \
         two bundles"
    )]
    Bundle {
        /// What it sent.
        found: u64,
        /// What is held.
        held: u64,
    },
    /// A key could not be made or used.
    #[error("cannot make or use a key: {0}")]
    Key(#[from] pki::KeyError),
}

/// What a successful attestation gives.
#[derive(Debug)]
pub(crate) struct Attested {
    pub(crate) node: NodeName,
    pub(crate) svid: X509Svid,
    pub(crate) bundle: Arc<TrustBundle>,
}

/// What the node already is, against which answers are checked.
pub(crate) struct Attestor<'a> {
    pub(crate) connection: &'a CaConnection,
    pub(crate) trust_domain: &'a TrustDomain,
    pub(crate) node_key: &'a PrivateKey,
    /// The name of this node, once the CA gave it one.
    pub(crate) node: Option<&'a NodeName>,
    /// The newest bundle held.
    pub(crate) bundle: Option<&'a Arc<TrustBundle>>,
    pub(crate) clock: &'a Arc<dyn Clock>,
}

impl Attestor<'_> {
    /// Redeems a join token. A lost reply may be retried: the node key stays the same, and the CA knows it by that.
    ///
    /// # Errors
    /// [`AttestationFault`].
    pub(crate) async fn by_token(&self, token: &JoinToken) -> Result<Attested, AttestationFault> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let csr = pki::build_request(&key, None)?;
        let transcript = pki::proof::join_token_transcript(&self.connection.exporter, &token.hash(), &csr);
        let request = v1::AttestJoinTokenRequest {
            hello: Some(wire::hello(self.clock.now())),
            token: token.expose().to_owned(),
            node_public_key: self.node_key.public_key().spki_der().to_vec(),
            proof: self.node_key.sign(&transcript)?,
            csr,
        };
        let answer = call(self.client().attest_join_token(request)).await?;
        self.check(answer, key)
    }

    /// Shows the token of the agent's own pod. A lost reply may be retried: the CA knows the pod by the node key.
    ///
    /// # Errors
    /// [`AttestationFault`].
    pub(crate) async fn by_service_account(&self, token: &str) -> Result<Attested, AttestationFault> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let csr = pki::build_request(&key, None)?;
        let token_hash = pki::sha256(token.as_bytes());
        let transcript = pki::proof::service_account_transcript(&self.connection.exporter, &token_hash, &csr);
        let request = v1::AttestServiceAccountRequest {
            hello: Some(wire::hello(self.clock.now())),
            token: token.to_owned(),
            node_public_key: self.node_key.public_key().spki_der().to_vec(),
            proof: self.node_key.sign(&transcript)?,
            csr,
        };
        let answer = call(self.client().attest_service_account(request)).await?;
        self.check(answer, key)
    }

    /// Proves an existing certificate together with the node key. A lost reply may be retried for a while with the same node key.
    ///
    /// # Errors
    /// [`AttestationFault`].
    pub(crate) async fn by_certificate(&self, certificate: &CertificateDirectory) -> Result<Attested, AttestationFault> {
        in_time(self.certificate_and_proof(certificate)).await
    }

    async fn certificate_and_proof(&self, certificate: &CertificateDirectory) -> Result<Attested, AttestationFault> {
        use v1::attest_certificate_request::{Begin, Proof, Step as Ask};
        use v1::attest_certificate_response::{Challenge, Step as Say};

        let (steps, outgoing) = tokio::sync::mpsc::channel(2);
        let send = async |step| {
            let request = v1::AttestCertificateRequest { step: Some(step) };
            steps.send(request).await.map_err(|_| CallFault::Unavailable("the stream ended".to_owned()))
        };
        let chain: Vec<Vec<u8>> = certificate.chain().iter().map(|certificate| certificate.der().to_vec()).collect();
        let leaf = chain.first().cloned().unwrap_or_default();
        let node_public_key = self.node_key.public_key().spki_der().to_vec();
        let hello = Some(wire::hello(self.clock.now()));
        send(Ask::Begin(Begin { hello, chain, node_public_key: node_public_key.clone() })).await?;
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut answers = call(self.client().attest_certificate(outgoing)).await?;

        let Some(Say::Challenge(Challenge { nonce })) = next(&mut answers).await?.step else {
            return Err(AnswerFault::Missing("challenge").into());
        };
        let nonce = <[u8; 32]>::try_from(nonce.as_slice()).map_err(|_| AnswerFault::Missing("nonce of 32 bytes"))?;
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let csr = pki::build_request(&key, None)?;
        let transcript = pki::proof::certificate_transcript(&self.connection.exporter, &nonce, &csr, &node_public_key, &leaf);
        let node_proof = self.node_key.sign(&transcript)?;
        let certificate_proof = certificate.key().sign(&transcript)?;
        send(Ask::Proof(Proof { csr, node_proof, certificate_proof })).await?;
        let Some(Say::Result(answer)) = next(&mut answers).await?.step else {
            return Err(AnswerFault::Missing("result").into());
        };
        self.check(answer, key)
    }

    /// Proves the node key over the CA's nonce, for an agent whose SVID no longer counts.
    ///
    /// # Errors
    /// [`AttestationFault`].
    pub(crate) async fn by_node_key(&self) -> Result<Attested, AttestationFault> {
        in_time(self.challenge_and_proof()).await
    }

    async fn challenge_and_proof(&self) -> Result<Attested, AttestationFault> {
        use v1::reattest_request::{Begin, Proof, Step as Ask};
        use v1::reattest_response::Step as Say;

        let (steps, outgoing) = tokio::sync::mpsc::channel(2);
        let send = async |step| {
            let request = v1::ReattestRequest { step: Some(step) };
            steps.send(request).await.map_err(|_| CallFault::Unavailable("the stream ended".to_owned()))
        };
        let hello = Some(wire::hello(self.clock.now()));
        send(Ask::Begin(Begin { hello, node_public_key: self.node_key.public_key().spki_der().to_vec() })).await?;
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut answers = call(self.client().reattest(outgoing)).await?;

        let Some(Say::Challenge(v1::reattest_response::Challenge { nonce })) = next(&mut answers).await?.step else {
            return Err(AnswerFault::Missing("challenge").into());
        };
        let nonce = <[u8; 32]>::try_from(nonce.as_slice()).map_err(|_| AnswerFault::Missing("nonce of 32 bytes"))?;
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let csr = pki::build_request(&key, None)?;
        let transcript = pki::proof::reattestation_transcript(&self.connection.exporter, &nonce, &csr);
        send(Ask::Proof(Proof { proof: self.node_key.sign(&transcript)?, csr })).await?;
        let Some(Say::Result(answer)) = next(&mut answers).await?.step else {
            return Err(AnswerFault::Missing("result").into());
        };
        self.check(answer, key)
    }

    fn client(&self) -> v1::node_attestation_client::NodeAttestationClient<tonic::transport::Channel> {
        v1::node_attestation_client::NodeAttestationClient::new(self.connection.channel.clone())
    }

    /// The answer must be for this node, under a bundle no older than ours, and hold together under that bundle.
    fn check(&self, answer: v1::AttestResponse, key: PrivateKey) -> Result<Attested, AttestationFault> {
        let v1::AttestResponse { hello, svid, bundle, node } = answer;
        wire::check_hello(hello)?;
        let node = NodeName::parse(&node).map_err(AnswerFault::from)?;
        if let Some(ours) = self.node
            && *ours != node
        {
            return Err(AttestationFault::OtherNode { found: node, ours: ours.clone() });
        }
        let bundle = wire::bundle(bundle.ok_or(AnswerFault::Missing("bundle"))?, self.trust_domain)?;
        if let Some(BundleChange::Refused { found, held }) = self.bundle.map(|held| view::compare(held, &bundle)) {
            return Err(AttestationFault::Bundle { found, held });
        }
        let asked = SystemIdentity::Agent(node.clone()).id(self.trust_domain);
        let svid = svid.ok_or(AnswerFault::Missing("svid"))?;
        let svid = wire::svid(svid, &asked, key, &bundle, self.clock.now().into())?;
        Ok(Attested { node, svid, bundle: Arc::new(bundle) })
    }
}

/// A whole dialogue within the deadline of a call.
async fn in_time(dialogue: impl Future<Output = Result<Attested, AttestationFault>>) -> Result<Attested, AttestationFault> {
    match tokio::time::timeout(super::connection::CALL_DEADLINE, dialogue).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CallFault::Deadline(super::connection::CALL_DEADLINE).into()),
    }
}

/// The next message; the end of the stream without a status is a loss.
async fn next<T>(answers: &mut tonic::Streaming<T>) -> Result<T, AttestationFault> {
    match answers.next().await {
        Some(Ok(response)) => Ok(response),
        Some(Err(status)) => Err(CallFault::from_status(&status).into()),
        None => Err(CallFault::Unavailable("the stream ended".to_owned()).into()),
    }
}
