//! Public keys.

use std::sync::Arc;

use rustls_pki_types::alg_id;

use super::point::{check_ed25519, check_point};
use super::roca::has_roca_fingerprint;
use super::{KeyError, PublicKeyAlgorithm, SignatureInvalid};
use crate::crypto::{self, Sha256Digest, sha256};
use crate::der::{self, NULL, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use crate::pem::{self, Block};

const PUBLIC_KEY: &str = "PUBLIC KEY";

/// A public key of an allowed kind. `Clone` is cheap; equality compares the encoded SubjectPublicKeyInfo.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: PublicKeyAlgorithm,
    spki: Arc<[u8]>,
    bits_start: usize,
}

impl PublicKey {
    /// Parses a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) and checks it against the allow-list: the algorithm and its
    /// parameters, the point (uncompressed, on its curve, not of small order), the RSA modulus and exponent.
    ///
    /// # Errors
    /// [`KeyError`], one variant per refusal.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        der::check(der)?;
        let mut spki = Reader::new(Reader::only(der, SEQUENCE)?);
        let identifier = spki.expect(SEQUENCE)?;
        let bits = spki.whole_byte_bit_string()?;
        spki.finish()?;
        let algorithm = check_key(identifier, bits)?;
        Ok(Self { algorithm, spki: der.into(), bits_start: der.len() - bits.len() })
    }

    /// From the parts that a private key's container gives.
    pub(super) fn from_bits(identifier: &[u8], bits: &[u8]) -> Result<Self, KeyError> {
        let identifier = der::encode(SEQUENCE, &[identifier]);
        let bit_string = der::encode(der::BIT_STRING, &[&[0], bits]);
        Self::from_spki_der(&der::encode(SEQUENCE, &[&identifier, &bit_string]))
    }

    /// The key of a PEM text that is one block `PUBLIC KEY` (RFC 7468 section 13); `None` for a text of anything else.
    ///
    /// # Errors
    /// [`KeyError`] when the block holds no allowed key.
    pub fn from_pem(pem: &[u8]) -> Result<Option<Self>, KeyError> {
        match pem::blocks(pem).as_deref() {
            Ok([Block { label, der }]) if label == PUBLIC_KEY => Self::from_spki_der(der).map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// The key as PEM (`PUBLIC KEY`).
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC_KEY, &self.spki).to_string()
    }

    /// The SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Which kind it is.
    #[must_use]
    pub fn algorithm(&self) -> PublicKeyAlgorithm {
        self.algorithm
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256Digest {
        sha256(&self.spki)
    }

    /// Verifies a signature that [`crate::PrivateKey::sign`] of the other half made.
    ///
    /// # Errors
    /// [`SignatureInvalid`] when it does not verify over exactly `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        self.verify_as(&self.algorithm.signature_identifier(), message, signature)
    }

    /// Verifies a signature whose algorithm the document names: the content of its `AlgorithmIdentifier`.
    pub(crate) fn verify_as(&self, algorithm: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        let key_algorithm = self.algorithm.key_identifier();
        if crypto::verify(&key_algorithm, self.bits(), algorithm, message, signature) { Ok(()) } else { Err(SignatureInvalid) }
    }

    /// The content of the BIT STRING: the point, or the RSAPublicKey.
    pub(crate) fn bits(&self) -> &[u8] {
        self.spki.get(self.bits_start..).unwrap_or_default()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm, data_encoding::HEXLOWER.encode(&self.fingerprint()))
    }
}

/// The kind of a key, when it is allowed. `identifier` is the content of the AlgorithmIdentifier.
fn check_key(identifier: &[u8], bits: &[u8]) -> Result<PublicKeyAlgorithm, KeyError> {
    if identifier == &*alg_id::ED25519 {
        check_ed25519(bits)?;
        return Ok(PublicKeyAlgorithm::Ed25519);
    }
    if identifier == &*alg_id::RSA_ENCRYPTION {
        return Ok(PublicKeyAlgorithm::Rsa { bits: check_rsa(bits)? });
    }
    let curve = curve_of(identifier)?;
    check_point(curve, bits)?;
    Ok(curve)
}

/// The curve that an AlgorithmIdentifier names, or what is wrong with it.
fn curve_of(identifier: &[u8]) -> Result<PublicKeyAlgorithm, KeyError> {
    let mut reader = Reader::new(identifier);
    let algorithm = reader.expect(OBJECT_IDENTIFIER)?;
    match algorithm {
        EC_PUBLIC_KEY => {}
        ED25519 | RSA_ENCRYPTION => {
            return Err(KeyError::AlgorithmParameters { oid: der::oid_text(algorithm) });
        }
        _ => return Err(KeyError::Algorithm { oid: der::oid_text(algorithm) }),
    }
    if reader.is_empty() {
        return Err(KeyError::CurveNotNamed);
    }
    let parameters = reader.next()?;
    reader.finish()?;
    match parameters.tag {
        OBJECT_IDENTIFIER => named_curve(parameters.content),
        SEQUENCE | NULL => Err(KeyError::CurveNotNamed),
        _ => Err(KeyError::AlgorithmParameters { oid: der::oid_text(algorithm) }),
    }
}

/// The curve of an object identifier (its content bytes).
pub(super) fn named_curve(oid: &[u8]) -> Result<PublicKeyAlgorithm, KeyError> {
    match oid {
        PRIME256V1 => Ok(PublicKeyAlgorithm::EcdsaP256),
        SECP384R1 => Ok(PublicKeyAlgorithm::EcdsaP384),
        _ => Err(KeyError::Curve { oid: der::oid_text(oid) }),
    }
}

/// The modulus bits of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn check_rsa(bits: &[u8]) -> Result<u32, KeyError> {
    der::check(bits)?;
    let mut key = Reader::new(Reader::only(bits, SEQUENCE)?);
    let modulus = key.unsigned_integer()?;
    let exponent = key.unsigned_integer()?;
    key.finish()?;
    let unused = modulus.first().map_or(0, |first| first.leading_zeros());
    let found = u64::try_from(modulus.len()).unwrap_or(u64::MAX).saturating_mul(8) - u64::from(unused);
    let bits = match u32::try_from(found) {
        Ok(bits @ 2048..=4096) => bits,
        _ => return Err(KeyError::RsaBits { bits: found }),
    };
    if modulus.last().is_some_and(|last| last % 2 == 0) {
        return Err(KeyError::RsaModulusEven);
    }
    if exponent != [0x01, 0x00, 0x01] {
        return Err(KeyError::RsaExponent);
    }
    if has_roca_fingerprint(modulus) {
        return Err(KeyError::RsaRoca);
    }
    Ok(bits)
}

/// `id-ecPublicKey`, 1.2.840.10045.2.1 (RFC 5480 section 2.1.1).
pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `id-Ed25519`, 1.3.101.112 (RFC 8410 section 3).
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// `rsaEncryption`, 1.2.840.113549.1.1.1 (RFC 8017 appendix A).
pub(super) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
