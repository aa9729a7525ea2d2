use std::collections::BTreeSet;
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

#[test]
fn it_rests_on_the_keys_of_its_chain_and_of_the_root_that_signed_it_and_on_no_other() {
    // All roots of a trust domain bear one name, and two issuing CAs may as well.
    let [one, other] = [(); 2].map(|()| Plan::authority("root").self_signed());
    let [issuer, successor] = [(); 2].map(|()| Plan::authority("issuer").under(&one));
    let leaf = Plan::leaf(ID).under(&issuer);
    let chain = vec![leaf.certificate, issuer.certificate.clone()];
    let svid = X509Svid::new(chain, leaf.key, now()).unwrap();
    let bundle = bundle_of(&[&other, &one]);
    let key = |holder: &crate::test_pki::Holder| holder.certificate.public_key().fingerprint();
    let rests = |keys: &[crate::Sha256Digest]| svid.rests_on(&keys.iter().copied().collect(), &bundle);

    assert!(!svid.rests_on(&BTreeSet::new(), &bundle));
    assert!(rests(&[key(&issuer)]) && rests(&[key(&one)]));
    assert!(!rests(&[key(&other)]) && !rests(&[key(&successor)]) && !rests(&[key(&other), key(&successor)]));
    assert!(rests(&[key(&other), key(&one)]), "one of several is enough");
    assert!(rests(&[svid.leaf().public_key().fingerprint()]), "its own key counts too");

    // Neither dates nor what else stands in the bundle change that, but a root that left it signs nothing there.
    let keys = BTreeSet::from([key(&one)]);
    let ended = Plan::authority("root").with_key(PrivateKey::from_pem(one.key.to_pkcs8_pem().as_bytes()).unwrap());
    let ended = ended.dates(now().minus(Duration::from_secs(9)), now().minus(Duration::from_secs(1))).self_signed();
    assert!(svid.rests_on(&keys, &bundle_of(&[&ended])), "the same key under other dates");
    assert!(!svid.rests_on(&keys, &bundle_of(&[&other])));
    // A root that was sent along counts as part of the chain.
    let leaf = Plan::leaf(ID).under(&issuer);
    let chain = vec![leaf.certificate, issuer.certificate, one.certificate];
    assert!(X509Svid::new(chain, leaf.key, now()).unwrap().rests_on(&keys, &bundle_of(&[&other])));
}

/// What was found out before must not change an answer: every pair of questions, one after the other, against a path that is looked
/// for anew. The second root is the first one issued again, so that a path goes on when the first has ended.
#[test]
fn what_was_verified_before_changes_no_answer() {
    let at = |seconds: u64| Timestamp::from_unix_seconds(now().unix_seconds() - 1000 + seconds);
    let root = Plan::authority("root").dates(at(100), at(2000)).self_signed();
    let same_key = PrivateKey::from_pem(root.key.to_pkcs8_pem().as_bytes()).unwrap();
    let again = Plan::authority("root").with_key(same_key).dates(at(600), at(3000)).self_signed();
    let other = Plan::authority("other").self_signed();
    let issuer = Plan::authority("issuer").dates(at(300), at(2500)).under(&root);
    let leaf = Plan::leaf(ID).dates(at(500), at(2200)).under(&issuer);
    let svid = X509Svid::new(vec![leaf.certificate, issuer.certificate], leaf.key, now()).unwrap();

    let sequels = [&[&root][..], &[&again], &[&root, &again], &[&root, &again, &other], &[&other]];
    let bundles = sequels.map(bundle_of);
    let times = [99, 499, 500, 599, 600, 1500, 2000, 2001, 2200, 2201, 3001].map(at);
    let questions: Vec<_> = bundles.iter().flat_map(|bundle| times.map(|time| (bundle, time))).collect();
    let anew = |bundle, time| {
        let answer = |usage| validate_parsed(svid.chain(), bundle, usage, time).map(drop);
        answer(Usage::Client).and(answer(Usage::Server))
    };
    let answers: Vec<_> = questions.iter().map(|(bundle, time)| anew(bundle, *time)).collect();
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() > 10 && answers.iter().any(Result::is_err));
    for (first, _) in questions.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
        for ((bundle, time), answer) in questions.iter().zip(&answers) {
            assert_eq!(svid.verify(first.0, first.1), Ok(()));
            assert_eq!(svid.verify(bundle, *time), *answer, "{time} after {}", first.1);
        }
    }
}
