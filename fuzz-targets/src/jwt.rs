//! JWT-SVIDs and tokens of OIDC issuers: accepted only under the right key, and only when the claims say so to another reader too.

use data_encoding::BASE64URL_NOPAD;
use pki::{Audience, JWT_CLOCK_SKEW, JsonWebKeys, JwtKey, JwtSvid, TrustBundle, validate_jwt_svid, verify_id_token};
use serde_json::Value;

use crate::fixture::{CHAINS, JWT_KEYS, NOW, now, trust_domain};

/// The first byte says how the rest is read: as a token, or as header and claims, one line each, that are signed here.
pub(crate) fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, token)) => {
            let Ok(token) = std::str::from_utf8(token) else { return };
            // Nobody who lacks the key can make a token: whatever these bytes are, no key here signed them just now.
            let [_, other] = &*JWT_KEYS;
            assert!(validate_jwt_svid(token, &audience(), &bundle_of(other), now()).is_err(), "a token out of nowhere: {token}");
            _ = JwtSvid::parse(token, now());
            _ = pki::claimed_trust_domain(token);
        }
        Some((_, parts)) => {
            let (header, claims) = parts.split_at(parts.iter().position(|byte| *byte == b'\n').unwrap_or(parts.len()));
            signed(header, claims.get(1..).unwrap_or_default());
        }
        None => {}
    }
}

fn audience() -> Audience {
    Audience::parse("db").expect("it is an audience")
}

fn bundle_of(key: &JwtKey) -> TrustBundle {
    CHAINS.bundle.clone().with_jwt_authorities(vec![key.authority().clone()]).expect("one authority")
}

fn signed(header: &[u8], claims: &[u8]) {
    let [key, other] = &*JWT_KEYS;
    let input = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
    let signature = key.sign(input.as_bytes()).expect("a test key signs");
    let token = format!("{input}.{}", BASE64URL_NOPAD.encode(&signature));

    let (ours, others) = (bundle_of(key), bundle_of(other));
    let accepted = validate_jwt_svid(&token, &audience(), &ours, now());
    assert!(validate_jwt_svid(&token, &audience(), &others, now()).is_err(), "accepted under a key that did not sign it");
    let tampered = format!("{input}A.{}", BASE64URL_NOPAD.encode(&signature));
    assert!(validate_jwt_svid(&tampered, &audience(), &ours, now()).is_err(), "accepted with claims that were not signed");
    if let Ok(svid) = &accepted {
        assert_eq!(pki::claimed_trust_domain(&token).as_ref(), Ok(svid.id().trust_domain()), "judged by another domain's keys");
        let (header, claims) = (object(header), object(claims));
        assert_eq!(header.get("alg").and_then(Value::as_str), Some("ES256"));
        let id = svid.id();
        assert_eq!(claims.get("sub").and_then(Value::as_str), Some(id.as_str()));
        assert!(id.trust_domain() == &trust_domain() && !id.path().is_empty());
        assert!(for_db(claims.get("aud")), "accepted for another audience");
        let time = |name: &str| claims.get(name).map(|time| time.as_u64().expect("a time is a whole number"));
        assert!(time("exp").is_some_and(|end| end > NOW), "accepted after its end");
        let latest = NOW + JWT_CLOCK_SKEW.as_secs();
        assert!([time("nbf"), time("iat")].into_iter().flatten().all(|from| from <= latest), "accepted before its beginning");
        let held = JwtSvid::validated(&token, now(), &ours, now()).expect("what a verifier takes, its holder takes");
        assert_eq!((held.id(), held.expires_at()), (id, svid.expires_at()));
    }
    // The same key as an issuer of the web.
    let keys = JsonWebKeys::parse(ours.to_jwks(pki::JwksContent::Jwt).as_bytes()).expect("our own document");
    if let Ok(token) = verify_id_token(&token, &keys) {
        assert_eq!(serde_json::from_slice::<Value>(claims).ok().as_ref(), Some(&Value::Object(token.into_claims())));
    }
    let keys = JsonWebKeys::parse(others.to_jwks(pki::JwksContent::Jwt).as_bytes()).expect("our own document");
    assert!(verify_id_token(&token, &keys).is_err(), "verified under a key that did not sign it");
}

fn object(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("what was accepted is JSON")
}

fn for_db(audience: Option<&Value>) -> bool {
    match audience {
        Some(Value::String(one)) => one == "db",
        Some(Value::Array(many)) => many.iter().any(|one| one == "db"),
        _ => false,
    }
}
