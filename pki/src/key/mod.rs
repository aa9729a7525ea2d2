//! Private and public keys: making, loading, checking, signing, verifying.
//!
//! What may be a key is decided here once, for requests, certificates and private keys alike: ECDSA P-256 and P-384 with a
//! named curve and an uncompressed point, Ed25519, and RSA of 2048 to 4096 bits with the exponent 65537.

mod container;
mod ecdsa;
mod encoder;
mod encrypted;
mod error;
mod point;
mod private;
mod public;
mod roca;
mod signer;
#[cfg(test)]
mod tests;

pub(crate) use encoder::EncoderKey;
pub(crate) use encrypted::KEY_ENCRYPTION_RANDOM_BYTES;
pub use encrypted::{KeyProtection, Passphrase, PassphraseError};
pub use error::{KeyError, SignatureInvalid};
pub use private::PrivateKey;
pub use public::PublicKey;
pub use signer::{Signer, Signing};

use rustls_pki_types::{AlgorithmIdentifier, alg_id};

/// Which key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256 (FIPS 186-5), signing with SHA-256.
    EcdsaP256,
    /// ECDSA on the curve P-384 (FIPS 186-5), signing with SHA-384.
    EcdsaP384,
    /// RSA with the exponent 65537, signing by PKCS#1 v1.5 with SHA-256. Not every crypto backend makes such keys.
    Rsa(RsaSize),
}

/// The sizes in which RSA keys are made. 2048 bits are read and not made: NIST SP 800-57 part 1 ends them with 2030.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaSize {
    /// A modulus of 3072 bits.
    Bits3072,
    /// A modulus of 4096 bits.
    Bits4096,
}

impl KeyAlgorithm {
    /// Whether the crypto backend of this build makes such keys.
    #[must_use]
    pub fn is_made_here(self) -> bool {
        match self {
            Self::EcdsaP256 | Self::EcdsaP384 => true,
            Self::Rsa(_) => cfg!(feature = "aws-lc"),
        }
    }
}

impl std::fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Rsa(RsaSize::Bits3072) => "RSA 3072",
            Self::Rsa(RsaSize::Bits4096) => "RSA 4096",
        })
    }
}

/// What a key in a certificate or request may be: everything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyAlgorithm {
    /// ECDSA on the curve P-256.
    EcdsaP256,
    /// ECDSA on the curve P-384.
    EcdsaP384,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA with the exponent 65537.
    Rsa {
        /// The bits of the modulus, 2048 to 4096.
        bits: u32,
    },
}

impl PublicKeyAlgorithm {
    /// The `AlgorithmIdentifier` of a SubjectPublicKeyInfo with such a key.
    pub(crate) fn key_identifier(self) -> AlgorithmIdentifier {
        match self {
            Self::EcdsaP256 => alg_id::ECDSA_P256,
            Self::EcdsaP384 => alg_id::ECDSA_P384,
            Self::Ed25519 => alg_id::ED25519,
            Self::Rsa { .. } => alg_id::RSA_ENCRYPTION,
        }
    }

    /// The `AlgorithmIdentifier` of the signatures that [`PrivateKey::sign`] makes with such a key.
    pub(crate) fn signature_identifier(self) -> AlgorithmIdentifier {
        match self {
            Self::EcdsaP256 => alg_id::ECDSA_SHA256,
            Self::EcdsaP384 => alg_id::ECDSA_SHA384,
            Self::Ed25519 => alg_id::ED25519,
            Self::Rsa { .. } => alg_id::RSA_PKCS1_SHA256,
        }
    }
}

impl std::fmt::Display for PublicKeyAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}
