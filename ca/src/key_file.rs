//! How the private keys of this CA lie on disk: as they are, or under the one passphrase of `[keys]`; and those of which a state
//! directory has one each ([`StateKey`]).

use std::io::ErrorKind;
use std::path::PathBuf;

use pki::{KeyAlgorithm, KeyError, KeyProtection, Passphrase, PrivateKey};
use runtime::config::Section;
use runtime::entropy::{self, Entropy};
use runtime::private_files::{Overwrite, PrivateFileError, read_private, write_private};
use runtime::secret_source::{SecretSource, SecretSourceError};
use zeroize::Zeroizing;

use crate::config::CaConfig;

/// Reads the `[keys]` table.
pub(crate) fn read_config(section: &Section<'_>) -> Option<SecretSource> {
    SecretSource::from_config(section, "passphrase_file", "passphrase_credential")
}

/// How keys are read and written now. The passphrase is read each time, so that nothing here keeps it.
///
/// # Errors
/// [`SecretSourceError`] when one is configured and not there: keys are never written unprotected instead.
pub(crate) fn protection(source: Option<&SecretSource>) -> Result<KeyProtection, SecretSourceError> {
    let Some(source) = source else { return Ok(KeyProtection::Plain) };
    let passphrase = source.read_as(Passphrase::MAX_FILE_BYTES, |content| Passphrase::new(Zeroizing::new(content)))?;
    Ok(KeyProtection::Passphrase(passphrase))
}

/// More than any P-256 key in any form.
const MAX_STATE_KEY_BYTES: usize = 16 * 1024;

/// A key of which a state directory has one: PKCS#8, mode 0600, ECDSA P-256. Made by `ca init`, or by the first start of a CA that
/// has none, and never replaced: who takes the file away has a new key made at the next start.
pub(crate) trait StateKey: Sized {
    /// What it is called in errors.
    const NAME: &'static str;
    /// What follows when the file is taken away.
    const ANEW: &'static str;
    /// Why a private key cannot be one of these.
    type Unfit: std::error::Error + Send + Sync + 'static;

    /// Where it lies.
    fn path(config: &CaConfig) -> PathBuf;

    /// The key for its use.
    ///
    /// # Errors
    /// A key of another kind.
    fn from_private(key: PrivateKey) -> Result<Self, Self::Unfit>;
}

/// Why a key of the state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StateKeyError {
    /// The file is not safe to use, or cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The passphrase that it is under.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// It holds no private key.
    #[error("{}: {cause}; restore the file, or take it away and {anew}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: KeyError,
        /// What follows when the file is taken away.
        anew: &'static str,
    },
    /// It holds a key of another kind.
    #[error("{}: {cause}; restore the file, or take it away and {anew}", path.display())]
    Kind {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<dyn std::error::Error + Send + Sync>,
        /// What follows when the file is taken away.
        anew: &'static str,
    },
    /// No key could be made.
    #[error("no {name} could be made: {cause}")]
    Generate {
        /// Which key.
        name: &'static str,
        /// What the backend said.
        cause: KeyError,
    },
}

/// The key of this state directory, if one was made.
///
/// # Errors
/// [`StateKeyError`] when the file is there and cannot be used: it never gives way to a new one silently.
pub(crate) fn load<K: StateKey>(config: &CaConfig) -> Result<Option<K>, StateKeyError> {
    match read(config) {
        Err(StateKeyError::File(error)) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        read => read.map(Some),
    }
}

/// The key of this state directory, made now when there is none. The caller holds the directory's lock.
///
/// # Errors
/// [`StateKeyError`].
pub(crate) fn load_or_make<K: StateKey>(config: &CaConfig, entropy: &dyn Entropy) -> Result<K, StateKeyError> {
    if let Some(key) = load(config)? {
        return Ok(key);
    }
    let made = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|cause| StateKeyError::Generate { name: K::NAME, cause })?;
    let pem = made.to_protected_pem(&protection(config.key_passphrase.as_ref())?, &entropy::bytes(entropy));
    write_private(&K::path(config), pem.as_bytes(), Overwrite::Refuse)?;
    // What counts from now on is what a later start will read.
    read(config)
}

fn read<K: StateKey>(config: &CaConfig) -> Result<K, StateKeyError> {
    let (path, anew) = (K::path(config), K::ANEW);
    let pem = Zeroizing::new(read_private(&path, MAX_STATE_KEY_BYTES)?);
    let protection = protection(config.key_passphrase.as_ref())?;
    match PrivateKey::from_protected_pem(&pem, &protection) {
        Err(cause) => Err(StateKeyError::Key { path, cause, anew }),
        Ok(key) => K::from_private(key).map_err(|cause| StateKeyError::Kind { path, cause: Box::new(cause), anew }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pki::checkpoint::CheckpointKey;
    use runtime::entropy::SystemEntropy;

    use super::*;

    fn bed() -> (tempfile::TempDir, CaConfig) {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let text = format!("trust_domain = \"example.org\"\nstate_dir = \"{at}\"\nlisten = \"127.0.0.1:0\"\n");
        (directory, CaConfig::parse("test", &text).unwrap())
    }

    fn made_once_for_its_owner_only<K: StateKey, I: PartialEq + std::fmt::Debug>(id: impl Fn(&K) -> I) {
        let (_directory, config) = bed();
        let path = K::path(&config);
        assert!(load::<K>(&config).unwrap().is_none());
        let made = id(&load_or_make(&config, &SystemEntropy).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(id(&load_or_make(&config, &SystemEntropy).unwrap()), made);
        assert_eq!(id(&load(&config).unwrap().unwrap()), made);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
        assert!(matches!(load_or_make::<K>(&config, &SystemEntropy), Err(StateKeyError::File(_))), "others may read it");
    }

    fn unusable_stops_the_start_and_is_not_replaced<K: StateKey>() {
        let (_directory, config) = bed();
        let path = K::path(&config);
        let write = |pem: &[u8]| {
            std::fs::write(&path, pem).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        };
        write(PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap().to_pkcs8_pem().as_bytes());
        let error = load_or_make::<K>(&config, &SystemEntropy).err().unwrap();
        assert!(matches!(error, StateKeyError::Kind { .. }) && error.to_string().contains(K::ANEW), "{error}");
        write(b"no key");
        let error = load_or_make::<K>(&config, &SystemEntropy).err().unwrap();
        assert!(matches!(error, StateKeyError::Key { .. }) && error.to_string().contains(K::ANEW), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"no key");
    }

    #[test]
    fn each_key_is_made_once_for_its_owner_only() {
        made_once_for_its_owner_only(CheckpointKey::id);
    }

    #[test]
    fn a_file_that_cannot_be_used_stops_the_start_and_is_not_replaced() {
        unusable_stops_the_start_and_is_not_replaced::<CheckpointKey>();
    }
}
