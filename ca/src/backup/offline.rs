//! Backups without the CA: made of the state directory of one that is stopped, and looked into.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use pki::{Passphrase, Sha256Hasher, Timestamp};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::private_files::{DirLock, PrivateFileWriter, check_private_dir};

use super::collect::{Collected, Hold, blocking, collect};
use super::container::{ContainerReader, ContainerWriter};
use super::error::{BackupError, RestoreError};
use super::manifest::{BackedUpFile, Manifest};
use crate::audit::{Action, Actor, AuditEvent, BackupAction};
use crate::config::{CaConfig, StoreConfig};
use crate::signing_keys::SigningKeys;
use crate::store::{AuditLog, SqliteStore};

/// A backup that was read to its end: every byte of it is what was written under its passphrase.
#[derive(Clone, Debug)]
pub struct VerifiedBackup {
    /// What is in it.
    pub manifest: Manifest,
    /// The length of the file in bytes.
    pub bytes: u64,
}

/// Makes a backup of a CA that is stopped into a new file, and reads it back.
///
/// # Errors
/// [`BackupError`]; there is no such file then. A CA that runs holds the lock of its state directory: it is asked by its admin socket.
pub async fn make(
    config: &CaConfig,
    file: &Path,
    passphrase: Passphrase,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<VerifiedBackup, BackupError> {
    check_store(config)?;
    check_private_dir(&config.state_dir)?;
    let hold: Hold = Arc::new(DirLock::acquire(&config.state_dir)?);
    let now = Timestamp::from(clock.now());
    let mut writer = PrivateFileWriter::create(file)?;
    let keys = SigningKeys::open(config).await?;
    let store = SqliteStore::open(&config.store_path())?;
    let actor = Actor::Operator { uid: nix::unistd::getuid().as_raw() };
    store.note(AuditEvent { actor, action: Action::Backup(BackupAction::Started) }, now).await?;
    drop(store);
    let collected = collect(config, &keys, false, &hold, now).await?;
    // On this thread: nothing else runs in a process that does this alone.
    write(&collected, &passphrase, entropy, &mut |bytes| Ok(writer.write(&bytes)?))?;
    writer.sync()?;
    let read = verify(writer.now_at(), &passphrase).map_err(BackupError::ReadBack)?;
    writer.finish()?;
    Ok(read)
}

/// That the store is a file.
///
/// # Errors
/// [`BackupError::StoreElsewhere`].
pub(super) fn check_store(config: &CaConfig) -> Result<(), BackupError> {
    match &config.store {
        StoreConfig::Sqlite => Ok(()),
        StoreConfig::Postgres(_) => Err(BackupError::StoreElsewhere { directory: config.state_dir.clone() }),
    }
}

/// Gives out a backup, piece by piece.
///
/// # Errors
/// What `sink` says, and when the snapshot cannot be read.
pub(super) fn write(
    collected: &Collected,
    passphrase: &Passphrase,
    entropy: &dyn Entropy,
    sink: &mut dyn FnMut(Vec<u8>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut container = ContainerWriter::begin(&collected.manifest, passphrase, entropy, sink)?;
    collected.each(|bytes| container.put(bytes))?;
    container.end()
}

/// Reads a backup to its end and holds everything in it against what it says of itself. Nothing is written.
///
/// # Errors
/// [`RestoreError`].
pub fn verify(file: &Path, passphrase: &Passphrase) -> Result<VerifiedBackup, RestoreError> {
    let opened = File::open(file).map_err(RestoreError::Read)?;
    let bytes = opened.metadata().map_err(RestoreError::Read)?.len();
    let manifest = walk(opened, passphrase, |_| Ok(()), |_, _| Ok(()))?;
    Ok(VerifiedBackup { manifest, bytes })
}

/// Reads a backup: `judge` sees the manifest before anything else, `take` each file in pieces. Only when this returns is what was taken known to
/// be whole.
///
/// # Errors
/// [`RestoreError`], also of `judge` and `take`.
pub(super) fn walk(
    file: File,
    passphrase: &Passphrase,
    judge: impl FnOnce(&Manifest) -> Result<(), RestoreError>,
    mut take: impl FnMut(&BackedUpFile, &[u8]) -> Result<(), RestoreError>,
) -> Result<Manifest, RestoreError> {
    let (manifest, mut container) = ContainerReader::begin(file, passphrase)?;
    judge(&manifest)?;
    for file in &manifest.files {
        let (mut left, mut hasher) = (file.bytes, Sha256Hasher::new());
        // A file of no bytes is a file too.
        take(file, &[])?;
        while left > 0 {
            let piece = container.some(usize::try_from(left).unwrap_or(usize::MAX))?;
            hasher.update(piece);
            left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            take(file, piece)?;
        }
        if HEXLOWER.encode(&hasher.finish()) != file.sha256 {
            return Err(RestoreError::Digest { path: file.path.clone() });
        }
    }
    container.end()?;
    Ok(manifest)
}

/// See [`blocking`].
pub(super) async fn write_apart(
    collected: Collected,
    passphrase: Passphrase,
    entropy: Arc<dyn Entropy>,
    mut sink: impl FnMut(Vec<u8>) -> Result<(), BackupError> + Send + 'static,
) -> Result<(), BackupError> {
    blocking(move || write(&collected, &passphrase, &*entropy, &mut sink)).await?
}
