//! What must survive: entries, tokens, nodes, issued certificates, bundle sequences and the audit chain.
//!
//! Owns the interface and its promises; [`SqliteStore`] and [`PostgresStore`] keep them. Every write is one transaction with its audit event, and its
//! future resolves after that transaction is on disk. A future that is dropped early does not undo its write. Reads see every
//! write that resolved before them.

mod audit;
mod authorities;
mod error;
mod fault;
mod federation;
mod open;
mod postgres;
mod replicas;
mod revocations;
mod sql;
mod sqlite;
mod tokens;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::{AliasName, NodeName, SpiffeId, TrustDomain};
use pki::{SerialNumber, Sha256Digest, Timestamp};
use tokio::sync::{broadcast, watch};

pub use crate::audit::Actor;
use crate::authority::lifecycle::Lifecycle;
use crate::entry_plan::{EntryPlan, Scope, ScopeVersion, Wanted};
use crate::issuance::Ledger;
use crate::jwt::issuance::JwtLedger;
use crate::records::{
    AgentSvidRecord, ConfirmedPod, Entry, EntryEdit, EntryId, Held, IssuedRecord, NewEntry, NodeAlias, NodeEntries, NodeRecord,
    Outstanding, SvidGrounds,
};
pub use audit::{AuditLog, AuditReader, Fork, Forks, MAX_FORKS, Orphan, OrphanCursor, OrphanKind, OrphanPage};
pub use authorities::{AuthorityStore, Settled};
pub use error::{AgentPodError, ApplyError, CertificateUseError, RedeemError, StoreError};
pub use fault::{FaultKind, StoreFault, StoreState};
pub use federation::FederationStore;
pub use open::open;
pub(crate) use postgres::{DEFAULT_PORT, inspect};
pub use postgres::{PostgresConfig, PostgresError, PostgresStore, ServerPlace};
pub use replicas::{Fence, IssuerRequest, Lease, LeaseError, LeaseName, Registration, ReplicaRecord, ReplicaStore};
pub use revocations::{RevocationStore, RevokeError};
pub use sqlite::{OpenError, SqliteStore, StoreFile};
pub(crate) use sqlite::{StoreMarks, check_whole, newest_schema, snapshot};
pub use tokens::{ProvisioningStore, TokenStore};

/// What changed, for whoever pushes. Sent after the commit. A receiver that lagged has to look at everything anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What these nodes may hold: an entry of theirs, or their membership of an alias.
    Entries(Arc<[NodeName]>),
    /// What the nodes of clusters may hold: entries that objects there ask for.
    EntriesOfClusters,
    /// The record of this node: attested, renewed, evicted, banned or unbanned. Open streams re-check at once.
    Node(NodeName),
    /// What is revoked: a serial, or an identity.
    Revocations,
    /// The authorities, a rotation of them, or what replicas want signed.
    Authorities,
    /// A relationship with another trust domain, or its newest bundle.
    Federations,
    /// Anything: changes of others were missed, so everything has to be looked at anew.
    Unknown,
}

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryFilter {
    /// All of them.
    All,
    /// What this node has, by its name, by an alias or by its cluster.
    Node(NodeName),
    /// What has this alias as parent.
    Alias(AliasName),
    /// What objects of this cluster ask for.
    Cluster(String),
}

/// A document of entries, to be made so.
#[derive(Clone, Debug)]
pub struct Apply {
    /// What it speaks for.
    pub scope: Scope,
    /// What there shall be.
    pub wanted: Vec<Wanted>,
    /// Whether what is not wanted goes.
    pub prune: bool,
    /// Only while the scope has this version.
    pub expected_version: Option<ScopeVersion>,
    /// Only while this process leads by it.
    pub fence: Option<Fence>,
    /// Names for new entries: as many as there are wanted ones.
    pub new_ids: Vec<EntryId>,
}

