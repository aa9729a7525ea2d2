//! Revocation lists: nothing verifies that nobody signed, and of what a CA signed a second reader reads the same.

use pki::crl::crls_from_pem;
use pki::{RevocationList, RevocationSet, SerialNumber, Timestamp};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::fixture::{LIST_ISSUER, list_of};

pub(crate) fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, der)) => {
            let issuer = &*LIST_ISSUER;
            assert!(
                RevocationList::verify(der, issuer.certificate.der(), &issuer.bundle).is_err(),
                "a list that nobody signed verifies"
            );
        }
        Some((1, to_be_signed)) => signed(&list_of(to_be_signed)),
        Some((_, text)) => {
            let Ok(lists) = crls_from_pem(text) else { return };
            assert!(!lists.is_empty(), "a text without lists was taken for one with");
            lists.iter().for_each(|list| signed(list));
        }
        None => {}
    }
}

fn signed(der: &[u8]) {
    let issuer = &*LIST_ISSUER;
    let Ok(list) = RevocationList::verify(der, issuer.certificate.der(), &issuer.bundle) else { return };
    assert_eq!(list.der(), der);
    assert!(list.this_update() < list.next_update());
    assert!(!list.is_current(list.next_update()) && list.is_current(list.this_update()));
    assert!(list.serials().is_sorted_by(|a, b| a < b), "serials out of order, or one twice");
    assert_eq!(crls_from_pem(list.to_pem().as_bytes()).as_deref(), Ok([der.to_vec()].as_slice()));

    let (rest, other) = CertificateRevocationList::from_der(der).expect("a second reader reads what was accepted");
    assert!(rest.is_empty());
    let seconds = |time: &x509_parser::time::ASN1Time| {
        u64::try_from(time.timestamp()).map(Timestamp::from_unix_seconds).expect("a date that was accepted is after 1970")
    };
    assert_eq!(seconds(&other.last_update()), list.this_update());
    assert_eq!(other.next_update().as_ref().map(seconds), Some(list.next_update()));
    let mut named = 0;
    for revoked in other.iter_revoked_certificates() {
        let serial = SerialNumber::from_bytes(revoked.raw_serial()).expect("a serial that was accepted is one");
        assert!(list.contains(&serial), "a second reader finds {serial}");
        named += 1;
    }
    assert!(list.len() <= named, "something is named that is not there");
    let pair = (der, issuer.certificate.der().as_ref());
    let set = RevocationSet::verify([pair], 1, true, &issuer.bundle).expect("a list that verifies is a set");
    assert!(set.complete_at(list.this_update()) && !set.complete_at(list.next_update()));
}
