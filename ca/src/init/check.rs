//! `signet ca check`: what a start would find, without the state directory's lock and without changing anything.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use kubernetes::KubernetesClient;
use pki::checkpoint::CheckpointKey;
use pki::{KeyId, PublicKey, Sha256Digest, Timestamp};
use runtime::clock::Clock;
use runtime::private_files::check_private_dir;
use vault::VaultClient;

use super::error::CheckError;
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{AuthorityKind, Lifecycle};
use crate::config::{CaConfig, EndpointIdentity, StoreConfig, UpstreamConfig, UpstreamSource};
use crate::federation::check_pair;
use crate::key_file;
use crate::keystore::{CA_KEY, Keystore, KeystoreError, generations, load_generation_as_it_was};
use crate::oidc;
use crate::provisioning;
use crate::report::warnings_of;
use crate::revocation::without_lists;
use crate::rotation::KEY_LABEL_PREFIX;
use crate::rotation::places::{Places, ROOT_KEY};
use crate::signing_keys::SigningKeys;
use crate::store::{self, OpenError, StoreFile};

/// What `signet ca check` says: of the authority and of the JWT key, as a start would use them.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The authority; `None`: a start has upstream sign the issuing CA.
    pub authority: Option<CheckedAuthority>,
    /// The name of the key that signs JWT-SVIDs; `None`: the next start makes one.
    pub jwt_key_id: Option<KeyId>,
    /// The name of the key that signs checkpoints of the audit chain; `None`: the next start makes one.
    pub audit_key_id: Option<Sha256Digest>,
    /// Where the keys of root, issuing CA and JWT-SVIDs lie, in words.
    pub key_places: Vec<(&'static str, String)>,
    /// What will soon hurt; empty when all is well.
    pub warnings: Vec<String>,
}

/// The authority that a start would sign with.
#[derive(Clone, Debug)]
pub struct CheckedAuthority {
    /// Where it lies.
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
}

/// Checks what a start would check, without the state directory's lock: the directory's owner and mode, the authority whole, the
/// key behind JWT-SVIDs, and what the rules for tokens need. An issuing CA of this CA's own that has ended is a warning: a start makes its
/// successor, or waits for one. Upstream is not asked.
///
/// # Errors
/// [`CheckError`], naming the file and the reason.
pub async fn check(config: &CaConfig, clock: &dyn Clock) -> Result<CheckReport, CheckError> {
    let now = Timestamp::from(clock.now());
    if config.state_dir.exists() {
        check_private_dir(&config.state_dir).map_err(KeystoreError::from)?;
    }
    drop(provisioning::load(&config.provisioning)?);
    let lifecycle = lifecycle_of(config).await?;
    let keys = SigningKeys::open(config).await.map_err(Box::new)?;
    let found = authority_of(config, &keys, &lifecycle, now).await?;
    let places = Places::of(config);
    let jwt_number = lifecycle.active(AuthorityKind::Jwt).map_or(1, |jwt| jwt.name.number);
    let jwt_file = places.jwt_key(jwt_number);
    // This process never has a key that was made in memory.
    let jwt_key = if keys.is_forgotten(&jwt_file)? { None } else { keys.read_jwt(&jwt_file).await? };
    let audit_key = key_file::load::<CheckpointKey>(config).map_err(KeystoreError::StateKey)?;
    let root = lifecycle.active(AuthorityKind::Root).map_or(1, |root| root.name.number);
    let mut key_places = vec![("root key", keys.place(&places.root(root).join(ROOT_KEY)))];
    key_places.extend(found.as_ref().map(|(directory, _)| ("issuing CA key", keys.place(&directory.join(CA_KEY)))));
    key_places.push(("JWT key", keys.place(&jwt_file)));
    let mut warnings = Vec::new();
    if let Some(UpstreamConfig { source: UpstreamSource::Vault(vault), .. }) = &config.upstream {
        // What is there signs without it; the next one does not come.
        warnings.extend(VaultClient::check(vault).err().map(|error| format!("upstream.vault: {error}")));
    }
    let mut in_use: Vec<_> = jwt_key.iter().map(|key| key.authority().public_key().fingerprint()).collect();
    if let Some((_, authority)) = &found {
        warnings.extend(warnings_of(authority, now));
        warnings.extend(authority.check_ready(&config.leaf, now).err().map(|why| why.to_string()));
        warnings.extend(without_lists(config, &lifecycle, authority, now));
        in_use.extend([authority.root().public_key(), authority.certificate().public_key()].map(PublicKey::fingerprint));
    }
    warnings.extend(nameless_keys(config, &keys, &lifecycle, in_use).await?);
    warnings.extend(oidc::check(&config.oidc)?);
    if let Some(kubernetes) = &config.kubernetes {
        // The kubelet projects them into the container that the CA will run in.
        let fault = KubernetesClient::check(&kubernetes.server).err();
        warnings
            .extend(fault.map(|fault| format!("kubernetes: {fault}; no token of a service account is taken until it is there")));
    }
    if let Some(EndpointIdentity::Web { certificate, key }) =
        config.federation.endpoint.as_ref().map(|endpoint| &endpoint.identity)
    {
        check_pair(certificate, key)?;
    }
    Ok(CheckReport {
        authority: found.map(|(directory, authority)| CheckedAuthority {
            directory,
            subject: authority.certificate().subject(),
            not_after: authority.certificate().not_after(),
            half_life: authority.half_life(),
            root_not_after: authority.root().not_after(),
            root_fingerprint: authority.root().fingerprint(),
        }),
        jwt_key_id: jwt_key.map(|key| key.key_id().clone()),
        audit_key_id: audit_key.map(|key| key.id()),
        key_places,
        warnings,
    })
}

