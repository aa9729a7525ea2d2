//! Why there is no backup, and why one is not restored.

use std::io;
use std::path::PathBuf;

use pkcs11::TokenError;
use pki::seal::stream::StreamError;
use runtime::private_files::PrivateFileError;
use runtime::secret_source::SecretSourceError;

use crate::keystore::KeystoreError;
use crate::signing_keys::SigningKeyError;
use crate::store::{OpenError, StoreError};

/// Why no backup was made. What was written of it is gone.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The state directory or a file in it is not usable, or a running CA has it.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No snapshot of the store can be made.
    #[error("no snapshot of the store could be made: {0}")]
    Snapshot(String),
    /// The snapshot would take room that the CA needs to go on.
    #[error(
        "a snapshot of the store takes up to {needed} bytes in {}, and must leave as much again for the CA; {free} are free: make room first",
        directory.display()
    )]
    NoRoom {
        /// Where it would lie for the time of the backup.
        directory: PathBuf,
        /// How much it takes at the most.
        needed: u64,
        /// How much there is.
        free: u64,
    },
    /// The store lies with a server.
    #[error(
        "the store is in PostgreSQL ([store]), which signet does not back up: make its backup by the server's own means (pg_basebackup, or \
         pg_dump of the database), and a copy of {} beside it while no rotation is under way",
        directory.display()
    )]
    StoreElsewhere {
        /// Where the rest of the CA lies.
        directory: PathBuf,
    },
    /// The token in which keys lie is not there.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The generations of issuing CAs cannot be read.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The passphrase that keys are under.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// Files do not hold what the store names, each time that both were looked at.
    #[error("the store and the files do not agree: {0}; restore what was there, or try again when no rotation is under way")]
    Disagree(String),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] StreamError),
    /// Reading what was collected failed.
    #[error("the snapshot cannot be read: {0}")]
    Read(io::Error),
    /// Nobody takes it any more.
    #[error("whoever asked for the backup is gone")]
    Gone,
    /// A task of it ended early.
    #[error("a part of the backup ended early: {0}")]
    Ended(String),
    /// It was written, and does not read back.
    #[error("the backup does not read back as it was written: {0}")]
    ReadBack(#[source] RestoreError),
}

/// Why a backup is not read, or not restored. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file, or a place, is not usable.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file cannot be read.
    #[error("the backup cannot be read: {0}")]
    Read(io::Error),
    /// It does not begin as one.
    #[error("it is no backup of signet: name a file that `signet ca backup` wrote")]
    NoBackup,
    /// A later build made it.
    #[error("it has version {found}, this build knows version {known}: use the build that made it, or a newer one")]
    Version {
        /// The version met.
        found: u16,
        /// The version known.
        known: u16,
    },
    /// A later build made the store in it.
    #[error(
        "the store in it has schema version {found}, this build knows up to {known}: use the build that made it, or a newer one"
    )]
    Schema {
        /// The version met.
        found: usize,
        /// The newest version known.
        known: usize,
    },
    /// It does not open.
    #[error(transparent)]
    Sealed(#[from] StreamError),
    /// It ends before its end.
    #[error("it was cut: its last part is missing")]
    Cut,
    /// What is in it is shorter than it says.
    #[error("it holds less than it says of itself")]
    Short,
    /// What is in it is longer than it says.
    #[error("it holds more than it says of itself")]
    Long,
    /// What it says of itself cannot be.
    #[error("what it says of itself is refused: {0}")]
    Manifest(String),
    /// A file in it is not the one that it says.
    #[error("{path} in it is not the file that it says: its digest differs")]
    Digest {
        /// Which file.
        path: String,
    },
    /// There is something in the place of the state directory.
    #[error("{} is there, and nothing is ever overwritten: name a directory that is not, or move that one away", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// It would put the CA back in time, and nobody said that this is meant.
    #[error("a restore goes back in time, and says so first. What is lost:\n{}", .0.join("\n"))]
    GoesBack(Vec<String>),
    /// The clock is behind the backup.
    #[error("the clock says {now}, and the backup was made at {made_at}: set the clock right first")]
    Clock {
        /// This machine's clock.
        now: pki::Timestamp,
        /// When the backup was made.
        made_at: pki::Timestamp,
    },
    /// The store in it does not hold together.
    #[error("the store in it does not hold together: {0}")]
    Damaged(String),
    /// The store in it cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store in it does not take what is to be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of it ended early.
    #[error("a part of the restore ended early: {0}")]
    Ended(String),
}
