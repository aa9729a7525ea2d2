//! Tokens made, kept, validated, refused.

mod attacks;
mod id_token;
mod svid;
mod wycheproof;

use serde_json::{Value, json};

use super::*;
use crate::test_pki::{Plan, bundle_of, now, trust_domain};
use crate::{PrivateKey, TrustBundle};
use data_encoding::BASE64URL_NOPAD;

/// The key of a trust domain and its bundle.
pub(super) struct Issuer {
    pub(super) key: JwtKey,
    pub(super) bundle: TrustBundle,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let key = PrivateKey::from_pem(include_bytes!("../../../testdata/p256-pkcs8.pem")).unwrap();
        let key = JwtKey::new(key).unwrap();
        let root = Plan::authority("root").self_signed();
        let bundle = bundle_of(&[&root]).with_jwt_authorities(vec![key.authority().clone()]).unwrap();
        Self { key, bundle }
    }

    /// The header of a good token.
    pub(super) fn header(&self) -> Value {
        json!({ "alg": "ES256", "kid": self.key.key_id().as_str(), "typ": "JWT" })
    }

    pub(super) fn validate(&self, token: &str) -> Result<ValidatedJwtSvid, JwtError> {
        validate_jwt_svid(token, &audience(), &self.bundle, now())
    }
}

pub(super) fn audience() -> Audience {
    "db".parse().unwrap()
}

/// The claims of a good token.
pub(super) fn claims() -> Value {
    json!({
        "sub": trust_domain().id().to_string() + "/web",
        "aud": ["db", "mail"],
        "exp": now().unix_seconds() + 300,
        "iat": now().unix_seconds(),
    })
}
