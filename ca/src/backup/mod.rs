//! Backups of a CA: its store and its keys of one moment, in one file under a passphrase; and the way back.
//!
//! A backup is made of a snapshot of the store, and of the key and authority files that this snapshot names, each proved to be the one that it
//! names (`collect`). It is written as one stream of sealed pieces (`container`) that begins with what is in it (`manifest`). Whoever reads one
//! holds a piece at a time, and uses nothing of it before the last one has opened.

mod collect;
mod container;
mod error;
mod loss;
mod manifest;
mod offline;
mod restore;
mod running;

pub use error::{BackupError, RestoreError};
pub use loss::Loss;
pub use manifest::{BackedUpAuthority, BackedUpFile, KeyPlace, Manifest};
pub use offline::{VerifiedBackup, make, verify};
pub use restore::{RestoreOptions, RestoreReport, restore};
pub(crate) use restore::{RestoredNote, note_of};
pub(crate) use running::Backups;

#[cfg(test)]
mod tests;
