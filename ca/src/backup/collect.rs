//! What a backup is made of: a snapshot of the store, and the files that it names, each held against it.
//!
//! Rotations go on meanwhile. A file of an authority is there before the store names it and is destroyed after the store revoked it, and none
//! is ever changed; so files that hold what the snapshot names are those of its moment. Where one is gone or another, a rotation came in
//! between, and both are looked at anew.

use std::any::Any;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use nix::sys::statvfs::statvfs;
use pki::{PublicKey, Sha256Digest, Sha256Hasher, Timestamp, sha256};
use runtime::private_files::{ensure_private_dir, read_bounded, read_private};
use zeroize::Zeroizing;

use super::error::BackupError;
use super::manifest::{BackedUpAuthority, BackedUpFile, KeyPlace, MAX_FILE_BYTES, Manifest, STORE};
use crate::authority::lifecycle::{Authority, AuthorityKind, Lifecycle, Slot};
use crate::config::CaConfig;
use crate::keystore::{CA_CERT, CA_KEY, CERT_CHAIN, generations, load_generation_as_it_was};
use crate::rotation::places::{Places, ROOT_CERT, ROOT_KEY};
use crate::rpc::hello::BUILD;
use crate::signing_keys::SigningKeys;
use crate::store::{AuditReader, StoreFile, StoreMarks, snapshot};

/// Where the snapshot lies while a backup is made, below the state directory.
const SNAPSHOT: &str = "backup-snapshot";
/// A list of a root that was imported (`revocation`), beside the certificate.
const IMPORTED_LIST: &str = "ca-crl.pem";
/// How often store and files are looked at before it is said that they do not agree.
const TRIES: usize = 5;
/// How much of a file is read at once.
const CHUNK: usize = 64 * 1024;

/// All that goes into one backup. The snapshot is removed with it.
pub(super) struct Collected {
    pub(super) manifest: Manifest,
    snapshot: Snapshot,
    files: Vec<(String, Zeroizing<Vec<u8>>)>,
}

/// The directory of the snapshot; removed with this.
struct Snapshot(PathBuf);

impl Snapshot {
    /// An empty place, in that of one that was left by a process which was killed.
    fn place(state_dir: &Path) -> Result<Self, BackupError> {
        let directory = state_dir.join(SNAPSHOT);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(BackupError::Snapshot(error.to_string())),
            Ok(()) | Err(_) => {}
        }
        ensure_private_dir(&directory)?;
        Ok(Self(directory))
    }

    fn store(&self) -> PathBuf {
        self.0.join(STORE)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "the snapshot of a backup stays until the next one");
        }
    }
}

/// What keeps others from making a backup meanwhile: held by each thread that works on it, also when whoever asked for it is gone.
pub(super) type Hold = Arc<dyn Any + Send + Sync>;

/// Collects a backup, one at a time.
///
/// # Errors
/// [`BackupError`].
pub(super) async fn collect(
    config: &CaConfig,
    keys: &SigningKeys,
    was_running: bool,
    hold: &Hold,
    now: Timestamp,
) -> Result<Collected, BackupError> {
    let mut why = String::new();
    for _ in 0..TRIES {
        let snapshot = take_snapshot(config, hold).await?;
        let store = StoreFile::open(&snapshot.store())?;
        let lifecycle = store.lifecycle().await?;
        let marks = store.marks(config.trust_domain.clone()).await?;
        let checkpoint = store.last_checkpoint().await?.and_then(|newest| newest.content.ok());
        drop(store);
        match (Files { config, keys, places: Places::of(config), now, found: Vec::new(), authorities: Vec::new() })
            .of(&lifecycle)
            .await
        {
            Ok(Files { found, authorities, .. }) => {
                let store = blocking({
                    let path = snapshot.store();
                    move || entry_of_store(&path)
                })
                .await??;
                let StoreMarks { schema, head, latest_issuance, bundle_sequence } = marks;
                let entries = found.iter().map(|(path, content)| entry(path, content));
                let manifest = Manifest {
                    trust_domain: config.trust_domain.to_string(),
                    build: BUILD.to_owned(),
                    made_at: now.unix_seconds(),
                    was_running,
                    schema,
                    events: head.sequence,
                    head: HEXLOWER.encode(&head.hash),
                    checkpoint: checkpoint.map(|checkpoint| checkpoint.to_json()),
                    latest_issuance: latest_issuance.unix_seconds(),
                    bundle_sequence,
                    authorities,
                    plugged_in: config.plugged_authority.as_ref().map(|directory| directory.display().to_string()),
                    files: std::iter::once(store).chain(entries).collect(),
                };
                return Ok(Collected { manifest, snapshot, files: found });
            }
            Err(Mismatch::Error(error)) => return Err(error),
            Err(Mismatch::Moved(what)) => why = what,
        }
    }
    Err(BackupError::Disagree(why))
}

