//! JWS compact serialization (RFC 7515 section 7.1), taken apart without believing any of it.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::json;
use super::{JwsAlgorithm, JwtError, KeyId};
use crate::{PublicKey, SignatureInvalid};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token whose three parts decode and whose header is JSON with an allowed algorithm. Nothing in it is proven.
pub(super) struct Compact<'t> {
    header: Map<String, Value>,
    algorithm: JwsAlgorithm,
    kid: Option<KeyId>,
    signing_input: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A key that a token may be signed with.
pub(super) trait Candidate {
    fn kid(&self) -> Option<&KeyId>;
    fn public_key(&self) -> &PublicKey;
    /// Whether the key itself says which algorithm it is for.
    fn algorithm(&self) -> Option<JwsAlgorithm>;

    fn fits(&self, algorithm: JwsAlgorithm) -> bool {
        algorithm.goes_with(self.public_key().algorithm()) && self.algorithm().is_none_or(|own| own == algorithm)
    }
}

impl<'t> Compact<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::TooLong { found: token.len() });
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::NotCompact { parts: token.split('.').count() });
        };
        let signing_input = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let header = json::object(&decode("header", header)?).map_err(|fault| JwtError::Json { part: "header", fault })?;
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => {
                JwsAlgorithm::parse(name).ok_or_else(|| JwtError::Algorithm { found: name.chars().take(64).collect() })?
            }
            _ => return Err(JwtError::AlgorithmMissing),
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(KeyId::parse(kid).map_err(|_| JwtError::KeyId)?),
            Some(_) => return Err(JwtError::KeyId),
        };
        let (payload, signature) = (decode("payload", payload)?, decode("signature", signature)?);
        Ok(Self { header, algorithm, kid, signing_input, payload, signature })
    }

    pub(super) fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    pub(super) fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// The payload. Whoever reads it before [`Self::verify`] reads what anybody may have written.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, JwtError> {
        json::object(&self.payload).map_err(|fault| JwtError::Json { part: "payload", fault })
    }

    /// Verifies under the one key that the token names; the key decides about the algorithm. Without a `kid` exactly one key must
    /// fit.
    pub(super) fn verify<K: Candidate>(&self, keys: &[K]) -> Result<(), JwtError> {
        let key = match &self.kid {
            Some(kid) => self.named(kid, keys)?,
            None => {
                let mut fitting = keys.iter().filter(|key| key.fits(self.algorithm));
                let (Some(only), None) = (fitting.next(), fitting.next()) else {
                    let fitting = keys.iter().filter(|key| key.fits(self.algorithm)).count();
                    return Err(JwtError::KeyIdMissing { fitting });
                };
                only
            }
        };
        self.algorithm
            .verify(key.public_key(), self.signing_input.as_bytes(), &self.signature)
            .map_err(|SignatureInvalid| JwtError::Signature)
    }

    fn named<'k, K: Candidate>(&self, kid: &KeyId, keys: &'k [K]) -> Result<&'k K, JwtError> {
        let text = || kid.as_str().to_owned();
        let named = keys.iter().filter(|key| key.kid() == Some(kid));
        let Some(first) = named.clone().next() else { return Err(JwtError::UnknownKey { kid: text() }) };
        let mut fitting = named.filter(|key| key.fits(self.algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(JwtError::AmbiguousKey { kid: text() }),
            (None, _) => {
                let key = first.public_key().algorithm();
                Err(JwtError::AlgorithmOfKey { found: self.algorithm.as_str(), kid: text(), key })
            }
        }
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, JwtError> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| JwtError::Base64 { part })
}
