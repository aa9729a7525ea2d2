//! What happened to the replicas that share a store.

use identity::ReplicaName;

/// What a process took that one at a time may have.
#[derive(Clone, Debug)]
pub enum ReplicaAction {
    /// A process is this replica from now on: the first one, another one than before, or one that says otherwise where it is.
    Registered {
        /// Which.
        replica: ReplicaName,
        /// The first byte of the serials that it makes.
        serial_byte: u8,
        /// Where its agents connect.
        address: String,
        /// The epoch that fences the process before it.
        epoch: u64,
    },
    /// This replica leads the rotations of what all share, and another one did before.
    LeadTaken {
        /// Which.
        replica: ReplicaName,
        /// The epoch that fences the one before.
        epoch: u64,
    },
    /// An operator takes a replica out that was silent: no process is it any more.
    Retired {
        /// Which.
        replica: ReplicaName,
        /// The epoch that fences its last process.
        epoch: u64,
    },
    /// It is on record no more: nothing good rested on its authorities.
    Removed {
        /// Which.
        replica: ReplicaName,
    },
}

impl ReplicaAction {
    /// See [`super::AuditEvent::kind`].
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "replica_registered",
            Self::LeadTaken { .. } => "lead_taken",
            Self::Retired { .. } => "replica_retired",
            Self::Removed { .. } => "replica_removed",
        }
    }
}
