//! The keys behind JWT-SVIDs: their names, their public halves, and the one that signs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use super::JwsAlgorithm;
use super::compact::Candidate;
use crate::der::{Reader, SEQUENCE};
use crate::{KeyError, PrivateKey, PublicKey, PublicKeyAlgorithm, Signer, sha256};

/// The longest key ID, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 128;

/// The name of a key, `kid` (RFC 7517 section 4.5): 1 to [`MAX_KEY_ID_BYTES`] printable ASCII characters, compared byte for
/// byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

/// Why a text is no key ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key ID has 1 to {MAX_KEY_ID_BYTES} printable ASCII characters")]
pub struct KeyIdError;

impl KeyId {
    /// Parses a key ID.
    ///
    /// # Errors
    /// [`KeyIdError`].
    pub fn parse(text: &str) -> Result<Self, KeyIdError> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if printable && (1..=MAX_KEY_ID_BYTES).contains(&text.len()) { Ok(Self(text.into())) } else { Err(KeyIdError) }
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

/// Why a key cannot be a JWT authority or sign JWT-SVIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtKeyError {
    /// Ed25519 keys, whose signatures JWT-SVID section 2.1 does not allow.
    #[error("{found} keys cannot sign JWT-SVIDs: JWT-SVID allows RSA and ECDSA")]
    Authority {
        /// What kind it is.
        found: PublicKeyAlgorithm,
    },
    /// Signet signs with ES256 alone.
    #[error("JWT-SVIDs are signed with an ECDSA P-256 key, this one is {found}")]
    Signer {
        /// What kind it is.
        found: PublicKeyAlgorithm,
    },
}

/// A public key that JWT-SVIDs of a trust domain are verified with, and its name. `Clone` is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAuthority {
    key_id: KeyId,
    public_key: PublicKey,
}

impl JwtAuthority {
    /// An authority.
    ///
    /// # Errors
    /// [`JwtKeyError::Authority`] for keys that JWT-SVIDs cannot be signed with.
    pub fn new(key_id: KeyId, public_key: PublicKey) -> Result<Self, JwtKeyError> {
        match public_key.algorithm() {
            PublicKeyAlgorithm::EcdsaP256 | PublicKeyAlgorithm::EcdsaP384 | PublicKeyAlgorithm::Rsa { .. } => {
                Ok(Self { key_id, public_key })
            }
            found @ PublicKeyAlgorithm::Ed25519 => Err(JwtKeyError::Authority { found }),
        }
    }

    /// An authority of this CA: an ECDSA P-256 key, named by its JWK SHA-256 thumbprint (RFC 7638) in base64url.
    ///
    /// # Errors
    /// [`JwtKeyError::Signer`] for any other key.
    pub fn by_thumbprint(public_key: PublicKey) -> Result<Self, JwtKeyError> {
        let wrong = JwtKeyError::Signer { found: public_key.algorithm() };
        if public_key.algorithm() != PublicKeyAlgorithm::EcdsaP256 {
            return Err(wrong);
        }
        Ok(Self { key_id: thumbprint(&public_key).ok_or(wrong)?, public_key })
    }

    /// The `kid` of the tokens that it signs.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What they are verified with.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

impl Candidate for JwtAuthority {
    fn kid(&self) -> Option<&KeyId> {
        Some(&self.key_id)
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> Option<JwsAlgorithm> {
        None
    }
}

/// The key that signs JWT-SVIDs, with ES256 (RFC 7518 section 3.4). Its name follows from its public half (RFC 7638), so that
/// no two keys can share one. `K` says where the private half lies.
#[derive(Debug)]
pub struct JwtKey<K = PrivateKey> {
    key: K,
    authority: JwtAuthority,
}

impl<K: Signer> JwtKey<K> {
    /// Takes an ECDSA P-256 key.
    ///
    /// # Errors
    /// [`JwtKeyError::Signer`] for any other.
    pub fn new(key: K) -> Result<Self, JwtKeyError> {
        let authority = JwtAuthority::by_thumbprint(key.public_key().clone())?;
        Ok(Self { key, authority })
    }

    /// The name of the key: its JWK SHA-256 thumbprint (RFC 7638) in base64url.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        self.authority.key_id()
    }

    /// What its tokens are verified with.
    #[must_use]
    pub fn authority(&self) -> &JwtAuthority {
        &self.authority
    }

    /// The ES256 signature of a message by a key that may lie in a device: `r` and `s`, 32 bytes each, big-endian.
    ///
    /// # Errors
    /// [`KeyError`] when it does not sign, or signs in another form.
    pub async fn signature(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        fixed_width(&self.key.signing(message).made().await?)
    }
}

impl JwtKey {
    /// The private half.
    #[must_use]
    pub fn private_key(&self) -> &PrivateKey {
        &self.key
    }

