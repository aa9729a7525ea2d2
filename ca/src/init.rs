//! Making authorities: `signet ca init` and `signet ca issuer renew`.
//!
//! Both go through the tokens of [`crate::issuance`]: the intent is in the store before the key signs, here too. A generation is
//! written under a temporary name, verified whole as the CA will, and then renamed, so that a set is there whole or not at all.

mod check;
mod error;

use std::path::{Path, PathBuf};

use pki::checkpoint::CheckpointKey;
use pki::{
    AuthorityRole, Certificate, JwtKey, KeyAlgorithm, KeyId, KeyProtection, PrivateKey, SerialNumber, Sha256Digest, Timestamp,
    certificates_from_pem, certificates_to_pem,
};
use runtime::clock::Clock;
use runtime::entropy::{self, Entropy};
use runtime::private_files::{
    DirLock, Overwrite, check_private_dir, ensure_private_dir, read_bounded, read_private, write_private, write_public,
};
use zeroize::Zeroizing;

use crate::authority::lifecycle::AuthorityKind;
use crate::config::CaConfig;
use crate::key_file;
use crate::keystore::{KeystoreError, generations};
use crate::rotation::maker::{MakeError, Maker, key_algorithm_like};
use crate::rotation::places::{Places, ROOT_CERT, ROOT_KEY};
use crate::rotation::steps::Steps;
use crate::store::{AuthorityStore, SqliteStore};
pub use check::{CheckReport, check};
pub use error::{CheckError, InitError};

/// More than any root's certificate or key in any form.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// How an authority is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The kind of both keys.
    pub algorithm: KeyAlgorithm,
    /// Where the root's key goes instead of the state directory; the CA runs without it.
    pub root_key_out: Option<PathBuf>,
}

/// What `signet ca init` made.
#[derive(Clone, Debug)]
pub struct InitReport {
    /// The root's certificate file.
    pub root_certificate: PathBuf,
    /// The root's key file.
    pub root_key: PathBuf,
    /// The generation's directory.
    pub generation: PathBuf,
    /// SHA-256 of the root certificate's DER: what agents are given as `ca_fingerprint`.
    pub root_fingerprint: Sha256Digest,
    /// The root's last second.
    pub root_not_after: Timestamp,
    /// The issuing CA's last second.
    pub issuer_not_after: Timestamp,
    /// The file of the key that signs JWT-SVIDs.
    pub jwt_key: PathBuf,
    /// Its name, the `kid` of those.
    pub jwt_key_id: KeyId,
    /// The file of the key that signs checkpoints of the audit chain.
    pub audit_key: PathBuf,
    /// Its name: SHA-256 of the SubjectPublicKeyInfo of its public half. What auditors keep.
    pub audit_key_id: Sha256Digest,
}

/// What `signet ca issuer renew` made.
#[derive(Clone, Debug)]
pub struct RenewReport {
    /// The new generation's directory.
    pub generation: PathBuf,
    /// The new issuing CA's subject.
    pub subject: String,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Its last second.
    pub not_after: Timestamp,
}

