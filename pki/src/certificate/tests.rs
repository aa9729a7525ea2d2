use std::time::Duration;

use proptest::prelude::*;
use rcgen::{DnType, SanType};

use super::*;
use crate::der::DerError;
use crate::test_pki::{Hierarchy, Holder, Plan, extension, extension_with, now, replace};
use crate::{KeyError, SerialNumberError, sha256};

const ID: &str = "spiffe://example.org/web";

#[test]
fn the_fields_of_a_leaf_and_its_issuer() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID)
        .with(|params| {
            params.serial_number = Some(vec![0x01, 0xab].into());
            params.distinguished_name.push(DnType::CommonName, "web");
            params.subject_alt_names.push(SanType::DnsName("web.example.org".try_into().unwrap()));
            params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        })
        .under(&h.issuer);
    let Holder { certificate, key } = leaf;
    let issuer = &h.issuer.certificate;
    assert_eq!(certificate.serial().to_string(), "01ab");
    assert_eq!(certificate.not_before(), now().minus(Duration::from_secs(60)));
    assert_eq!(certificate.not_after(), now().plus(Duration::from_secs(3600)));
    assert_eq!((certificate.subject(), certificate.issuer()), ("CN=web".to_owned(), "CN=issuer".to_owned()));
    assert_eq!(certificate.issuer_der(), issuer.subject_der());
    assert_eq!(certificate.public_key(), key.public_key());
    assert_eq!(certificate.uri_sans(), [ID]);
    assert!(!certificate.is_ca() && issuer.is_ca());
    assert_eq!(certificate.authority_key_id(), issuer.subject_key_id());
    assert!(issuer.subject_key_id().is_some());
    assert_eq!(certificate.fingerprint(), sha256(certificate.der()));
    assert!(certificate.extended_key_usage().unwrap().server_auth);
    assert!(certificate.key_usage().unwrap().critical);

    assert_eq!(certificate.verify_signed_by(issuer.public_key()), Ok(()));
    assert_eq!(certificate.verify_signed_by(h.root.certificate.public_key()), Err(SignatureInvalid));
    assert_eq!(certificate.verify_signed_by(certificate.public_key()), Err(SignatureInvalid));
    let again = Certificate::from_der(certificate.der()).unwrap();
    assert_eq!(again, certificate);
    assert_ne!(again, *issuer);
    assert_eq!(again.tbs_der(), certificate.tbs_der());
}

