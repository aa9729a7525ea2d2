use std::collections::HashMap;

use pki::Timestamp;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::fakes::FakeAuthority;
use crate::fakes::held::{available, entry, missing};

const UID: &[&str] = &["unix:uid:1"];

fn authority() -> FakeAuthority {
    FakeAuthority::new(Timestamp::from_unix_seconds(1_800_000_000))
}

fn state(authority: &FakeAuthority, identities: Vec<HeldIdentity>) -> CallerState {
    let bundle = Some(Arc::new(authority.bundle(1)));
    CallerState { knowledge: EntryKnowledge::Synced, identities, bundle, ..CallerState::default() }
}

fn x509(state: &CallerState) -> Found<X509Svids> {
    X509Svids::of(state, &state.identities)
}

fn whole(state: &CallerState) -> X509Svids {
    match x509(state) {
        Found::Whole(content) => content,
        Found::Part(_) | Found::Missing(_) => panic!("not whole"),
    }
}

#[test]
fn x509_svids_have_chain_key_and_bundle_as_der_in_the_order_of_the_entries() {
    let authority = authority();
    let identities = vec![available(&authority, entry("a", UID, 1, "front")), available(&authority, entry("b", UID, 2, ""))];
    let held: Vec<_> = identities.iter().map(|identity| Arc::clone(identity.state.svid().unwrap())).collect();
    let message = whole(&state(&authority, identities)).message();
    assert!(message.crl.is_empty() && message.federated_bundles.is_empty());
    assert_eq!(message.svids.len(), 2);
    for (sent, svid) in message.svids.iter().zip(&held) {
        assert_eq!(sent.spiffe_id, svid.id().to_string());
        let (leaf, rest) = sent.x509_svid.split_at(svid.leaf().der().len());
        assert_eq!(Certificate::from_der(leaf).unwrap().der(), svid.leaf().der());
        let issuer = Certificate::from_der(rest).expect("one intermediate, and no root behind it");
        assert_eq!(issuer.der(), svid.chain()[1].der());
        let key = pki::PrivateKey::from_pkcs8_der(&sent.x509_svid_key).unwrap();
        assert_eq!(key.public_key(), svid.leaf().public_key());
        assert_eq!(Certificate::from_der(&sent.bundle).unwrap().der(), authority.root.der());
    }
    assert_eq!(message.svids.iter().map(|svid| svid.hint.as_str()).collect::<Vec<_>>(), ["front", ""]);
}

#[test]
fn a_hint_stands_once_in_a_response_and_the_first_has_it() {
    let authority = authority();
    let hinted = |id, age, hint| available(&authority, entry(id, UID, age, hint));
    let identities = vec![hinted("a", 1, "x"), hinted("b", 2, "x"), hinted("c", 3, "y"), hinted("d", 4, ""), hinted("e", 5, "")];
    let message = whole(&state(&authority, identities)).message();
    assert_eq!(message.svids.iter().map(|svid| svid.hint.as_str()).collect::<Vec<_>>(), ["x", "", "y", "", ""]);
}

#[test]
fn only_what_a_client_would_see_makes_a_difference() {
    let authority = authority();
    let identities = vec![available(&authority, entry("a", UID, 1, ""))];
    let first = whole(&state(&authority, identities.clone()));
    let mut again = state(&authority, identities.clone());
    again.bundle = Some(Arc::new(authority.bundle(2)));
    assert!(first.same(&whole(&again)), "another sequence of the same authorities is no news");
    assert!(!first.same(&whole(&state(&authority, vec![available(&authority, entry("a", UID, 1, ""))]))), "a new SVID");
    let mut hinted = identities.clone();
    hinted[0].entry = Arc::new(entry("a", UID, 1, "new"));
    assert!(!first.same(&whole(&state(&authority, hinted))), "a new hint");
    let other = self::authority();
    let mut strange = state(&authority, identities);
    strange.bundle = Some(Arc::new(other.bundle(3)));
    assert!(!first.same(&whole(&strange)), "other authorities");
}

