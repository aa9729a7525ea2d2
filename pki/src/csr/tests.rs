use proptest::prelude::*;
use rcgen::{Attribute, BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::*;
use crate::KeyAlgorithm;
use crate::test_pki::{Signer, extension, extension_with, replace, uri};

const ID: &str = "spiffe://example.org/web";

fn id() -> SpiffeId {
    SpiffeId::parse(ID).unwrap()
}

fn fixed_key() -> PrivateKey {
    PrivateKey::from_pem(include_bytes!("../../testdata/p256-sec1.pem")).unwrap()
}

fn request(key: &PrivateKey, change: impl FnOnce(&mut CertificateParams), attributes: Vec<Attribute>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request_with_attributes(&Signer::new(key), attributes).unwrap().der().to_vec()
}

/// A request with this signed part and its parts named, signed by `key`.
fn assembled(key: &PrivateKey, info: &[u8], algorithm: &[u8]) -> Vec<u8> {
    let signature = key.sign(info).unwrap();
    let bits = der::encode(der::BIT_STRING, &[&[0], &signature]);
    der::encode(SEQUENCE, &[info, &der::encode(SEQUENCE, &[algorithm]), &bits]).to_vec()
}

/// A signed part: version, empty subject, key, attributes.
fn info(version: u8, spki: &[u8], attributes: &[u8]) -> Vec<u8> {
    let version = der::encode(INTEGER, &[&[version]]);
    der::encode(SEQUENCE, &[&version, &[SEQUENCE, 0], spki, &der::encode(CONTEXT_0, &[attributes])]).to_vec()
}

#[test]
fn what_is_built_is_read_for_every_kind_of_key() {
    let files: [&[u8]; 4] = [
        include_bytes!("../../testdata/p256-sec1.pem"),
        include_bytes!("../../testdata/p384-sec1.pem"),
        include_bytes!("../../testdata/ed25519-pkcs8.pem"),
        include_bytes!("../../testdata/rsa2048-pkcs1.pem"),
    ];
    for key in files.map(|pem| PrivateKey::from_pem(pem).unwrap()) {
        for wanted in [None, Some(id())] {
            let der = build_request(&key, wanted.as_ref()).unwrap();
            let request = VerifiedRequest::parse(&der).unwrap();
            assert_eq!(request.public_key(), key.public_key());
            assert_eq!(request.uri_sans, wanted.map(|id| vec![id.to_string()]));
        }
    }
}

#[test]
fn another_identity_than_the_admitted_one_is_refused() {
    let key = fixed_key();
    let other = SpiffeId::parse("spiffe://example.org/api").unwrap();
    let parsed =
        |names: Vec<SanType>| VerifiedRequest::parse(&request(&key, |params| params.subject_alt_names = names, vec![])).unwrap();
    assert_eq!(parsed(vec![]).check_uri_sans(&id()), Ok(()));
    assert!(!parsed(vec![]).asks_for_names());
    assert!(parsed(vec![SanType::DnsName("a.b".try_into().unwrap())]).asks_for_names(), "a name that is no URI is one too");
    assert_eq!(parsed(vec![uri(ID)]).check_uri_sans(&id()), Ok(()));
    assert_eq!(parsed(vec![SanType::DnsName("a.b".try_into().unwrap())]).check_uri_sans(&id()), Ok(()));
    let differs = |asked: &str| Err(CsrError::UriSanDiffers { asked: asked.to_owned(), admitted: id() });
    assert_eq!(parsed(vec![uri(other.as_str())]).check_uri_sans(&id()), differs(other.as_str()));
    // The second name counts as much as the first, and case and slashes are not forgiven.
    assert_eq!(parsed(vec![uri(ID), uri(other.as_str())]).check_uri_sans(&id()), differs(other.as_str()));
    assert_eq!(parsed(vec![uri("SPIFFE://example.org/web")]).check_uri_sans(&id()), differs("SPIFFE://example.org/web"));
    assert_eq!(parsed(vec![uri("spiffe://example.org/web/")]).check_uri_sans(&id()), differs("spiffe://example.org/web/"));
    let long = format!("spiffe://example.org/{}", "a".repeat(3000));
    let Err(CsrError::UriSanDiffers { asked, .. }) = parsed(vec![uri(&long)]).check_uri_sans(&id()) else { panic!() };
    assert_eq!(asked.len(), 256);
}

#[test]
fn what_a_request_asks_for_besides_is_not_kept() {
    let key = fixed_key();
    let greedy = request(
        &key,
        |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
            params.subject_alt_names = vec![uri(ID)];
            params.custom_extensions = vec![extension(&[1, 2, 3, 4], true)];
        },
        vec![Attribute { oid: &[1, 2, 840, 113549, 1, 9, 7], values: vec![0x31, 0x03, 0x0c, 0x01, b'x'] }],
    );
    let VerifiedRequest { public_key, uri_sans } = VerifiedRequest::parse(&greedy).unwrap();
    assert_eq!((&public_key, uri_sans.as_deref()), (key.public_key(), Some(&[ID.to_owned()][..])));
}

