use std::time::Duration;

use identity::SpiffeIdError;

use super::*;
use crate::test_pki::{Hierarchy, Plan, bundle_of, now, uri};
use crate::{ChainPosition, KeyAlgorithm};

const ID: &str = "spiffe://example.org/web";

#[test]
fn a_chain_with_its_key_and_only_with_it() {
    let h = Hierarchy::new();
    let made = |plan: Plan| {
        let leaf = plan.under(&h.issuer);
        X509Svid::new(vec![leaf.certificate, h.issuer.certificate.clone()], leaf.key, now())
    };
    let svid = made(Plan::leaf(ID)).unwrap();
    assert_eq!(svid.id().as_str(), ID);
    assert_eq!(svid.chain().len(), 2);
    assert_eq!(svid.key().public_key(), svid.leaf().public_key());
    assert_eq!(svid.issued(), now());
    let half = Duration::from_secs(1800);
    assert!(svid.renew_at() >= now().plus(half * 9 / 10) && svid.renew_at() <= now().plus(half * 11 / 10));
    assert_eq!(format!("{svid:?}"), format!("X509Svid({ID}, {})", svid.leaf().serial()));

    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    assert_eq!(X509Svid::new(svid.chain().to_vec(), other, now()).unwrap_err(), SvidError::KeyMismatch);
    let fresh = || PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    assert_eq!(X509Svid::new(vec![], fresh(), now()).unwrap_err(), SvidError::EmptyChain);
    let long = vec![svid.leaf().clone(); 7];
    assert_eq!(X509Svid::new(long, fresh(), now()).unwrap_err(), SvidError::ChainTooLong { found: 7, limit: 6 });
    let two = Plan::leaf(ID).with(|params| params.subject_alt_names.push(uri(ID)));
    assert_eq!(made(two).unwrap_err(), SvidError::UriSanCount { found: 2 });
    let no_id = Plan::leaf("https://example.org/web");
    assert_eq!(made(no_id).unwrap_err(), SvidError::SpiffeId { source: SpiffeIdError::Scheme });
}

#[test]
fn it_verifies_under_its_bundle_while_it_lives() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer);
    let not_after = leaf.certificate.not_after();
    let svid = X509Svid::new(vec![leaf.certificate, h.issuer.certificate], leaf.key, now()).unwrap();
    assert_eq!(svid.verify(&h.bundle, now()), Ok(()));
    assert_eq!(svid.verify(&h.bundle, not_after), Ok(()));
    let late = not_after.plus(Duration::from_secs(1));
    assert_eq!(svid.verify(&h.bundle, late), Err(SvidError::Expired { position: ChainPosition::Leaf, not_after, now: late }));
    let other = Plan::authority("other").self_signed();
    assert!(matches!(svid.verify(&bundle_of(&[&other]), now()), Err(SvidError::UnknownAuthority { .. })));
}
