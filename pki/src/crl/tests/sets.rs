//! Several lists together.

use super::*;
use crate::test_pki::bundle_of;

fn set(lists: &[(&Holder, &[SerialNumber])], bundle: &TrustBundle) -> Result<RevocationSet, RevocationSetError> {
    let lists: Vec<_> = lists.iter().map(|(issuer, serials)| (list_of(issuer, serials), issuer.der())).collect();
    RevocationSet::verify(lists.iter().map(|(list, issuer)| (list.as_slice(), issuer.as_ref())), 3, true, bundle)
}

#[test]
fn a_set_says_who_is_revoked_by_issuer_and_serial() {
    let h = Hierarchy::new();
    let second = Plan::authority("issuer").under(&h.root);
    let with_serial = |issuer: &Holder| {
        let serial = vec![0x11, 0x22].into();
        Plan::leaf("spiffe://example.org/web").with(|params| params.serial_number = Some(serial)).under(issuer).certificate
    };
    let (revoked, same_serial) = (with_serial(&h.issuer), with_serial(&second));
    let other = Plan::leaf("spiffe://example.org/web").under(&h.issuer).certificate;
    let serials = [revoked.serial().clone()];
    let lists = set(&[(&h.root, &[]), (&h.issuer, &serials), (&second, &[])], &h.bundle).unwrap();
    assert!(lists.is_revoked(&revoked));
    // Two CAs of one name: their key identifiers tell them apart.
    assert!(!lists.is_revoked(&same_serial) && !lists.is_revoked(&other));
    assert_eq!((lists.sequence(), lists.lists().len()), (3, 3));

    // A CA that is revoked takes what it signed with it.
    let serials = [second.certificate.serial().clone()];
    let lists = set(&[(&h.root, &serials), (&h.issuer, &[]), (&second, &[])], &h.bundle).unwrap();
    assert!(lists.is_revoked(&second.certificate) && lists.is_revoked(&same_serial) && !lists.is_revoked(&revoked));
    let lists = lists.to_pem();
    assert_eq!(crls_from_pem(lists.as_bytes()).unwrap().len(), 3);
    // As Envoy's SPIFFE validator has them.
    let root = crate::certificates_to_pem([&h.root.certificate]);
    assert_eq!(certificates_beside_crls(format!("{root}{lists}").as_bytes()), Ok(vec![h.root.certificate.clone()]));
    assert_eq!(certificates_beside_crls(lists.as_bytes()), Err(CertificateError::NoneInPem));
    let other = format!("{root}-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    assert!(matches!(certificates_beside_crls(other.as_bytes()), Err(CertificateError::PemLabel { .. })));
}

#[test]
fn a_set_is_complete_while_each_of_its_lists_is_current() {
    let h = Hierarchy::new();
    let lists = set(&[(&h.root, &[]), (&h.issuer, &[])], &h.bundle).unwrap();
    assert!(lists.complete_at(now()) && lists.complete_for(&h.bundle, now()));
    assert_eq!(lists.next_stale_after(now()), Some(now().plus(WEEK)));
    assert!(!lists.complete_at(now().plus(WEEK)));
    assert_eq!(lists.next_stale_after(now().plus(WEEK)), None);
    let list = list_of(&h.root, &[]);
    let said_not = RevocationSet::verify([(list.as_slice(), h.root.der().as_ref())], 3, false, &h.bundle).unwrap();
    assert!(!said_not.complete_at(now()) && !said_not.says_complete());
    // A bundle with a root that came after the lists.
    let later = Plan::authority("later").self_signed();
    assert!(!lists.complete_for(&bundle_of(&[&h.root, &later]), now()));
    // One that has ended vouches for nothing that a list could name.
    let end = now().plus(Duration::from_secs(60));
    let ending = bundle_of(&[&h.root, &Plan::authority("ending").dates(now(), end).self_signed()]);
    assert!(!lists.complete_for(&ending, end) && lists.complete_for(&ending, end.plus(Duration::from_secs(1))));
}

#[test]
fn one_bad_list_refuses_the_whole() {
    let (h, other) = (Hierarchy::new(), Hierarchy::new());
    assert!(set(&[], &h.bundle).is_ok());
    let refused = set(&[(&h.root, &[]), (&other.root, &[])], &h.bundle).unwrap_err();
    let unknown = CrlError::UnknownIssuer { issuer: "CN=root".to_owned() };
    assert_eq!(refused, RevocationSetError::List { number: 2, source: unknown });
    let twice = set(&[(&h.root, &[]), (&h.root, &[])], &h.bundle).unwrap_err();
    assert_eq!(twice, RevocationSetError::Duplicate { issuer: "CN=root".to_owned() });
    let list = list_of(&h.root, &[]);
    let other_list = list_of(&h.issuer, &[]);
    let verify = |lists: &[(&[u8], &[u8])]| RevocationSet::verify(lists.iter().copied(), 1, true, &h.bundle);
    let wrong = verify(&[(&list, h.root.der().as_ref()), (&list, h.issuer.der().as_ref())]).unwrap_err();
    assert!(matches!(wrong, RevocationSetError::List { number: 2, source: CrlError::OtherIssuer { .. } }));
    assert!(verify(&[(&list, h.root.der().as_ref()), (&other_list, h.issuer.der().as_ref())]).is_ok());

    let many = vec![(list.as_slice(), h.root.certificate.der().as_ref()); MAX_REVOCATION_LISTS + 1];
    assert_eq!(verify(&many), Err(RevocationSetError::Count { found: MAX_REVOCATION_LISTS + 1 }));
    let large = vec![0; MAX_REVOCATION_SET_BYTES + 1];
    assert_eq!(verify(&[(&large, h.root.der().as_ref())]), Err(RevocationSetError::TooLarge { found: large.len() }));
}

#[test]
fn an_issuer_may_stand_below_another_of_the_set() {
    let root = Plan::authority("root").self_signed();
    let middle = Plan::authority("middle").under(&root);
    let issuer = Plan::authority("issuer").under(&middle);
    let bundle = bundle_of(&[&root]);
    // In whatever order they come.
    assert!(set(&[(&issuer, &[]), (&middle, &[]), (&root, &[])], &bundle).is_ok());
    assert!(matches!(set(&[(&issuer, &[]), (&root, &[])], &bundle), Err(RevocationSetError::List { number: 1, .. })));
    // Nobody vouches for two that vouch for each other only.
    assert!(matches!(
        set(&[(&issuer, &[]), (&middle, &[])], &bundle_of(&[&issuer])),
        Err(RevocationSetError::List { number: 2, .. })
    ));
    // Of another trust domain.
    let foreign = Plan::authority("foreign")
        .with(|params| params.subject_alt_names = vec![crate::test_pki::uri("spiffe://elsewhere.org")])
        .under(&root);
    assert!(matches!(set(&[(&foreign, &[])], &bundle), Err(RevocationSetError::List { number: 1, .. })));
}
