//! `signet ca check`: what a start would find, without the state directory's lock and without changing anything.

use std::path::{Path, PathBuf};

use pki::checkpoint::CheckpointKey;
use pki::{KeyId, Sha256Digest, Timestamp};
use runtime::clock::Clock;
use runtime::private_files::check_private_dir;

use super::error::CheckError;
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{AuthorityKind, Lifecycle};
use crate::config::CaConfig;
use crate::key_file;
use crate::keystore::{Keystore, KeystoreError, generations, load_generation_as_it_was};
use crate::oidc;
use crate::provisioning;
use crate::report::warnings_of;
use crate::revocation::without_lists;
use crate::rotation::places::Places;
use crate::rotation::read_jwt_key;
use crate::store::{OpenError, StoreFile};

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

/// Checks what a start would check, without the state directory's lock: the directory's owner and mode, the authority whole, the
/// key behind JWT-SVIDs, and what the rules for tokens need. An issuing CA of this CA's own that has ended is a warning: a start makes its
/// successor, or waits for one.
///
/// # Errors
/// [`CheckError`], naming the file and the reason.
pub async fn check(config: &CaConfig, clock: &dyn Clock) -> Result<CheckReport, CheckError> {
    let now = Timestamp::from(clock.now());
    if config.state_dir.exists() {
        check_private_dir(&config.state_dir).map_err(KeystoreError::from)?;
    }
    drop(provisioning::load(&config.provisioning)?);
    let lifecycle = lifecycle_of(&config.store_path()).await?;
    let (directory, authority) = authority_of(config, &lifecycle, now)?;
    let jwt_number = lifecycle.active(AuthorityKind::Jwt).map_or(1, |jwt| jwt.name.number);
    let jwt_key = read_jwt_key(&Places::of(config).jwt_key(jwt_number), config.key_passphrase.as_ref())?;
    let audit_key = key_file::load::<CheckpointKey>(config).map_err(KeystoreError::StateKey)?;
    let mut warnings = warnings_of(&authority, now);
    warnings.extend(authority.check_ready(&config.leaf, now).err().map(|why| why.to_string()));
    warnings.extend(oidc::check(&config.oidc)?);
    warnings.extend(without_lists(config, &lifecycle, &authority, now));
    Ok(CheckReport {
        directory,
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

/// The authority that a start would sign with, and where it lies: the newest on disk if the journal does not know it and it is under the
/// root that signs, else the one that the journal says.
fn authority_of(config: &CaConfig, lifecycle: &Lifecycle, now: Timestamp) -> Result<(PathBuf, SigningAuthority), CheckError> {
    if let Some(directory) = &config.plugged_authority {
        let (_, authority) = Keystore::open(directory, config, now)?;
        return Ok((directory.clone(), authority));
    }
    let (places, passphrase) = (Places::of(config), config.key_passphrase.as_ref());
    let load = |number: u32| {
        let place = places.generation(number);
        let loaded = load_generation_as_it_was(&place, passphrase, &config.trust_domain, now);
        loaded.map(|authority| (place, authority)).map_err(CheckError::from)
    };
    let known = lifecycle.of(AuthorityKind::Issuer).map(|issuer| issuer.name.number).max().unwrap_or(0);
    let newer = generations(&config.generations_dir())?.pop_last().filter(|number| *number > known);
    let active = lifecycle.active(AuthorityKind::Issuer).map(|issuer| issuer.name.number);
    let root = lifecycle.active(AuthorityKind::Root).and_then(|root| root.material.as_ref()).map(|root| root.key);
    match (newer, active) {
        (Some(newer), None) => load(newer),
        (Some(newer), Some(active)) => match load(newer) {
            Ok(taken) if root == Some(taken.1.root().public_key().fingerprint()) => Ok(taken),
            Ok(_) | Err(_) => load(active),
        },
        (None, Some(active)) => load(active),
        (None, None) => Err(KeystoreError::NoAuthority { directory: config.generations_dir() }.into()),
    }
}

/// What the store says of authorities; nothing where there is no store, or one from before it said anything.
async fn lifecycle_of(store: &Path) -> Result<Lifecycle, CheckError> {
    if store.symlink_metadata().is_err() {
        return Ok(Lifecycle::default());
    }
    match StoreFile::open(store) {
        Ok(store) => Ok(store.lifecycle().await?),
        Err(OpenError::Older { .. }) => Ok(Lifecycle::default()),
        Err(error) => Err(error.into()),
    }
}
