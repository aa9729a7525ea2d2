//! The signature algorithms of JWT-SVIDs and OIDC tokens (JWT-SVID section 2.1, RFC 7518 section 3.1).

use std::fmt;

use crate::{PublicKey, PublicKeyAlgorithm, SignatureInvalid, crypto};

/// An algorithm that the backend verifies. `none`, the HMACs and EdDSA have no value here, so that nothing can let them in;
/// nor has ES512, whose curve the backend does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl JwsAlgorithm {
    const ALL: [Self; 8] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384];

    /// The algorithm of an `alg` value, compared byte for byte.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The `alg` value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// Whether a key of this kind can make such signatures. An EC key has one algorithm, an RSA key six.
    pub(crate) fn goes_with(self, key: PublicKeyAlgorithm) -> bool {
        match self {
            Self::Es256 => key == PublicKeyAlgorithm::EcdsaP256,
            Self::Es384 => key == PublicKeyAlgorithm::EcdsaP384,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                matches!(key, PublicKeyAlgorithm::Rsa { .. })
            }
        }
    }

    /// Verifies a signature in the form of RFC 7518: `r` and `s` side by side for ECDSA.
    pub(crate) fn verify(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        if self.goes_with(key.algorithm()) && crypto::verify_jws(self, key.bits(), message, signature) {
            Ok(())
        } else {
            Err(SignatureInvalid)
        }
    }
}

impl fmt::Display for JwsAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
