//! The way back: a new state directory out of a backup, with word of what was lost.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use identity::TrustDomain;
use pki::{Passphrase, Sha256Digest, Timestamp};
use runtime::clock::Clock;
use runtime::private_files::{Overwrite, check_private_dir, read_bounded, sync_dir, write_private};
use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use super::loss::Loss;
use super::manifest::{BackedUpFile, Manifest, STORE};
use super::offline::walk;
use crate::audit::{Actor, RestoredFrom, ShownCheckpoint};
use crate::store::{AuditReader, SqliteStore, StoreFile, check_whole, newest_schema};

/// What a restore leaves for the CA: that it was one.
const NOTE: &str = "restored.json";
/// More than such a note, in bytes.
const MAX_NOTE_BYTES: usize = 4096;
/// How far the clock of this machine may be behind that of the CA which made the backup.
const TOLERABLE_SKEW: std::time::Duration = std::time::Duration::from_secs(60);

/// How a backup is put back.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// That what came after the backup is lost was said, and is meant.
    pub accept_loss: bool,
    /// Checkpoints that agents keep: they tell how much that is.
    pub shown: Vec<ShownCheckpoint>,
}

/// What was put back.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// What was in the backup.
    pub manifest: Manifest,
    /// What is lost.
    pub loss: Loss,
    /// How many join tokens that were open are ended.
    pub tokens_ended: usize,
    /// The event that says all this.
    pub event: u64,
}

/// Word of a restore, kept beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoredNote {
    /// When the backup was made, in Unix seconds.
    pub(crate) backup_made_at: u64,
    /// When it was put back.
    pub(crate) restored_at: u64,
}

impl RestoredNote {
    /// What an operator is told while a leaf may be in force that this CA does not know of: they live for `max_ttl` at the most.
    pub(crate) fn warning(&self, max_ttl: std::time::Duration, now: Timestamp) -> Option<String> {
        let [made, restored] = [self.backup_made_at, self.restored_at].map(Timestamp::from_unix_seconds);
        let over = restored.plus(max_ttl);
        (now <= over).then(|| {
            format!(
                "this CA was put back at {restored} from a backup of {made}: what it did in between is not on record. What it issued then may be in \
                 force until {over}; bans and revocations of that time are to be made again. `signet drill issuer` has everything issued anew \
                 (docs/backup.md)"
            )
        })
    }
}

/// Word of the last restore of a state directory; `None` when there was none. One that cannot be read is told by the caller: it is no reason
/// not to start.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn note_of(state_dir: &Path) -> Result<Option<RestoredNote>, String> {
    match read_bounded(&state_dir.join(NOTE), MAX_NOTE_BYTES) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string()),
    }
}

/// Makes a state directory of a backup: beside its place, looked through, with an event in the audit chain of what is lost, and only then under
/// its name.
///
/// # Errors
/// [`RestoreError`]; then nothing is left of it.
pub async fn restore(
    file: &Path,
    state_dir: &Path,
    passphrase: Passphrase,
    options: RestoreOptions,
    clock: &dyn Clock,
) -> Result<RestoreReport, RestoreError> {
    let now = Timestamp::from(clock.now());
    let place = Place::beside(state_dir)?;
    let opened = File::open(file).map_err(RestoreError::Read)?;
    let RestoreOptions { accept_loss, shown } = options;
    // On this thread: nothing else runs in a process that does this alone.
    let mut extracting = Extracting { root: place.now_at.clone(), open: None };
    let judge = |manifest: &Manifest| {
        let loss = Loss::of(manifest, &shown, now);
        admit(manifest, &loss, accept_loss, now)
    };
    let manifest = walk(opened, &passphrase, judge, |file, piece| extracting.take(file, piece))?;
    extracting.end()?;
    drop(passphrase);
    let loss = Loss::of(&manifest, &shown, now);
    let (tokens_ended, event) = mark(&place.now_at, &manifest, &loss, now).await?;
    let note = RestoredNote { backup_made_at: manifest.made_at, restored_at: now.unix_seconds() };
    let note = serde_json::to_vec(&note).map_err(|error| RestoreError::Ended(error.to_string()))?;
    write_private(&place.now_at.join(NOTE), &note, Overwrite::Refuse)?;
    place.give_name()?;
    Ok(RestoreReport { manifest, loss, tokens_ended, event })
}

/// Whether a backup may be put back here and now: judged by what it says of itself, before anything of it is written.
pub(super) fn admit(manifest: &Manifest, loss: &Loss, accept_loss: bool, now: Timestamp) -> Result<(), RestoreError> {
    let (found, known) = (manifest.schema, newest_schema());
    if found > known {
        return Err(RestoreError::Schema { found, known });
    }
    let made_at = Timestamp::from_unix_seconds(manifest.made_at.max(manifest.latest_issuance));
    if made_at > now.plus(TOLERABLE_SKEW) {
        return Err(RestoreError::Clock { now, made_at });
    }
    if accept_loss { Ok(()) } else { Err(RestoreError::GoesBack(loss.told())) }
}

