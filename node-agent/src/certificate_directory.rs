//! A directory with an existing certificate: `cert-chain.pem` and `key.pem`, as Istio's agents have it on virtual
//! machines (`PROV_CERT`). It proves who the node or the identity already is, to a CA that knows its issuer.

use std::path::{Path, PathBuf};

use pki::{Certificate, PrivateKey, Sha256Digest, SvidError, Timestamp, X509Svid};
use runtime::private_files::{self, PrivateFileError};
use zeroize::Zeroizing;

/// The most bytes of each file.
const MAX_FILE_BYTES: usize = 512 * 1024;
const CHAIN: &str = "cert-chain.pem";
const KEY: &str = "key.pem";

/// An existing certificate with its key. `Debug` shows the certificates only.
pub(crate) struct CertificateDirectory {
    path: PathBuf,
    /// Leaf first; never empty.
    chain: Vec<Certificate>,
    key: PrivateKey,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateDirectoryError {
    /// A file cannot be read, or others can reach the key.
    #[error("certificate_directory: {0}")]
    File(#[from] PrivateFileError),
    /// A file does not hold what it should.
    #[error("certificate_directory: {} is refused: {cause}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

impl CertificateDirectory {
    /// Reads chain and key, which must be of one another. `key.pem` must be out of reach for others. Blocks.
    ///
    /// # Errors
    /// [`CertificateDirectoryError`] naming the file.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateDirectoryError> {
        let (chain_at, key_at) = (path.join(CHAIN), path.join(KEY));
        let pem = Zeroizing::new(private_files::read_private(&key_at, MAX_FILE_BYTES)?);
        let key = PrivateKey::from_pem(&pem)
            .map_err(|error| CertificateDirectoryError::Content { path: key_at, cause: error.to_string() })?;
        let refused = |cause: String| CertificateDirectoryError::Content { path: chain_at.clone(), cause };
        let pem = private_files::read_bounded(&chain_at, MAX_FILE_BYTES)?;
        let chain = pki::certificates_from_pem(&pem).map_err(|error| refused(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| refused("it holds no certificate".to_owned()))?;
        if leaf.public_key() != key.public_key() {
            return Err(refused(format!("its first certificate is not for the key in {KEY}")));
        }
        Ok(Self { path: path.to_owned(), chain, key })
    }

    /// Leaf first.
    pub(crate) fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Names the leaf among all certificates.
    pub(crate) fn fingerprint(&self) -> Option<Sha256Digest> {
        self.chain.first().map(Certificate::fingerprint)
    }

    /// The key of the leaf.
    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// As an SVID, to be shown in a TLS handshake.
    ///
    /// # Errors
    /// [`CertificateDirectoryError::Content`] when the leaf names no SPIFFE ID.
    pub(crate) fn into_svid(self, now: Timestamp) -> Result<X509Svid, CertificateDirectoryError> {
        let Self { path, chain, key } = self;
        X509Svid::new(chain, key, now)
            .map_err(|error: SvidError| CertificateDirectoryError::Content { path: path.join(CHAIN), cause: error.to_string() })
    }
}

impl std::fmt::Debug for CertificateDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateDirectory").field("path", &self.path).field("chain", &self.chain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::fakes::FakeAuthority;

    fn put(directory: &Path, name: &str, text: &str, mode: u32) {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_gives_its_identity_and_refuses_what_does_not_fit() {
        let now = Timestamp::from_unix_seconds(1_795_172_400);
        let authority = FakeAuthority::new(now);
        let svid = authority.svid(&authority.id("/ns/a/sa/b"), Duration::from_secs(3600), now);
        let at = tempfile::tempdir().unwrap();
        assert!(matches!(CertificateDirectory::read(at.path()), Err(CertificateDirectoryError::File(_))), "nothing there");
        put(at.path(), KEY, &svid.key().to_pkcs8_pem(), 0o600);
        put(at.path(), CHAIN, &pki::certificates_to_pem(svid.chain()), 0o644);
        let read = CertificateDirectory::read(at.path()).unwrap();
        assert_eq!(read.chain(), svid.chain());
        assert!(!format!("{read:?}").contains("PRIVATE"));
        assert_eq!(read.into_svid(now).unwrap().id(), svid.id());

        put(at.path(), KEY, &svid.key().to_pkcs8_pem(), 0o604);
        assert!(matches!(CertificateDirectory::read(at.path()), Err(CertificateDirectoryError::File(_))), "others read the key");
        let other = authority.svid(&authority.id("/ns/a/sa/b"), Duration::from_secs(3600), now);
        put(at.path(), KEY, &other.key().to_pkcs8_pem(), 0o600);
        assert!(CertificateDirectory::read(at.path()).unwrap_err().to_string().contains("not for the key"));
    }
}