/// Makes a root, under it an issuing CA, and the key that signs JWT-SVIDs in the state directory, which is made when missing.
///
/// Nothing is ever overwritten. The generation comes last, so a run that was cut short leaves nothing that the CA would load; the
/// next run then tells the way out of it.
///
/// # Errors
/// [`InitError`]: something exists already, an earlier run was cut short, another process has the state directory, or a file, key or store fails.
pub async fn init(
    config: &CaConfig,
    options: InitOptions,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<InitReport, InitError> {
    refuse_plugged_in(config)?;
    // First: an algorithm that this build does not make leaves nothing behind.
    let root_key = PrivateKey::generate(options.algorithm).map_err(MakeError::Generate)?;
    ensure_private_dir(&config.state_dir)?;
    let _lock = DirLock::acquire(&config.state_dir)?;
    let root_certificate = config.state_dir.join(ROOT_CERT);
    let root_key_file = options.root_key_out.as_ref().unwrap_or(&config.state_dir).join(ROOT_KEY);
    refuse_existing(config, &root_certificate, &root_key_file)?;
    if let Some(directory) = &options.root_key_out {
        ensure_private_dir(directory)?;
    }

    let protection = key_file::protection(config.key_passphrase.as_ref()).map_err(KeystoreError::from)?;
    let now = Timestamp::from(clock.now());
    let store = SqliteStore::open(&config.store_path())?;
    let steps = Steps::logged();
    let maker = maker_of(config, &store, entropy, &steps, "signet ca init", now);
    let root = maker.certificate(AuthorityRole::Root, &root_key, None, &root_key).await?;
    let issuer_key = PrivateKey::generate(options.algorithm).map_err(MakeError::Generate)?;
    let issuer = maker.certificate(AuthorityRole::Issuer, &issuer_key, Some(&root), &root_key).await?;

    let root_key_pem = root_key.to_protected_pem(&protection, &entropy::bytes(entropy));
    write_private(&root_key_file, root_key_pem.as_bytes(), Overwrite::Refuse)?;
    write_public(&root_certificate, certificates_to_pem([&root]).as_bytes(), Overwrite::Refuse)?;
    let jwt_key = key_file::load_or_make::<JwtKey>(config, entropy).map_err(KeystoreError::StateKey)?;
    let audit_key = key_file::load_or_make::<CheckpointKey>(config, entropy).map_err(KeystoreError::StateKey)?;
    let generation = maker.write_generation(&config.generations_dir(), 1, (&issuer, &issuer_key), &root, &protection).await?;
    Ok(InitReport {
        root_certificate,
        root_key: root_key_file,
        generation,
        root_fingerprint: root.fingerprint(),
        root_not_after: root.not_after(),
        issuer_not_after: issuer.not_after(),
        jwt_key: config.jwt_key_path(),
        jwt_key_id: jwt_key.key_id().clone(),
        audit_key: config.audit_key_path(),
        audit_key_id: audit_key.id(),
    })
}

/// Makes a new issuing CA, key and certificate, beside the old, with the key of the root that signs now. A running CA takes it up by
/// itself: the state directory's lock is not needed, and the store takes the records of both processes.
///
/// # Errors
/// [`InitError`]: no root or no key, they do not match, the root has ended, or a file or the store fails.
pub async fn issuer_renew(
    config: &CaConfig,
    root_key: Option<PathBuf>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<RenewReport, InitError> {
    refuse_plugged_in(config)?;
    check_private_dir(&config.state_dir)?;
    let newest = generations(&config.generations_dir())?.pop_last().unwrap_or(0);
    // Before anything is opened, which makes what is not there.
    let first_root = Places::of(config).root(1).join(ROOT_CERT);
    if newest == 0 {
        read_root(&first_root)?;
    }
    let store = SqliteStore::open(&config.store_path())?;
    let lifecycle = store.lifecycle().await?;
    let root_number = lifecycle.active(AuthorityKind::Root).map_or(1, |root| root.name.number);
    let newest = lifecycle.of(AuthorityKind::Issuer).map(|issuer| issuer.name.number).max().unwrap_or(0).max(newest);
    let root_place = Places::of(config).root(root_number);
    let root_file = root_place.join(ROOT_CERT);
    let root = read_root(&root_file)?;
    let root_key_file = root_key.unwrap_or_else(|| root_place.join(ROOT_KEY));
    let protection = key_file::protection(config.key_passphrase.as_ref()).map_err(KeystoreError::from)?;
    let root_key = read_root_key(&root_key_file, &protection)?;
    if root_key.public_key() != root.public_key() {
        return Err(InitError::RootKeyMismatch { key_file: root_key_file, certificate_file: root_file });
    }

    let now = Timestamp::from(clock.now());
    let steps = Steps::logged();
    let maker = maker_of(config, &store, entropy, &steps, "signet ca issuer renew", now);
    let key = PrivateKey::generate(key_algorithm_like(root.public_key().algorithm())).map_err(MakeError::Generate)?;
    let issuer = maker.certificate(AuthorityRole::Issuer, &key, Some(&root), &root_key).await?;
    let (generations, number) = (config.generations_dir(), newest.saturating_add(1));
    let generation = maker.write_generation(&generations, number, (&issuer, &key), &root, &protection).await?;
    Ok(RenewReport { generation, subject: issuer.subject(), serial: issuer.serial().clone(), not_after: issuer.not_after() })
}

fn maker_of<'a>(
    config: &'a CaConfig,
    store: &'a SqliteStore,
    entropy: &'a dyn Entropy,
    steps: &'a Steps,
    caller: &'static str,
    now: Timestamp,
) -> Maker<'a> {
    Maker { trust_domain: &config.trust_domain, replica: config.replica_byte, store, entropy, steps, caller, now }
}

fn refuse_plugged_in(config: &CaConfig) -> Result<(), InitError> {
    match &config.plugged_authority {
        Some(directory) => Err(InitError::PluggedIn { directory: directory.clone() }),
        None => Ok(()),
    }
}

/// Root key, root certificate and generation are written in this order: what is there tells how far an earlier run came.
fn refuse_existing(config: &CaConfig, root_certificate: &Path, root_key: &Path) -> Result<(), InitError> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let (authority, own_root_key) = (config.generations_dir(), config.state_dir.join(ROOT_KEY));
    let root_keys = [root_key, &own_root_key];
    // What cannot be read as a directory of generations is not judged here.
    let is_without_issuer = generations(&authority).is_ok_and(|numbers| numbers.is_empty());
    if is_without_issuer && is_there(root_certificate) {
        return Err(InitError::WithoutIssuer { root_certificate: root_certificate.to_owned() });
    }
    if is_without_issuer && let Some(path) = root_keys.into_iter().find(|path| is_there(path)) {
        return Err(InitError::LoneRootKey { path: path.to_owned(), root_certificate: root_certificate.to_owned() });
    }
    match [root_certificate, root_key, &own_root_key, &authority].into_iter().find(|path| is_there(path)) {
        Some(path) => Err(InitError::Exists { path: path.to_owned() }),
        None => Ok(()),
    }
}

fn read_root(path: &Path) -> Result<Certificate, InitError> {
    let pem = match read_bounded(path, MAX_FILE_BYTES) {
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {
            return Err(InitError::NoRoot { path: path.to_owned() });
        }
        read => read?,
    };
    let certificates = certificates_from_pem(&pem).map_err(|cause| InitError::Certificate { path: path.to_owned(), cause })?;
    match certificates.as_slice() {
        [root] => Ok(root.clone()),
        other => Err(InitError::RootCount { path: path.to_owned(), found: other.len() }),
    }
}

fn read_root_key(path: &Path, protection: &KeyProtection) -> Result<PrivateKey, InitError> {
    let pem = match read_private(path, MAX_FILE_BYTES) {
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {
            return Err(InitError::NoRootKey { path: path.to_owned() });
        }
        read => Zeroizing::new(read?),
    };
    PrivateKey::from_protected_pem(&pem, protection).map_err(|cause| InitError::RootKey { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests;
