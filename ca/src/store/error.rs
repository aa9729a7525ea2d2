//! Why the store did not do what was asked.

use identity::{AliasName, NodeName, SpiffeId};
use pki::Timestamp;

use super::LeaseName;

use crate::entry_plan::PlanError;
use crate::issuance_clock::ClockFault;
use crate::records::{ClusterObject, EntryId};

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing of that name.
    #[error("{what} {name} does not exist")]
    NotFound {
        /// `entry`, `node`, `node alias`, `banned node`, `certificate`, `join token`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there already.
    #[error("{what} {name} already exists")]
    Exists {
        /// `entry`, `node alias`, `join token`, `certificate`.
        what: &'static str,
        /// The name of the one that is there.
        name: String,
    },
    /// The node is banned.
    #[error("node {node} is banned; `signet node unban {node}` lifts that")]
    Banned {
        /// Which.
        node: NodeName,
    },
    /// The record of the node no longer has the key or the certificate that the change stands on.
    #[error("the record of node {node} has changed meanwhile: it has another key or certificate now")]
    Superseded {
        /// Which.
        node: NodeName,
    },
    /// It is not as the caller knew it: somebody else changed it meanwhile.
    #[error("the {what} {name} has changed meanwhile")]
    Changed {
        /// `entry`, `scope`, `lifecycle of the`.
        what: &'static str,
        /// The name of the entry, the version of the scope now, `authorities`.
        name: String,
    },
    /// Another process has by now what this one wrote by, or this one never had it.
    #[error("this process does not hold the lease \"{lease}\" (any more): epoch {epoch} is over; nothing was written")]
    Fenced {
        /// Which.
        lease: LeaseName,
        /// In which epoch this process held it; 0: never.
        epoch: u64,
    },
    /// An operator revoked the identity.
    #[error("{}", crate::issuance::denied(.id))]
    Denied {
        /// Which.
        id: SpiffeId,
    },
    /// The entry is that of an object of a cluster.
    #[error("entry {entry} is that of the {object}: change or delete that object; the CA follows it")]
    OfObject {
        /// Which.
        entry: EntryId,
        /// The object.
        object: Box<ClusterObject>,
    },
    /// Entries hang on the alias.
    #[error("node alias {alias} is the parent of {entries} entries")]
    InUse {
        /// Which.
        alias: AliasName,
        /// How many entries.
        entries: usize,
    },
    /// The clock is behind what was issued before.
    #[error(transparent)]
    ClockBehind(#[from] ClockFault),
    /// The disk or the database failed, or had failed before. For the log, not for callers.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Why a document of entries is not applied. Nothing of it is then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The document does not fit itself or what there is.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token is not redeemed.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// It was never made, or is forgotten: tokens are some time after their end, and used ones when their node is evicted, banned
    /// or takes another key.
    #[error("the join token is unknown to this CA")]
    Unknown,
    /// Its time is over, or an operator ended it.
    #[error(
        "the join token ended at {expires_at}, now is {now}: its time was over, or an operator revoked it; ask for another one"
    )]
    Expired {
        /// Its end.
        expires_at: Timestamp,
        /// The CA's clock.
        now: Timestamp,
    },
    /// Another key redeemed it.
    #[error("the join token was already used by another node key: find out who used it")]
    UsedByAnotherKey,
    /// The node's name or the key is banned.
    #[error("the node or its key is banned; `signet node unban NAME` lifts that")]
    Banned,
    /// The key is registered for a node of another name.
    #[error(
        "this node key already belongs to node {node}; evict that node first, or start the agent with a fresh state directory"
    )]
    KeyOfAnotherNode {
        /// Whose key it is.
        node: NodeName,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the pod of an agent, for which the API server vouched, does not attest its node.
#[derive(Debug, thiserror::Error)]
pub enum AgentPodError {
    /// Another key came from it, or its node was evicted or banned since.
    #[error(
        "this pod attested its node before with another node key, or the node was evicted or banned since: one that is on record comes back \
         by its node key (is state_dir on a volume that outlives the container?); any other after its pod was deleted and made anew; if \
         that was not your agent, find out who has its token"
    )]
    Used,
    /// The node's name is taken by a key that no pod of this cluster proved.
    #[error(
        "node {node} is on record with a node key that did not come from this cluster: if it was meant to move, an operator evicts it \
         first (signet node evict {node})"
    )]
    NodeOfAnotherKey {
        /// Which.
        node: NodeName,
    },
    /// The key is registered for a node of another name.
    #[error(
        "this node key already belongs to node {node}: evict that node first, or start the agent with a fresh state directory"
    )]
    KeyOfAnotherNode {
        /// Which.
        node: NodeName,
    },
    /// The operator blocked the node or the key.
    #[error("the node is banned: an operator can lift it with signet node unban")]
    Banned,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a provisioning certificate is not redeemed.
#[derive(Debug, thiserror::Error)]
pub enum CertificateUseError {
    /// Its one use is over.
    #[error(
        "the certificate was already used to attest a node: one that is on record comes back by its node key, any other needs a new \
         certificate or a join token; if the certificate was not used by you, find out who did"
    )]
    Used,
    /// It attested a node of another name before.
    #[error("the certificate was already used for node {node}: find out what changed the name")]
    OtherName {
        /// Which.
        node: NodeName,
    },
    /// The node's name is taken by another key.
    #[error(
        "node {node} is on record with another node key, and a certificate does not replace that: if its state was lost, an operator \
         evicts it first (signet node evict {node})"
    )]
    NodeOfAnotherKey {
        /// Which.
        node: NodeName,
    },
    /// The key is registered for a node of another name.
    #[error(
        "this node key already belongs to node {node}: evict that node first, or start the agent with a fresh state directory"
    )]
    KeyOfAnotherNode {
        /// Whose key it is.
        node: NodeName,
    },
    /// The node's name or the key is banned.
    #[error("the node or its key is banned; `signet node unban NAME` lifts that")]
    Banned,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