/// Keys in the token that are called as this trust domain's are and that nothing here names: of a run that was cut short, or of another CA.
async fn nameless_keys(
    config: &CaConfig,
    keys: &SigningKeys,
    lifecycle: &Lifecycle,
    in_use: Vec<Sha256Digest>,
) -> Result<Vec<String>, CheckError> {
    let Some(token) = keys.token() else { return Ok(Vec::new()) };
    let recorded = lifecycle.authorities().filter_map(|authority| authority.material.as_ref()).map(|material| material.key);
    let named: Vec<_> = recorded.chain(in_use).map(|key| HEXLOWER.encode(&key)).collect();
    let ours = format!("{KEY_LABEL_PREFIX}{} ", config.trust_domain);
    let listed = token.list().await.map_err(Box::new)?.into_iter();
    let nameless = listed.filter(|key| key.label.starts_with(&ours) && !named.contains(&key.id));
    Ok(nameless.map(|key| {
        format!(
            "{token} holds a key \"{}\" (CKA_ID {}) that this CA does not know: another CA's, or left by a run that was cut short, and \
             unused then",
            key.label, key.id
        )
    }).collect())
}

/// The authority that a start would sign with, and where it lies: the newest on disk if the journal does not know it and it is under the
/// root that signs, else the one that the journal says. `None` where a start has upstream sign one: there is none yet, or its key was in
/// memory.
async fn authority_of(
    config: &CaConfig,
    keys: &SigningKeys,
    lifecycle: &Lifecycle,
    now: Timestamp,
) -> Result<Option<(PathBuf, SigningAuthority)>, CheckError> {
    if let Some(directory) = &config.plugged_authority {
        let (_, authority) = Keystore::open(directory, config, keys.clone(), now).await?;
        return Ok(Some((directory.clone(), authority)));
    }
    let places = Places::of(config);
    let load = async |number: u32| {
        let place = places.generation(number);
        let loaded = load_generation_as_it_was(&place, keys, &config.trust_domain, now).await;
        loaded.map(|authority| Some((place, authority))).map_err(CheckError::from)
    };
    let known = lifecycle.of(AuthorityKind::Issuer).map(|issuer| issuer.name.number).max().unwrap_or(0);
    let newer = generations(&config.generations_dir())?.pop_last().filter(|number| *number > known);
    let active = lifecycle.active(AuthorityKind::Issuer).map(|issuer| issuer.name.number);
    let root = lifecycle.active(AuthorityKind::Root).and_then(|root| root.material.as_ref()).map(|root| root.key);
    if config.upstream.is_some() {
        let is_gone = match newer.or(active) {
            None => true,
            Some(number) => keys.is_forgotten(&places.generation(number).join(CA_KEY))?,
        };
        if is_gone {
            return Ok(None);
        }
    }
    match (newer, active) {
        (Some(newer), None) => load(newer).await,
        (Some(newer), Some(active)) => match load(newer).await {
            Ok(Some(taken)) if root == Some(taken.1.root().public_key().fingerprint()) => Ok(Some(taken)),
            Ok(_) | Err(_) => load(active).await,
        },
        (None, Some(active)) => load(active).await,
        (None, None) => Err(KeystoreError::NoAuthority { directory: config.generations_dir() }.into()),
    }
}

/// What the store says of authorities; nothing where there is no store, or one from before it said anything.
async fn lifecycle_of(config: &CaConfig) -> Result<Lifecycle, CheckError> {
    if let StoreConfig::Postgres(postgres) = &config.store {
        return Ok(store::inspect(postgres.clone(), &config.replica).map_err(OpenError::from)?);
    }
    let store = &config.store_path();
    if store.symlink_metadata().is_err() {
        return Ok(Lifecycle::default());
    }
    match StoreFile::open(store) {
        Ok(store) => Ok(store.lifecycle().await?),
        Err(OpenError::Older { .. }) => Ok(Lifecycle::default()),
        Err(error) => Err(error.into()),
    }
}
