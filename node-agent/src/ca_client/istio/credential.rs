//! What an identity shows to the CA: read when it is needed, forgotten after the call, never logged.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use identity::SpiffeId;
use pki::{Timestamp, X509Svid};
use zeroize::Zeroizing;

use crate::certificate_directory::{CertificateDirectory, CertificateDirectoryError};
use crate::web_token_file::{self, WebTokenFileError};

/// One credential for one call.
pub(crate) enum IstioCredential {
    /// A JWT, as `authorization: Bearer`.
    Bearer(Zeroizing<String>),
    /// A certificate, by mutual TLS.
    Certificate(Arc<X509Svid>),
}

impl fmt::Debug for IstioCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => f.write_str("Bearer(redacted)"),
            Self::Certificate(svid) => write!(f, "Certificate({svid:?})"),
        }
    }
}

/// Where an identity's credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file with a JWT, such as a projected service account token; read at each call, as others renew it.
    TokenFile(PathBuf),
    /// A directory with an existing certificate and its key; the SVID issued by it takes its place.
    CertificateDirectory(PathBuf),
}

/// Why there is no credential to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// The token file cannot be read, or holds no token.
    #[error("token_file: {0}")]
    TokenFile(#[from] WebTokenFileError),
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] CertificateDirectoryError),
    /// The certificate names somebody else.
    #[error("certificate_directory {}: its certificate names {found}, the identity is {wanted}", path.display())]
    OtherIdentity {
        /// Which directory.
        path: PathBuf,
        /// Whom it names.
        found: SpiffeId,
        /// Whose credential it should be.
        wanted: SpiffeId,
    },
    /// The certificate is outside its dates.
    #[error(
        "certificate_directory {}: its certificate is valid from {not_before} to {not_after}, it is {now} now: \
         put a new one there", path.display()
    )]
    Dates {
        /// Which directory.
        path: PathBuf,
        /// First second.
        not_before: Timestamp,
        /// Last second.
        not_after: Timestamp,
        /// Now.
        now: Timestamp,
    },
}

impl CredentialSource {
    /// What to show for `identity` now. Blocks.
    ///
    /// # Errors
    /// [`CredentialError`] naming file and fault, and nothing of what stands in it.
    pub(crate) fn read(&self, identity: &SpiffeId, now: Timestamp) -> Result<IstioCredential, CredentialError> {
        match self {
            Self::TokenFile(path) => Ok(IstioCredential::Bearer(web_token_file::read(path)?)),
            Self::CertificateDirectory(path) => {
                let svid = CertificateDirectory::read(path)?.into_svid(now)?;
                if svid.id() != identity {
                    return Err(CredentialError::OtherIdentity {
                        path: path.clone(),
                        found: svid.id().clone(),
                        wanted: identity.clone(),
                    });
                }
                let leaf = svid.leaf();
                if !leaf.is_valid_at(now) {
                    let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
                    return Err(CredentialError::Dates { path: path.clone(), not_before, not_after, now });
                }
                Ok(IstioCredential::Certificate(Arc::new(svid)))
            }
        }
    }
}
