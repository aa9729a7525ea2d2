//! Bundle documents of another trust domain, one after the other: what is held never goes back, never means two things, and holds nothing of ours.

use ca::federation::{BundleRefusal, Judged, judge};
use pki::{BundleDocument, TrustBundle};

use crate::fixture::{CHAINS, trust_domain};

/// The documents are lines: JSON needs no line break.
pub(crate) fn run(data: &[u8]) {
    let own = &CHAINS.foreign;
    let mut held: Option<TrustBundle> = None;
    for json in data.split(|byte| *byte == b'\n').take(MOST) {
        let before = held.as_ref().map(TrustBundle::sequence);
        match judge(&trust_domain(), held.as_ref(), own, json) {
            Ok(Judged::Newer(document)) => {
                taken(&document, before, own);
                let again = judge(&trust_domain(), Some(&document.bundle), own, json);
                assert!(matches!(again, Ok(Judged::Same(_))), "what was taken is not what is held: {again:?}");
                held = Some(document.bundle);
            }
            Ok(Judged::Same(document)) => {
                let held = held.as_ref().expect("nothing is the same as nothing");
                assert!(document.bundle.same_content(held) && document.bundle.sequence() == held.sequence());
            }
            Err(BundleRefusal::Older { found, held }) => assert!(found < held && Some(held) == before),
            Err(BundleRefusal::Contradicting { sequence }) => assert!(sequence != 0 && Some(sequence) == before),
            Err(BundleRefusal::Document { .. } | BundleRefusal::OwnAuthority { .. }) => {}
        }
    }
}

fn taken(document: &BundleDocument, before: Option<u64>, own: &TrustBundle) {
    let bundle = &document.bundle;
    assert_eq!(bundle.trust_domain(), &trust_domain());
    if let Some(before) = before {
        assert!(bundle.sequence() > before || (bundle.sequence() == 0 && before == 0), "the sequence goes back or stays");
    }
    for authority in own.authorities() {
        let key = authority.public_key();
        assert!(bundle.authorities().iter().all(|theirs| theirs.public_key() != key), "it holds an authority of ours");
        assert!(bundle.jwt_authorities().iter().all(|theirs| theirs.public_key() != key), "it holds a key of ours");
    }
}

/// More documents than a relationship has bundles while anybody looks.
const MOST: usize = 8;
