//! Public keys as JSON (RFC 7517, RFC 7518 section 6): RSA and the curves P-256 and P-384.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use crate::der::{self, BIT_STRING, INTEGER, Reader, SEQUENCE};
use crate::{KeyError, PublicKey, PublicKeyAlgorithm};

/// Why a JWK is no key that is used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkFault {
    /// No object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A member that must be there is not, or is no text.
    #[error("its {name} is missing or no text")]
    Member {
        /// Its name.
        name: &'static str,
    },
    /// A member is not strict base64url without padding, or not of the one length and form that RFC 7518 gives it.
    #[error("its {name} is not in the form of RFC 7518")]
    Form {
        /// Its name.
        name: &'static str,
    },
    /// `kty` or `crv` of a kind that is not used here.
    #[error("keys of the kind {found:?} are not used")]
    Kind {
        /// The kind, cut to 64 characters.
        found: String,
    },
    /// It holds a private key, which by being here is private no more.
    #[error("it holds a private key")]
    Private,
    /// The key is too weak or malformed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its `use`, `key_ops` or `alg` is for something else.
    #[error("its {name} is for something else")]
    Purpose {
        /// Which member.
        name: &'static str,
    },
    /// Its `kid` is missing where one is needed, or not one that a key may have.
    #[error("its kid is missing or not 1 to 128 printable ASCII characters")]
    KeyId,
}

/// The members of a JWK that say what key it is.
pub(crate) fn members_of(key: &PublicKey) -> Map<String, Value> {
    let text = |bytes: &[u8]| Value::String(BASE64URL_NOPAD.encode(bytes));
    let curve = |name: &str| {
        let coordinates = key.bits().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2).unwrap_or_default();
        [("kty", "EC".into()), ("crv", name.into()), ("x", text(x)), ("y", text(y))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    };
    match key.algorithm() {
        PublicKeyAlgorithm::EcdsaP256 => curve("P-256"),
        PublicKeyAlgorithm::EcdsaP384 => curve("P-384"),
        PublicKeyAlgorithm::Rsa { .. } => {
            let (modulus, exponent) = rsa_numbers(key.bits()).unwrap_or_default();
            [("kty", "RSA".into()), ("n", text(modulus)), ("e", text(exponent))]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        }
        // RFC 8037; no JWT authority is one.
        PublicKeyAlgorithm::Ed25519 => [("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", text(key.bits()))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn rsa_numbers(bits: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(Reader::only(bits, SEQUENCE).ok()?);
    Some((reader.unsigned_integer().ok()?, reader.unsigned_integer().ok()?))
}

/// The public key of a JWK, judged like any other.
pub(crate) fn public_key(jwk: &Map<String, Value>) -> Result<PublicKey, JwkFault> {
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name)) {
        return Err(JwkFault::Private);
    }
    match text(jwk, "kty")? {
        "RSA" => rsa(jwk),
        "EC" => match text(jwk, "crv")? {
            "P-256" => point(jwk, PublicKeyAlgorithm::EcdsaP256, 32),
            "P-384" => point(jwk, PublicKeyAlgorithm::EcdsaP384, 48),
            other => Err(kind(other)),
        },
        other => Err(kind(other)),
    }
}

/// A member that must be text.
pub(crate) fn text<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, JwkFault> {
    jwk.get(name).and_then(Value::as_str).ok_or(JwkFault::Member { name })
}

fn kind(found: &str) -> JwkFault {
    JwkFault::Kind { found: found.chars().take(64).collect() }
}

fn bytes(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkFault> {
    BASE64URL_NOPAD.decode(text(jwk, name)?.as_bytes()).map_err(|_| JwkFault::Form { name })
}

/// RFC 7518 section 6.2.1: each coordinate in its full width.
fn point(jwk: &Map<String, Value>, algorithm: PublicKeyAlgorithm, width: usize) -> Result<PublicKey, JwkFault> {
    let coordinate = |name| match bytes(jwk, name)? {
        coordinate if coordinate.len() == width => Ok(coordinate),
        _ => Err(JwkFault::Form { name }),
    };
    spki(algorithm, &[&[4][..], &coordinate("x")?, &coordinate("y")?].concat())
}

/// RFC 7518 section 6.3.1: numbers without leading zero bytes.
fn rsa(jwk: &Map<String, Value>) -> Result<PublicKey, JwkFault> {
    let number = |name| {
        let number = bytes(jwk, name)?;
        match number.first() {
            None | Some(0) => Err(JwkFault::Form { name }),
            Some(first) => {
                let sign: &[u8] = if *first >= 0x80 { &[0] } else { &[] };
                Ok(der::encode(INTEGER, &[sign, &number]))
            }
        }
    };
    spki(PublicKeyAlgorithm::Rsa { bits: 0 }, &der::encode(SEQUENCE, &[&number("n")?, &number("e")?]))
}

fn spki(algorithm: PublicKeyAlgorithm, bits: &[u8]) -> Result<PublicKey, JwkFault> {
    let identifier = der::encode(SEQUENCE, &[algorithm.key_identifier().as_ref()]);
    let bits = der::encode(BIT_STRING, &[&[0], bits]);
    Ok(PublicKey::from_spki_der(&der::encode(SEQUENCE, &[&identifier, &bits]))?)
}
