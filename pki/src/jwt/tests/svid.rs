//! JWT-SVIDs from minting to validation.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::SpiffeId;

use super::*;
use crate::{KeyAlgorithm, Timestamp};

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn mint(issuer: &Issuer, ttl: Duration) -> Result<JwtSvid, JwtMintError> {
    let audiences = AudienceSet::parse(&["mail", "db"]).unwrap();
    prepare_jwt_svid(issuer.key.authority(), &id("spiffe://example.org/web"), &audiences, ttl, now())?.sign(&issuer.key)
}

#[test]
fn minted_tokens_have_exactly_three_headers_and_validate() {
    let issuer = Issuer::new();
    let svid = mint(&issuer, Duration::from_secs(300)).unwrap();
    let parts: Vec<Value> = svid
        .token()
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0], issuer.header());
    assert_eq!(parts[1], claims());
    assert_eq!((svid.issued_at(), svid.expires_at()), (now(), now().plus(Duration::from_secs(300))));
    let valid = issuer.validate(svid.token()).unwrap();
    assert_eq!((valid.id(), valid.audiences(), valid.expires_at()), (svid.id(), svid.audiences(), svid.expires_at()));
    assert_eq!(Value::Object(valid.claims().clone()), claims());
    assert_eq!(JwtSvid::parse(svid.token(), now()).unwrap(), svid);
    assert_eq!(JwtSvid::validated(svid.token(), now(), &issuer.bundle, now()).unwrap(), svid);
    let shown = format!("{svid:?}");
    assert!(svid.token().split('.').all(|part| !shown.contains(part)), "{shown}");
}

#[test]
fn life_subject_and_length_are_bounded() {
    let issuer = Issuer::new();
    for seconds in [0, 3601, u64::MAX] {
        assert!(matches!(mint(&issuer, Duration::from_secs(seconds)), Err(JwtMintError::Ttl { .. })));
    }
    assert!(mint(&issuer, Duration::from_secs(3600)).is_ok() && mint(&issuer, Duration::from_secs(1)).is_ok());
    let prepare = |id: &SpiffeId, audiences: &AudienceSet| {
        prepare_jwt_svid(issuer.key.authority(), id, audiences, Duration::from_secs(60), now())
    };
    let one = AudienceSet::parse(&["db"]).unwrap();
    assert!(matches!(prepare(&trust_domain().id(), &one), Err(JwtMintError::NoPath { .. })));
    let wide: Vec<String> = (0..16).map(|n| format!("{n:0512}")).collect();
    assert!(prepare(&id(&format!("spiffe://example.org/{}", "a".repeat(2000))), &AudienceSet::parse(&wide).unwrap()).is_ok());
    let escaped: Vec<String> = (0..16).map(|n| format!("{n:02}{}", "\"".repeat(510))).collect();
    assert!(matches!(
        prepare(&id("spiffe://example.org/web"), &AudienceSet::parse(&escaped).unwrap()),
        Err(JwtMintError::TooLong)
    ));
}

#[test]
fn only_the_key_that_a_token_was_prepared_for_signs_it() {
    let issuer = Issuer::new();
    let other = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
    let audiences = AudienceSet::parse(&["db"]).unwrap();
    let web = id("spiffe://example.org/web");
    let unsigned = prepare_jwt_svid(issuer.key.authority(), &web, &audiences, Duration::from_secs(60), now()).unwrap();
    assert!(matches!(unsigned.sign(&other), Err(JwtMintError::WrongKey { .. })));
    assert!(unsigned.sign(&issuer.key).is_ok());
    let again = prepare_jwt_svid(issuer.key.authority(), &web, &audiences, Duration::from_secs(60), now()).unwrap();
    assert_eq!(again.digest(), unsigned.digest());
}

#[test]
fn times_are_those_of_the_check() {
    let issuer = Issuer::new();
    let svid = mint(&issuer, Duration::from_secs(300)).unwrap();
    let at = |time: Timestamp| validate_jwt_svid(svid.token(), &audience(), &issuer.bundle, time);
    let end = svid.expires_at();
    assert!(at(end.minus(Duration::from_secs(1))).is_ok());
    assert_eq!(at(end), Err(JwtError::Expired { expired_at: end, now: end }));
    let early = now().minus(JWT_CLOCK_SKEW);
    assert!(at(early).is_ok());
    let earlier = early.minus(Duration::from_secs(1));
    assert_eq!(at(earlier), Err(JwtError::NotYetValid { name: "iat", from: now(), now: earlier }));
}

#[test]
fn a_token_rests_on_the_key_that_its_kid_names() {
    let issuer = Issuer::new();
    let svid = mint(&issuer, Duration::from_secs(300)).unwrap();
    let other = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
    let both = vec![other.authority().clone(), issuer.key.authority().clone()];
    let bundle = issuer.bundle.clone().with_jwt_authorities(both).unwrap();
    let key = |key: &JwtKey| BTreeSet::from([key.authority().public_key().fingerprint()]);
    assert!(svid.rests_on(&key(&issuer.key), &bundle) && !svid.rests_on(&key(&other), &bundle));
    assert!(!svid.rests_on(&BTreeSet::new(), &bundle));
    // A key that is not in the bundle is not known, so it may be the one.
    let without = issuer.bundle.clone().with_jwt_authorities(vec![other.authority().clone()]).unwrap();
    assert!(svid.rests_on(&key(&other), &without) && !svid.rests_on(&BTreeSet::new(), &without));
}
