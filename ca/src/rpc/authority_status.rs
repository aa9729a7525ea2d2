//! The one map from errors to what an operator's program sees of the AuthorityAdmin service: code, stable reason, and the way out.

use std::collections::BTreeSet;

use identity::NodeName;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::authority::lifecycle::gate::Waiting;
use crate::authority::lifecycle::{AuthorityKind, AuthorityNameError, Refusal};
use crate::rotation::CommandError;
use crate::rpc::admin_status::AdminError;
use crate::rpc::status::ERROR_DOMAIN;
use crate::store::StoreError;

/// Most nodes that the way out names; who must give up more than these has the list by `-o json`.
const NODES_NAMED: usize = 8;

/// Why an operator's request about authorities is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityAdminError {
    /// Who asks may not.
    #[error(transparent)]
    Operator(#[from] AdminError),
    /// No kind is named, or one that this CA does not know.
    #[error("the kind of authority is missing: root, issuer or jwt")]
    Kind,
    /// The name of an authority cannot be one.
    #[error(transparent)]
    Name(#[from] AuthorityNameError),
    /// The name of a node cannot be one.
    #[error("an accepted node is refused: {0}")]
    Node(#[from] identity::NodeNameError),
    /// Too many are given up at once.
    #[error("{found} nodes are given up, at most {max} are taken at once")]
    TooManyNodes {
        /// How many.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// The name of a replica cannot be one.
    #[error("the replica is refused: {0}")]
    Replica(identity::NodeNameError),
    /// It was not carried out.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// None to tell of.
    #[error("no rotation of the {0} is under way or has ended since this CA started; `signet drill {0}` starts one")]
    NothingToWatch(AuthorityKind),
}

impl From<AuthorityAdminError> for Status {
    fn from(error: AuthorityAdminError) -> Self {
        let text = error.to_string();
        let (code, reason, message) = match error {
            AuthorityAdminError::Operator(error) => return error.into(),
            AuthorityAdminError::Kind => (Code::InvalidArgument, "AUTHORITY_KIND_INVALID", text),
            AuthorityAdminError::Name(_) => (Code::InvalidArgument, "AUTHORITY_NAME_INVALID", text),
            AuthorityAdminError::Node(_) | AuthorityAdminError::TooManyNodes { .. } => {
                (Code::InvalidArgument, "NODE_NAME_INVALID", text)
            }
            AuthorityAdminError::Replica(_) => (Code::InvalidArgument, "REPLICA_NAME_INVALID", text),
            AuthorityAdminError::NothingToWatch(_) => (Code::NotFound, "NO_ROTATION", text),
            AuthorityAdminError::Command(error) => return command(error, text),
        };
        told(code, reason, message)
    }
}

fn command(error: CommandError, text: String) -> Status {
    let (code, reason, message) = match error {
        CommandError::Refused(refusal) => {
            let way_on = way_on(&refusal);
            (code_of(&refusal), reason_of(&refusal), if way_on.is_empty() { text } else { format!("{text}. {way_on}") })
        }
        CommandError::NoWayBack(_) => (Code::FailedPrecondition, "NO_WAY_BACK", text),
        CommandError::NoRotation(_) => (Code::NotFound, "NO_ROTATION", text),
        CommandError::Overtaken(StoreError::Changed { .. }) | CommandError::Store(StoreError::Changed { .. }) => {
            let message = format!("{text}; look at them anew (`signet authority show`), then decide again");
            (Code::Aborted, "AUTHORITIES_CHANGED", message)
        }
        CommandError::Overtaken(_) | CommandError::Store(StoreError::Fenced { .. }) => (Code::Aborted, "NOT_LEADING", text),
        CommandError::Store(error) => return AdminError::Store(error).into(),
        CommandError::AnotherLeads { .. } => (Code::FailedPrecondition, "NOT_LEADING", text),
        CommandError::ReplicaLives(_) => (Code::FailedPrecondition, "REPLICA_LIVES", text),
        CommandError::NoReplica(_) => (Code::NotFound, "REPLICA_NOT_FOUND", text),
        CommandError::NobodyLeads => (Code::Unavailable, "NOT_LEADING", text),
        CommandError::Failed(_) => (Code::Internal, "AUTHORITY_STEP_FAILED", text),
        CommandError::Closing => (Code::Unavailable, "CLOSING", text),
    };
    told(code, reason, message)
}

fn told(code: Code, reason: &'static str, message: String) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, ERROR_DOMAIN, []))
}

fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Unknown(_) => Code::NotFound,
        Refusal::PluggedIn(_)
        | Refusal::TooMany { .. }
        | Refusal::Slot { .. }
        | Refusal::ParentNotActive { .. }
        | Refusal::NoIssuer(_)
        | Refusal::Ended(_)
        | Refusal::Gate { .. }
        | Refusal::MadeTwice(_)
        | Refusal::Adoption(..) => Code::FailedPrecondition,
    }
}

fn reason_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown(_) => "AUTHORITY_NOT_FOUND",
        Refusal::PluggedIn(_) => "AUTHORITY_PLUGGED_IN",
        Refusal::TooMany { .. } => "TOO_MANY_AUTHORITIES",
        Refusal::Slot { .. } | Refusal::ParentNotActive { .. } | Refusal::NoIssuer(_) => "AUTHORITY_SLOT",
        Refusal::Ended(_) => "AUTHORITY_ENDED",
        Refusal::Gate { .. } => "GATE_CLOSED",
        Refusal::MadeTwice(_) | Refusal::Adoption(..) => "AUTHORITY_CONFLICT",
    }
}

/// How to go on without waiting: exactly the losses that would have to be accepted now. Empty where waiting is the only way.
fn way_on(refusal: &Refusal) -> String {
    let Refusal::Gate { name: _, waits } = refusal else { return String::new() };
    let mut nodes: BTreeSet<&NodeName> = BTreeSet::new();
    let mut options = Vec::new();
    for waiting in waits {
        match waiting {
            // They follow by themselves, or are gone soon and not waited for.
            Waiting::Publication | Waiting::Replicas(_) => return String::new(),
            Waiting::Agents { behind: given_up, .. }
            | Waiting::Streams { nodes: given_up, .. }
            | Waiting::Svids { nodes: given_up, .. } => nodes.extend(given_up),
            Waiting::Files { .. } | Waiting::Objects { .. } | Waiting::PropagationHold { .. } => {
                options.push("--accept-files".to_owned())
            }
            Waiting::Leaves { left, .. } => options.push(format!("--accept-leaves {left}")),
            Waiting::Tokens { .. } => options.push("--accept-tokens".to_owned()),
        }
    }
    options.extend(nodes.iter().take(NODES_NAMED).map(|node| format!("--accept-node {node}")));
    if nodes.len() > NODES_NAMED {
        options.push(format!("--accept-node for {} nodes more", nodes.len() - NODES_NAMED));
    }
    options.sort();
    options.dedup();
    format!("Wait, or accept the loss: --force {}", options.join(" "))
}
