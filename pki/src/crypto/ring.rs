//! The backend `ring`: what it does in its own way, and what it lacks.

use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ::ring::error::{KeyRejected, Unspecified};
use ::ring::rand::SystemRandom;
use ::ring::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair};
use zeroize::Zeroizing;

pub(super) use ::ring as library;
pub(super) use webpki::ring as verification;

use super::NONCE_BYTES;
pub(super) use super::rust_crypto::{decrypt_cbc, encrypt_cbc, scrypt};
use crate::{KeyAlgorithm, KeyError, RsaSize};

/// Refused: ring loads RSA keys, and does not make them.
pub(super) fn generate_rsa(size: RsaSize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    Err(KeyError::GenerationNotInBackend { algorithm: KeyAlgorithm::Rsa(size), backend: "ring" })
}

pub(super) fn ecdsa_key(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8]) -> Result<EcdsaKeyPair, KeyRejected> {
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new())
}

pub(super) fn rsa_signature_bytes(key: &RsaKeyPair) -> usize {
    key.public().modulus_len()
}

pub(super) fn sign_ed25519(key: &Ed25519KeyPair, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
    Ok(key.sign(message).as_ref().to_vec())
}

/// AES-256-GCM with the nonce that is offered.
pub(super) fn seal_under(
    key: &[u8; 32],
    nonce: [u8; NONCE_BYTES],
    associated_data: &[u8],
    buffer: &mut Zeroizing<Vec<u8>>,
) -> Option<[u8; NONCE_BYTES]> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated_data), &mut **buffer).ok()?;
    Some(nonce)
}
