//! Node attestation: how a node without a usable certificate gets one, by join token, by a certificate that somebody else issued,
//! by the token of its agent's pod, or by its registered node key.
//!
//! Owns the order of the checks. The caller proves that it holds the node key by a signature over a transcript that carries
//! the TLS exporter of its connection (docs/protocol.md, "Transcripts"), so that a proof seen elsewhere is worth nothing here,
//! and that it holds the key of the agent SVID by the CSR's own signature. Nothing is told about a node key or a token
//! before its holder has proved itself.

mod certificate;
mod service_account;

use std::sync::Arc;
use std::time::Duration;

use identity::NodeName;
use pki::proof::{join_token_transcript, reattestation_transcript};
use pki::{KeyError, PublicKey, SerialNumber, Timestamp, VerifiedRequest};
use runtime::clock::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admission::AgentIssuance;
use crate::issuing::{Desk, IssuedSvid, IssuingError};
use crate::node_pods::PodsUnavailable;
use crate::provisioning::{ProvisioningError, ProvisioningSource};
use crate::rate::TooFast;
use crate::records::{AgentSvidRecord, JoinToken, NodeRecord, NodeState, SvidGrounds};
use crate::service_accounts::ReviewError;
use crate::store::{AgentPodError, CertificateUseError, RedeemError, Store, StoreError};
pub(crate) use certificate::CertificateProof;
pub(crate) use service_account::{ClusterAgents, ServiceAccountRefusal};

