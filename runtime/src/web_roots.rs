//! The system's certificate authorities of the web, as a PEM bundle. Which of them count is for whoever verifies with them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::private_files::{PrivateFileError, read_bounded};

/// The most bytes of a bundle: the common ones have a quarter of it.
const MAX_BUNDLE_BYTES: usize = 1 << 20;

/// Where distributions keep the bundle: Debian and Alpine, Fedora, openSUSE, and what OpenSSL reads by default.
const WELL_KNOWN: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum NoSystemRoots {
    /// None of the files is there.
    #[error("the system has no bundle of certificate authorities (none of {}); install its package ca-certificates", WELL_KNOWN.join(", "))]
    NoBundle,
    /// The file that is there cannot be read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

/// The bundle that the environment variable `SSL_CERT_FILE` names, as for OpenSSL; without it the first of the well-known files.
///
/// # Errors
/// [`NoSystemRoots`]. A file that is named and cannot be read is never passed over for another.
pub fn system() -> Result<Vec<u8>, NoSystemRoots> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the system keeps its authorities is told in the way that all TLS software reads"
    )]
    let named = std::env::var_os("SSL_CERT_FILE");
    bundle(named, &WELL_KNOWN.map(Path::new))
}

fn bundle(named: Option<OsString>, well_known: &[&Path]) -> Result<Vec<u8>, NoSystemRoots> {
    if let Some(named) = named.filter(|name| !name.is_empty()) {
        return Ok(read_bounded(&PathBuf::from(named), MAX_BUNDLE_BYTES)?);
    }
    for path in well_known {
        match read_bounded(path, MAX_BUNDLE_BYTES) {
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
            read => return Ok(read?),
        }
    }
    Err(NoSystemRoots::NoBundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_counts_alone_and_otherwise_the_first_that_is_there() {
        let home = tempfile::tempdir().unwrap();
        let (missing, first, second) = (home.path().join("missing"), home.path().join("first"), home.path().join("second"));
        std::fs::write(&first, "first").unwrap();
        std::fs::write(&second, "second").unwrap();
        let known = [missing.as_path(), first.as_path(), second.as_path()];
        assert_eq!(bundle(None, &known).unwrap(), b"first");
        assert_eq!(bundle(Some(OsString::new()), &known).unwrap(), b"first");
        assert_eq!(bundle(Some(second.clone().into()), &known).unwrap(), b"second");
        assert!(matches!(bundle(Some(missing.clone().into()), &known), Err(NoSystemRoots::File(_))));
        assert!(matches!(bundle(None, &known[..1]), Err(NoSystemRoots::NoBundle)));
        // What is there and is no file is told, not passed over.
        assert!(matches!(bundle(None, &[home.path(), &first]), Err(NoSystemRoots::File(_))));
    }
}
