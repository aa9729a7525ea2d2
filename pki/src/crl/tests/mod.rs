mod hostile;
mod sets;

use std::time::Duration;

use super::*;
use crate::test_pki::{Hierarchy, Holder, Plan, now};
use crate::{KeyAlgorithm, PrivateKey, SigningError};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn serial(byte: u8) -> SerialNumber {
    SerialNumber::from_bytes(&[byte, 1, 2, 3]).unwrap()
}

fn entry(byte: u8, reason: RevocationReason) -> RevokedSerial {
    RevokedSerial { serial: serial(byte), revoked_at: now(), reason }
}

fn template<'a>(issuer: &'a Holder, entries: &'a [RevokedSerial]) -> CrlTemplate<'a> {
    CrlTemplate { issuer: &issuer.certificate, number: 7.into(), this_update: now(), next_update: now().plus(WEEK), entries }
}

/// A list of `issuer` with these serials.
fn list_of(issuer: &Holder, serials: &[SerialNumber]) -> Vec<u8> {
    let entries: Vec<_> = serials
        .iter()
        .map(|serial| RevokedSerial { serial: serial.clone(), revoked_at: now(), reason: RevocationReason::default() })
        .collect();
    prepare_crl(&template(issuer, &entries)).unwrap().sign(&issuer.key).unwrap()
}

#[test]
fn a_list_says_what_it_was_made_of_and_other_readers_take_it() {
    let h = Hierarchy::new();
    let entries: Vec<_> = (1..=7).map(|byte| entry(0x80 + byte, RevocationReason::ALL[usize::from(byte) - 1])).collect();
    for entries in [&entries[..], &[]] {
        for issuer in [&h.issuer, &h.root] {
            let der = prepare_crl(&template(issuer, entries)).unwrap().sign(&issuer.key).unwrap();
            let list = RevocationList::verify(&der, issuer.certificate.der(), &h.bundle).unwrap();
            assert_eq!(list.der(), der);
            assert_eq!((list.number(), list.this_update(), list.next_update()), (&7.into(), now(), now().plus(WEEK)));
            assert_eq!(list.issuer_key(), issuer.certificate.public_key().fingerprint());
            assert_eq!(list.len(), entries.len());
            assert!(entries.iter().all(|entry| list.contains(&entry.serial)));
            assert!(!list.contains(&serial(0x11)));

            let other = webpki::BorrowedCertRevocationList::from_der(&der).unwrap();
            assert!(webpki::CertRevocationList::from(other).issuer() == h_name(issuer));
            let (rest, parsed) =
                <x509_parser::prelude::CertificateRevocationList<'_> as x509_parser::prelude::FromDer<_>>::from_der(&der)
                    .unwrap();
            assert!(rest.is_empty());
            assert_eq!(parsed.iter_revoked_certificates().count(), entries.len());
            assert_eq!(parsed.crl_number().unwrap(), &7_u32.into());
            for (parsed, entry) in parsed.iter_revoked_certificates().zip(entries) {
                let code = parsed.reason_code().map_or(0, |(_, code)| code.0);
                assert_eq!(code, entry.reason.code());
            }
        }
    }
}

/// The content of the subject Name, as the path builder gives names.
fn h_name(holder: &Holder) -> &[u8] {
    crate::der::Reader::only(holder.certificate.subject_der(), crate::der::SEQUENCE).unwrap()
}

#[test]
fn a_list_of_another_program_is_read() {
    let bundle =
        TrustBundle::from_pem(crate::test_pki::trust_domain(), include_bytes!("../../../testdata/crl/root.pem"), 1).unwrap();
    let lists = crls_from_pem(include_bytes!("../../../testdata/crl/ca-crl.pem")).unwrap();
    let root = &bundle.authorities()[0];
    let list = RevocationList::verify(&lists[0], root.der(), &bundle).unwrap();
    assert_eq!((lists.len(), list.len(), list.number().to_string()), (1, 2, "4096".to_owned()));
    assert!(list.contains(&"1001".parse().unwrap()) && list.contains(&"1002".parse().unwrap()));
    assert_eq!(crls_from_pem(list.to_pem().as_bytes()).unwrap(), lists);
    assert_eq!(crls_from_pem(b"nothing here"), Err(CrlError::NoneInPem));
    let label = Err(CrlError::PemLabel { label: "CERTIFICATE".to_owned() });
    assert_eq!(crls_from_pem(root_pem(root).as_bytes()), label);
}