#[test]
fn what_is_fetched_for_the_first_time_is_waited_for_and_what_failed_is_not() {
    let authority = authority();
    let held = available(&authority, entry("a", UID, 1, ""));
    let fresh = missing(entry("b", UID, 2, ""), None);
    let failed = missing(entry("c", UID, 3, ""), Some("TTL_ABOVE_MAX"));
    assert!(matches!(x509(&state(&authority, vec![held.clone(), fresh])), Found::Part(_)));
    assert!(matches!(x509(&state(&authority, vec![held, failed.clone()])), Found::Whole(_)));
    let Found::Missing(status) = x509(&state(&authority, vec![failed])) else { panic!("nothing is there") };
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("spiffe://example.org/c: TTL_ABOVE_MAX"), "{status}");
}

#[test]
fn bundles_stand_under_the_id_of_their_trust_domain() {
    let authority = authority();
    let state = state(&authority, Vec::new());
    let Found::Whole(content) = X509Bundles::of(&state, &[]) else { panic!("the bundle is there") };
    let workload::X509BundlesResponse { crl, bundles } = content.message();
    assert!(crl.is_empty());
    assert_eq!(bundles, HashMap::from([("spiffe://example.org".to_owned(), authority.root.der().to_vec())]));
    let none = CallerState { bundle: None, ..state };
    assert!(matches!(X509Bundles::of(&none, &[]), Found::Missing(status) if status.code() == tonic::Code::Unavailable));
}

fn federating(authority: &FakeAuthority, foreign: &[&FakeAuthority]) -> CallerState {
    let bundle = |authority: &FakeAuthority| (authority.trust_domain.clone(), Arc::new(authority.bundle(1)));
    let identities = vec![available(authority, entry("a", UID, 1, ""))];
    CallerState { foreign: foreign.iter().map(|foreign| bundle(foreign)).collect(), ..state(authority, identities) }
}

#[test]
fn foreign_bundles_stand_beside_the_own_one_and_never_in_it() {
    let at = Timestamp::from_unix_seconds(1_800_000_000);
    let (own, other, revoked) = (authority(), FakeAuthority::of("other.org", at), FakeAuthority::of("revoked.org", at));
    let mut state = federating(&own, &[&other]);
    let empty = TrustBundle::from_jwks(revoked.trust_domain.clone(), b"{\"keys\":[]}").unwrap();
    state.foreign.insert(revoked.trust_domain.clone(), Arc::new(empty));
    let message = whole(&state).message();
    let theirs = ("spiffe://other.org".to_owned(), other.root.der().to_vec());
    assert_eq!(message.federated_bundles, HashMap::from([theirs.clone()]), "one without authorities is not listed");
    assert_eq!(message.svids[0].bundle, own.root.der().to_vec());

    let Found::Whole(content) = X509Bundles::of(&state, &[]) else { panic!("the bundle is there") };
    let ours = ("spiffe://example.org".to_owned(), own.root.der().to_vec());
    assert_eq!(content.message().bundles, HashMap::from([ours, theirs]));
    let Found::Whole(content) = JwtBundles::of(&state, &[]) else { panic!("the bundle is there") };
    let keys = content.message().bundles;
    let of = |authority: &FakeAuthority| authority.bundle(1).to_jwks(JwksContent::Jwt).into_bytes();
    assert_eq!(keys.get("spiffe://other.org"), Some(&of(&other)));
    assert_eq!(keys.get("spiffe://example.org"), Some(&of(&own)));
    assert_eq!(keys.len(), 3, "of one without keys the list is empty, and nobody's token is good");

    let alone = federating(&own, &[]);
    assert!(!whole(&state).same(&whole(&CallerState { foreign: alone.foreign, ..state.clone() })), "one that goes is told");
}