/// Bytes of the nonce that a node key signs to re-attest.
pub(crate) const NONCE_BYTES: usize = 32;
/// Largest SubjectPublicKeyInfo of a node key: an RSA key of 4096 bits has 550.
const MAX_NODE_KEY_BYTES: usize = 1024;
/// Attestations that verify signatures at the same time; whoever reaches the port can ask for that work.
const MAX_CONCURRENT: usize = 32;
/// How long an attestation may wait for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why a node is not attested.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    /// The node key cannot be read, or is of no kind that is allowed.
    #[error("the node key is refused: {0}")]
    NodeKey(#[from] KeyError),
    /// The signature by the node key does not fit this connection, token or nonce, and CSR.
    #[error("the proof by the node key does not verify for this connection and request")]
    Proof,
    /// The CSR asks for a certificate over the node key itself.
    #[error("the request is for the node key itself: the agent SVID needs a key of its own")]
    NodeKeyReused,
    /// The certificate cannot be read, or the signature by its key does not fit connection, nonce, CSR and node key.
    #[error("the proof by the certificate's key does not verify for this connection and request")]
    CertificateProof,
    /// The CSR asks for a certificate over the key of the provisioning certificate.
    #[error("the request is for the key of the certificate shown: the agent SVID needs a key of its own")]
    CertificateKeyReused,
    /// The certificate attests nobody.
    #[error(transparent)]
    Certificate(#[from] ProvisioningError),
    /// The certificate was used, or its node's name or the key is taken.
    #[error(transparent)]
    CertificateUse(#[from] CertificateUseError),
    /// The token of a service account attests nobody.
    #[error(transparent)]
    ServiceAccount(#[from] ServiceAccountRefusal),
    /// Whether it does cannot be told. What the API server says is for the log.
    #[error("the token of the service account cannot be judged now")]
    ReviewUnavailable(ReviewError),
    /// The same for its pod.
    #[error("the pod of the agent cannot be looked at now")]
    PodsUnavailable(PodsUnavailable),
    /// The pod went with another key, or the node's name or the key is taken.
    #[error(transparent)]
    AgentPod(#[from] AgentPodError),
    /// The token.
    #[error(transparent)]
    Redeem(#[from] RedeemError),
    /// No record of this node key.
    #[error(
        "no node is registered with this node key (it may have been evicted): attest with a new join token (signet token create)"
    )]
    NoRecord,
    /// Away for too long.
    #[error(
        "the last agent SVID of node {node} ended at {ended}, and the re-attestation window of {window:?} after it is over (now is \
         {now}): attest with a new join token (signet token create)"
    )]
    WindowOver { node: NodeName, ended: Timestamp, window: Duration, now: Timestamp },
    /// The operator blocked it.
    #[error("node {node} is banned: an operator can lift it with signet node unban")]
    Banned { node: NodeName },
    /// Too many at once.
    #[error("too many attestations are in progress: try again shortly")]
    Busy,
    /// Too many from there.
    #[error("more attestations were tried from this address than may be for now ({}): try again in {:?}", .0.limit, .0.wait)]
    TooFast(TooFast),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Issuance.
    #[error(transparent)]
    Issuing(#[from] IssuingError),
}

/// The proof by a node key, with what it is made over. `csr` is DER.
pub(crate) struct Proof {
    /// DER SubjectPublicKeyInfo as the caller sent it.
    pub(crate) node_public_key: Vec<u8>,
    pub(crate) csr: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// Keying material of the connection that this came on.
    pub(crate) exporter: [u8; 32],
}

/// An attested node with its new agent SVID.
pub(crate) struct Attested {
    pub(crate) node: NodeName,
    pub(crate) svid: IssuedSvid,
}

/// Attests nodes. One for the process.
pub(crate) struct Attestation {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: Arc<dyn Clock>,
    /// For how long after its last SVID ended a node may come back by its key.
    pub(crate) window: Duration,
    pub(crate) slots: Semaphore,
    /// Whose certificates attest nodes.
    pub(crate) provisioning: Vec<ProvisioningSource>,
    /// Whose pods attest nodes.
    pub(crate) agents: Option<ClusterAgents>,
}

impl Attestation {
    /// How many attestations run at once.
    pub(crate) fn slots() -> Semaphore {
        Semaphore::new(MAX_CONCURRENT)
    }

    /// Redeems a join token. The same node key may do so again while the token lives: its first answer may have been lost.
    ///
    /// # Errors
    /// [`AttestError`]; no token is used up by a caller that did not prove itself.
    pub(crate) async fn redeem(&self, token: &str, proof: Proof) -> Result<Attested, AttestError> {
        let _slot = self.slot().await?;
        self.check_clock()?;
        let token_hash = JoinToken::parse(token).map_err(|_| RedeemError::Unknown)?.hash();
        let transcript = join_token_transcript(&proof.exporter, &token_hash, &proof.csr);
        let proven = proof.verify(&transcript)?;
        let now = Timestamp::from(self.clock.now());
        let node_key_spki = proven.node_key.spki_der().to_vec();
        let record = self.store.redeem_token(token_hash, node_key_spki.clone(), now).await?;
        self.admit(&record, &proven.request, SvidGrounds::Attestation { node_key_spki }).await
    }

    /// Lets a registered node back in by its node key, over the nonce that this CA gave it on the same stream.
    ///
    /// # Errors
    /// [`AttestError`]; what the record says is told only to the holder of the key.
    pub(crate) async fn reattest(&self, nonce: &[u8; NONCE_BYTES], proof: Proof) -> Result<Attested, AttestError> {
        let _slot = self.slot().await?;
        self.check_clock()?;
        let transcript = reattestation_transcript(&proof.exporter, nonce, &proof.csr);
        let proven = proof.verify(&transcript)?;
        let node_key_spki = proven.node_key.spki_der().to_vec();
        let record = self.store.node_by_key(node_key_spki.clone()).await?.ok_or(AttestError::NoRecord)?;
        let now = Timestamp::from(self.clock.now());
        may_return(&record, self.window, now)?;
        self.admit(&record, &proven.request, SvidGrounds::Reattestation { node_key_spki }).await
    }

    /// Before a token or a certificate is used up, and before anything is forgotten as ended, by a clock that may not date anything.
    fn check_clock(&self) -> Result<(), AttestError> {
        Ok(self.desk.check_clock().map_err(IssuingError::Clock)?)
    }

    /// Waits a little: after an outage a whole fleet comes back at once.
    async fn slot(&self) -> Result<SemaphorePermit<'_>, AttestError> {
        let slot = tokio::time::timeout(LONGEST_WAIT, self.slots.acquire()).await;
        slot.ok().and_then(Result::ok).ok_or(AttestError::Busy)
    }

    async fn admit(&self, record: &NodeRecord, request: &VerifiedRequest, grounds: SvidGrounds) -> Result<Attested, AttestError> {
        let node = record.node.clone();
        let svid = self.desk.issue_agent(record, AgentIssuance::Attestation, request).await?;
        self.remember(&node, &svid, grounds).await?;
        tracing::info!(%node, serial = %svid.leaf().serial(), not_after = %svid.leaf().not_after(), "node attested");
        Ok(Attested { node, svid })
    }

    /// Gives an attested agent its next SVID.
    ///
    /// # Errors
    /// [`AttestError`] when it cannot be issued, or the node does not stand any more.
    pub(crate) async fn renew(
        &self,
        record: &NodeRecord,
        presented: SerialNumber,
        request: &VerifiedRequest,
    ) -> Result<IssuedSvid, AttestError> {
        let svid = self.desk.issue_agent(record, AgentIssuance::Renewal, request).await?;
        self.remember(&record.node, &svid, SvidGrounds::Renewal { presented }).await?;
        Ok(svid)
    }

    /// The store refuses a node that was evicted, banned or replaced since: its certificate then never leaves.
    async fn remember(&self, node: &NodeName, svid: &IssuedSvid, grounds: SvidGrounds) -> Result<(), AttestError> {
        let record = AgentSvidRecord { serial: svid.leaf().serial().clone(), not_after: svid.leaf().not_after() };
        let now = Timestamp::from(self.clock.now());
        Ok(self.store.set_agent_svid(node.clone(), record, grounds, now).await?)
    }
}

/// A proof that held.
struct Proven {
    node_key: PublicKey,
    request: VerifiedRequest,
}

impl Proof {
    fn verify(&self, transcript: &[u8]) -> Result<Proven, AttestError> {
        let Self { node_public_key, csr, signature, exporter: _ } = self;
        if node_public_key.len() > MAX_NODE_KEY_BYTES {
            return Err(AttestError::Proof);
        }
        let node_key = PublicKey::from_spki_der(node_public_key)?;
        node_key.verify(transcript, signature).map_err(|_| AttestError::Proof)?;
        let request = VerifiedRequest::parse(csr).map_err(IssuingError::Csr)?;
        if *request.public_key() == node_key {
            return Err(AttestError::NodeKeyReused);
        }
        Ok(Proven { node_key, request })
    }
}

/// Whether a node may come back by its key at `now`: its record stands, and its last SVID ended at most `window` ago.
///
/// # Errors
/// [`AttestError::Banned`] or [`AttestError::WindowOver`].
pub(crate) fn may_return(record: &NodeRecord, window: Duration, now: Timestamp) -> Result<(), AttestError> {
    let NodeRecord { node, node_key_spki: _, state, current, previous: _, attested_at } = record;
    match state {
        NodeState::Banned => return Err(AttestError::Banned { node: node.clone() }),
        NodeState::Attested => {}
    }
    // A node that attested but never got its first SVID out counts from its attestation.
    let ended = current.as_ref().map_or(*attested_at, |svid| svid.not_after);
    if now > ended.plus(window) {
        return Err(AttestError::WindowOver { node: node.clone(), ended, window, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::ReplicaByte;

    fn record(state: NodeState, current_ends: Option<u64>) -> NodeRecord {
        let svid = |end| AgentSvidRecord {
            serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [7; 17]),
            not_after: Timestamp::from_unix_seconds(end),
        };
        NodeRecord {
            node: NodeName::parse("n1").unwrap(),
            node_key_spki: None,
            state,
            current: current_ends.map(svid),
            previous: None,
            attested_at: Timestamp::from_unix_seconds(1000),
        }
    }

    fn verdict(record: &NodeRecord, now: u64) -> Result<(), AttestError> {
        may_return(record, Duration::from_secs(100), Timestamp::from_unix_seconds(now))
    }

    #[test]
    fn the_window_counts_from_the_end_of_the_last_svid() {
        let node = record(NodeState::Attested, Some(2000));
        assert!(verdict(&node, 1500).is_ok(), "before the end: the SVID may be lost");
        assert!(verdict(&node, 2100).is_ok());
        assert!(matches!(verdict(&node, 2101), Err(AttestError::WindowOver { .. })));
        let never_had_one = record(NodeState::Attested, None);
        assert!(verdict(&never_had_one, 1100).is_ok());
        assert!(matches!(verdict(&never_had_one, 1101), Err(AttestError::WindowOver { .. })));
    }

    #[test]
    fn a_banned_node_does_not_return() {
        assert!(matches!(verdict(&record(NodeState::Banned, Some(2000)), 1500), Err(AttestError::Banned { .. })));
    }
}
