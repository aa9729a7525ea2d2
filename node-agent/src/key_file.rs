//! How the private keys of the node lie on disk: as they are, or under the one passphrase of `[keys]`.

use pki::{KeyProtection, Passphrase};
use runtime::config::Section;
use runtime::secret_source::{SecretSource, SecretSourceError};
use zeroize::Zeroizing;

/// Reads the `[keys]` table.
pub(crate) fn read_config(section: &Section<'_>) -> Option<SecretSource> {
    SecretSource::from_config(section, "passphrase_file", "passphrase_credential")
}

/// How keys are read and written.
///
/// # Errors
/// [`SecretSourceError`] when a passphrase is configured and not there: keys are never written unprotected instead.
pub(crate) fn protection(source: Option<&SecretSource>) -> Result<KeyProtection, SecretSourceError> {
    let Some(source) = source else { return Ok(KeyProtection::Plain) };
    let passphrase = source.read_as(Passphrase::MAX_FILE_BYTES, |content| Passphrase::new(Zeroizing::new(content)))?;
    Ok(KeyProtection::Passphrase(passphrase))
}
