//! Key sets and tokens of OIDC issuers.

use super::super::key::fixed_width;
use super::*;
use crate::{KeyAlgorithm, KeyError, PublicKey};

const RSA: &[u8] = include_bytes!("../../../testdata/rsa2048-pkcs8.pem");
const P256: &[u8] = include_bytes!("../../../testdata/p256-pkcs8.pem");
const P384: &[u8] = include_bytes!("../../../testdata/p384-sec1.pem");
const ED25519: &[u8] = include_bytes!("../../../testdata/ed25519-pkcs8.pem");

fn key(pem: &[u8]) -> PrivateKey {
    PrivateKey::from_pem(pem).unwrap()
}

fn jwk(key: &PublicKey, more: &Value) -> Value {
    let mut members = members_of(key);
    members.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(members)
}

fn set(keys: &[Value]) -> JsonWebKeys {
    JsonWebKeys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn token(key: &PrivateKey, header: &Value) -> String {
    let input =
        [header.to_string(), json!({ "sub": "x" }).to_string()].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let made = key.sign(input.as_bytes()).unwrap();
    let signature = match key.public_key().algorithm() {
        crate::PublicKeyAlgorithm::EcdsaP256 => fixed_width::<64>(&made).unwrap().to_vec(),
        crate::PublicKeyAlgorithm::EcdsaP384 => fixed_width::<96>(&made).unwrap().to_vec(),
        crate::PublicKeyAlgorithm::Rsa { .. } | crate::PublicKeyAlgorithm::Ed25519 => made,
    };
    format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[test]
fn the_key_decides_about_the_algorithm() {
    for (pem, alg, other) in [(RSA, "RS256", "PS256"), (P256, "ES256", "ES384"), (P384, "ES384", "ES256")] {
        let key = key(pem);
        let plain = set(&[jwk(key.public_key(), &json!({ "kid": "k" }))]);
        let good = token(&key, &json!({ "alg": alg, "kid": "k" }));
        let verified = verify_id_token(&good, &plain).unwrap();
        assert_eq!((verified.kid().map(KeyId::as_str), verified.algorithm().as_str()), (Some("k"), alg));
        assert_eq!(Value::Object(verified.into_claims()), json!({ "sub": "x" }));
        assert!(verify_id_token(&token(&key, &json!({ "alg": other, "kid": "k" })), &plain).is_err());
        let bound = set(&[jwk(key.public_key(), &json!({ "kid": "k", "alg": alg, "use": "sig", "key_ops": ["verify"] }))]);
        assert!(verify_id_token(&good, &bound).is_ok());
    }
    // A key that says PS256 does not verify RS256, though it could.
    let rsa = key(RSA);
    let bound = set(&[jwk(rsa.public_key(), &json!({ "kid": "k", "alg": "PS256" }))]);
    let refused = verify_id_token(&token(&rsa, &json!({ "alg": "RS256", "kid": "k" })), &bound);
    assert!(matches!(refused, Err(JwtError::AlgorithmOfKey { found: "RS256", .. })), "{refused:?}");
}

#[test]
fn which_key_is_meant_must_be_clear() {
    let (one, two) = (key(P256), PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let rsa = key(RSA);
    let named = |key: &PrivateKey, kid: &str| jwk(key.public_key(), &json!({ "kid": kid }));
    let by = |kid: &str| token(&one, &json!({ "alg": "ES256", "kid": kid }));
    let both = set(&[named(&one, "1"), named(&two, "2")]);
    assert!(verify_id_token(&by("1"), &both).is_ok());
    assert_eq!(verify_id_token(&by("2"), &both), Err(JwtError::Signature));
    assert_eq!(verify_id_token(&by("3"), &both), Err(JwtError::UnknownKey { kid: "3".to_owned() }));
    let nameless = token(&one, &json!({ "alg": "ES256" }));
    assert_eq!(verify_id_token(&nameless, &both), Err(JwtError::KeyIdMissing { fitting: 2 }));
    assert!(verify_id_token(&nameless, &set(&[named(&one, "1"), named(&rsa, "2")])).is_ok(), "one fits");
    assert!(verify_id_token(&nameless, &set(&[jwk(one.public_key(), &json!({}))])).is_ok());
    assert_eq!(
        verify_id_token(&by("1"), &set(&[jwk(one.public_key(), &json!({}))])),
        Err(JwtError::UnknownKey { kid: "1".to_owned() })
    );
    let twice = set(&[named(&one, "1"), named(&two, "1")]);
    assert_eq!(verify_id_token(&by("1"), &twice), Err(JwtError::AmbiguousKey { kid: "1".to_owned() }));
    assert!(verify_id_token(&by("1"), &set(&[named(&one, "1"), named(&rsa, "1")])).is_ok(), "one of that name fits");
}

#[test]
fn nothing_in_a_header_brings_a_key_and_crit_is_refused() {
    let (issuer, attacker) = (key(P256), PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let keys = set(&[jwk(issuer.public_key(), &json!({ "kid": "k" }))]);
    let header = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "k" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    let own = jwk(attacker.public_key(), &json!({}));
    for more in [
        json!({ "jwk": own }),
        json!({ "jku": "https://attacker.example/jwks" }),
        json!({ "x5u": "https://attacker.example/cert" }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "typ": "at+jwt" }),
    ] {
        assert_eq!(verify_id_token(&token(&attacker, &header(more.clone())), &keys), Err(JwtError::Signature), "{more}");
        assert!(verify_id_token(&token(&issuer, &header(more.clone())), &keys).is_ok(), "{more}");
    }
    for (more, name) in [(json!({ "crit": [] }), "crit"), (json!({ "b64": true }), "b64")] {
        let refused = verify_id_token(&token(&issuer, &header(more)), &keys);
        assert_eq!(refused, Err(JwtError::HeaderParameter { name: name.to_owned() }));
    }
}

#[test]
fn keys_for_something_else_are_skipped_and_told() {
    let good = key(P256);
    let with = |more: Value| jwk(good.public_key(), &more);
    let without = |name: &str| {
        let mut jwk = with(json!({}));
        jwk.as_object_mut().unwrap().remove(name).unwrap();
        jwk
    };
    let coordinate = |name: &str| with(json!({})).get(name).unwrap().as_str().unwrap().to_owned();
    let rsa = |more: Value| jwk(key(RSA).public_key(), &more);
    let purpose = |name| JwkFault::Purpose { name };
    let form = |name| JwkFault::Form { name };
    let cases = [
        (json!("EC"), JwkFault::NotAnObject),
        (with(json!({ "use": "enc" })), purpose("use")),
        (with(json!({ "use": "" })), purpose("use")),
        (with(json!({ "use": ["sig"] })), purpose("use")),
        (with(json!({ "key_ops": ["sign"] })), purpose("key_ops")),
        (with(json!({ "key_ops": "verify" })), purpose("key_ops")),
        (with(json!({ "alg": "ES384" })), purpose("alg")),
        (with(json!({ "alg": "ECDH-ES" })), purpose("alg")),
        (rsa(json!({ "alg": "RSA-OAEP" })), purpose("alg")),
        (with(json!({ "kid": "" })), JwkFault::KeyId),
        (with(json!({ "kid": 1 })), JwkFault::KeyId),
        (with(json!({ "d": "AAAA" })), JwkFault::Private),
        (without("kty"), JwkFault::Member { name: "kty" }),
        (without("y"), JwkFault::Member { name: "y" }),
        (with(json!({ "kty": "ec" })), JwkFault::Kind { found: "ec".to_owned() }),
        (with(json!({ "crv": "P-521" })), JwkFault::Kind { found: "P-521".to_owned() }),
        (jwk(key(ED25519).public_key(), &json!({})), JwkFault::Kind { found: "OKP".to_owned() }),
        (json!({ "kty": "oct", "k": "AAAA" }), JwkFault::Private),
        (with(json!({ "x": coordinate("x") + "=" })), form("x")),
        (with(json!({ "x": "AAAA" })), form("x")),
        (with(json!({ "x": "AAAA".to_owned() + &coordinate("x") })), form("x")),
        (with(json!({ "x": coordinate("y"), "y": coordinate("x") })), JwkFault::Key(KeyError::PointNotOnCurve)),
        (rsa(json!({ "e": "Aw" })), JwkFault::Key(KeyError::RsaExponent)),
        (rsa(json!({ "e": "AAEAAQ" })), form("e")),
        (rsa(json!({ "n": "" })), form("n")),
        (rsa(json!({ "n": "_w" })), JwkFault::Key(KeyError::RsaBits { bits: 8 })),
    ];
    for (spoiled, fault) in cases {
        let keys = set(&[spoiled.clone(), with(json!({ "kid": "k" }))]);
        assert_eq!(keys.skipped(), [SkippedKey { position: 0, fault }], "{spoiled}");
        assert_eq!(keys.usable(), 1);
        assert!(verify_id_token(&token(&good, &json!({ "alg": "ES256", "kid": "k" })), &keys).is_ok());
    }
}

#[test]
fn documents_are_bounded_and_have_one_reading() {
    let parse = |text: &str| JsonWebKeys::parse(text.as_bytes());
    assert_eq!(parse("{}"), Err(JwksError::NoKeys));
    assert_eq!(parse(r#"{"keys":{}}"#), Err(JwksError::NoKeys));
    assert!(matches!(parse(r#"{"keys":[],"keys":[]}"#), Err(JwksError::Json(JsonFault::Repeated { .. }))));
    assert!(matches!(parse(r#"{"keys":[{"kid":"a","kid":"b"}]}"#), Err(JwksError::Json(JsonFault::Repeated { .. }))));
    let many = |count: usize| format!(r#"{{"keys":[{}]}}"#, vec!["{}"; count].join(","));
    assert_eq!(parse(&many(101)), Err(JwksError::Count { found: 101, most: 100 }));
    assert_eq!(parse(&many(100)).unwrap().usable(), 0);
    let long = format!(r#"{{"keys":[],"x":"{}"}}"#, "a".repeat(MAX_JWKS_BYTES));
    assert_eq!(parse(&long), Err(JwksError::TooLong { found: long.len(), most: MAX_JWKS_BYTES }));
    let nobody = parse(r#"{"keys":[]}"#).unwrap();
    let token = token(&key(P256), &json!({ "alg": "ES256", "kid": "k" }));
    assert_eq!(verify_id_token(&token, &nobody), Err(JwtError::UnknownKey { kid: "k".to_owned() }));
}