fn root_pem(root: &Certificate) -> String {
    crate::certificates_to_pem([root])
}

#[test]
fn dates_are_judged_at_each_use_and_only_there() {
    let h = Hierarchy::new();
    let der = list_of(&h.issuer, &[serial(1)]);
    let list = RevocationList::verify(&der, h.issuer.certificate.der(), &h.bundle).unwrap();
    let second = Duration::from_secs(1);
    assert!(list.is_current(now()) && list.is_current(now().plus(WEEK).minus(second)));
    assert!(!list.is_current(now().minus(second)) && !list.is_current(now().plus(WEEK)));
    // What it names is revoked, stale or not.
    assert!(list.contains(&serial(1)));
}

#[test]
fn only_the_issuers_key_signs_and_only_what_reads_back() {
    let h = Hierarchy::new();
    let unsigned = prepare_crl(&template(&h.issuer, &[])).unwrap();
    assert_eq!(unsigned.issuer(), &h.issuer.certificate);
    assert!(matches!(unsigned.sign(&h.root.key), Err(SigningError::WrongKey)));
    let same_dates = CrlTemplate { next_update: now(), ..template(&h.issuer, &[]) };
    assert!(matches!(prepare_crl(&same_dates), Err(CrlTemplateError::Refused(CrlError::Updates { .. }))));
    let twice = [entry(1, RevocationReason::Unspecified), entry(1, RevocationReason::Superseded)];
    assert!(matches!(prepare_crl(&template(&h.issuer, &twice)), Err(CrlTemplateError::Differs(_))));
    let many: Vec<_> = (0..=u32::try_from(MAX_CRL_ENTRIES).unwrap())
        .map(|number| RevokedSerial {
            serial: SerialNumber::from_bytes(&[&[1], &number.to_be_bytes()[..]].concat()).unwrap(),
            revoked_at: now(),
            reason: RevocationReason::Unspecified,
        })
        .collect();
    assert!(matches!(prepare_crl(&template(&h.issuer, &many)), Err(CrlTemplateError::Refused(CrlError::TooManyEntries))));
    let unsigned = prepare_crl(&template(&h.issuer, &many[1..])).unwrap();
    assert!(RevocationList::verify(&unsigned.sign(&h.issuer.key).unwrap(), h.issuer.certificate.der(), &h.bundle).is_ok());
}

#[test]
fn a_ca_that_may_not_sign_lists_neither_makes_nor_vouches_for_one() {
    let h = Hierarchy::new();
    let quiet =
        Plan::authority("quiet").with(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]).under(&h.root);
    assert!(!may_sign_lists(&quiet.certificate) && may_sign_lists(&h.issuer.certificate));
    assert!(!may_sign_lists(&Plan::leaf("spiffe://example.org/web").under(&h.issuer).certificate));
    assert!(matches!(prepare_crl(&template(&quiet, &[])), Err(CrlTemplateError::MayNotSignLists { .. })));
    // The same key under a certificate that allows it: signed well, and shown with the one that does not.
    let allowed = Plan::authority("quiet").with_key(quiet.key).under(&h.root);
    let der = list_of(&allowed, &[]);
    assert!(RevocationList::verify(&der, allowed.certificate.der(), &h.bundle).is_ok());
    let refused = RevocationList::verify(&der, quiet.certificate.der(), &h.bundle);
    assert_eq!(refused, Err(CrlError::MayNotSignLists { issuer: "CN=quiet".to_owned() }));
}

#[test]
fn keys_of_every_kind_sign_lists() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
        let root = Plan::authority("root").with_key(PrivateKey::generate(algorithm).unwrap()).self_signed();
        let bundle = crate::test_pki::bundle_of(&[&root]);
        assert!(RevocationList::verify(&list_of(&root, &[]), root.certificate.der(), &bundle).is_ok());
    }
    let rsa = PrivateKey::from_pem(include_bytes!("../../../testdata/rsa2048-pkcs1.pem")).unwrap();
    let root = Plan::authority("root").with_key(rsa).self_signed();
    let bundle = crate::test_pki::bundle_of(&[&root]);
    assert!(RevocationList::verify(&list_of(&root, &[]), root.certificate.der(), &bundle).is_ok());
}
