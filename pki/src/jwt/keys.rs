//! Key sets of OIDC issuers (RFC 7517 section 5), and the tokens that they verify.

use serde_json::{Map, Value};

use super::JwsAlgorithm;
use super::compact::{Candidate, Compact};
use super::error::JwtError;
use super::json::{self, JsonFault};
use super::jwk::{self, JwkFault};
use super::key::KeyId;
use crate::PublicKey;

/// The longest key set document, in bytes.
pub const MAX_JWKS_BYTES: usize = 64 * 1024;

/// The most keys of a set, those that are skipped included.
pub const MAX_JWKS_KEYS: usize = 100;

/// Why a key set is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Too long.
    #[error("the key set has {found} bytes, at most {most} are read")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// Not one JSON object with one reading.
    #[error("the key set is refused: {0}")]
    Json(#[from] JsonFault),
    /// No `keys`, or no list.
    #[error("the key set has no list \"keys\"")]
    NoKeys,
    /// Too many keys.
    #[error("the key set has {found} keys, at most {most} are read")]
    Count {
        /// How many.
        found: usize,
        /// The bound.
        most: usize,
    },
}

/// The members of a key set document that are not keys, and the keys; at most so many of them, in at most so many bytes.
pub(crate) fn document(bytes: &[u8], most_bytes: usize, most_keys: usize) -> Result<(Map<String, Value>, Vec<Value>), JwksError> {
    if bytes.len() > most_bytes {
        return Err(JwksError::TooLong { found: bytes.len(), most: most_bytes });
    }
    let mut members = json::object(bytes)?;
    let Some(Value::Array(keys)) = members.remove("keys") else { return Err(JwksError::NoKeys) };
    if keys.len() > most_keys {
        return Err(JwksError::Count { found: keys.len(), most: most_keys });
    }
    Ok((members, keys))
}

/// A key that was passed over, as RFC 7517 section 5 asks: it does not spoil the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its place in the set, from 0.
    pub position: usize,
    /// Why.
    pub fault: JwkFault,
}

/// The keys of an issuer that signatures can be verified with: RSA of 2048 to 4096 bits, EC on P-256 and P-384, that are not
/// declared for something else. May hold none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonWebKeys {
    keys: Vec<Key>,
    skipped: Vec<SkippedKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    kid: Option<KeyId>,
    algorithm: Option<JwsAlgorithm>,
    public_key: PublicKey,
}

impl JsonWebKeys {
    /// Reads a key set. Keys of other kinds, uses or algorithms, weak and malformed ones are skipped.
    ///
    /// # Errors
    /// [`JwksError`] when the document itself does not hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        let (_, values) = document(bytes, MAX_JWKS_BYTES, MAX_JWKS_KEYS)?;
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (position, value) in values.iter().enumerate() {
            match Key::read(value) {
                Ok(key) => keys.push(key),
                Err(fault) => skipped.push(SkippedKey { position, fault }),
            }
        }
        Ok(Self { keys, skipped })
    }

    /// How many keys can be used.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    #[cfg(test)]
    pub(super) fn candidates(&self) -> &[impl Candidate] {
        &self.keys
    }

    /// The keys that were passed over, and why.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }
}

impl Key {
    fn read(value: &Value) -> Result<Self, JwkFault> {
        let jwk = value.as_object().ok_or(JwkFault::NotAnObject)?;
        let public_key = jwk::public_key(jwk)?;
        match jwk.get("use") {
            None => {}
            Some(Value::String(purpose)) if purpose == "sig" => {}
            Some(_) => return Err(JwkFault::Purpose { name: "use" }),
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
            Some(_) => return Err(JwkFault::Purpose { name: "key_ops" }),
        }
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(value) => {
                let algorithm = value.as_str().and_then(JwsAlgorithm::parse);
                let fitting = algorithm.filter(|algorithm| algorithm.goes_with(public_key.algorithm()));
                Some(fitting.ok_or(JwkFault::Purpose { name: "alg" })?)
            }
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(value) => Some(value.as_str().and_then(|kid| KeyId::parse(kid).ok()).ok_or(JwkFault::KeyId)?),
        };
        Ok(Self { kid, algorithm, public_key })
    }
}

impl Candidate for Key {
    fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> Option<JwsAlgorithm> {
        self.algorithm
    }
}

/// A token whose signature was verified; its claims are the issuer's word. Times, issuer and audience are not judged yet.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a verified token says nothing until its issuer, audience and times are judged"]
pub struct VerifiedToken {
    kid: Option<KeyId>,
    algorithm: JwsAlgorithm,
    claims: Map<String, Value>,
}

impl VerifiedToken {
    /// The `kid` of its header.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// What it was signed with.
    #[must_use]
    pub fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    /// Its claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Its claims.
    #[must_use]
    pub fn into_claims(self) -> Map<String, Value> {
        self.claims
    }
}

/// Verifies the signature of an OIDC token: an algorithm that the key named by `kid` has, or, without a `kid`, that exactly one
/// key has. `crit` and `b64` are refused; `jku`, `jwk`, `x5u`, `x5c` and whatever else a header holds is never looked at, so
/// that keys come from `keys` alone and nothing is fetched.
///
/// # Errors
/// [`JwtError`]; [`JwtError::UnknownKey`] when a newer key set might know the key.
pub fn verify_id_token(token: &str, keys: &JsonWebKeys) -> Result<VerifiedToken, JwtError> {
    let token = Compact::parse(token)?;
    if let Some(name) = ["crit", "b64"].into_iter().find(|name| token.header().contains_key(*name)) {
        return Err(JwtError::HeaderParameter { name: name.to_owned() });
    }
    token.verify(&keys.keys)?;
    Ok(VerifiedToken { kid: token.kid().cloned(), algorithm: token.algorithm(), claims: token.claims()? })
}
