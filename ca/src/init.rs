//! Making authorities: `signet ca init` and `signet ca issuer renew`.
//!
//! Both go through the tokens of [`crate::issuance`]: the intent is in the store before the key signs, here too. A generation is
//! written under a temporary name, verified whole as the CA will, and then renamed, so that a set is there whole or not at all.

mod error;
mod maker;

use std::path::{Path, PathBuf};

use pki::checkpoint::CheckpointKey;
use pki::{
    AuthorityRole, Certificate, JwtKey, KeyAlgorithm, KeyId, KeyProtection, PrivateKey, PublicKeyAlgorithm, RsaSize,
    SerialNumber, Sha256Digest, Timestamp, certificates_from_pem, certificates_to_pem,
};
use runtime::clock::Clock;
use runtime::entropy::{self, Entropy};
use runtime::private_files::{
    DirLock, Overwrite, check_private_dir, ensure_private_dir, read_bounded, read_private, write_private, write_public,
};
use zeroize::Zeroizing;

use crate::config::CaConfig;
use crate::key_file;
use crate::keystore::{Keystore, KeystoreError, generations};
use crate::oidc;
use crate::provisioning;
use crate::report::warnings_of;
use crate::store::SqliteStore;
pub use error::{CheckError, InitError};
use maker::Maker;

/// The root's files in the state directory, or the key's in the directory of `--root-key-out`.
const STATE_ROOT_CERT: &str = "root-cert.pem";
const ROOT_KEY: &str = "root-key.pem";

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

/// What `signet ca check` says: of the authority and of the JWT key, as a start would use them.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Where the authority lies.
    pub directory: PathBuf,
    /// The issuing CA's subject.
    pub subject: String,
    /// Its last second.
    pub not_after: Timestamp,
    /// From when on its age is warned of.
    pub half_life: Timestamp,
    /// The last second of its root.
    pub root_not_after: Timestamp,
    /// SHA-256 of the root's DER.
    pub root_fingerprint: Sha256Digest,
    /// The name of the key that signs JWT-SVIDs; `None`: the next start makes one.
    pub jwt_key_id: Option<KeyId>,
    /// The name of the key that signs checkpoints of the audit chain; `None`: the next start makes one.
    pub audit_key_id: Option<Sha256Digest>,
    /// What will soon hurt; empty when all is well.
    pub warnings: Vec<String>,
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
    let root_key = PrivateKey::generate(options.algorithm).map_err(InitError::Generate)?;
    ensure_private_dir(&config.state_dir)?;
    let _lock = DirLock::acquire(&config.state_dir)?;
    let root_certificate = config.state_dir.join(STATE_ROOT_CERT);
    let root_key_file = options.root_key_out.as_ref().unwrap_or(&config.state_dir).join(ROOT_KEY);
    refuse_existing(config, &root_certificate, &root_key_file)?;
    if let Some(directory) = &options.root_key_out {
        ensure_private_dir(directory)?;
    }

    let protection = key_file::protection(config.key_passphrase.as_ref()).map_err(KeystoreError::from)?;
    let now = Timestamp::from(clock.now());
    let store = SqliteStore::open(&config.store_path())?;
    let maker = Maker { config, store: &store, entropy, caller: "signet ca init", now };
    let root = maker.certificate(AuthorityRole::Root, &root_key, None, &root_key).await?;
    let issuer_key = PrivateKey::generate(options.algorithm).map_err(InitError::Generate)?;
    let issuer = maker.certificate(AuthorityRole::Issuer, &issuer_key, Some(&root), &root_key).await?;

    let root_key_pem = root_key.to_protected_pem(&protection, &entropy::bytes(entropy));
    write_private(&root_key_file, root_key_pem.as_bytes(), Overwrite::Refuse)?;
    write_public(&root_certificate, certificates_to_pem([&root]).as_bytes(), Overwrite::Refuse)?;
    let jwt_key = key_file::load_or_make::<JwtKey>(config, entropy).map_err(KeystoreError::StateKey)?;
    let audit_key = key_file::load_or_make::<CheckpointKey>(config, entropy).map_err(KeystoreError::StateKey)?;
    let generation = maker.write_generation(1, &issuer, &issuer_key, &root, &protection)?;
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

