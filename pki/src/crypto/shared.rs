//! What both backends do alike: aws-lc-rs keeps the names and the meaning of ring's interface.

use std::num::NonZeroU32;

use rustls_pki_types::SignatureVerificationAlgorithm;
use zeroize::Zeroizing;

use super::backend::library::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use super::backend::library::rand::SystemRandom;
use super::backend::library::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use super::backend::library::{digest, error, hkdf, pbkdf2};
use super::backend::{self, verification};
use super::passphrase::Prf;
use super::{NONCE_BYTES, Sha256Digest, TAG_BYTES};
use crate::{JwsAlgorithm, KeyAlgorithm, KeyError, PublicKeyAlgorithm};

/// Both curves with both hashes, since a plugged-in authority may pair them freely (`openssl -sha256` with P-384).
pub(super) static SIGNATURE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    verification::ECDSA_P256_SHA256,
    verification::ECDSA_P256_SHA384,
    verification::ECDSA_P384_SHA256,
    verification::ECDSA_P384_SHA384,
    verification::ED25519,
    verification::RSA_PKCS1_2048_8192_SHA256,
    verification::RSA_PKCS1_2048_8192_SHA384,
    verification::RSA_PKCS1_2048_8192_SHA512,
];

pub(super) fn verify_jws(algorithm: JwsAlgorithm, key_bits: &[u8], message: &[u8], made: &[u8]) -> bool {
    let verification: &'static dyn VerificationAlgorithm = match algorithm {
        JwsAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        JwsAlgorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        JwsAlgorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        JwsAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        JwsAlgorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        JwsAlgorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        JwsAlgorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        JwsAlgorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
    };
    UnparsedPublicKey::new(verification, key_bits).verify(message, made).is_ok()
}

pub(super) fn pbkdf2(prf: Prf, iterations: NonZeroU32, salt: &[u8], passphrase: &[u8], key: &mut [u8]) {
    let algorithm = match prf {
        Prf::HmacSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Prf::HmacSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Prf::HmacSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    pbkdf2::derive(algorithm, iterations, salt, passphrase, key);
}

pub(super) fn sha384(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA384, data).as_ref().to_vec()
}

pub(super) struct Sha256(digest::Context);

impl Sha256 {
    pub(super) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(super) fn finish(self) -> Sha256Digest {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// AES-256-GCM under the key that HKDF-SHA256 derives from the secret and the salt. Gives the nonce that was used, which is the one
/// offered unless the backend draws its own, and the sealed content; `None` when it is too much for one sealing.
pub(crate) fn seal(
    secret: &[u8],
    salt: &[u8],
    offered: [u8; NONCE_BYTES],
    associated_data: &[u8],
    content: &[u8],
) -> Option<([u8; NONCE_BYTES], Vec<u8>)> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(content.len() + TAG_BYTES));
    buffer.extend_from_slice(content);
    let nonce = backend::seal_under(&*sealing_key(secret, salt)?, offered, associated_data, &mut buffer)?;
    Some((nonce, std::mem::take(&mut *buffer)))
}

/// The content of what [`seal`] made; `None` when anything differs.
pub(crate) fn open(
    secret: &[u8],
    salt: &[u8],
    nonce: [u8; NONCE_BYTES],
    associated_data: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(sealed.to_vec());
    let key = LessSafeKey::new(UnboundKey::new(&aead::AES_256_GCM, &*sealing_key(secret, salt)?).ok()?);
    let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(associated_data));
    let length = key.open_in_place(nonce, aad, &mut content).ok()?.len();
    content.truncate(length);
    Some(content)
}

fn sealing_key(secret: &[u8], salt: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    derived.expand(&[b"signet sealing 1"], &aead::AES_256_GCM).ok()?.fill(&mut *key).ok()?;
    Some(key)
}

/// A key that can sign.
pub(crate) struct KeyPair(Kind);

enum Kind {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl KeyPair {
    /// A fresh key as PKCS#8.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let signing = match algorithm {
            KeyAlgorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            KeyAlgorithm::EcdsaP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            KeyAlgorithm::Rsa(size) => return backend::generate_rsa(size),
        };
        let document = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).map_err(|_| KeyError::Generation)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// Takes PKCS#8 of a key of the kind told; the private half must go with the public one.
    pub(crate) fn from_pkcs8(algorithm: PublicKeyAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            PublicKeyAlgorithm::EcdsaP256 => backend::ecdsa_key(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map(Kind::Ecdsa),
            PublicKeyAlgorithm::EcdsaP384 => backend::ecdsa_key(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8).map(Kind::Ecdsa),
            // OpenSSL writes version 1, which has no public half to compare with.
            PublicKeyAlgorithm::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map(Kind::Ed25519),
            PublicKeyAlgorithm::Rsa { .. } => RsaKeyPair::from_pkcs8(pkcs8).map(Kind::Rsa),
        }
        .map(Self)
        .map_err(|rejected: error::KeyRejected| KeyError::Rejected { reason: rejected.to_string() })
    }

    /// The public half: the content of the BIT STRING of its SubjectPublicKeyInfo.
    pub(crate) fn public_bits(&self) -> &[u8] {
        match &self.0 {
            Kind::Ecdsa(key) => key.public_key().as_ref(),
            Kind::Ed25519(key) => key.public_key().as_ref(),
            Kind::Rsa(key) => key.public_key().as_ref(),
        }
    }

    /// Signs with the key's one algorithm.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Kind::Ecdsa(key) => key.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Kind::Ed25519(key) => backend::sign_ed25519(key, message),
            Kind::Rsa(key) => {
                let mut signature = vec![0; backend::rsa_signature_bytes(key)];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| KeyError::Signing)
    }
}