/// Holds the store against the manifest, and records the restore in it.
async fn mark(state_dir: &Path, manifest: &Manifest, loss: &Loss, now: Timestamp) -> Result<(usize, u64), RestoreError> {
    let path = state_dir.join(STORE);
    check_whole(&path).map_err(|error| RestoreError::Damaged(error.to_string()))?;
    let domain = TrustDomain::parse(&manifest.trust_domain).map_err(|error| RestoreError::Manifest(error.to_string()))?;
    // Brings an older schema up to date, as a start would.
    let store = SqliteStore::open(&path)?;
    let head = store.chain_head().await?;
    if head.sequence != manifest.events || HEXLOWER.encode(&head.hash) != manifest.head {
        let what = format!("its audit chain ends with event {}, and should with {}", head.sequence, manifest.events);
        return Err(RestoreError::Damaged(what));
    }
    let verdict = crate::verify_audit(&store, Vec::new(), Vec::new(), |_, _| ()).await?;
    if let Some(first) = verdict.findings.first() {
        return Err(RestoreError::Damaged(first.to_string()));
    }
    let head: Sha256Digest = head.hash;
    let from = RestoredFrom { made_at: loss.from, events: manifest.events, head, events_lost: loss.events_lost };
    let actor = Actor::Operator { uid: nix::unistd::getuid().as_raw() };
    let tokens_ended = store.mark_restored(from, actor, now).await?;
    let event = store.chain_head().await?.sequence;
    drop(store);
    let marks = StoreFile::open(&path)?.marks(domain).await?;
    if marks.head.sequence != event {
        return Err(RestoreError::Damaged("it does not keep what was recorded".to_owned()));
    }
    Ok((tokens_ended, event))
}

/// A directory that is being made beside its place; removed again unless it gets its name.
struct Place {
    state_dir: PathBuf,
    now_at: PathBuf,
    is_named: bool,
}

impl Place {
    fn beside(state_dir: &Path) -> Result<Self, RestoreError> {
        refuse_existing(state_dir)?;
        let (Some(name), Some(parent)) = (state_dir.file_name(), state_dir.parent()) else {
            return Err(RestoreError::Exists { path: state_dir.to_owned() });
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        check_private_dir(parent)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(".restoring");
        let now_at = parent.join(beside);
        let made = fs::DirBuilder::new().mode(0o700).create(&now_at);
        made.map_err(|error| if_taken(error, &[ErrorKind::AlreadyExists], &now_at))?;
        Ok(Self { state_dir: state_dir.to_owned(), now_at, is_named: false })
    }

    fn give_name(mut self) -> Result<(), RestoreError> {
        refuse_existing(&self.state_dir)?;
        sync_tree(&self.now_at)?;
        // Takes the place of nothing, or of an empty directory: over anything else it fails.
        let taken = [ErrorKind::DirectoryNotEmpty, ErrorKind::AlreadyExists, ErrorKind::NotADirectory];
        fs::rename(&self.now_at, &self.state_dir).map_err(|error| if_taken(error, &taken, &self.state_dir))?;
        self.is_named = true;
        let parent = self.state_dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(sync_dir(parent.unwrap_or(Path::new(".")))?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_named {
            // Whatever failed is told; what cannot be removed is refused by the next try, by name.
            drop(fs::remove_dir_all(&self.now_at));
        }
    }
}

/// What an error says that may mean that something else is in a place.
fn if_taken(error: std::io::Error, taken: &[ErrorKind], path: &Path) -> RestoreError {
    if taken.contains(&error.kind()) { RestoreError::Exists { path: path.to_owned() } } else { RestoreError::Read(error) }
}

/// An empty directory is no state: a service manager makes one.
fn refuse_existing(state_dir: &Path) -> Result<(), RestoreError> {
    let exists = || RestoreError::Exists { path: state_dir.to_owned() };
    match state_dir.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RestoreError::Read(error)),
        Ok(metadata) if metadata.is_dir() => {
            check_private_dir(state_dir)?;
            let mut entries = fs::read_dir(state_dir).map_err(RestoreError::Read)?;
            if entries.next().is_none() { Ok(()) } else { Err(exists()) }
        }
        Ok(_) => Err(exists()),
    }
}

/// The names of all files and directories are kept by the disk; their contents were synced when they were written.
fn sync_tree(directory: &Path) -> Result<(), RestoreError> {
    for entry in fs::read_dir(directory).map_err(RestoreError::Read)? {
        let path = entry.map_err(RestoreError::Read)?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        }
    }
    Ok(sync_dir(directory)?)
}

/// The file that is being written.
struct Extracting {
    root: PathBuf,
    open: Option<(String, File)>,
}

impl Extracting {
    fn take(&mut self, file: &BackedUpFile, piece: &[u8]) -> Result<(), RestoreError> {
        if self.open.as_ref().is_none_or(|(path, _)| *path != file.path) {
            self.end()?;
            self.open = Some((file.path.clone(), self.create(&file.path)?));
        }
        match &mut self.open {
            Some((_, open)) => open.write_all(piece).map_err(RestoreError::Read),
            None => Ok(()),
        }
    }

    /// Has the disk keep the file that is open.
    fn end(&mut self) -> Result<(), RestoreError> {
        match self.open.take() {
            Some((_, open)) => open.sync_all().map_err(RestoreError::Read),
            None => Ok(()),
        }
    }

    /// The manifest has only paths that a CA has.
    fn create(&self, path: &str) -> Result<File, RestoreError> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(RestoreError::Read)?;
        }
        // Certificates too: who may read them is for the CA to say.
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(RestoreError::Read)
    }
}
