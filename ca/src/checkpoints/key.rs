//! The key behind checkpoints on disk: `audit-key.pem` in the state directory, PKCS#8, mode 0600. It signs nothing else.
//!
//! Made by `ca init`, or by the first start of a CA that has none. It is never replaced here: who takes it away has a new one made at the
//! next start, and every agent tells that the checkpoints are under another key.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pki::checkpoint::{CheckpointError, CheckpointKey};
use pki::{KeyAlgorithm, KeyError, PrivateKey};
use runtime::entropy::{self, Entropy};
use runtime::private_files::{Overwrite, PrivateFileError, read_private, write_private};
use runtime::secret_source::SecretSourceError;
use zeroize::Zeroizing;

use crate::config::CaConfig;
use crate::key_file;

/// More than any P-256 key in any form.
const MAX_BYTES: usize = 16 * 1024;

/// Why there is no key to sign checkpoints with.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointKeyError {
    /// The file is not safe to use, or cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The passphrase that it is under.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// It holds no private key.
    #[error("{}: {cause}; restore the file, or take it away and a new key is made, which every agent will tell of", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: KeyError,
    },
    /// It holds a key of another kind.
    #[error("{}: {cause}; restore the file, or take it away and a new key is made, which every agent will tell of", path.display())]
    Kind {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: CheckpointError,
    },
    /// No key could be made.
    #[error("no key for checkpoints of the audit chain could be made: {0}")]
    Generate(KeyError),
}

/// The key of this state directory, if one was made.
///
/// # Errors
/// [`CheckpointKeyError`] when the file is there and cannot be used: it never gives way to a new one silently.
pub(crate) fn load(config: &CaConfig) -> Result<Option<CheckpointKey>, CheckpointKeyError> {
    let path = config.audit_key_path();
    let pem = match read_private(&path, MAX_BYTES) {
        Ok(pem) => Zeroizing::new(pem),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let protection = key_file::protection(config.key_passphrase.as_ref())?;
    let key = PrivateKey::from_protected_pem(&pem, &protection)
        .map_err(|cause| CheckpointKeyError::Key { path: path.clone(), cause })?;
    CheckpointKey::new(key).map(Some).map_err(|cause| CheckpointKeyError::Kind { path, cause })
}

/// The key of this state directory, made now when there is none. The caller holds the directory's lock.
///
/// # Errors
/// [`CheckpointKeyError`].
pub(crate) fn load_or_make(config: &CaConfig, entropy: &dyn Entropy) -> Result<CheckpointKey, CheckpointKeyError> {
    if let Some(key) = load(config)? {
        return Ok(key);
    }
    let made = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(CheckpointKeyError::Generate)?;
    let pem = made.to_protected_pem(&key_file::protection(config.key_passphrase.as_ref())?, &entropy::bytes(entropy));
    write_private(&config.audit_key_path(), pem.as_bytes(), Overwrite::Refuse)?;
    // What counts from now on is what a later start will read.
    load(config)?.ok_or_else(|| vanished(&config.audit_key_path()))
}

fn vanished(path: &Path) -> CheckpointKeyError {
    CheckpointKeyError::File(PrivateFileError::Io {
        action: "read",
        path: path.to_owned(),
        source: std::io::Error::from(ErrorKind::NotFound),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use runtime::entropy::SystemEntropy;

    use super::*;

    fn config(directory: &Path) -> CaConfig {
        let text = format!("trust_domain = \"example.org\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n", directory.display());
        CaConfig::parse("test", &text).unwrap()
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        assert!(load(&config).unwrap().is_none());
        let made = load_or_make(&config, &SystemEntropy).unwrap();
        let mode = std::fs::metadata(config.audit_key_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load_or_make(&config, &SystemEntropy).unwrap().id(), made.id());
        std::fs::set_permissions(config.audit_key_path(), PermissionsExt::from_mode(0o604)).unwrap();
        assert!(matches!(load_or_make(&config, &SystemEntropy), Err(CheckpointKeyError::File(_))), "others may read it");
    }

    #[test]
    fn a_file_that_cannot_be_used_stops_the_start_and_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let write = |pem: &[u8]| {
            std::fs::write(config.audit_key_path(), pem).unwrap();
            std::fs::set_permissions(config.audit_key_path(), PermissionsExt::from_mode(0o600)).unwrap();
        };
        write(PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap().to_pkcs8_pem().as_bytes());
        assert!(matches!(load_or_make(&config, &SystemEntropy), Err(CheckpointKeyError::Kind { .. })));
        write(b"no key");
        assert!(matches!(load_or_make(&config, &SystemEntropy), Err(CheckpointKeyError::Key { .. })));
        assert_eq!(std::fs::read(config.audit_key_path()).unwrap(), b"no key");
    }
}
