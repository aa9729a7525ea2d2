//! The one map from errors to what an operator's program sees of the Admin service: code, stable reason, and what to do.

use std::time::Duration;

use identity::NodeName;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::entry_plan::PlanError;
use crate::federation::{BundleRefusal, FederationFault};
use crate::records::{EntryIdError, TokenIdError};
use crate::rpc::entry_wire::EntryFault;
use crate::rpc::status::ERROR_DOMAIN;
use crate::store::{ApplyError, RevokeError, StoreError};

/// Why an operator's request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The connection does not tell who is at the other end.
    #[error("the peer of the admin socket has no credentials; connect to the Unix socket itself, on this machine")]
    NoPeer,
    /// The peer is neither root nor the user of the CA.
    #[error("user {uid} may not administer this CA; run the command as the CA's own user or as root")]
    NotAnOperator { uid: u32 },
    /// The entry asked for has faults.
    #[error("the entry is refused: {}", list(.0))]
    Entry(Vec<EntryFault>),
    /// The name of an entry cannot be one.
    #[error("{0}; `signet entry list` shows the ids")]
    EntryId(#[from] EntryIdError),
    /// The name of a node cannot be one.
    #[error("the node is refused: {0}")]
    Node(#[from] identity::NodeNameError),
    /// The name of a node alias cannot be one.
    #[error("the node alias is refused: {0}")]
    Alias(identity::NodeNameError),
    /// Too many members.
    #[error("{found} nodes are named, at most {max} are taken at once")]
    TooManyMembers { found: usize, max: usize },
    /// A node is to come and to go.
    #[error("node {node} is to be added and removed at once; name it in one of the two")]
    AddedAndRemoved { node: NodeName },
    /// A document names too much.
    #[error("the document has {found} entries, at most {max} are applied at once; cut it by scopes")]
    TooManyEntries { found: usize, max: usize },
    /// A document does not say what it speaks for.
    #[error("the scope of the document is refused: {0}")]
    Scope(&'static str),
    /// An entry of a document has faults.
    #[error("entry {number} of the document is refused: {}", list(.faults))]
    WantedEntry { number: usize, faults: Vec<EntryFault> },
    /// The scope of a document is not as the caller knows it.
    #[error("the entries in the scope of the document have changed since it was planned: look at the changes anew")]
    ScopeChanged,
    /// A document does not fit itself or what there is.
    #[error("the document is refused: {0}")]
    Plan(#[from] PlanError),
    /// A checkpoint, or the name of a key, cannot be one.
    #[error("what is to be held against the chain is refused: {0}")]
    Checkpoint(String),
    /// What is to be revoked or restored.
    #[error("what is to be revoked or restored is refused: {0}")]
    Target(String),
    /// It is not revoked.
    #[error(transparent)]
    Revoke(RevokeError),
    /// The name of a join token cannot be one.
    #[error("{0}; `signet token list` shows the ids")]
    TokenId(#[from] TokenIdError),
    /// What is said of a relationship with another trust domain.
    #[error("the relationship is refused: {0}")]
    Federation(FederationFault),
    /// The bundle to begin with.
    #[error("the bundle to begin with is refused: {0}")]
    ForeignBundle(BundleRefusal),
    /// One more would be too many.
    #[error("there are {max} relationships with other trust domains, and no more are kept; `signet federation remove` ends one")]
    TooManyFederations { max: usize },
    /// The configuration asks for no Secrets.
    #[error("this CA keeps no Secrets of service accounts: its configuration has no [kubernetes.secrets]")]
    NoSecrets,
    /// The configuration asks for no objects that show whom to trust.
    #[error(
        "this CA writes no objects that show whom to trust: [kubernetes.trust] is not in its configuration (docs/kubernetes.md)"
    )]
    NoTrust,
    /// The name of something in a cluster cannot be one.
    #[error("what should name {0} of a cluster is no name")]
    KubernetesName(&'static str),
    /// Another replica does it.
    #[error("another replica leads and keeps the Secrets: ask there (`signet replica list`)")]
    NotLeading,
    /// The API server refused, or did not answer.
    #[error("{0}")]
    ApiServer(kubernetes::ApiError),
    /// The token would live too long.
    #[error("a join token of {} s is refused: it may live at most {} s; make it when it is needed", .asked.as_secs(), .max.as_secs())]
    TokenTtl { asked: Duration, max: Duration },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RevokeError> for AdminError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Store(error) => Self::Store(error),
            other @ (RevokeError::Unknown { .. }
            | RevokeError::Ended { .. }
            | RevokeError::OfTheCa { .. }
            | RevokeError::NotAWorkload { .. }) => Self::Revoke(other),
        }
    }
}

impl From<ApplyError> for AdminError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Plan(error) => Self::Plan(error),
            ApplyError::Store(StoreError::Changed { what: "scope", .. }) => Self::ScopeChanged,
            ApplyError::Store(error) => Self::Store(error),
        }
    }
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        let text = error.to_string();
        let (code, reason, message) = match error {
            AdminError::NoPeer | AdminError::NotAnOperator { .. } => (Code::PermissionDenied, "NOT_AN_OPERATOR", text),
            AdminError::Entry(faults) if matches!(faults.as_slice(), [EntryFault::TtlAboveMax { .. }]) => {
                (Code::InvalidArgument, "TTL_ABOVE_MAX", text)
            }
            AdminError::Entry(_) => (Code::InvalidArgument, "ENTRY_INVALID", text),
            AdminError::EntryId(_) => (Code::InvalidArgument, "ENTRY_ID_INVALID", text),
            AdminError::Node(_) => (Code::InvalidArgument, "NODE_NAME_INVALID", text),
            AdminError::Alias(_) => (Code::InvalidArgument, "NODE_ALIAS_INVALID", text),
            AdminError::TooManyMembers { .. } | AdminError::AddedAndRemoved { .. } => {
                (Code::InvalidArgument, "NODE_ALIAS_INVALID", text)
            }
            AdminError::TooManyEntries { .. } | AdminError::Scope(_) | AdminError::WantedEntry { .. } | AdminError::Plan(_) => {
                (Code::InvalidArgument, "DOCUMENT_INVALID", text)
            }
            AdminError::Target(_) => (Code::InvalidArgument, "REVOCATION_INVALID", text),
            AdminError::Revoke(RevokeError::Unknown { .. }) => {
                (Code::NotFound, "CERTIFICATE_NOT_FOUND", format!("{text}; `signet audit tail` shows those that were"))
            }
            AdminError::Revoke(RevokeError::Ended { .. }) => {
                (Code::FailedPrecondition, "CERTIFICATE_ENDED", format!("{text}: nobody accepts it any more"))
            }
            AdminError::Revoke(RevokeError::OfTheCa { .. }) => (Code::FailedPrecondition, "CERTIFICATE_OF_THE_CA", text),
            AdminError::Revoke(RevokeError::NotAWorkload { .. } | RevokeError::Store(_)) => {
                (Code::InvalidArgument, "REVOCATION_INVALID", text)
            }
            AdminError::TokenId(_) => (Code::InvalidArgument, "TOKEN_ID_INVALID", text),
            AdminError::Federation(_) => (Code::InvalidArgument, "FEDERATION_INVALID", text),
            AdminError::ForeignBundle(_) => (Code::InvalidArgument, "BUNDLE_INVALID", text),
            AdminError::NoSecrets => (Code::FailedPrecondition, "NO_SECRETS", text),
            AdminError::NoTrust => (Code::FailedPrecondition, "NO_TRUST_OBJECTS", text),
            AdminError::KubernetesName(_) => (Code::InvalidArgument, "KUBERNETES_NAME_INVALID", text),
            AdminError::NotLeading => (Code::FailedPrecondition, "NOT_LEADING", text),
            AdminError::ApiServer(_) => (Code::Unavailable, "API_SERVER_UNAVAILABLE", text),
            AdminError::TooManyFederations { .. } => (Code::FailedPrecondition, "TOO_MANY_FEDERATIONS", text),
            AdminError::Store(StoreError::NotFound { what: "federation", name }) => {
                let message =
                    format!("there is no relationship with {name}; `signet federation list` shows those that there are");
                (Code::NotFound, "FEDERATION_NOT_FOUND", message)
            }
            AdminError::Store(StoreError::Exists { what: "federation", name }) => {
                let message =
                    format!("there is a relationship with {name} already; `signet federation remove {name}` ends it first");
                (Code::AlreadyExists, "ALREADY_EXISTS", message)
            }
            AdminError::Checkpoint(_) => (Code::InvalidArgument, "CHECKPOINT_INVALID", text),
            AdminError::ScopeChanged => (Code::Aborted, "ENTRIES_CHANGED", text),
            AdminError::TokenTtl { .. } => (Code::InvalidArgument, "TTL_ABOVE_MAX", text),
            AdminError::Store(StoreError::ClockBehind(_)) => (Code::Unavailable, "CLOCK_UNTRUSTED", text),
            AdminError::Store(StoreError::NotFound { what: "entry", .. }) => {
                (Code::NotFound, "ENTRY_NOT_FOUND", format!("{text}; `signet entry list` shows those that do"))
            }
            AdminError::Store(StoreError::NotFound { what: "banned node", name }) => {
                let message = format!("node {name} is not banned; `signet node list` shows those that are");
                (Code::NotFound, "NODE_NOT_FOUND", message)
            }
            AdminError::Store(StoreError::NotFound { what: "node alias", .. }) => {
                (Code::NotFound, "NODE_ALIAS_NOT_FOUND", format!("{text}; `signet node alias list` shows those that do"))
            }
            AdminError::Store(StoreError::NotFound { what: "join token", name }) => {
                let message = format!("no join token {name} may be redeemed; `signet token list` shows those that may");
                (Code::NotFound, "TOKEN_NOT_FOUND", message)
            }
            AdminError::Store(StoreError::NotFound { what: "checkpoint of another history", .. }) => (
                Code::FailedPrecondition,
                "NOTHING_TO_ACKNOWLEDGE",
                "no agent has shown a checkpoint of another history that is not acknowledged yet".to_owned(),
            ),
            AdminError::Store(StoreError::NotFound { .. }) => {
                (Code::NotFound, "NODE_NOT_FOUND", format!("{text}; `signet node list` shows those that do"))
            }
            AdminError::Store(StoreError::Exists { what: "node alias", .. }) => (
                Code::AlreadyExists,
                "ALREADY_EXISTS",
                format!("{text}; `signet node alias add` and `remove` change its members"),
            ),
            AdminError::Store(StoreError::Exists { .. }) => (
                Code::AlreadyExists,
                "ALREADY_EXISTS",
                format!("{text}; delete that one first (`signet entry delete`) to make it anew"),
            ),
            AdminError::Store(StoreError::Banned { .. }) => (Code::FailedPrecondition, "NODE_BANNED", text),
            AdminError::Store(StoreError::Denied { .. }) => (Code::FailedPrecondition, "IDENTITY_REVOKED", text),
            AdminError::Store(StoreError::Changed { .. }) => {
                (Code::Aborted, "ENTRIES_CHANGED", format!("{text}; look at it anew, then decide again"))
            }
            AdminError::Store(StoreError::OfObject { .. }) => (
                Code::FailedPrecondition,
                "ENTRY_OF_OBJECT",
                format!("{text}, and `signet revoke --spiffe-id` ends the identity at once"),
            ),
            AdminError::Store(StoreError::InUse { .. }) => (
                Code::FailedPrecondition,
                "NODE_ALIAS_IN_USE",
                format!("{text}; delete those first, or with it by `--with-entries`"),
            ),
            AdminError::Store(StoreError::Fenced { .. }) => (Code::Aborted, "NOT_LEADING", text),
            AdminError::Store(StoreError::Superseded { .. }) => (Code::Aborted, "SUPERSEDED", text),
            AdminError::Store(StoreError::Unavailable(cause)) => {
                // What the database said stays here.
                tracing::error!(%cause, "the store did not answer an operator");
                let message = "the CA's store did not answer, so the change may or may not have been made; look at the CA's log, then at what there is".to_owned();
                (Code::Unavailable, "STORE_UNAVAILABLE", message)
            }
        };
        Self::with_error_details(code, message, ErrorDetails::with_error_info(reason, ERROR_DOMAIN, []))
    }
}

fn list(faults: &[EntryFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
