//! The audit chain, its checkpoints, and what of the ledger was never answered.

use futures_util::future::BoxFuture;
use identity::NodeName;
use pki::checkpoint::SignedCheckpoint;
use pki::{Sha256Digest, Timestamp};
use tokio::sync::watch;

use super::StoreError;
use crate::audit::{Actor, AuditEvent, AuditRecord, ChainHead, StoredCheckpoint};

/// Checkpoints of another history that are kept as evidence. One is enough to tell; a fleet may hold as many as nodes.
pub const MAX_FORKS: u64 = 64;

/// An intent to sign without a recorded result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Certificate or JWT-SVID.
    pub kind: OrphanKind,
    /// The serial number of the certificate, lower-case hex; for a JWT-SVID the SHA-256 of what was to be signed.
    pub name: String,
    /// Whom it names.
    pub subject: String,
    /// Who asked.
    pub caller: String,
    /// Why it was to be made.
    pub reason: String,
    /// When the intent was recorded.
    pub intended_at: Timestamp,
    /// What was signed, if it was, counts until then.
    pub not_after: Timestamp,
}

/// What was to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanKind {
    /// A certificate: the ledger has a place for its result, which is empty.
    X509,
    /// A JWT-SVID: the ledger has no place for results of these.
    Jwt,
}

/// Where a list of orphans goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanCursor {
    /// Not before this time.
    pub since: Timestamp,
    /// After this place among those of that time, or in the log; 0 before the first.
    pub position: u64,
}

impl OrphanCursor {
    /// Begins with intents of then or later.
    #[must_use]
    pub fn since(since: Timestamp) -> Self {
        Self { since, position: 0 }
    }
}

/// Some orphans, and where the next are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanPage {
    /// Those found; may be none although more follow.
    pub orphans: Vec<Orphan>,
    /// Where the rest is; `None` at the end.
    pub next: Option<OrphanCursor>,
}

/// A checkpoint under this CA's key that its store does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The node that showed it first.
    pub node: NodeName,
    /// What it showed.
    pub checkpoint: SignedCheckpoint,
    /// When.
    pub found_at: Timestamp,
}

/// Checkpoints of another history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forks {
    /// Those that no operator has acknowledged.
    pub open: Vec<Fork>,
    /// The digests of those that one has.
    pub acknowledged: Vec<Sha256Digest>,
}

/// The audit chain and the ledger, for reading: of a running CA, or of a file.
pub trait AuditReader: Send + Sync {
    /// At most `limit` events after this sequence, oldest first.
    fn audit_after(&self, sequence: u64, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>>;

    /// The end of the chain, as it is remembered beside the chain.
    fn chain_head(&self) -> BoxFuture<'_, Result<ChainHead, StoreError>>;

    /// At most `limit` checkpoints over events after `after` and up to `through`, oldest first. What a row holds is for the caller
    /// to judge.
    fn checkpoints(&self, after: u64, through: u64, limit: u32) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>>;

    /// The checkpoint over the last event that has one.
    fn last_checkpoint(&self) -> BoxFuture<'_, Result<Option<StoredCheckpoint>, StoreError>>;

    /// Some of the intents of this kind without a recorded result, oldest first.
    fn orphans(&self, kind: OrphanKind, from: OrphanCursor) -> BoxFuture<'_, Result<OrphanPage, StoreError>>;
}

/// The audit chain of a running CA. Events are appended by the writes that they speak of.
pub trait AuditLog: AuditReader {
    /// The sequence of the last event, changing after each commit.
    fn audit_head(&self) -> watch::Receiver<u64>;

    /// Appends an event that changes nothing else: it is on record before what it speaks of is done.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn note(&self, event: AuditEvent, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds a checkpoint, which nobody has seen yet.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one over this event or a later one.
    fn record_checkpoint(&self, checkpoint: SignedCheckpoint) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps a checkpoint of another history, with an audit event; says whether it is new. At most [`MAX_FORKS`] are kept.
    fn record_fork(
        &self,
        node: NodeName,
        checkpoint: SignedCheckpoint,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Those that were kept.
    fn forks(&self) -> BoxFuture<'_, Result<Forks, StoreError>>;

    /// Acknowledges all that there are, with an audit event; says how many.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    fn acknowledge_forks(&self, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<u32, StoreError>>;
}
