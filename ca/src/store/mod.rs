//! What must survive: entries, tokens, nodes, issued certificates, bundle sequences and the audit chain.
//!
//! Owns the interface and its promises; [`SqliteStore`] keeps them. Every write is one transaction with its audit event, and its
//! future resolves after that transaction is on disk. A future that is dropped early does not undo its write. Reads see every
//! write that resolved before them.

mod error;
mod sqlite;

use futures_util::future::BoxFuture;
use identity::{NodeName, TrustDomain};
use pki::{SerialNumber, Sha256Digest, Timestamp};
use tokio::sync::{broadcast, watch};

pub use crate::audit::Actor;
use crate::audit::{AuditRecord, AuditVerdict};
use crate::issuance::Ledger;
use crate::records::{AgentSvidRecord, Entry, EntryId, NewEntry, NodeRecord, SvidGrounds, TokenRecord};
pub use error::{RedeemError, StoreError};
pub use sqlite::{OpenError, SqliteStore};

/// What changed, for whoever pushes. Sent after the commit. A receiver that lagged has to look at everything anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The entries of this node.
    Entries(NodeName),
    /// The record of this node: attested, renewed, evicted, banned or unbanned. Open streams re-check at once.
    Node(NodeName),
}

/// Registration entries.
pub trait EntryStore: Send + Sync {
    /// Adds an entry.
    ///
    /// # Errors
    /// [`StoreError::Exists`] naming the entry that already has this SPIFFE ID, these selectors and this parent.
    fn create_entry(
        &self,
        id: EntryId,
        entry: NewEntry,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Entry, StoreError>>;

    /// The entries of a node, or all of them, in the order in which they were made.
    fn entries(&self, parent: Option<NodeName>) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;

    /// One entry.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    fn entry(&self, id: EntryId) -> BoxFuture<'_, Result<Entry, StoreError>>;

    /// Removes an entry.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    fn delete_entry(&self, id: EntryId, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Join tokens.
pub trait TokenStore: Send + Sync {
    /// Adds a token. Tokens that ended more than a day ago are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Banned`] when its node is.
    fn create_token(&self, token: TokenRecord, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Binds the token to the node key, or finds it bound to the same, and registers the node, in one transaction: of any number
    /// of callers with different keys one succeeds.
    ///
    /// A node that has attested before with another key gets this key instead: the operator made a new token for its name. The
    /// former key, its SVIDs and its used tokens are forgotten then.
    ///
    /// # Errors
    /// [`RedeemError`]. Refusals of a token that exists are audited, the first 16 of each token.
    fn redeem_token(
        &self,
        hash: Sha256Digest,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, RedeemError>>;
}

/// Nodes and their standing.
pub trait NodeStore: Send + Sync {
    /// Sets the agent SVID that a node has from now on; see [`SvidGrounds`] for when. The former current becomes the previous
    /// one, except that a renewal presented with the previous one replaces the current, which its holder never got.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the node is not on record, [`StoreError::Banned`], or [`StoreError::Superseded`] when the
    /// grounds do not hold any more. The certificate must not be handed out then.
    fn set_agent_svid(
        &self,
        node: NodeName,
        svid: AgentSvidRecord,
        grounds: SvidGrounds,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The record of a node.
    fn node(&self, node: NodeName) -> BoxFuture<'_, Result<Option<NodeRecord>, StoreError>>;

    /// The record of the node with this key, which may be that of a ban.
    fn node_by_key(&self, node_key_spki: Vec<u8>) -> BoxFuture<'_, Result<Option<NodeRecord>, StoreError>>;

    /// All records, by name.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, StoreError>>;

    /// Forgets key, record and used tokens: the node needs a new token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Banned`], since forgetting the record would lift the ban.
    fn evict_node(&self, node: NodeName, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Blocks name and key, known or not, and forgets used tokens.
    fn ban_node(&self, node: NodeName, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lifts the block of name and key; the record is gone, so the node must attest with a new token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the node is not banned.
    fn unban_node(&self, node: NodeName, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Issued certificates. What comes before a signature is [`Ledger::persist`].
pub trait IssuanceStore: Ledger {
    /// Adds the signed certificate to the intent; may follow the answer to the caller.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without an intent, [`StoreError::Exists`] when it has another certificate already.
    fn record_result(
        &self,
        serial: SerialNumber,
        certificate_der: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// How many certificates were signed, as far as their results are recorded.
    fn issued_count(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// Sequences of trust bundles.
pub trait BundleStore: Send + Sync {
    /// The sequence of this bundle content: the last one when the content is unchanged, else the next. From 1.
    fn bundle_sequence(
        &self,
        trust_domain: TrustDomain,
        content: Sha256Digest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// The audit chain, for reading. Events are appended by the writes that they speak of.
pub trait AuditLog: Send + Sync {
    /// At most `limit` events after this sequence, oldest first.
    fn audit_after(&self, sequence: u64, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>>;

    /// The sequence of the last event, changing after each commit.
    fn audit_head(&self) -> watch::Receiver<u64>;

    /// Walks the whole chain, as of one moment.
    fn audit_verify(&self) -> BoxFuture<'_, Result<AuditVerdict, StoreError>>;
}

/// How the store itself fares.
pub trait StoreHealth: Send + Sync {
    /// `Some(cause)` once a commit or its sync has failed. What is on disk is not known then, every later write fails, and the
    /// process should end: the server watches this.
    fn failure(&self) -> watch::Receiver<Option<String>>;

    /// How many transactions were committed: writes share them, so this grows slower than the writes do.
    fn commits(&self) -> u64;

    /// Changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;
}

/// All of it.
pub trait Store: EntryStore + TokenStore + NodeStore + IssuanceStore + BundleStore + AuditLog + StoreHealth + 'static {}

impl<T: EntryStore + TokenStore + NodeStore + IssuanceStore + BundleStore + AuditLog + StoreHealth + 'static> Store for T {}
