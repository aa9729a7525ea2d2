//! The one seam to private keys, wherever they lie: in this process, or in a device that is asked for each signature.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{KeyError, PrivateKey, PublicKey};

/// Signs with one private key. Certificates, revocation lists and tokens are all signed through this.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs with the key's one algorithm, in the form of [`PrivateKey::sign`]: ASN.1 for ECDSA (RFC 3279 section 2.2.3).
    ///
    /// A signer outside of this process gives out only what it has verified under [`Self::public_key`].
    fn signing<'a>(&'a self, message: &'a [u8]) -> Signing<'a>;
}

/// A signature that is there, or on its way. A key in memory never makes its caller wait.
#[must_use]
pub enum Signing<'a> {
    /// It is there.
    Made(Result<Vec<u8>, KeyError>),
    /// A device works on it.
    Underway(Pin<Box<dyn Future<Output = Result<Vec<u8>, KeyError>> + Send + 'a>>),
}

impl Signing<'_> {
    /// The signature.
    ///
    /// # Errors
    /// [`KeyError::Signing`], or [`KeyError::Device`] when a device does not sign.
    pub async fn made(self) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Made(signature) => signature,
            Self::Underway(signature) => signature.await,
        }
    }
}

impl fmt::Debug for Signing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made(_) => "Made",
            Self::Underway(_) => "Underway",
        })
    }
}

impl Signer for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        self.public_key()
    }

    fn signing<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Signing::Made(self.sign(message))
    }
}

impl<T: Signer + ?Sized> Signer for Arc<T> {
    fn public_key(&self) -> &PublicKey {
        T::public_key(self)
    }

    fn signing<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        T::signing(self, message)
    }
}
