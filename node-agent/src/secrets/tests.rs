use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use identity::{NodeName, TrustDomain};
use pki::Timestamp;
use proto::v1;

use super::*;
use crate::entry::Entry;
use crate::fakes::FakeAuthority;
use crate::identities::IdentityState;

fn identity(authority: &FakeAuthority, id: &str, selectors: &[&str], age: i64) -> HeldIdentity {
    let wire = v1::Entry {
        id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org/{id}"),
        selectors: selectors.iter().map(|selector| (*selector).to_owned()).collect(),
        parent_node: "n1".to_owned(),
        created_at: Some(prost_types::Timestamp { seconds: age, nanos: 0 }),
        ..v1::Entry::default()
    };
    let domain = TrustDomain::parse("example.org").unwrap();
    let entry = Entry::from_wire(wire, &domain, &NodeName::parse("n1").unwrap()).unwrap();
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let svid = authority.svid(&entry.spiffe_id, Duration::from_secs(600), now);
    HeldIdentity { entry: Arc::new(entry), state: IdentityState::Available(Arc::new(svid)), last_error: None }
}

fn selectors(texts: &[&str]) -> BTreeSet<Selector> {
    texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
}

fn authority() -> FakeAuthority {
    FakeAuthority::new(Timestamp::from_unix_seconds(1_800_000_000))
}

fn paths(state: &SecretState) -> Vec<&str> {
    state.svids.iter().map(|svid| svid.id().path()).collect()
}

#[test]
fn a_caller_gets_what_all_its_selectors_match_in_order_and_nothing_else() {
    let authority = authority();
    let secrets = CallerSecrets::default();
    let both = secrets.subscribe_as(selectors(&["unix:uid:1", "unix:path:/bin/a"]), || true);
    let user = secrets.subscribe_as(selectors(&["unix:uid:1"]), || true);
    let nobody = secrets.subscribe_as(BTreeSet::new(), || true);
    let identities = vec![
        identity(&authority, "user", &["unix:uid:1"], 1),
        identity(&authority, "program", &["unix:uid:1", "unix:path:/bin/a"], 2),
        identity(&authority, "other", &["unix:uid:2"], 3),
    ];
    secrets.publish(Held { bundle: None, identities });
    assert_eq!(paths(&both.borrow()), ["/user", "/program"]);
    assert_eq!(paths(&user.borrow()), ["/user"]);
    assert!(nobody.borrow().svids.is_empty());
}

#[test]
fn only_callers_whose_part_changed_are_woken() {
    let authority = authority();
    let secrets = CallerSecrets::default();
    let mut one = secrets.subscribe_as(selectors(&["unix:uid:1"]), || true);
    let mut two = secrets.subscribe_as(selectors(&["unix:uid:2"]), || true);
    let first = identity(&authority, "a", &["unix:uid:1"], 1);
    secrets.publish(Held { bundle: None, identities: vec![first.clone()] });
    assert!(one.has_changed().unwrap() && !two.has_changed().unwrap());
    one.mark_unchanged();
    secrets.publish(Held { bundle: None, identities: vec![first.clone(), identity(&authority, "b", &["unix:uid:2"], 2)] });
    assert!(!one.has_changed().unwrap() && two.has_changed().unwrap());
    two.mark_unchanged();
    secrets.publish(Held { bundle: Some(Arc::new(authority.bundle(1))), identities: vec![first] });
    assert!(one.has_changed().unwrap() && two.has_changed().unwrap());
    assert!(two.borrow().svids.is_empty());
}

#[test]
fn only_listeners_make_an_entry_wait_and_the_gone_are_forgotten() {
    let authority = authority();
    let secrets = CallerSecrets::default();
    let missing = HeldIdentity { state: IdentityState::Initializing, ..identity(&authority, "a", &["unix:uid:1"], 1) };
    secrets.publish(Held { bundle: None, identities: vec![missing] });
    assert!(secrets.waiting().is_empty());
    let alive = Arc::new(AtomicBool::new(true));
    let process = Arc::clone(&alive);
    let caller = secrets.subscribe_as(selectors(&["unix:uid:1"]), move || process.load(Ordering::Relaxed));
    assert_eq!(secrets.waiting().len(), 1);
    secrets.forget_gone_callers();
    assert!(caller.has_changed().is_ok(), "its stream goes on");
    alive.store(false, Ordering::Relaxed);
    secrets.forget_gone_callers();
    assert!(caller.has_changed().is_err(), "its stream ends with the process");
    let quiet = secrets.subscribe_as(selectors(&["unix:uid:1"]), || true);
    drop(quiet);
    assert!(secrets.waiting().is_empty());
}