#[test]
fn hostile_requests_are_refused_each_by_its_own_error() {
    use CsrError as E;
    let key = fixed_key();
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let good = build_request(&key, Some(&id())).unwrap();
    let refused = |der: &[u8]| VerifiedRequest::parse(der).unwrap_err();
    let spki = key.public_key().spki_der();
    let sha256 = key.public_key().algorithm().signature_identifier();
    assert!(VerifiedRequest::parse(&assembled(&key, &info(0, spki, &[]), &sha256)).is_ok());

    assert_eq!(refused(&[]), E::Der(DerError::Truncated));
    assert_eq!(refused(&vec![0x30; MAX_CSR_BYTES + 1]), E::TooLarge { found: MAX_CSR_BYTES + 1 });
    assert_eq!(refused(&[0x30; MAX_CSR_BYTES]), E::Der(DerError::Trailing { bytes: MAX_CSR_BYTES - 50 }));
    assert_eq!(refused(&[&good[..], &[0]].concat()), E::Der(DerError::Trailing { bytes: 1 }));
    assert!(matches!(refused(&good.repeat(2)), E::Der(DerError::Trailing { .. })));
    assert!(matches!(refused(crate::pem::encode("CERTIFICATE REQUEST", &good).as_bytes()), E::Der(_)));
    assert_eq!(refused(&assembled(&key, &info(1, spki, &[]), &sha256)), E::Version);
    assert_eq!(refused(&assembled(&other, &info(0, spki, &[]), &sha256)), E::Signature);
    // Another identity put in after signing.
    assert_eq!(refused(&replace(&good, b"/web", b"/api")), E::Signature);
    // Algorithms: SHA-1, one for another kind of key, and one that does not describe the signature.
    let algorithm = |identifier: &[u8]| refused(&assembled(&key, &info(0, spki, &[]), identifier));
    let not_allowed = |oid: &str| E::SignatureAlgorithm { oid: oid.to_owned(), key: PublicKeyAlgorithm::EcdsaP256 };
    assert_eq!(algorithm(&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]), not_allowed("1.2.840.10045.4.1"));
    assert_eq!(algorithm(&rustls_pki_types::alg_id::RSA_PKCS1_SHA256), not_allowed("1.2.840.113549.1.1.11"));
    assert_eq!(algorithm(&rustls_pki_types::alg_id::ECDSA_SHA384), E::Signature);
    // A key that is not allowed.
    let p521 = der::encode(
        SEQUENCE,
        &[
            &der::encode(
                SEQUENCE,
                &[
                    &der::encode(OBJECT_IDENTIFIER, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]]),
                    &der::encode(OBJECT_IDENTIFIER, &[&[0x2b, 0x81, 0x04, 0x00, 0x23]]),
                ],
            ),
            &der::encode(der::BIT_STRING, &[&[0, 4], &[1; 132]]),
        ],
    );
    assert_eq!(
        refused(&assembled(&key, &info(0, &p521, &[]), &sha256)),
        E::Key(KeyError::Curve { oid: "1.3.132.0.35".to_owned() })
    );
}

