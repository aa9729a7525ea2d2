//! Why the store did not do what was asked.

use identity::NodeName;
use pki::Timestamp;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing of that name.
    #[error("{what} {name} does not exist")]
    NotFound {
        /// `entry`, `node`, `banned node`, `certificate`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there already.
    #[error("{what} {name} already exists")]
    Exists {
        /// `entry`, `join token`, `certificate`.
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
    /// The disk or the database failed, or had failed before. For the log, not for callers.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Why a token is not redeemed.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// It was never made, or is forgotten: tokens are some time after their end, and used ones when their node is evicted, banned
    /// or takes another key.
    #[error("the join token is unknown to this CA")]
    Unknown,
    /// Its time is over.
    #[error("the join token expired at {expires_at}, now is {now}")]
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
