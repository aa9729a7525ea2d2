//! The root in a Secret of the cluster: put there once by whoever made it, and taken from there when the state directory is new.
//!
//! So the trust anchor outlives a volume that is lost; store, issuing CA and JWT key do not. The Secret is made and read, never changed or deleted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::kubernetes::secrets::{Secret, SecretData};
use ::kubernetes::{ApiError, KubernetesClient, KubernetesMetrics};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::private_files::{
    DirLock, Overwrite, PrivateFileError, ensure_private_dir, read_bounded, read_private, write_private, write_public,
};
use zeroize::Zeroizing;

use super::{InitError, InitOptions, InitReport, MAX_FILE_BYTES, RenewReport, init, is_made, issuer_renew};
use crate::authority::lifecycle::AuthorityKind;
use crate::config::{CaConfig, KeyStore};
use crate::rotation::places::{Places, ROOT_CERT, ROOT_KEY};

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The place of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// What became of root and Secret.
#[derive(Debug)]
pub enum RootKept {
    /// Both were made.
    Made(Box<InitReport>),
    /// The authority was there; its root was put into the Secret.
    Put,
    /// The root came from the Secret, and an issuing CA was made under it.
    Restored(Box<RenewReport>),
    /// Both were there, or the key of the root is not in the state directory.
    AsItIs,
    /// Both were there, and the Secret has another root than the one that signs now.
    Differs,
    /// The authority was there. Whether the Secret is, nobody could tell.
    Unasked(ApiError),
}

/// Makes an authority where there is none, as [`init`], whose root is that of the Secret. Where there is no such Secret either, it is made of the
/// root. What is there, here or in the cluster, stays as it is.
///
/// # Errors
/// [`InitError`]; with an authority in place, a cluster that does not answer is none.
pub async fn init_with_secret(
    config: &CaConfig,
    options: InitOptions,
    place: &SecretPlace,
    clock: Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<RootKept, InitError> {
    if config.key_store != KeyStore::File {
        return Err(InitError::RootSecretOfToken);
    }
    let server = config.kubernetes.as_ref().map(|kubernetes| kubernetes.server.clone()).ok_or(InitError::NoCluster)?;
    let client = KubernetesClient::new(server, Arc::clone(&clock), KubernetesMetrics::default());
    let is_made = is_made(config).await?;
    let found = client.secret(&place.namespace, &place.name, DEADLINE).await;
    match (is_made, found) {
        (true, Ok(Some(secret))) => {
            let signs = root_files(config).await?;
            let differs = signs.is_some_and(|signs| signs.get(ROOT_CERT) != secret.data.get(ROOT_CERT));
            Ok(if differs { RootKept::Differs } else { RootKept::AsItIs })
        }
        (true, Err(error)) => Ok(RootKept::Unasked(error)),
        (true, Ok(None)) => match root_files(config).await? {
            Some(root) => match put(&client, place, &root).await {
                Ok(()) => Ok(RootKept::Put),
                Err(ApiError::Conflict { .. }) => Ok(RootKept::AsItIs),
                Err(error) => Ok(RootKept::Unasked(error)),
            },
            None => Ok(RootKept::AsItIs),
        },
        (false, Ok(Some(secret))) => {
            restore(config, place, &secret)?;
            let made = issuer_renew(config, None, clock.as_ref(), entropy).await?;
            Ok(RootKept::Restored(Box::new(made)))
        }
        (false, Ok(None)) => {
            let made = init(config, options, clock.as_ref(), entropy).await?;
            let root = root_files(config).await?.ok_or_else(|| InitError::NoRootKey { path: made.root_key.clone() })?;
            // The next run puts it there, when this one fails here.
            put(&client, place, &root).await.map_err(Box::new)?;
            Ok(RootKept::Made(Box::new(made)))
        }
        (false, Err(error)) => Err(Box::new(error).into()),
    }
}

async fn put(client: &KubernetesClient, place: &SecretPlace, root: &SecretData) -> Result<(), ApiError> {
    client.keep_secret(&place.namespace, &place.name, root, DEADLINE).await
}

/// Certificate and key of the root that signs now, as they lie; `None` where its key is elsewhere.
async fn root_files(config: &CaConfig) -> Result<Option<SecretData>, InitError> {
    let lifecycle = crate::store::open(config)?.lifecycle().await?;
    let number = lifecycle.active(AuthorityKind::Root).map_or(1, |root| root.name.number);
    let directory = Places::of(config).root(number);
    let read = |name: &str, read: fn(&Path, usize) -> Result<Vec<u8>, PrivateFileError>| match read(
        &directory.join(name),
        MAX_FILE_BYTES,
    ) {
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => Ok(None),
        content => content.map(|content| Some(Zeroizing::new(content))),
    };
    let (certificate, key) = (read(ROOT_CERT, read_bounded)?, read(ROOT_KEY, read_private)?);
    Ok(certificate.zip(key).map(|(certificate, key)| SecretData::from([(ROOT_CERT, certificate), (ROOT_KEY, key)])))
}

/// Writes the root of the Secret to where a first root lies. Whether key and certificate belong together is asked when the issuing CA is made.
fn restore(config: &CaConfig, place: &SecretPlace, secret: &Secret) -> Result<(), InitError> {
    let file = |name: &'static str| {
        let content = secret.data.get(name);
        content.ok_or_else(|| InitError::RootSecretWithout {
            namespace: place.namespace.clone(),
            name: place.name.clone(),
            file: name,
        })
    };
    let (certificate, key) = (file(ROOT_CERT)?, file(ROOT_KEY)?);
    ensure_private_dir(&config.state_dir)?;
    let _lock = DirLock::acquire(&config.state_dir)?;
    // An earlier run may have been cut short behind this one.
    let there = |path: &Path, content: &[u8]| {
        read_bounded(path, MAX_FILE_BYTES).is_ok_and(|there| Zeroizing::new(there).as_slice() == content)
    };
    let (certificate_file, key_file) = (config.state_dir.join(ROOT_CERT), config.state_dir.join(ROOT_KEY));
    if !there(&key_file, key) {
        write_private(&key_file, key, Overwrite::Refuse)?;
    }
    if !there(&certificate_file, certificate) {
        write_public(&certificate_file, certificate, Overwrite::Refuse)?;
    }
    Ok(())
}
