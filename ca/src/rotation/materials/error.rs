//! Why the material of an authority cannot be had.

use std::path::PathBuf;

use pkcs11::Fault;
use pki::KeyError;
use runtime::private_files::PrivateFileError;

use crate::authority::AuthorityError;
use crate::authority::lifecycle::AuthorityName;
use crate::keystore::KeystoreError;
use crate::rotation::maker::MakeError;
use crate::signing_keys::SigningKeyError;
use crate::store::StoreError;

/// Why the material of an authority cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// It could not be made.
    #[error(transparent)]
    Make(Box<MakeError>),
    /// A set of files is not valid.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A file or directory is not usable.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The root's key is not in its place: this CA may have been set up so.
    #[error(
        "{}: the key of {root} is not there; put it there for as long as this takes, or make an issuing CA where it is kept \
         (`signet ca issuer renew --root-key FILE`)", path.display()
    )]
    NoRootKey {
        /// Which root.
        root: AuthorityName,
        /// Where its key was looked for.
        path: PathBuf,
    },
    /// The key of the root lies with another replica, which has not signed it yet.
    #[error(
        "{name} waits for the replica that has the key of {root}: it is signed as soon as that one runs (`signet authority show` there says \
         where the key lies)"
    )]
    AwaitsReplica {
        /// What is to be signed.
        name: AuthorityName,
        /// By which root.
        root: AuthorityName,
    },
    /// Between replicas something is not as it should be.
    #[error("{0}")]
    Replica(String),
    /// Upstream gave none, or none that verifies.
    #[error("{0}")]
    Upstream(String),
    /// The store did not record it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its key cannot be had.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// A certificate file does not parse, or does not hold one certificate.
    #[error("{}: {cause}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// What lies in the place of an authority is another one's.
    #[error("{}: does not hold {name} as this CA made it or took it over; restore what was there", path.display())]
    Another {
        /// Which authority.
        name: AuthorityName,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The journal holds something that is no certificate or key.
    #[error("the store holds {name} in a form that cannot be read: {cause}")]
    Journal {
        /// Which authority.
        name: AuthorityName,
        /// What is wrong with it.
        cause: String,
    },
}

impl MaterialError {
    /// Whether a set of files is no authority, in place of something that may pass.
    pub(in crate::rotation) fn is_of_the_set(&self) -> bool {
        let Self::Keystore(error) = self else { return false };
        if let KeystoreError::Authority(AuthorityError::Key { cause, .. }) = error {
            return !matches!(cause, KeyError::Device { .. });
        }
        if let KeystoreError::SigningKey(SigningKeyError::InToken { cause, .. }) = error {
            return cause.fault() == Fault::Key;
        }
        matches!(
            error,
            KeystoreError::Authority(_)
                | KeystoreError::SigningKey(
                    SigningKeyError::Key { .. } | SigningKeyError::Forgotten { .. } | SigningKeyError::NoToken { .. }
                )
        )
    }
}

impl From<MakeError> for MaterialError {
    fn from(error: MakeError) -> Self {
        Self::Make(Box::new(error))
    }
}
