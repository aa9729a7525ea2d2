//! The attack corpus, `testdata/jwt-attacks.json`: what it does not name is as in a good token, so that each case differs from
//! an accepted one in the thing it names. Everything here is a function of bytes: nothing could ask the network.

use super::*;
use crate::KeyAlgorithm;

const CORPUS: &str = include_str!("../../../testdata/jwt-attacks.json");
/// The order of P-256 (SP 800-186 section 3.2.1.3).
const ORDER: &[u8] = b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

struct Range {
    issuer: Issuer,
    other: JwtKey,
}

impl Range {
    fn new() -> Self {
        let other = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
        let second = JwtAuthority::new("second".parse().unwrap(), other.authority().public_key().clone()).unwrap();
        let Issuer { key, bundle } = Issuer::new();
        let bundle = bundle.with_jwt_authorities(vec![key.authority().clone(), second]).unwrap();
        Self { issuer: Issuer { key, bundle }, other }
    }

    fn token(&self, case: &Value) -> String {
        let kid = self.issuer.key.key_id().as_str();
        let filled = |text: &str| text.replace("$KID", kid);
        let header = match (&case["header"], &case["header_text"]) {
            (Value::Null, Value::Null) => self.issuer.header().to_string(),
            (Value::Null, text) => filled(text.as_str().unwrap()),
            (header, _) => filled(&header.to_string()),
        };
        let mut good = claims();
        if let Some(name) = case["without"].as_str() {
            good.as_object_mut().unwrap().remove(name).unwrap();
        }
        for (name, value) in case["claims"].as_object().into_iter().flatten() {
            good[name] = value.clone();
        }
        let payload = case["payload_text"].as_str().map_or_else(|| good.to_string(), str::to_owned);
        let [header, payload] = [header, payload].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
        let signature =
            BASE64URL_NOPAD.encode(&self.signature(case["signature"].as_str(), format!("{header}.{payload}").as_bytes()));
        case["token"].as_str().unwrap_or("$H.$P.$S").replace("$H", &header).replace("$P", &payload).replace("$S", &signature)
    }

    fn signature(&self, kind: Option<&str>, input: &[u8]) -> Vec<u8> {
        let good = self.issuer.key.sign(input).unwrap().to_vec();
        let order = data_encoding::HEXLOWER.decode(ORDER).unwrap();
        match kind {
            None => good,
            Some("empty") => Vec::new(),
            Some("zeros") => vec![0; 64],
            Some("order") => [&order[..], &order].concat(),
            Some("turned") => good.iter().enumerate().map(|(at, byte)| if at == 40 { byte ^ 1 } else { *byte }).collect(),
            Some("short") => good[..63].to_vec(),
            Some("long") => [&good[..], &[0]].concat(),
            Some("asn1") => self.issuer.key.private_key().sign(input).unwrap(),
            Some("other") => self.other.sign(input).unwrap().to_vec(),
            Some("elsewhere") => self.issuer.key.sign(b"e30.e30").unwrap().to_vec(),
            // No HMAC is computed anywhere: what the attacker would compute is 32 bytes.
            Some("mac") => crate::sha256(&[self.issuer.key.authority().public_key().spki_der(), input].concat()).to_vec(),
            Some(unknown) => panic!("unknown signature {unknown}"),
        }
    }
}

fn variant(error: &JwtError) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

#[test]
fn every_attack_is_refused_for_what_it_is_and_its_unspoiled_twin_is_accepted() {
    let range = Range::new();
    let corpus: Vec<Value> = serde_json::from_str(CORPUS).unwrap();
    assert!(corpus.len() > 120);
    assert!(range.issuer.validate(&range.token(&Value::Null)).is_ok());
    for case in &corpus {
        let error = range.issuer.validate(&range.token(case)).expect_err(&case["name"].to_string());
        assert_eq!(variant(&error), case["refused"].as_str().unwrap(), "{}: {error}", case["name"]);
    }
}

#[test]
fn what_is_allowed_stays_allowed() {
    let range = Range::new();
    let ok = |case: Value| assert_eq!(range.issuer.validate(&range.token(&case)).map(|_| ()), Ok(()), "{case}");
    ok(json!({ "header": { "alg": "ES256", "kid": "$KID" } }));
    ok(json!({ "header": { "alg": "ES256", "kid": "$KID", "typ": "JOSE" } }));
    ok(json!({ "header": { "alg": "ES256", "kid": "second" }, "signature": "other" }));
    ok(json!({ "claims": { "aud": "db" } }));
    ok(json!({ "claims": { "nbf": 1_795_172_460, "iat": 1_795_172_460, "exp": 253_402_300_799_u64 } }));
    ok(json!({ "without": "iat" }));
    ok(json!({ "claims": { "jti": "x", "nested": [{ "a": [1, 2.5, null, true] }], "a": { "a": 1 }, "b": { "a": 1 } } }));
    let alone = Issuer::new();
    assert!(alone.validate(&range.token(&json!({ "header": { "alg": "ES256" } }))).is_ok(), "one key fits");
}

#[test]
fn length_is_bounded_before_anything_is_read() {
    let range = Range::new();
    let wide = |length: usize| range.token(&json!({ "claims": { "x": "a".repeat(length) } }));
    let fits = wide(11_900);
    assert!(fits.len() <= MAX_TOKEN_BYTES && range.issuer.validate(&fits).is_ok());
    let token = wide(12_100);
    assert_eq!(range.issuer.validate(&token), Err(JwtError::TooLong { found: token.len() }));
    let dots = ".".repeat(MAX_TOKEN_BYTES);
    assert_eq!(range.issuer.validate(&dots), Err(JwtError::NotCompact { parts: MAX_TOKEN_BYTES + 1 }));
}

#[test]
fn unused_bits_of_base64_make_no_second_spelling_of_a_token() {
    let range = Range::new();
    let token = range.token(&Value::Null);
    let last = token.chars().last().unwrap();
    // 64 bytes leave four unused bits in the last character: without the check, 15 spellings would be the same token.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|other| *other != last) {
        let spelled = format!("{}{other}", &token[..token.len() - 1]);
        assert!(matches!(range.issuer.validate(&spelled), Err(JwtError::Base64 { .. } | JwtError::Signature)), "{other}");
    }
}

#[test]
fn a_bundle_without_jwt_authorities_validates_nothing() {
    let range = Range::new();
    let token = range.token(&Value::Null);
    let bare = range.issuer.bundle.clone().with_jwt_authorities(Vec::new()).unwrap();
    assert!(matches!(validate_jwt_svid(&token, &audience(), &bare, now()), Err(JwtError::UnknownKey { .. })));
    let nameless = range.token(&json!({ "header": { "alg": "ES256" } }));
    assert_eq!(validate_jwt_svid(&nameless, &audience(), &bare, now()), Err(JwtError::KeyIdMissing { fitting: 0 }));
}

#[test]
fn no_token_of_random_bytes_makes_a_reader_panic() {
    use proptest::prelude::*;
    let range = Range::new();
    let token = range.token(&Value::Null);
    proptest!(ProptestConfig::with_cases(400), |(at in any::<prop::sample::Index>(), character in any::<char>(), text: String)| {
        prop_assert!(range.issuer.validate(&text).is_err());
        let index = at.index(token.len());
        let changed = format!("{}{character}{}", &token[..index], &token[index + 1..]);
        if let Ok(valid) = range.issuer.validate(&changed) {
            prop_assert_eq!(changed.as_str(), token.as_str());
            prop_assert_eq!(valid.id().as_str(), "spiffe://example.org/web");
        }
    });
}