impl Collected {
    /// Gives out what the manifest names, in its order.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(super) fn each(&self, mut put: impl FnMut(&[u8]) -> Result<(), BackupError>) -> Result<(), BackupError> {
        chunks(&self.snapshot.store(), &mut put)?;
        self.files.iter().try_for_each(|(_, content)| put(content))
    }
}

/// Runs on a thread of its own what reads or writes much.
///
/// # Errors
/// [`BackupError::Ended`].
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| BackupError::Ended(error.to_string()))
}

async fn take_snapshot(config: &CaConfig, hold: &Hold) -> Result<Snapshot, BackupError> {
    let (state_dir, from, hold) = (config.state_dir.clone(), config.store_path(), Arc::clone(hold));
    let taken = blocking(move || {
        let _hold = hold;
        check_room(&state_dir, &from)?;
        let place = Snapshot::place(&state_dir)?;
        snapshot(&from, &place.store())?;
        Ok(place)
    });
    taken.await?
}

/// A CA whose disk is full issues nothing: a backup must not be what fills it.
fn check_room(state_dir: &Path, store: &Path) -> Result<(), BackupError> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut log = store.as_os_str().to_owned();
    log.push("-wal");
    let needed = length(store).saturating_add(length(Path::new(&log)));
    let room = statvfs(state_dir).map_err(|errno| BackupError::Snapshot(errno.to_string()))?;
    let free = room.blocks_available().saturating_mul(room.fragment_size());
    if free / 2 < needed {
        return Err(BackupError::NoRoom { directory: state_dir.to_owned(), needed, free });
    }
    Ok(())
}

fn chunks(path: &Path, put: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let mut file = File::open(path).map_err(BackupError::Read)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk).map_err(BackupError::Read)?;
        match chunk.get(..read).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => put(bytes)?,
            None => return Ok(()),
        }
    }
}

fn entry_of_store(path: &Path) -> Result<BackedUpFile, BackupError> {
    let (mut hasher, mut bytes) = (Sha256Hasher::new(), 0_u64);
    chunks(path, &mut |chunk| {
        hasher.update(chunk);
        bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        Ok(())
    })?;
    Ok(BackedUpFile { path: STORE.to_owned(), bytes, sha256: HEXLOWER.encode(&hasher.finish()) })
}

fn entry(path: &str, content: &[u8]) -> BackedUpFile {
    let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
    BackedUpFile { path: path.to_owned(), bytes, sha256: HEXLOWER.encode(&sha256(content)) }
}

/// Why files are not those of a snapshot.
enum Mismatch {
    /// They are of another moment: which.
    Moved(String),
    /// They cannot be had.
    Error(BackupError),
}

impl<E: Into<BackupError>> From<E> for Mismatch {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Files that are being collected.
struct Files<'a> {
    config: &'a CaConfig,
    keys: &'a SigningKeys,
    places: Places,
    now: Timestamp,
    found: Vec<(String, Zeroizing<Vec<u8>>)>,
    authorities: Vec<BackedUpAuthority>,
}