/// Makes a new issuing CA, key and certificate, beside the old, with the root's key. A running CA takes it up by itself: the state
/// directory's lock is not needed, and the store takes the records of both processes.
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
    let root_file = config.state_dir.join(STATE_ROOT_CERT);
    let root = read_root(&root_file)?;
    let root_key_file = root_key.unwrap_or_else(|| config.state_dir.join(ROOT_KEY));
    let protection = key_file::protection(config.key_passphrase.as_ref()).map_err(KeystoreError::from)?;
    let root_key = read_root_key(&root_key_file, &protection)?;
    if root_key.public_key() != root.public_key() {
        return Err(InitError::RootKeyMismatch { key_file: root_key_file, certificate_file: root_file });
    }
    let newest = generations(&config.generations_dir())?.pop_last().unwrap_or(0);

    let now = Timestamp::from(clock.now());
    let store = SqliteStore::open(&config.store_path())?;
    let maker = Maker { config, store: &store, entropy, caller: "signet ca issuer renew", now };
    let key = PrivateKey::generate(issuer_algorithm(root.public_key().algorithm())).map_err(InitError::Generate)?;
    let issuer = maker.certificate(AuthorityRole::Issuer, &key, Some(&root), &root_key).await?;
    let generation = maker.write_generation(newest.saturating_add(1), &issuer, &key, &root, &protection)?;
    Ok(RenewReport { generation, subject: issuer.subject(), serial: issuer.serial().clone(), not_after: issuer.not_after() })
}

/// The kind of an issuing CA's key: that of its root where this build makes such keys, ECDSA P-256 elsewhere.
fn issuer_algorithm(root: PublicKeyAlgorithm) -> KeyAlgorithm {
    let wanted = match root {
        PublicKeyAlgorithm::EcdsaP256 | PublicKeyAlgorithm::Ed25519 => KeyAlgorithm::EcdsaP256,
        PublicKeyAlgorithm::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        PublicKeyAlgorithm::Rsa { bits } if bits > 3072 => KeyAlgorithm::Rsa(RsaSize::Bits4096),
        PublicKeyAlgorithm::Rsa { .. } => KeyAlgorithm::Rsa(RsaSize::Bits3072),
    };
    if wanted.is_made_here() { wanted } else { KeyAlgorithm::EcdsaP256 }
}

/// Checks what a start would check, without the state directory's lock: the directory's owner and mode, the authority whole, the
/// key behind JWT-SVIDs, and what the rules for tokens need.
///
/// # Errors
/// [`CheckError`], naming the file and the reason.
pub fn check(config: &CaConfig, clock: &dyn Clock) -> Result<CheckReport, CheckError> {
    let now = Timestamp::from(clock.now());
    if config.state_dir.exists() {
        check_private_dir(&config.state_dir).map_err(KeystoreError::from)?;
    }
    drop(provisioning::load(&config.provisioning)?);
    let (keystore, authority) = Keystore::open(config, now)?;
    let jwt_key = key_file::load::<JwtKey>(config).map_err(KeystoreError::StateKey)?;
    let audit_key = key_file::load::<CheckpointKey>(config).map_err(KeystoreError::StateKey)?;
    let mut warnings = warnings_of(&authority, now);
    warnings.extend(authority.check_ready(&config.leaf, now).err().map(|why| why.to_string()));
    warnings.extend(oidc::check(&config.oidc)?);
    Ok(CheckReport {
        directory: keystore.directory().to_owned(),
        subject: authority.certificate().subject(),
        not_after: authority.certificate().not_after(),
        half_life: authority.half_life(),
        root_not_after: authority.root().not_after(),
        root_fingerprint: authority.root().fingerprint(),
        jwt_key_id: jwt_key.map(|key| key.key_id().clone()),
        audit_key_id: audit_key.map(|key| key.id()),
        warnings,
    })
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
