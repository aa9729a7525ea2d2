//! The seam to the crypto backend: hashes, key pairs, signatures, sealing, and the list of signature algorithms. Nothing else in
//! this crate names a backend. One feature chooses it: `shared` is written once over the interface that both have, `ring` and
//! `aws_lc` hold what differs.
//!
//! Key generation and signature nonces take their randomness inside the backend, whose randomness trait is sealed.

#[cfg(feature = "aws-lc")]
mod aws_lc;
pub(crate) mod passphrase;
#[cfg(feature = "ring")]
mod ring;
#[cfg(feature = "ring")]
mod rust_crypto;
mod shared;
#[cfg(test)]
mod wycheproof;

#[cfg(all(feature = "aws-lc", not(feature = "ring")))]
use self::aws_lc as backend;
#[cfg(feature = "ring")]
use self::ring as backend;

#[cfg(all(feature = "aws-lc", feature = "ring"))]
compile_error!(
    "pki has one crypto backend, and both its features `ring` (the default) and `aws-lc` are enabled: \
     build with `--no-default-features --features aws-lc`, or without `--features aws-lc`; never with `--all-features`"
);
#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
compile_error!(
    "pki needs a crypto backend, and none is enabled: build with the default features for ring, \
     or with `--no-default-features --features aws-lc`"
);

use rustls_pki_types::SignatureVerificationAlgorithm;

pub(crate) use shared::{KeyPair, open, seal};

use crate::JwsAlgorithm;

/// The nonce of AES-256-GCM, in bytes.
pub(crate) const NONCE_BYTES: usize = 12;

/// What sealing adds at the end, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// A SHA-256 digest (FIPS 180-4).
pub type Sha256Digest = [u8; 32];

/// SHA-256 of one buffer.
#[must_use]
pub fn sha256(data: &[u8]) -> Sha256Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update(data);
    hasher.finish()
}

/// SHA-384 of one buffer (FIPS 180-4), 48 bytes.
pub(crate) fn sha384(data: &[u8]) -> Vec<u8> {
    shared::sha384(data)
}

/// SHA-256 over parts, fed one after the other.
pub struct Sha256Hasher(shared::Sha256);

impl Sha256Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(shared::Sha256::new())
    }

    /// Feeds more bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all bytes fed.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        self.0.finish()
    }
}

impl Default for Sha256Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Which algorithms a signature in a certificate or request may have: the list that path building gets, and the list that
/// [`verify`] searches. No SHA-1, no RSA-PSS, no P-521.
pub(crate) fn signature_algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    shared::SIGNATURE_ALGORITHMS
}

/// Whether `id`, the content of a signature's `AlgorithmIdentifier`, is on the list.
pub(crate) fn allows_signature_algorithm(id: &[u8]) -> bool {
    signature_algorithms().iter().any(|algorithm| &*algorithm.signature_alg_id() == id)
}

/// Whether a key of the first algorithm can make a signature of the second, both given as the content of an
/// `AlgorithmIdentifier`, and both on the list.
pub(crate) fn allows_signature_of_key(key_algorithm: &[u8], signature_algorithm: &[u8]) -> bool {
    find(key_algorithm, signature_algorithm).is_some()
}

/// Verifies a signature; algorithms that are not on the list, or do not go with the key, do not verify.
pub(crate) fn verify(
    key_algorithm: &[u8],
    key_bits: &[u8],
    signature_algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    find(key_algorithm, signature_algorithm)
        .is_some_and(|algorithm| algorithm.verify_signature(key_bits, message, signature).is_ok())
}

/// Verifies a signature in the form of RFC 7518 section 3: fixed width for ECDSA. `key_bits` is the content of the BIT STRING
/// of a key that goes with the algorithm.
pub(crate) fn verify_jws(algorithm: JwsAlgorithm, key_bits: &[u8], message: &[u8], signature: &[u8]) -> bool {
    shared::verify_jws(algorithm, key_bits, message, signature)
}

fn find(key_algorithm: &[u8], signature_algorithm: &[u8]) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    signature_algorithms()
        .iter()
        .find(|known| &*known.public_key_alg_id() == key_algorithm && &*known.signature_alg_id() == signature_algorithm)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_the_example_of_fips_180_in_one_go_and_in_parts() {
        let digest = data_encoding::HEXLOWER.decode(b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        assert_eq!(sha256(b"abc")[..], digest);
        let mut hasher = Sha256Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish()[..], digest);
    }

    #[test]
    fn the_list_holds_no_weak_signature() {
        use rustls_pki_types::alg_id;
        assert!(allows_signature_algorithm(&alg_id::ECDSA_SHA256));
        assert!(allows_signature_of_key(&alg_id::ECDSA_P256, &alg_id::ECDSA_SHA256));
        assert!(!allows_signature_of_key(&alg_id::ECDSA_P256, &alg_id::RSA_PKCS1_SHA256));
        assert!(!allows_signature_algorithm(&alg_id::RSA_PSS_SHA256));
        // sha1WithRSAEncryption and ecdsa-with-SHA1
        assert!(!allows_signature_algorithm(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00]));
        assert!(!allows_signature_algorithm(&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]));
    }
}