    /// The ES256 signature of a message: `r` and `s`, 32 bytes each, big-endian.
    ///
    /// # Errors
    /// [`KeyError`] when the backend does not sign, or signs in another form.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        fixed_width(&self.key.sign(message)?)
    }
}

/// From the ASN.1 form (RFC 3279 section 2.2.3) that keys sign in to the fixed-width form of RFC 7518 section 3.4, `WIDTH` bytes for
/// both numbers.
pub(super) fn fixed_width<const WIDTH: usize>(signature: &[u8]) -> Result<[u8; WIDTH], KeyError> {
    let mut reader = Reader::new(Reader::only(signature, SEQUENCE)?);
    let (r, s) = (reader.unsigned_integer()?, reader.unsigned_integer()?);
    reader.finish()?;
    let mut out = [0; WIDTH];
    let (left, right) = out.split_at_mut(WIDTH / 2);
    for (half, number) in [(left, r), (right, s)] {
        let start = half.len().checked_sub(number.len()).ok_or(KeyError::Signing)?;
        half.get_mut(start..).ok_or(KeyError::Signing)?.copy_from_slice(number);
    }
    Ok(out)
}

/// RFC 7638 section 3 for an EC key on P-256.
fn thumbprint(key: &PublicKey) -> Option<KeyId> {
    let (x, y) = key.bits().get(1..)?.split_at_checked(32)?;
    let [x, y] = [x, y].map(|coordinate| BASE64URL_NOPAD.encode(coordinate));
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    KeyId::parse(&BASE64URL_NOPAD.encode(&sha256(members.as_bytes()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyAlgorithm;

    const P256: &[u8] = include_bytes!("../../testdata/p256-pkcs8.pem");
    const ED25519: &[u8] = include_bytes!("../../testdata/ed25519-pkcs8.pem");

    #[test]
    fn key_ids_are_short_and_printable() {
        for bad in ["", "a\n", "é", "\u{7f}", &"a".repeat(129)] {
            assert_eq!(KeyId::parse(bad), Err(KeyIdError));
        }
        assert!(KeyId::parse(&"~ ".repeat(64)).is_ok());
    }

    #[test]
    fn only_p256_signs_and_ed25519_is_no_authority() {
        let p384 = PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap();
        let kid: KeyId = "k".parse().unwrap();
        assert!(JwtAuthority::new(kid.clone(), p384.public_key().clone()).is_ok());
        assert_eq!(JwtKey::new(p384).unwrap_err(), JwtKeyError::Signer { found: PublicKeyAlgorithm::EcdsaP384 });
        let ed25519 = PrivateKey::from_pem(ED25519).unwrap().public_key().clone();
        assert_eq!(JwtAuthority::new(kid, ed25519), Err(JwtKeyError::Authority { found: PublicKeyAlgorithm::Ed25519 }));
    }

    #[test]
    fn the_name_follows_from_the_public_half() {
        let [one, again] = [P256, P256].map(|pem| JwtKey::new(PrivateKey::from_pem(pem).unwrap()).unwrap());
        assert_eq!(one.key_id(), again.key_id());
        assert_eq!(one.key_id().as_str().len(), 43);
        assert_eq!(JwtAuthority::by_thumbprint(one.authority().public_key().clone()).as_ref(), Ok(one.authority()));
        assert_eq!(format!("{one:?}").matches("PrivateKey(ECDSA P-256)").count(), 1);
    }

    #[test]
    fn signatures_are_fixed_width_whatever_the_numbers() {
        let key = JwtKey::new(PrivateKey::from_pem(P256).unwrap()).unwrap();
        // Half of all numbers need a sign byte in ASN.1, one in 256 has a leading zero byte.
        for round in 0_u32..600 {
            let message = round.to_be_bytes();
            let signature = key.sign(&message).unwrap();
            assert_eq!(JwsAlgorithm::Es256.verify(key.authority().public_key(), &message, &signature), Ok(()));
        }
        let short = [0x30, 6, 2, 1, 5, 2, 1, 7];
        let mut expected = [0; 64];
        expected[31] = 5;
        expected[63] = 7;
        assert_eq!(fixed_width(&short), Ok(expected));
        let long = [&[0x30, 38, 2, 33, 0x01][..], &[0; 32], &[2, 1, 1]].concat();
        assert_eq!(fixed_width::<64>(&long), Err(KeyError::Signing));
        assert!(fixed_width::<64>(&[]).is_err());
    }
}
