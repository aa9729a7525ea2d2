//! What a verification finds: what, where, and what to do.

use std::fmt;

use data_encoding::HEXLOWER;
use pki::{Sha256Digest, Timestamp};

use super::ChainFault;

/// Where a checkpoint comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointSource {
    /// The store that is verified.
    Store,
    /// Kept elsewhere; the name is for people.
    Shown(String),
}

impl fmt::Display for CheckpointSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store"),
            Self::Shown(name) => f.write_str(name),
        }
    }
}

/// Something that is wrong with the audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFinding {
    /// The chain itself does not hold. Told once: what follows a break says nothing about the chain.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// An event is not the one that was signed for.
    #[error(
        "event {sequence} is not the one that the checkpoint of {time} from {source_name} was made over: the chain was rebuilt at or \
         before this event"
    )]
    Rebuilt {
        /// The event that the checkpoint names.
        sequence: u64,
        /// When that was made.
        time: Timestamp,
        /// Where the checkpoint comes from.
        source_name: CheckpointSource,
    },
    /// The chain ends before an event that was signed for.
    #[error(
        "the log ends with event {last}, but the checkpoint of {time} from {source_name} was made over event {sequence}: the tail was cut \
         off, or an older copy of the store was put back"
    )]
    EndsEarly {
        /// The event that the checkpoint names.
        sequence: u64,
        /// The last event there is.
        last: u64,
        /// When the checkpoint was made.
        time: Timestamp,
        /// Where it comes from.
        source_name: CheckpointSource,
    },
    /// A checkpoint that was kept elsewhere is not among those of the store.
    #[error(
        "the checkpoint over event {sequence} of {time} from {source_name} is not among the checkpoints of the store: they were made anew \
         or taken out"
    )]
    NotStored {
        /// The event that the checkpoint names.
        sequence: u64,
        /// When it was made.
        time: Timestamp,
        /// Where it comes from.
        source_name: CheckpointSource,
    },
    /// A checkpoint of the store does not continue the one before.
    #[error("the checkpoint over event {sequence} does not continue the one before it: checkpoints were taken out or put in")]
    Unlinked {
        /// The event that it names.
        sequence: u64,
    },
    /// A checkpoint of the store is none.
    #[error("the checkpoint over event {sequence} does not count: {why}")]
    Invalid {
        /// The event that it names.
        sequence: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint is of another trust domain than the others.
    #[error("the checkpoint over event {sequence} from {source_name} is of another trust domain, {found}")]
    OtherTrustDomain {
        /// The event that it names.
        sequence: u64,
        /// Where it comes from.
        source_name: CheckpointSource,
        /// Its trust domain.
        found: String,
    },
    /// A checkpoint is under a key that the auditor did not name.
    #[error("the checkpoint over event {sequence} from {source_name} is under the key {}, which is none of those named", HEXLOWER.encode(.key))]
    OtherKey {
        /// The event that it names.
        sequence: u64,
        /// Where it comes from.
        source_name: CheckpointSource,
        /// The key that signed it.
        key: Sha256Digest,
    },
}

impl AuditFinding {
    /// Lower snake case, such as `event_edited`. Stable: searched for by people and programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Chain(fault) => fault.kind(),
            Self::Rebuilt { .. } => "chain_rebuilt",
            Self::EndsEarly { .. } => "ends_before_checkpoint",
            Self::NotStored { .. } => "checkpoint_not_stored",
            Self::Unlinked { .. } => "checkpoints_unlinked",
            Self::Invalid { .. } => "checkpoint_invalid",
            Self::OtherTrustDomain { .. } => "checkpoint_of_another_trust_domain",
            Self::OtherKey { .. } => "checkpoint_of_another_key",
        }
    }

    /// Which event it is about.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Chain(fault) => fault.sequence(),
            Self::Rebuilt { sequence, .. }
            | Self::EndsEarly { sequence, .. }
            | Self::NotStored { sequence, .. }
            | Self::Unlinked { sequence }
            | Self::Invalid { sequence, .. }
            | Self::OtherTrustDomain { sequence, .. }
            | Self::OtherKey { sequence, .. } => *sequence,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Chain(_) => {
                "keep a copy of the state directory as it is, and find out who wrote to store.db; events before this one are as they were \
                 written"
            }
            Self::Rebuilt { .. } | Self::NotStored { .. } | Self::Unlinked { .. } => {
                "keep the store and every checkpoint of agents; compare with a backup from before that time, which has the true events, and \
                 take the CA's host for compromised"
            }
            Self::EndsEarly { .. } => {
                "if an older copy of the store was put back, look for the newer one; what it recorded is missing here. If not, keep \
                 everything and take the CA's host for compromised"
            }
            Self::Invalid { .. } => "keep a copy of the state directory as it is, and find out who wrote to store.db",
            Self::OtherTrustDomain { .. } => "show checkpoints of agents of this CA only",
            Self::OtherKey { .. } => {
                "compare the key with what `signet status` showed when the CA was set up; one that nobody made is somebody else's"
            }
        }
    }
}
