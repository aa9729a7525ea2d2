//! The key of an issuer of tokens: what it publishes, and what it signs (RFC 7515, RFC 7517).

use data_encoding::BASE64URL_NOPAD;
use pki::{JwtKey, KeyAlgorithm, PrivateKey};
use serde_json::{Value, json};

/// One ES256 key.
pub(crate) struct TokenSigner(JwtKey);

impl TokenSigner {
    /// With a new key.
    pub(crate) fn new() -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        Self(JwtKey::new(key).expect("a P-256 key signs tokens"))
    }

    /// The key set with this key alone.
    pub(crate) fn key_set(&self) -> String {
        let spki = self.0.authority().public_key().spki_der();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64URL_NOPAD.encode(part));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": self.0.key_id().as_str(), "x": x, "y": y }] }).to_string()
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let input = format!("{}.{}", encode(&json!({ "alg": "ES256", "kid": self.0.key_id().as_str() })), encode(claims));
        let signature = self.0.sign(input.as_bytes()).expect("the key signs");
        format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}
