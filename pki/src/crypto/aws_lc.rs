//! The backend `aws-lc`: what it does in its own way. Every call here and in `shared` is one that the library also answers from
//! its FIPS module, but for Ed25519, whose calls it documents as outside.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair};
use zeroize::Zeroizing;

pub(super) use aws_lc_rs as library;
pub(super) use webpki::aws_lc_rs as verification;

use super::NONCE_BYTES;
use super::passphrase::{CipherIv, CipherKey, ScryptFault};
use crate::{KeyError, RsaSize};

/// A fresh key with the exponent 65537, as PKCS#8.
pub(super) fn generate_rsa(size: RsaSize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let size = match size {
        RsaSize::Bits3072 => KeySize::Rsa3072,
        RsaSize::Bits4096 => KeySize::Rsa4096,
    };
    let made = RsaKeyPair::generate(size).map_err(|_| KeyError::Generation)?;
    let pkcs8: Pkcs8V1Der<'_> = made.as_der().map_err(|_| KeyError::Generation)?;
    Ok(Zeroizing::new(pkcs8.as_ref().to_vec()))
}

pub(super) fn ecdsa_key(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8]) -> Result<EcdsaKeyPair, KeyRejected> {
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8)
}

pub(super) fn rsa_signature_bytes(key: &RsaKeyPair) -> usize {
    key.public_modulus_len()
}

pub(super) fn sign_ed25519(key: &Ed25519KeyPair, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
    key.try_sign(message).map(|signature| signature.as_ref().to_vec())
}

/// AES-256-GCM with a nonce that the library draws, as an approved service must (FIPS 140-3 implementation guidance C.H); the one
/// that is offered goes unused.
pub(super) fn seal_under(
    key: &[u8; 32],
    _offered: [u8; NONCE_BYTES],
    associated_data: &[u8],
    buffer: &mut Zeroizing<Vec<u8>>,
) -> Option<[u8; NONCE_BYTES]> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let drawn = key.seal_in_place_append_tag(Aad::from(associated_data), &mut **buffer).ok()?;
    Some(*drawn.as_ref())
}

pub(super) fn encrypt_cbc(key: &CipherKey, iv: &CipherIv, plain: &[u8]) -> Vec<u8> {
    // Room for the padding, so that the plain text is not left behind by a move to a larger place.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + iv.len()));
    buffer.extend_from_slice(plain);
    UnboundCipherKey::new(&AES_256, &**key)
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .and_then(|key| key.less_safe_encrypt(&mut *buffer, EncryptionContext::Iv128(FixedLength::from(iv))))
        .expect("a key of 32 bytes and an initialisation vector of 16 go with AES-256-CBC");
    std::mem::take(&mut *buffer)
}

pub(super) fn decrypt_cbc(key: &CipherKey, iv: &CipherIv, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &**key).ok()?).ok()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length = key.decrypt(&mut buffer, DecryptionContext::Iv128(FixedLength::from(iv))).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

/// Refused: scrypt is no approved key derivation, and the library has none.
pub(super) fn scrypt(_passphrase: &[u8], _salt: &[u8], _log_n: u8, _r: u32, _p: u32) -> Result<CipherKey, ScryptFault> {
    Err(ScryptFault::NotInBackend)
}
