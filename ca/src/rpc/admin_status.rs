//! The one map from errors to what an operator's program sees of the Admin service: code, stable reason, and what to do.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::records::EntryIdError;
use crate::rpc::status::ERROR_DOMAIN;
use crate::rpc::wire::EntryFault;
use crate::store::StoreError;

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
    /// The token would live too long.
    #[error("a join token of {} s is refused: it may live at most {} s; make it when it is needed", .asked.as_secs(), .max.as_secs())]
    TokenTtl { asked: Duration, max: Duration },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
            AdminError::TokenTtl { .. } => (Code::InvalidArgument, "TTL_ABOVE_MAX", text),
            AdminError::Store(StoreError::NotFound { what: "entry", .. }) => {
                (Code::NotFound, "ENTRY_NOT_FOUND", format!("{text}; `signet entry list` shows those that do"))
            }
            AdminError::Store(StoreError::NotFound { what: "banned node", name }) => {
                let message = format!("node {name} is not banned; `signet node list` shows those that are");
                (Code::NotFound, "NODE_NOT_FOUND", message)
            }
            AdminError::Store(StoreError::NotFound { .. }) => {
                (Code::NotFound, "NODE_NOT_FOUND", format!("{text}; `signet node list` shows those that do"))
            }
            AdminError::Store(StoreError::Exists { .. }) => (
                Code::AlreadyExists,
                "ALREADY_EXISTS",
                format!("{text}; delete that one first (`signet entry delete`) to make it anew"),
            ),
            AdminError::Store(StoreError::Banned { .. }) => (Code::FailedPrecondition, "NODE_BANNED", text),
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
