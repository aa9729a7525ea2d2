//! Lists that are made elsewhere: `ca-crl.pem` beside the certificate of a root whose key is not here.

use std::io::ErrorKind;
use std::path::Path;

use pki::crl::{CrlError, MAX_CRL_BYTES, crls_from_pem};
use pki::{RevocationList, TrustBundle};
use runtime::private_files::{PrivateFileError, read_bounded};

use super::authorities::Listed;

/// How the file is called.
pub(crate) const CA_CRL: &str = "ca-crl.pem";

/// Why the lists of a file are not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It holds something that is no list.
    #[error("{path}: {cause}")]
    Content {
        /// Which file.
        path: String,
        /// What is wrong with it.
        cause: CrlError,
    },
}

/// The lists of a file for these CAs, each verified; none when there is no such file. A list of a CA that is not among them is left alone.
///
/// # Errors
/// [`ImportError`]; one bad list refuses the whole file.
pub(crate) fn read(path: &Path, of: &[&Listed], bundle: &TrustBundle) -> Result<Vec<RevocationList>, ImportError> {
    let text = match read_bounded(path, 2 * MAX_CRL_BYTES) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(Vec::new()),
        read => read?,
    };
    let content = |cause| ImportError::Content { path: path.display().to_string(), cause };
    let mut lists = Vec::new();
    for der in crls_from_pem(&text).map_err(content)? {
        let mut refused = None;
        for listed in of {
            match RevocationList::verify(&der, listed.certificate.der(), bundle) {
                Ok(list) => lists.push(list),
                Err(CrlError::OtherIssuer { .. } | CrlError::UnknownIssuer { .. }) => {}
                Err(cause) => refused = Some(cause),
            }
        }
        if let Some(cause) = refused {
            return Err(content(cause));
        }
    }
    Ok(lists)
}

/// What is told of a file that is not used.
pub(super) fn refused(error: &ImportError) -> String {
    format!("revocation lists that were made elsewhere are not used: {error}")
}

/// What is told of a CA whose certificate does not allow it to sign lists.
pub(super) fn lacks_crl_sign(label: &str) -> String {
    format!("{label} has no revocation list: the keyUsage of its certificate lacks cRLSign; have it issued anew with cRLSign")
}

/// What is told of a CA whose key is not here, and neither is a list.
pub(super) fn is_elsewhere(label: &str, place: &Path) -> String {
    format!(
        "{label} has no revocation list that is good now: its key is not here, so make one where it is, and put it at {}",
        place.display()
    )
}
