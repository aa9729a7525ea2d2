//! What happened to the record as a whole.

use pki::{Sha256Digest, Timestamp};

/// A backup was made, or put back.
#[derive(Clone, Debug)]
pub enum BackupAction {
    /// A backup is about to be written, with the keys: whoever has it and its passphrase has the CA.
    Started,
    /// This CA was put back from a backup: what it did in between is not on record.
    Restored(RestoredFrom),
}

impl BackupAction {
    /// See [`super::AuditEvent::kind`].
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Started => "backup_started",
            Self::Restored(_) => "ca_restored",
        }
    }
}

/// From what a CA was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredFrom {
    /// When the backup was made.
    pub made_at: Timestamp,
    /// The last event in it.
    pub events: u64,
    /// The hash of that event.
    pub head: Sha256Digest,
    /// How many later events checkpoints of agents spoke for; `None` when none was shown.
    pub events_lost: Option<u64>,
}