/// Registration entries.
pub trait EntryStore: Send + Sync {
    /// Adds an entry. One that says the same and has ended gives way.
    ///
    /// # Errors
    /// [`StoreError::Exists`] naming the entry that already has this SPIFFE ID, these selectors and this parent;
    /// [`StoreError::NotFound`] without the alias that is to be its parent.
    fn create_entry(
        &self,
        id: EntryId,
        entry: NewEntry,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Entry, StoreError>>;

    /// Entries, expired ones among them, in the order in which they were made.
    fn entries(&self, filter: EntryFilter) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;

    /// What a node has, with the memberships by which it has it, of one moment. Asked for at every call, so it costs little.
    fn node_entries(&self, node: NodeName) -> BoxFuture<'_, Result<Arc<NodeEntries>, StoreError>>;

    /// One entry.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    fn entry(&self, id: EntryId) -> BoxFuture<'_, Result<Entry, StoreError>>;

    /// Changes an entry, while it has the revision expected if one is; what is so already is no change.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`], and [`StoreError::Exists`] when another entry says that already.
    fn update_entry(
        &self,
        id: EntryId,
        expected_revision: Option<u64>,
        edit: EntryEdit,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Entry, StoreError>>;

    /// Removes an entry; says what it said, and what was issued for it and lives on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    fn delete_entry(
        &self,
        id: EntryId,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(Entry, Option<Outstanding>), StoreError>>;

    /// What a document would change.
    ///
    /// # Errors
    /// [`ApplyError`].
    fn plan_entries(
        &self,
        scope: Scope,
        wanted: Vec<Wanted>,
        prune: bool,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<EntryPlan, ApplyError>>;

    /// Makes what a document says so, in one transaction; says what that changed.
    ///
    /// # Errors
    /// [`ApplyError`], [`StoreError::Changed`] among them when the scope has not the version expected.
    fn apply_entries(&self, document: Apply, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<EntryPlan, ApplyError>>;

    /// Forgets some entries that ended at `ended_by` or before; says how many.
    fn purge_expired_entries(&self, ended_by: Timestamp, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
}

/// Node aliases.
pub trait AliasStore: Send + Sync {
    /// Adds an alias.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    fn create_alias(
        &self,
        name: AliasName,
        nodes: BTreeSet<NodeName>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeAlias, StoreError>>;

    /// All aliases, by name.
    fn aliases(&self) -> BoxFuture<'_, Result<Vec<NodeAlias>, StoreError>>;

    /// Adds and removes members; what is so already is no change.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    fn change_alias(
        &self,
        name: AliasName,
        add: BTreeSet<NodeName>,
        remove: BTreeSet<NodeName>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeAlias, StoreError>>;

    /// Removes an alias, and the entries that hang on it if it may; says which those were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::InUse`] when entries hang on it and must stay.
    fn delete_alias(
        &self,
        name: AliasName,
        with_entries: bool,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;
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

/// A certificate that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuanceResult {
    /// Its serial number.
    pub serial: SerialNumber,
    /// All of it.
    pub certificate_der: Vec<u8>,
    /// When it was issued.
    pub now: Timestamp,
}

/// Issued certificates. What comes before a signature is [`Ledger::persist`], and before that on a JWT-SVID
/// [`JwtLedger::persist_jwt`].
pub trait IssuanceStore: Ledger + JwtLedger {
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

    /// As [`Self::record_result`], for many in one write. Answers with those that are refused, and why; the others stay.
    ///
    /// # Errors
    /// None of them was recorded.
    fn record_results(&self, results: Vec<IssuanceResult>) -> BoxFuture<'_, Result<Vec<(SerialNumber, StoreError)>, StoreError>>;

    /// What was recorded of this serial before it was signed; `None` when it is none of ours.
    fn issued(&self, serial: SerialNumber) -> BoxFuture<'_, Result<Option<IssuedRecord>, StoreError>>;

    /// What this caller was given last for each of these entries and the identity that it is for, where it has not ended longer than
    /// an hour ago.
    fn held(
        &self,
        caller: String,
        entries: Vec<(EntryId, SpiffeId)>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<HashMap<EntryId, Held>, StoreError>>;

    /// The last certificate that this agent was given for a service account on its node, which has neither ended nor been revoked.
    fn confirmed_pod(
        &self,
        caller: String,
        subject: SpiffeId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<ConfirmedPod>, StoreError>>;

    /// How many certificates were signed, as far as their results are recorded.
    fn issued_count(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// The latest time at which anything was recorded to be signed; the beginning of Unix time when nothing was. What is recorded more than
    /// five minutes before it is refused with [`StoreError::ClockBehind`].
    fn latest_issuance(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>>;

    /// Makes `now` the latest issuance, whatever was issued after it: an operator says that the clock was ahead then and is right
    /// now. Answers with the time that stood.
    fn accept_clock(&self, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<Timestamp, StoreError>>;
}

/// Sequences of trust bundles.
pub trait BundleStore: Send + Sync {
    /// The sequence of this bundle content: the last one when the content is unchanged, else the next. From 1. `of`: the authorities that the
    /// content was made of, so that whoever remembers older ones numbers nothing.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when other authorities are stored by now.
    fn bundle_sequence(
        &self,
        trust_domain: TrustDomain,
        content: Sha256Digest,
        of: Arc<Lifecycle>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// How the store itself fares.
pub trait StoreHealth: Send + Sync {
    /// Whether writes are taken, and if not, why. Every certificate and token needs one, so while they are refused none is
    /// signed.
    fn state(&self) -> watch::Receiver<StoreState>;

    /// Tries to take writes again, if they are refused. To be called each second while they are: the store has no clock.
    fn recover(&self) -> BoxFuture<'_, ()>;

    /// Changes when a commit begins and when it ends; odd while one is under way.
    fn commit_turns(&self) -> u64;

    /// How many faults of each kind were met.
    fn faults(&self) -> Vec<(FaultKind, u64)>;

    /// How many transactions were committed: writes share them, so this grows slower than the writes do.
    fn commits(&self) -> u64;

    /// Changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;
}

/// All of it.
pub trait Store:
    EntryStore
    + AliasStore
    + TokenStore
    + ProvisioningStore
    + NodeStore
    + IssuanceStore
    + BundleStore
    + AuthorityStore
    + ReplicaStore
    + RevocationStore
    + FederationStore
    + AuditLog
    + StoreHealth
    + 'static
{
}
