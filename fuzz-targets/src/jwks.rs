//! Key sets and SPIFFE bundle documents: what is read is written and read back the same, and nothing private goes through.

use pki::{BundleDocument, JsonWebKeys, JwksContent, MAX_AUTHORITIES, MAX_JWKS_KEYS, TrustBundle};
use serde_json::Value;

use crate::fixture::trust_domain;

pub(crate) fn run(data: &[u8]) {
    if let Ok(keys) = JsonWebKeys::parse(data) {
        let value: Value = serde_json::from_slice(data).expect("a key set is JSON");
        let listed = value.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
        assert!(listed <= MAX_JWKS_KEYS);
        assert_eq!(keys.usable() + keys.skipped().len(), listed, "a key was neither taken nor told");
    }
    let Ok(BundleDocument { bundle, refresh_hint: _ }) = BundleDocument::parse(trust_domain(), data) else { return };
    assert!(bundle.authorities().len() <= MAX_AUTHORITIES && bundle.jwt_authorities().len() <= MAX_AUTHORITIES);
    let written = bundle.to_jwks(JwksContent::All);
    let again = TrustBundle::from_jwks(trust_domain(), written.as_bytes()).expect("what we wrote is read");
    assert!(again.same_content(&bundle) && again.sequence() == bundle.sequence(), "the document does not say the bundle");
    for content in [JwksContent::X509, JwksContent::Jwt] {
        let part = TrustBundle::from_jwks(trust_domain(), bundle.to_jwks(content).as_bytes()).expect("what we wrote is read");
        assert_eq!(part.authorities().is_empty(), content == JwksContent::Jwt || bundle.authorities().is_empty());
    }
    let value: Value = serde_json::from_str(&written).expect("what we wrote is JSON");
    let keys = value.get("keys").and_then(Value::as_array).expect("a document lists keys");
    assert!(keys.iter().all(|key| key.get("d").is_none() && key.get("k").is_none()), "a private key was passed on");
}