impl Files<'_> {
    /// Those that a lifecycle names, and generations that it does not know yet.
    async fn of(mut self, lifecycle: &Lifecycle) -> Result<Self, Mismatch> {
        self.optional(&self.config.audit_key_path())?;
        let made = lifecycle.authorities().filter(|authority| !matches!(authority.slot, Slot::Making | Slot::Revoked));
        for authority in made {
            let place = match authority.name.kind {
                AuthorityKind::Root => self.root(authority).await?,
                AuthorityKind::Issuer => self.issuer(authority).await?,
                AuthorityKind::Jwt => self.jwt(authority).await?,
            };
            let key = authority.material.as_ref().map(|material| HEXLOWER.encode(&material.key)).unwrap_or_default();
            let (name, slot) = (authority.name.to_string(), authority.slot.to_string());
            self.authorities.push(BackedUpAuthority { name, slot, key, place });
        }
        self.not_taken_over(lifecycle).await?;
        Ok(self)
    }

    async fn root(&mut self, root: &Authority) -> Result<KeyPlace, Mismatch> {
        let place = self.places.root(root.name.number);
        self.certificate(root, &place.join(ROOT_CERT))?;
        self.optional(&place.join(IMPORTED_LIST))?;
        self.key(root, &place.join(ROOT_KEY)).await
    }

    async fn issuer(&mut self, issuer: &Authority) -> Result<KeyPlace, Mismatch> {
        let place = self.places.generation(issuer.name.number);
        self.certificate(issuer, &place.join(CA_CERT))?;
        for name in [ROOT_CERT, CERT_CHAIN] {
            if !self.optional(&place.join(name))? {
                return Err(Mismatch::Moved(format!("{} is not there", place.join(name).display())));
            }
        }
        self.optional(&place.join(IMPORTED_LIST))?;
        match self.key(issuer, &place.join(CA_KEY)).await? {
            KeyPlace::Elsewhere => Err(Mismatch::Moved(format!("the key of {} is not in {}", issuer.name, place.display()))),
            place @ (KeyPlace::Here | KeyPlace::Token | KeyPlace::Memory) => Ok(place),
        }
    }

    async fn jwt(&mut self, jwt: &Authority) -> Result<KeyPlace, Mismatch> {
        // One that is not there is made anew by a start, which takes it that tokens under it shall not count any more.
        self.key(jwt, &self.places.jwt_key(jwt.name.number)).await
    }

    /// What lies on disk and the store does not know: made by `signet ca init` or `signet ca issuer renew` and not taken over yet.
    async fn not_taken_over(&mut self, lifecycle: &Lifecycle) -> Result<(), Mismatch> {
        let known = lifecycle.of(AuthorityKind::Issuer).map(|issuer| issuer.name.number).max().unwrap_or(0);
        if lifecycle.of(AuthorityKind::Root).next().is_none() {
            for name in [ROOT_CERT, ROOT_KEY, IMPORTED_LIST] {
                self.optional(&self.config.state_dir.join(name))?;
            }
        }
        if lifecycle.of(AuthorityKind::Jwt).next().is_none() {
            self.optional(&self.config.jwt_key_path())?;
        }
        if self.config.plugged_authority.is_some() {
            return Ok(());
        }
        for number in generations(self.places.generations())?.into_iter().filter(|number| *number > known) {
            let place = self.places.generation(number);
            // A start takes over none whose key is gone.
            if self.keys.is_forgotten(&place.join(CA_KEY))? {
                continue;
            }
            // Verified as a start would: what cannot be used is not saved.
            drop(load_generation_as_it_was(&place, self.keys, &self.config.trust_domain, self.now).await?);
            for name in [CA_CERT, CA_KEY, ROOT_CERT, CERT_CHAIN, IMPORTED_LIST] {
                self.optional(&place.join(name))?;
            }
        }
        Ok(())
    }

    /// The certificate of an authority, which must be the one that the store has.
    fn certificate(&mut self, authority: &Authority, path: &Path) -> Result<(), Mismatch> {
        let pem = match read_bounded(path, MAX_FILE_BYTES) {
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => {
                return Err(Mismatch::Moved(format!("{} is not there", path.display())));
            }
            read => read?,
        };
        let first = pki::certificates_from_pem(&pem).ok().and_then(|read| read.into_iter().next());
        let same = first.is_some_and(|first| {
            authority.material.as_ref().is_some_and(|made| made.public_der.as_slice() == first.der().as_ref())
        });
        if !same {
            return Err(Mismatch::Moved(format!("{} does not hold the certificate of {}", path.display(), authority.name)));
        }
        self.push(path, Zeroizing::new(pem))
    }

    /// The key of an authority, which must be the one that the store has; says where it lies.
    async fn key(&mut self, authority: &Authority, path: &Path) -> Result<KeyPlace, Mismatch> {
        let in_memory = self.keys.made_in_memory(path)?;
        let found: Sha256Digest = match &in_memory {
            Some(public) => public.fingerprint(),
            None => match self.keys.read(path).await? {
                Some(key) => key.public_key().fingerprint(),
                None => return Ok(KeyPlace::Elsewhere),
            },
        };
        if authority.material.as_ref().is_none_or(|made| made.key != found) {
            return Err(Mismatch::Moved(format!("{} does not hold the key of {}", path.display(), authority.name)));
        }
        let pem = Zeroizing::new(read_private(path, MAX_FILE_BYTES)?);
        // A file is never changed, and what was just read of it is what it holds; the public half of a key in a token says so itself.
        let in_token = PublicKey::from_pem(&pem).is_ok_and(|public| public.is_some());
        self.push(path, pem)?;
        Ok(match (in_memory, in_token) {
            (Some(_), _) => KeyPlace::Memory,
            (None, true) => KeyPlace::Token,
            (None, false) => KeyPlace::Here,
        })
    }

    /// A file that may be there; says whether it is.
    fn optional(&mut self, path: &Path) -> Result<bool, Mismatch> {
        match read_bounded(path, MAX_FILE_BYTES) {
            Ok(content) => self.push(path, Zeroizing::new(content)).map(|()| true),
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn push(&mut self, path: &Path, content: Zeroizing<Vec<u8>>) -> Result<(), Mismatch> {
        let below = path.strip_prefix(&self.config.state_dir).ok().and_then(Path::to_str);
        let below = below.ok_or_else(|| BackupError::Disagree(format!("{} lies elsewhere", path.display())))?;
        // Without the room that it was read into.
        self.found.push((below.to_owned(), Zeroizing::new(content.to_vec())));
        Ok(())
    }
}
