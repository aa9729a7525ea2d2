use std::time::Duration;

use data_encoding::HEXLOWER;
use rcgen::{BasicConstraints, DistinguishedName, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose};

use super::*;
use crate::test_pki::{Holder, Plan, bundle_of, extension, extension_with, now, trust_domain, uri};
use crate::{PrivateKey, SerialNumberError};

fn root(name: &str) -> Holder {
    Plan::authority(name).self_signed()
}

fn admitted(plan: Plan) -> Result<TrustBundle, BundleError> {
    TrustBundle::new(trust_domain(), vec![plan.self_signed().certificate], 1)
}

#[test]
fn authorities_are_admitted_or_refused_each_by_its_own_error() {
    let plan = || Plan::authority("root");
    let rsa = PrivateKey::from_pem(include_bytes!("../../testdata/rsa2048-pkcs1.pem")).unwrap();
    for good in [
        plan(),
        plan().with(|params| params.subject_alt_names.clear()),
        plan().with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        plan().with(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
        plan().with(|params| params.extended_key_usages = vec![Eku::ClientAuth]),
        plan().with(|params| params.custom_extensions = vec![extension(&[1, 2, 3, 4], false)]),
        plan().with_key(rsa),
    ] {
        assert!(admitted(good).is_ok());
    }
    // cA true, the extension not critical.
    let quiet_ca = extension_with(&[2, 5, 29, 19], false, &[0x30, 0x03, 0x01, 0x01, 0xff]);
    let foreign = |found: &str| AnchorError::UriSan { found: found.to_owned(), expected: "spiffe://example.org".to_owned() };
    for (bad, error) in [
        (plan().with(|params| params.is_ca = IsCa::NoCa), AnchorError::NotCa),
        (plan().with(|params| params.is_ca = IsCa::ExplicitNoCa), AnchorError::NotCa),
        (
            plan().with(|params| {
                params.is_ca = IsCa::NoCa;
                params.custom_extensions = vec![quiet_ca];
            }),
            AnchorError::BasicConstraintsNotCritical,
        ),
        (plan().with(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]), AnchorError::KeyCertSignMissing),
        (plan().with(|params| params.key_usages.clear()), AnchorError::KeyCertSignMissing),
        (plan().with(|params| params.extended_key_usages = vec![Eku::CodeSigning]), AnchorError::ExtendedKeyUsage),
        (
            plan().with(|params| params.custom_extensions = vec![extension(&[1, 2, 3, 4], true)]),
            AnchorError::UnknownCriticalExtension { oid: "1.2.3.4".to_owned() },
        ),
        (plan().with(|params| params.distinguished_name = DistinguishedName::new()), AnchorError::EmptySubject),
        (plan().with(|params| params.subject_alt_names = vec![uri("spiffe://other.org")]), foreign("spiffe://other.org")),
        (
            plan().with(|params| params.subject_alt_names.push(uri("spiffe://example.org/web"))),
            foreign("spiffe://example.org/web"),
        ),
        (
            plan().with(|params| params.custom_extensions = vec![extension(&[2, 5, 29, 56], false)]),
            AnchorError::NoRevocationAvailable,
        ),
    ] {
        let Err(BundleError::Anchor { source, .. }) = admitted(bad) else { panic!("not refused by {error}") };
        assert_eq!(source, error);
    }
}

#[test]
fn one_bad_authority_refuses_the_whole() {
    let good = root("good");
    let leaf = Plan::leaf("spiffe://example.org/web").under(&good);
    let with_leaf = TrustBundle::new(trust_domain(), vec![good.certificate.clone(), leaf.certificate.clone()], 1);
    let sha256 = HEXLOWER.encode(&leaf.certificate.fingerprint());
    let refused = BundleError::Anchor { subject: String::new(), sha256, source: AnchorError::NotCa };
    assert_eq!(with_leaf, Err(refused), "a leaf is no anchor");
    for serial in [vec![0], vec![0x7f; 21]] {
        let bad = Plan::authority("root").with(|params| params.serial_number = Some(serial.into())).self_signed_der();
        let pem = [good_pem(&good), crate::pem::encode("CERTIFICATE", &bad).as_str().to_owned()].concat();
        assert!(matches!(
            TrustBundle::from_pem(trust_domain(), pem.as_bytes(), 1),
            Err(BundleError::Unreadable {
                number: 2,
                source: CertificateError::Serial(SerialNumberError::Zero | SerialNumberError::Length(21)),
            })
        ));
    }
    assert!(TrustBundle::from_pem(trust_domain(), good_pem(&good).as_bytes(), 1).is_ok());
}

