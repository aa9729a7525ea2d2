//! Making authorities: `signet ca init` and `signet ca issuer renew`.
//!
//! Both go through the tokens of [`crate::issuance`]: the intent is in the store before the key signs, here too. A generation is
//! written under a temporary name, verified whole as the CA will, and then renamed, so that a set is there whole or not at all.

mod check;
mod error;
mod root_secret;

use std::path::{Path, PathBuf};

use pki::checkpoint::CheckpointKey;
use pki::{
    AuthorityRole, Certificate, KeyAlgorithm, KeyId, SerialNumber, Sha256Digest, Timestamp, certificates_from_pem,
    certificates_to_pem,
};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::private_files::{
    DirLock, Overwrite, check_private_dir, ensure_private_dir, read_bounded, write_private, write_public,
};

use crate::authority::lifecycle::{AuthorityKind, AuthorityName};
use crate::config::{CaConfig, KeyStore, StoreConfig};
use crate::key_file;
use crate::keystore::{CA_KEY, KeystoreError, generations};
use crate::rotation::key_label;
use crate::rotation::maker::{Maker, key_algorithm_like};
use crate::rotation::places::{Places, ROOT_CERT, ROOT_KEY};
use crate::rotation::steps::Steps;
use crate::signing_keys::{NewKey, SigningKey, SigningKeys};
use crate::store::Store;
pub use check::{CheckReport, CheckedAuthority, check};
pub use error::{CheckError, InitError};
pub use root_secret::{RootKept, SecretPlace, init_with_secret};

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
    /// The root's key file; for a key in a token, what names it.
    pub root_key: PathBuf,
    /// Where the keys of root, issuing CA and JWT-SVIDs lie, in words.
    pub key_places: [(&'static str, String); 3],
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
    if config.key_store == KeyStore::Token && options.root_key_out.is_some() {
        return Err(InitError::RootKeyOutOfToken);
    }
    // First: a token that is not there, or an algorithm that is not made here, leaves nothing behind.
    let keys = SigningKeys::open(config).await.map_err(Box::new)?;
    keys.check_makes(options.algorithm)?;
    ensure_private_dir(&config.state_dir)?;
    let _lock = DirLock::acquire(&config.state_dir)?;
    let root_certificate = config.state_dir.join(ROOT_CERT);
    let root_key_file = options.root_key_out.as_ref().unwrap_or(&config.state_dir).join(ROOT_KEY);
    refuse_existing(config, &root_certificate, &root_key_file)?;
    if let Some(directory) = &options.root_key_out {
        ensure_private_dir(directory)?;
    }

    drop(keys.protection().map_err(KeystoreError::from)?);
    let now = Timestamp::from(clock.now());
    let store = crate::store::open(config)?;
    let steps = Steps::logged();
    let maker = maker_of(config, &*store, entropy, &steps, "signet ca init", now);
    let label = |kind| key_label(&config.trust_domain, AuthorityName { kind, number: 1 });
    let root_key = keys.make(options.algorithm, &label(AuthorityKind::Root)).await?;
    let put = put_root(&maker, &keys, &root_key, (&root_certificate, &root_key_file)).await;
    let root = kept_if(put, &keys, &root_key, &root_key_file).await?;
    let jwt_key = jwt_key_of(config, &keys, &label(AuthorityKind::Jwt), entropy).await?;
    let audit_key = key_file::load_or_make::<CheckpointKey>(config, entropy).map_err(KeystoreError::StateKey)?;
    let issuer_key = keys.make(options.algorithm, &label(AuthorityKind::Issuer)).await?;
    let put = put_issuer(&maker, config, 1, (&keys, &issuer_key), (&root, &root_key.signer())).await;
    let (generation, issuer) = kept_if(put, &keys, &issuer_key, &issuer_key_file(config, 1)).await?;
    let key_places = [
        ("root key", keys.place(&root_key_file)),
        ("issuing CA key", keys.place(&generation.join(CA_KEY))),
        ("JWT key", keys.place(&config.jwt_key_path())),
    ];
    Ok(InitReport {
        root_certificate,
        root_key: root_key_file,
        key_places,
        generation,
        root_fingerprint: root.fingerprint(),
        root_not_after: root.not_after(),
        issuer_not_after: issuer.not_after(),
        jwt_key: config.jwt_key_path(),
        jwt_key_id: jwt_key,
        audit_key: config.audit_key_path(),
        audit_key_id: audit_key.id(),
    })
}

/// Whether there is an authority to start with: an issuing CA in the state directory or, in a database, a root that another replica made and
/// under which this one will ask for its own. What an earlier run left half done is none; [`init`] tells the way out of it.
///
/// # Errors
/// [`InitError`]: somebody else makes the authority of this configuration, or the directory or the store cannot be read.
pub async fn is_made(config: &CaConfig) -> Result<bool, InitError> {
    refuse_plugged_in(config)?;
    if !generations(&config.generations_dir())?.is_empty() {
        return Ok(true);
    }
    if matches!(config.store, StoreConfig::Sqlite) {
        return Ok(false);
    }
    Ok(crate::store::open(config)?.lifecycle().await?.active(AuthorityKind::Root).is_some())
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
    let store = crate::store::open(config)?;
    let lifecycle = store.lifecycle().await?;
    let root_number = lifecycle.active(AuthorityKind::Root).map_or(1, |root| root.name.number);
    let newest = lifecycle.of(AuthorityKind::Issuer).map(|issuer| issuer.name.number).max().unwrap_or(0).max(newest);
    let root_place = Places::of(config).root(root_number);
    let root_file = root_place.join(ROOT_CERT);
    let root = read_root(&root_file)?;
    let root_key_file = root_key.unwrap_or_else(|| root_place.join(ROOT_KEY));
    let keys = SigningKeys::open(config).await.map_err(Box::new)?;
    let root_key = keys.read(&root_key_file).await?.ok_or_else(|| InitError::NoRootKey { path: root_key_file.clone() })?;
    if root_key.public_key() != root.public_key() {
        return Err(InitError::RootKeyMismatch { key_file: root_key_file, certificate_file: root_file });
    }

    let now = Timestamp::from(clock.now());
    let steps = Steps::logged();
    let maker = maker_of(config, &*store, entropy, &steps, "signet ca issuer renew", now);
    let number = newest.saturating_add(1);
    let label = key_label(&config.trust_domain, AuthorityName { kind: AuthorityKind::Issuer, number });
    let key = keys.make(key_algorithm_like(root.public_key().algorithm()), &label).await?;
    let put = put_issuer(&maker, config, number, (&keys, &key), (&root, &root_key)).await;
    let (generation, issuer) = kept_if(put, &keys, &key, &issuer_key_file(config, number)).await?;
    Ok(RenewReport { generation, subject: issuer.subject(), serial: issuer.serial().clone(), not_after: issuer.not_after() })
}

async fn put_root(
    maker: &Maker<'_>,
    keys: &SigningKeys,
    key: &NewKey,
    (certificate_file, key_file): (&Path, &Path),
) -> Result<Certificate, InitError> {
    let root = maker.certificate(AuthorityRole::Root, key.public_key(), None, &key.signer()).await?;
    let text = keys.text_of(key, maker.entropy).map_err(KeystoreError::from)?;
    write_private(key_file, text.as_bytes(), Overwrite::Refuse)?;
    write_public(certificate_file, certificates_to_pem([&root]).as_bytes(), Overwrite::Refuse)?;
    Ok(root)
}

async fn put_issuer(
    maker: &Maker<'_>,
    config: &CaConfig,
    number: u32,
    (keys, key): (&SigningKeys, &NewKey),
    (root, root_key): (&Certificate, &SigningKey),
) -> Result<(PathBuf, Certificate), InitError> {
    let issuer = maker.certificate(AuthorityRole::Issuer, key.public_key(), Some(root), root_key).await?;
    let place = maker.write_generation(&config.generations_dir(), number, (&issuer, key), &[], root, keys).await?;
    Ok((place, issuer))
}

/// The name of the JWT key of the state directory, made when there is none: a run that was cut short may have left it.
async fn jwt_key_of(config: &CaConfig, keys: &SigningKeys, label: &str, entropy: &dyn Entropy) -> Result<KeyId, InitError> {
    let path = config.jwt_key_path();
    if let Some(key) = keys.read_jwt(&path).await? {
        return Ok(key.key_id().clone());
    }
    let key = keys.make(KeyAlgorithm::EcdsaP256, label).await?;
    let put = async {
        let text = keys.text_of(&key, entropy).map_err(KeystoreError::from)?;
        write_private(&path, text.as_bytes(), Overwrite::Refuse)?;
        // What counts from now on is what a later start will read.
        let read = keys.read_jwt(&path).await?.map(|key| key.key_id().clone());
        read.ok_or_else(|| InitError::NoJwtKey { path: path.clone() })
    };
    kept_if(put.await, keys, &key, &path).await
}

fn issuer_key_file(config: &CaConfig, number: u32) -> PathBuf {
    Places::of(config).generation(number).join(CA_KEY)
}

/// What was done with a new key, which has this file then; when that failed, the key is taken back.
async fn kept_if<T>(done: Result<T, InitError>, keys: &SigningKeys, key: &NewKey, file: &Path) -> Result<T, InitError> {
    if done.is_err() {
        keys.discard(key, file).await;
    }
    done
}

fn maker_of<'a>(
    config: &'a CaConfig,
    store: &'a dyn Store,
    entropy: &'a dyn Entropy,
    steps: &'a Steps,
    caller: &'static str,
    now: Timestamp,
) -> Maker<'a> {
    Maker { trust_domain: &config.trust_domain, replica: config.replica_byte, store, entropy, steps, fence: None, caller, now }
}

fn refuse_plugged_in(config: &CaConfig) -> Result<(), InitError> {
    match &config.plugged_authority {
        Some(directory) => Err(InitError::PluggedIn { directory: directory.clone() }),
        None if config.upstream.is_some() => Err(InitError::Upstream),
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

#[cfg(test)]
mod tests;
