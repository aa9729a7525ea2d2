//! An issuer of tokens whose keys lie in a file, as a platform would have it.

use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use pki::{JwtKey, KeyAlgorithm, PrivateKey, Timestamp};
use runtime::clock::SystemClock;
use serde_json::{Value, json};

use crate::TestBed;

/// The issuer, its one key, and the file with it.
pub struct TokenIssuer {
    key: JwtKey,
    file: PathBuf,
}

impl TokenIssuer {
    /// Of this test; the keys are in its directory.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn new(bed: &TestBed) -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let key = JwtKey::new(key).expect("a P-256 key signs tokens");
        let spki = key.authority().public_key().spki_der().to_vec();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64URL_NOPAD.encode(part));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": key.key_id().as_str(), "x": x, "y": y });
        let file = bed.write("jwks.json", &json!({ "keys": [jwk] }).to_string());
        Self { key, file }
    }

    /// The `[[oidc]]` table by which a CA takes its tokens, for the audience `istio-ca`; with more keys of that table.
    #[must_use]
    pub fn rule(&self, more: &str) -> String {
        let file = self.file.display();
        format!("[[oidc]]\nissuer = \"https://issuer.example\"\naudiences = [\"istio-ca\"]\njwks_file = \"{file}\"\n{more}\n")
    }

    /// A token for the audience `istio-ca` and this subject, such as `system:serviceaccount:default:web`, good for ten minutes.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        let exp = Timestamp::from(SystemClock::shared().now()).unix_seconds() + 600;
        let claims = json!({ "iss": "https://issuer.example", "aud": ["istio-ca"], "sub": subject, "exp": exp });
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let header = json!({ "alg": "ES256", "kid": self.key.key_id().as_str() });
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(input.as_bytes()).expect("the key signs");
        format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}
