//! What a device that makes ECDSA signatures takes and gives: digests, and the two numbers side by side (PKCS #11 section 6.3.1).

use crate::crypto::{sha256, sha384};
use crate::der::{self, INTEGER, SEQUENCE};

use super::{KeyAlgorithm, KeyError, PublicKey, PublicKeyAlgorithm};

impl PublicKey {
    /// An ECDSA key by its point (SEC 1 section 2.3.3), uncompressed.
    ///
    /// # Errors
    /// [`KeyError`] as [`Self::from_spki_der`], and [`KeyError::NotEcdsa`] for another kind.
    pub fn from_ec_point(algorithm: KeyAlgorithm, point: &[u8]) -> Result<Self, KeyError> {
        let identifier = match algorithm {
            KeyAlgorithm::EcdsaP256 => PublicKeyAlgorithm::EcdsaP256.key_identifier(),
            KeyAlgorithm::EcdsaP384 => PublicKeyAlgorithm::EcdsaP384.key_identifier(),
            KeyAlgorithm::Rsa(_) => return Err(KeyError::NotEcdsa),
        };
        Self::from_bits(&identifier, point)
    }

    /// The digest that a signature of [`crate::PrivateKey::sign`] is made of: SHA-256 for P-256, SHA-384 for P-384.
    ///
    /// # Errors
    /// [`KeyError::NotEcdsa`] for other keys.
    pub fn ecdsa_digest(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self.algorithm() {
            PublicKeyAlgorithm::EcdsaP256 => Ok(sha256(message).to_vec()),
            PublicKeyAlgorithm::EcdsaP384 => Ok(sha384(message)),
            PublicKeyAlgorithm::Ed25519 | PublicKeyAlgorithm::Rsa { .. } => Err(KeyError::NotEcdsa),
        }
    }

    /// The ASN.1 form (RFC 3279 section 2.2.3) of a signature that is `r` and `s`, each as wide as the curve, big-endian; verified over
    /// `message`, so that a device which signs something else, or with another key, is found out before anybody sees it.
    ///
    /// # Errors
    /// [`KeyError::NotEcdsa`]; [`KeyError::DeviceSignature`] when the width is another or the signature does not verify.
    pub fn ecdsa_signature(&self, message: &[u8], raw: &[u8]) -> Result<Vec<u8>, KeyError> {
        let width = match self.algorithm() {
            PublicKeyAlgorithm::EcdsaP256 => 32,
            PublicKeyAlgorithm::EcdsaP384 => 48,
            PublicKeyAlgorithm::Ed25519 | PublicKeyAlgorithm::Rsa { .. } => return Err(KeyError::NotEcdsa),
        };
        let numbers = raw.split_at_checked(width).filter(|(_, s)| s.len() == width);
        let (r, s) = numbers.ok_or(KeyError::DeviceSignature)?;
        let signature = der::encode(SEQUENCE, &[&integer(r), &integer(s)]).to_vec();
        self.verify(message, &signature).map_err(|_| KeyError::DeviceSignature)?;
        Ok(signature)
    }
}

/// An INTEGER (X.690 section 8.3): no leading zeros but the one that keeps it positive.
fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let significant = number.get(start..).unwrap_or_default();
    let sign: &[u8] = if significant.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    der::encode(INTEGER, &[sign, significant]).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JwtKey, PrivateKey};

    #[test]
    fn numbers_side_by_side_become_the_form_of_certificates_whatever_they_are() {
        let key = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
        let public = key.authority().public_key();
        // Half of all numbers need a sign byte in ASN.1, one in 256 has a leading zero byte.
        for round in 0_u32..600 {
            let message = round.to_be_bytes();
            let raw = key.sign(&message).unwrap();
            let signature = public.ecdsa_signature(&message, &raw).unwrap();
            assert_eq!(public.verify(&message, &signature), Ok(()));
            assert_eq!(public.ecdsa_signature(b"another", &raw), Err(KeyError::DeviceSignature));
            assert_eq!(public.ecdsa_signature(&message, &raw[1..]), Err(KeyError::DeviceSignature));
            assert_eq!(public.ecdsa_signature(&message, &[&raw[..], &[0]].concat()), Err(KeyError::DeviceSignature));
        }
        assert_eq!(integer(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }

    #[test]
    fn a_key_is_told_by_its_point_and_only_curves_have_digests() {
        let [p256, p384] = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384].map(|algorithm| {
            let key = PrivateKey::generate(algorithm).unwrap().public_key().clone();
            assert_eq!(PublicKey::from_ec_point(algorithm, key.bits()).as_ref(), Ok(&key));
            key
        });
        assert!(PublicKey::from_ec_point(KeyAlgorithm::EcdsaP384, p256.bits()).is_err());
        assert_eq!(p256.ecdsa_digest(b"abc").unwrap(), sha256(b"abc"));
        let sha384_of_abc = data_encoding::HEXLOWER
            .decode(b"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7")
            .unwrap();
        assert_eq!(p384.ecdsa_digest(b"abc").unwrap(), sha384_of_abc);
        let ed25519 = PrivateKey::from_pem(include_bytes!("../../testdata/ed25519-pkcs8.pem")).unwrap();
        assert_eq!(ed25519.public_key().ecdsa_digest(b"abc"), Err(KeyError::NotEcdsa));
        assert_eq!(ed25519.public_key().ecdsa_signature(b"abc", &[0; 64]), Err(KeyError::NotEcdsa));
    }
}