fn good_pem(holder: &Holder) -> String {
    certificates_to_pem([&holder.certificate])
}

#[test]
fn bounds_and_duplicates() {
    let one = root("one").certificate;
    let made = |authorities: Vec<Certificate>| TrustBundle::new(trust_domain(), authorities, 1);
    assert_eq!(made(vec![]), Err(BundleError::Count { found: 0 }));
    assert_eq!(TrustBundle::from_pem(trust_domain(), b"", 1), Err(BundleError::Count { found: 0 }));
    assert_eq!(made(vec![one.clone(); MAX_AUTHORITIES + 1]), Err(BundleError::Count { found: MAX_AUTHORITIES + 1 }));
    assert!(matches!(made(vec![one.clone(), one.clone()]), Err(BundleError::Duplicate { .. })));
    // One name and even one key twice is no duplicate: that is what a renewed root looks like.
    assert!(made(vec![one, root("one").certificate]).is_ok());
}

#[test]
fn lapsed_authorities_stay_in_the_bundle_but_are_not_used() {
    let hour = Duration::from_secs(3600);
    let second = Duration::from_secs(1);
    let old = Plan::authority("old").dates(now().minus(hour), now()).self_signed();
    let new = Plan::authority("new").dates(now(), now().plus(hour)).self_signed();
    let bundle = bundle_of(&[&old, &new]);
    let subjects = |at| bundle.valid_at(at).map(Certificate::subject).collect::<Vec<_>>();
    assert_eq!(subjects(now()), ["CN=old", "CN=new"]);
    assert_eq!(subjects(now().minus(second)), ["CN=old"]);
    assert_eq!(subjects(now().plus(second)), ["CN=new"]);
    assert_eq!(subjects(now().plus(hour + second)), [""; 0]);
    assert_eq!(bundle.authorities().len(), 2);

    let lapses = |at| bundle.lapsed_at(at);
    assert_eq!(lapses(now()), []);
    let (subject, sha256) = ("CN=old".to_owned(), HEXLOWER.encode(&old.certificate.fingerprint()));
    let late = now().plus(second);
    assert_eq!(lapses(late), [AnchorLapse::Ended { subject, sha256, not_after: now(), now: late }]);
    let early = now().minus(second);
    assert!(
        matches!(&lapses(early)[..], [AnchorLapse::NotBegun { subject, not_before, .. }] if subject == "CN=new" && *not_before == now())
    );
    assert_eq!(lapses(now().plus(hour + second)).len(), 2);
}

#[test]
fn pem_reads_back_and_content_does_not_depend_on_order_or_sequence() {
    let [one, two, three] = ["one", "two", "three"].map(root);
    let bundle = bundle_of(&[&one, &two]);
    let again = TrustBundle::from_pem(trust_domain(), bundle.to_pem().as_bytes(), 1).unwrap();
    assert_eq!(again, bundle);
    let turned = TrustBundle::new(trust_domain(), vec![two.certificate.clone(), one.certificate.clone()], 9).unwrap();
    assert_ne!(turned, bundle);
    assert_eq!(turned.sequence(), 9);
    assert!(turned.same_content(&bundle));
    assert!(!bundle_of(&[&one]).same_content(&bundle));
    assert!(!bundle_of(&[&one, &three]).same_content(&bundle));
    let bare = Plan::authority("bare").with(|params| params.subject_alt_names.clear()).self_signed();
    let [here, there] = ["example.org", "other.org"]
        .map(|name| TrustBundle::new(name.parse().unwrap(), vec![bare.certificate.clone()], 1).unwrap());
    assert!(!here.same_content(&there));
}
