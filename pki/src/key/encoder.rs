//! What `rcgen`, the encoder of requests and certificates, needs to know of a key.

use rcgen::{PublicKeyData, SignatureAlgorithm};

use super::{PublicKey, PublicKeyAlgorithm};

/// A public key as the encoder takes it. A type of its own, so that the encoder's traits are not part of the public
/// interface of [`PublicKey`].
#[derive(Clone, Debug)]
pub(crate) struct EncoderKey(pub(crate) PublicKey);

impl PublicKeyData for EncoderKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.bits()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        // For a signer this is also the signature that `PrivateKey::sign` makes.
        match self.0.algorithm() {
            PublicKeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            PublicKeyAlgorithm::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            PublicKeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
            PublicKeyAlgorithm::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
        }
    }
}
