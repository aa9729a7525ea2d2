use super::*;
use crate::{KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, lint_authority};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn serial(byte: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).unwrap(), [byte; SERIAL_RANDOM_BYTES])
}

fn spec<'a>(role: AuthorityRole, trust_domain: &'a TrustDomain, key: &'a PrivateKey, lifetime: Duration) -> AuthoritySpec<'a> {
    AuthoritySpec { role, trust_domain, public_key: key.public_key(), lifetime, serial: serial(5), now: now() }
}

#[test]
fn a_root_and_an_issuing_ca_say_what_they_should() {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let [root_key, key] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap());
    let root = prepare_authority(&spec(AuthorityRole::Root, &trust_domain, &root_key, 10 * YEAR), None).unwrap();
    let root = root.sign(&root_key).unwrap();
    let mut below = spec(AuthorityRole::Issuer, &trust_domain, &key, YEAR);
    below.serial = serial(6);
    let issuer = prepare_authority(&below, Some(&root)).unwrap().sign(&root_key).unwrap();

    for (certificate, years, path_len) in [(&root, 10, None), (&issuer, 1, Some(0))] {
        assert!(certificate.is_ca());
        assert_eq!(CaConstraints::of(certificate), CaConstraints { key_cert_sign: true, path_len });
        assert_eq!(certificate.uri_sans(), ["spiffe://example.org"]);
        assert_eq!(certificate.not_before(), now().minus(Duration::from_secs(600)));
        assert_eq!(certificate.not_after(), now().plus(years * YEAR).minus(Duration::from_secs(1)));
        assert_eq!(certificate.verify_signed_by(root_key.public_key()), Ok(()));
        assert_eq!(certificate.authority_key_id(), root.subject_key_id());
        assert!(certificate.subject().contains(&certificate.serial().to_string()), "{}", certificate.subject());
    }
    assert_ne!(root.subject_der(), issuer.subject_der());
    assert_eq!(issuer.issuer_der(), root.subject_der());
    assert_eq!(lint_authority(&root, &trust_domain, None), []);
    assert_eq!(lint_authority(&issuer, &trust_domain, Some(&root)), []);
}

#[test]
fn an_issuing_ca_does_not_outlive_its_root() {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let [root_key, key] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let root = prepare_authority(&spec(AuthorityRole::Root, &trust_domain, &root_key, YEAR / 2), None).unwrap();
    let root = root.dummy_signed();
    let mut below = spec(AuthorityRole::Issuer, &trust_domain, &key, YEAR);
    below.serial = serial(6);
    let issuer = prepare_authority(&below, Some(root)).unwrap();
    assert_eq!(issuer.dummy_signed().not_after(), root.not_after());
    below.now = root.not_after();
    assert!(matches!(prepare_authority(&below, Some(root)), Err(MintError::IssuerNotValid { .. })));
    below.now = root.not_before().minus(Duration::from_secs(1));
    assert!(matches!(prepare_authority(&below, Some(root)), Err(MintError::IssuerNotValid { .. })));
}

#[test]
fn role_and_issuer_must_fit() {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let root = prepare_authority(&spec(AuthorityRole::Root, &trust_domain, &key, YEAR), None).unwrap();
    let root = root.dummy_signed();
    let under = |role, issuer| prepare_authority(&spec(role, &trust_domain, &key, YEAR), issuer);
    assert!(matches!(under(AuthorityRole::Root, Some(root)), Err(MintError::Role { .. })));
    assert!(matches!(under(AuthorityRole::Issuer, None), Err(MintError::Role { .. })));
}

#[test]
fn a_trust_domain_too_long_for_an_organization_still_has_a_ca() {
    let trust_domain = TrustDomain::parse(&"d".repeat(255)).unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let root = prepare_authority(&spec(AuthorityRole::Root, &trust_domain, &key, YEAR), None).unwrap();
    assert_eq!(lint_authority(root.dummy_signed(), &trust_domain, None), []);
    assert!(!root.dummy_signed().subject().contains("ddd"));
}
