//! What the Admin service asks of the rest of the CA: who is connected, and how the CA is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::{NodeName, ReplicaName};
use pki::checkpoint::SignedCheckpoint;
use pki::{SerialNumber, Sha256Digest, Timestamp, TrustBundle};

use crate::audit::Actor;
use crate::store::StoreError;

/// What an open sync stream tells of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeConnection {
    /// The bundle sequence that the agent acknowledged last; 0 before the first.
    pub(crate) bundle_sequence: u64,
    /// What the agent said last of its node; `None` before the first word, and from one that says none.
    pub(crate) progress: Option<NodeProgress>,
}

/// An agent's word of how far its node is with what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The bundle sequence in use.
    pub(crate) bundle_sequence: u64,
    /// Open streams of workloads that have not taken the bundle and the SVIDs in use.
    pub(crate) streams_behind: u32,
    /// Open streams of workloads.
    pub(crate) streams: u32,
    /// Sets of files that are not written and read back with them.
    pub(crate) files_behind: u32,
    /// Sets of files.
    pub(crate) files: u32,
    /// SVIDs in use that rest on a tainted key.
    pub(crate) svids_tainted: u32,
}

/// That word, with what the CA adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeProgress {
    /// As it was said.
    pub(crate) told: Progress,
    /// When the CA first heard that all sets of files are written with this bundle; `None` when there are none, or some are not.
    pub(crate) files_written_at: Option<Timestamp>,
}

/// The nodes with an open sync stream.
pub(crate) trait Fleet: Send + Sync + 'static {
    /// The stream of this node, if one is open.
    fn connection(&self, node: &NodeName) -> Option<NodeConnection>;
}

/// What part a certificate plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateRole {
    /// The trust anchor.
    Root,
    /// The issuing CA.
    Issuer,
    /// What the CA shows to agents.
    Serving,
}

impl CertificateRole {
    /// As the status names it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuer => "issuer",
            Self::Serving => "serving",
        }
    }
}

/// One certificate that the CA stands on.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFacts {
    /// Its part.
    pub(crate) role: CertificateRole,
    /// Its subject, or its SPIFFE ID when the subject is empty.
    pub(crate) subject: String,
    /// Its serial number.
    pub(crate) serial: SerialNumber,
    /// Its first second.
    pub(crate) not_before: Timestamp,
    /// Its last second.
    pub(crate) not_after: Timestamp,
}

/// What the running CA knows of itself.
#[derive(Clone, Debug)]
pub(crate) struct CaStatus {
    /// Its replica name.
    pub(crate) replica: ReplicaName,
    /// The version of the program.
    pub(crate) build: String,
    /// The conditions of readiness that do not hold; ready when there are none.
    pub(crate) failing: Vec<String>,
    /// What will soon hurt.
    pub(crate) warnings: Vec<String>,
    /// What it stands on.
    pub(crate) certificates: Vec<CertificateFacts>,
    /// The sequence of the bundle that it pushes.
    pub(crate) bundle_sequence: u64,
    /// SHA-256 of the root's DER: what `ca_fingerprint` of an agent takes.
    pub(crate) root_fingerprint: Sha256Digest,
    /// Nodes with an open sync stream.
    pub(crate) connected: u32,
    /// Where agents reach it, as host and port.
    pub(crate) address: String,
    /// The key that signs JWT-SVIDs.
    pub(crate) jwt_key_id: pki::KeyId,
    /// SHA-256 of the public half of the key that signs checkpoints.
    pub(crate) audit_key: Sha256Digest,
    /// The newest checkpoint.
    pub(crate) audit_checkpoint: Option<Arc<SignedCheckpoint>>,
}

/// Where the status comes from.
pub(crate) trait StatusSource: Send + Sync + 'static {
    /// How the CA is now. Cheap: no I/O.
    fn status(&self) -> CaStatus;

    /// The bundle that agents are given now.
    fn bundle(&self) -> Arc<TrustBundle>;

    /// Takes the checkpoints of another history that agents showed for looked into; says how many.
    fn acknowledge_fork(&self, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<u32, StoreError>>;
}