#[test]
fn repeated_or_malformed_wishes_are_refused() {
    use CsrError as E;
    let key = fixed_key();
    let sha256 = key.public_key().algorithm().signature_identifier();
    let asked = |attributes: &[u8]| {
        let der = assembled(&key, &info(0, key.public_key().spki_der(), attributes), &sha256);
        VerifiedRequest::parse(&der).map(|request| request.uri_sans)
    };
    let names = |uri: &[u8]| der::encode(SEQUENCE, &[&der::encode(0x86, &[uri])]);
    let wish = |value: &[u8]| {
        let oid = der::encode(OBJECT_IDENTIFIER, &[SUBJECT_ALTERNATIVE_NAME]);
        der::encode(SEQUENCE, &[&oid, &der::encode(der::OCTET_STRING, &[value])])
    };
    let attribute = |values: &[&[u8]]| {
        let oid = der::encode(OBJECT_IDENTIFIER, &[EXTENSION_REQUEST]);
        der::encode(SEQUENCE, &[&oid, &der::encode(SET, values)])
    };
    let one = wish(&names(ID.as_bytes()));
    let extensions = der::encode(SEQUENCE, &[&one]);
    let good = attribute(&[&extensions]);
    assert_eq!(asked(&good), Ok(Some(vec![ID.to_owned()])));
    assert_eq!(asked(&[&good[..], &good].concat()), Err(E::DuplicateExtensionRequest));
    assert_eq!(asked(&attribute(&[&extensions, &extensions])), Err(E::DuplicateExtensionRequest));
    assert_eq!(asked(&attribute(&[&der::encode(SEQUENCE, &[&one, &one])])), Err(E::AlternativeNames));
    let latin = wish(&names(b"spiffe://example.org/\xe9"));
    assert_eq!(asked(&attribute(&[&der::encode(SEQUENCE, &[&latin])])), Err(E::AlternativeNames));
    let trailing = wish(&[&names(ID.as_bytes())[..], &[5, 0]].concat());
    assert_eq!(asked(&attribute(&[&der::encode(SEQUENCE, &[&trailing])])), Err(E::Der(DerError::Trailing { bytes: 2 })));
    // "critical" as BER would have it: true, but not in the one form of DER.
    let oid = der::encode(OBJECT_IDENTIFIER, &[SUBJECT_ALTERNATIVE_NAME]);
    let ber = der::encode(SEQUENCE, &[&oid, &[1, 1, 1], &der::encode(der::OCTET_STRING, &[&names(ID.as_bytes())])]);
    let refused = asked(&attribute(&[&der::encode(SEQUENCE, &[&ber])]));
    assert_eq!(refused, Err(E::Der(DerError::NotCanonical { tag: 1 })));
    let repeated: Vec<CustomExtension> = vec![extension_with(&[2, 5, 29, 17], false, &names(ID.as_bytes()))];
    let twice = request(
        &key,
        |params| {
            params.subject_alt_names = vec![uri(ID)];
            params.custom_extensions = repeated;
        },
        vec![],
    );
    assert_eq!(VerifiedRequest::parse(&twice).unwrap_err(), E::AlternativeNames);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_change_of_a_few_bytes_panics_or_passes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let good = build_request(&fixed_key(), Some(&id())).unwrap();
        let mut der = good.clone();
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        prop_assert!(VerifiedRequest::parse(&der[..cut.index(der.len())]).is_err());
        if der != good {
            prop_assert!(VerifiedRequest::parse(&der).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(der in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(VerifiedRequest::parse(&der).is_err());
    }
}