#[test]
fn each_fault_has_its_error() {
    use CertificateError as E;
    let h = Hierarchy::new();
    let leaf = || Plan::leaf(ID);
    let good = leaf().with(|params| params.serial_number = Some(vec![0x11; 16].into())).der_under(&h.issuer);
    assert!(Certificate::from_der(&good).is_ok());
    let refused = |der: &[u8]| Certificate::from_der(der).unwrap_err();
    let with_serial = |serial: Vec<u8>| {
        let der = leaf().with(|params| params.serial_number = Some(serial.into())).der_under(&h.issuer);
        Certificate::from_der(&der).map(|certificate| certificate.serial().as_bytes().len())
    };

    assert_eq!(refused(&[&good[..], &[0]].concat()), E::Der(DerError::Trailing { bytes: 1 }));
    assert_eq!(refused(&good[..good.len() - 1]), E::Der(DerError::Truncated));
    // A critical keyUsage as BER would have it: true, but not in the one form of DER.
    let ber = replace(&good, &[0x55, 0x1d, 0x0f, 1, 1, 0xff], &[0x55, 0x1d, 0x0f, 1, 1, 1]);
    assert_eq!(refused(&ber), E::Der(DerError::NotCanonical { tag: 1 }));
    assert_eq!(refused(&vec![0; MAX_CERTIFICATE_BYTES + 1]), E::TooLarge { found: 32_769, limit: 32_768 });
    assert_eq!(refused(&replace(&good, &[0xa0, 0x03, 0x02, 0x01, 0x02], &[0xa0, 0x03, 0x02, 0x01, 0x01])), E::Version);
    assert_eq!(with_serial(vec![0x7f; 20]), Ok(20));
    assert_eq!(with_serial(vec![0xff; 20]), Ok(20));
    assert_eq!(with_serial(vec![0x01; 21]), Err(E::Serial(SerialNumberError::Length(21))));
    assert_eq!(with_serial(vec![0]), Err(E::Serial(SerialNumberError::Zero)));
    let negative = replace(&good, &[0x11; 16], &[&[0x91][..], &[0x11; 15]].concat());
    assert_eq!(refused(&negative), E::Serial(SerialNumberError::Negative));
    // ecdsa-with-SHA384 inside, ecdsa-with-SHA256 outside.
    let inner = replace(&good, &[0x3d, 0x04, 0x03, 0x02], &[0x3d, 0x04, 0x03, 0x03]);
    assert_eq!(refused(&inner), E::SignatureAlgorithmMismatch);
    let backwards = leaf().dates(now(), now().minus(Duration::from_secs(1))).der_under(&h.issuer);
    assert!(matches!(refused(&backwards), E::Validity { .. }));
    let before_1970 = replace(&good, b"261120105900Z", b"691231235959Z");
    assert_eq!(refused(&before_1970), E::Date);
    let p521 = replace(&good, &[0xce, 0x3d, 0x03, 0x01, 0x07], &[0xce, 0x3d, 0x03, 0x01, 0x08]);
    assert!(matches!(refused(&p521), E::Key(KeyError::Curve { .. })));

    let with_extension = |extension| leaf().with(|params| params.custom_extensions = vec![extension]).der_under(&h.issuer);
    let twice = extension_with(&[2, 5, 29, 15], true, &[0x03, 0x02, 0x07, 0x80]);
    assert_eq!(refused(&with_extension(twice)), E::DuplicateExtension { oid: "2.5.29.15".to_owned() });
    let malformed = |oid: &str| E::MalformedExtension { oid: oid.to_owned() };
    // Not even a constraint, where basicConstraints should be.
    let bad_constraints = leaf().with(|params| {
        params.is_ca = rcgen::IsCa::NoCa;
        params.custom_extensions = vec![extension(&[2, 5, 29, 19], true)];
    });
    assert_eq!(refused(&bad_constraints.der_under(&h.issuer)), malformed("2.5.29.19"));
    let bad_address = extension_with(&[2, 5, 29, 17], false, &[0x30, 0x05, 0x87, 0x03, 10, 0, 0]);
    let only = Plan::leaf(ID).with(|params| {
        params.subject_alt_names.clear();
        params.custom_extensions = vec![bad_address];
    });
    assert_eq!(refused(&only.der_under(&h.issuer)), malformed("2.5.29.17"));
    // An extension of which nothing is known may hold anything, as long as nobody relies on it.
    assert!(Certificate::from_der(&with_extension(extension_with(&[1, 2, 3, 4], false, b"\x05\x00"))).is_ok());
}

#[test]
fn a_name_cannot_steer_a_terminal() {
    let name = "a\u{1b}[2J\n\u{202e}\u{e9}";
    let certificate = Plan::authority(name).self_signed().certificate;
    let subject = certificate.subject();
    assert!(subject.chars().all(|character| character == ' ' || character.is_alphanumeric() || character.is_ascii_punctuation()));
    assert!(subject.contains("a\\u{1b}"), "{subject}");
    let long = Plan::authority(&"x".repeat(5000)).self_signed().certificate;
    assert!(long.subject().len() <= 200);
    assert!(format!("{certificate:?}").contains("serial"));
}

#[test]
fn certificates_one_after_the_other_are_read_whole_or_refused_whole() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer).certificate;
    let both = [leaf.der().as_ref(), h.issuer.certificate.der().as_ref()].concat();
    assert_eq!(Certificate::all_from_der(&both).unwrap(), [leaf, h.issuer.certificate]);
    assert!(Certificate::all_from_der(&[]).unwrap().is_empty());
    assert_eq!(Certificate::all_from_der(&both[..both.len() - 1]).unwrap_err(), CertificateError::Der(DerError::Truncated));
    assert!(Certificate::all_from_der(&[both.as_slice(), &[0x05, 0x00]].concat()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_changed_bytes_panic_and_no_change_of_the_signed_part_verifies(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let root = Plan::authority("root").with_key(
            crate::PrivateKey::from_pem(include_bytes!("../../testdata/ed25519-pkcs8.pem")).unwrap(),
        );
        let good = root.self_signed_der();
        let mut der = good.to_vec();
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if let Ok(certificate) = Certificate::from_der(&der) {
            let verified = certificate.verify_signed_by(root.key.public_key()).is_ok();
            prop_assert_eq!(verified, der == good.to_vec());
        }
    }
}
