//! The key of an issuer of tokens: what it publishes, and what it signs (RFC 7515, RFC 7517).

use data_encoding::BASE64URL_NOPAD;
use pki::{JwtKey, KeyAlgorithm, PrivateKey, sha256};
use serde_json::{Value, json};

/// One ES256 key.
pub(crate) struct TokenSigner {
    key: JwtKey,
    kid: String,
}

impl TokenSigner {
    /// With a new key.
    pub(crate) fn new() -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let key = JwtKey::new(key).expect("a P-256 key signs tokens");
        let kid = key.key_id().as_str().to_owned();
        Self { key, kid }
    }

    /// With the key of a cluster's service accounts, called as Kubernetes calls it: by the SHA-256 of the public key.
    pub(crate) fn of_cluster(key: PrivateKey) -> Self {
        let kid = BASE64URL_NOPAD.encode(&sha256(key.public_key().spki_der()));
        Self { key: JwtKey::new(key).expect("a P-256 key signs tokens"), kid }
    }

    /// The key set with this key alone.
    pub(crate) fn key_set(&self) -> String {
        let spki = self.key.authority().public_key().spki_der();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64URL_NOPAD.encode(part));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y }] }).to_string()
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let input = format!("{}.{}", encode(&json!({ "alg": "ES256", "kid": self.kid })), encode(claims));
        let signature = self.key.sign(input.as_bytes()).expect("the key signs");
        format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}
