use std::sync::atomic::{AtomicBool, Ordering};

use pki::Timestamp;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::fakes::FakeAuthority;
use crate::fakes::held::{available, entry, facts};
use crate::identities::{HeldIdentity, IdentityState};

fn identity(authority: &FakeAuthority, id: &str, selectors: &[&str], age: i64) -> HeldIdentity {
    available(authority, entry(id, selectors, age, ""))
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
    let both = secrets.secrets_of(facts(&["unix:uid:1", "unix:path:/bin/a"]), || true);
    let user = secrets.secrets_of(facts(&["unix:uid:1"]), || true);
    let nobody = secrets.secrets_of(Facts::default(), || true);
    let identities = vec![
        identity(&authority, "user", &["unix:uid:1"], 1),
        identity(&authority, "program", &["unix:uid:1", "unix:path:/bin/a"], 2),
        identity(&authority, "other", &["unix:uid:2"], 3),
    ];
    secrets.publish(Held { knowledge: EntryKnowledge::Synced, identities, ..Held::default() });
    assert_eq!(paths(&both.borrow()), ["/user", "/program"]);
    assert_eq!(paths(&user.borrow()), ["/user"]);
    assert!(nobody.borrow().svids.is_empty());
}

#[test]
fn only_callers_whose_part_changed_are_woken() {
    let authority = authority();
    let secrets = CallerSecrets::default();
    secrets.publish(Held { knowledge: EntryKnowledge::Synced, ..Held::default() });
    let mut one = secrets.secrets_of(facts(&["unix:uid:1"]), || true);
    let mut two = secrets.secrets_of(facts(&["unix:uid:2"]), || true);
    let first = identity(&authority, "a", &["unix:uid:1"], 1);
    secrets.publish(Held { knowledge: EntryKnowledge::Synced, identities: vec![first.clone()], ..Held::default() });
    assert!(one.has_changed().unwrap() && !two.has_changed().unwrap());
    one.mark_unchanged();
    secrets.publish(Held {
        knowledge: EntryKnowledge::Synced,
        identities: vec![first.clone(), identity(&authority, "b", &["unix:uid:2"], 2)],
        ..Held::default()
    });
    assert!(!one.has_changed().unwrap() && two.has_changed().unwrap());
    two.mark_unchanged();
    secrets.publish(Held {
        knowledge: EntryKnowledge::Synced,
        bundle: Some(Arc::new(authority.bundle(1))),
        identities: vec![first],
        ..Held::default()
    });
    assert!(one.has_changed().unwrap() && two.has_changed().unwrap());
    assert!(two.borrow().svids.is_empty());
}

#[test]
fn only_listeners_make_an_entry_wait_and_the_gone_are_forgotten() {
    let authority = authority();
    let secrets = CallerSecrets::default();
    let missing = HeldIdentity { state: IdentityState::Initializing, ..identity(&authority, "a", &["unix:uid:1"], 1) };
    secrets.publish(Held { knowledge: EntryKnowledge::Synced, identities: vec![missing], ..Held::default() });
    assert!(secrets.waiting().is_empty());
    let alive = Arc::new(AtomicBool::new(true));
    let process = Arc::clone(&alive);
    let caller = secrets.secrets_of(facts(&["unix:uid:1"]), move || process.load(Ordering::Relaxed));
    assert_eq!(secrets.waiting().len(), 1);
    secrets.forget_gone_callers();
    assert!(caller.has_changed().is_ok(), "its stream goes on");
    alive.store(false, Ordering::Relaxed);
    secrets.forget_gone_callers();
    assert!(caller.has_changed().is_err(), "its stream ends with the process");
    let quiet = secrets.secrets_of(facts(&["unix:uid:1"]), || true);
    drop(quiet);
    assert!(secrets.waiting().is_empty());
}

#[test]
fn what_the_disk_remembers_proves_no_removal_to_sds() {
    let secrets = CallerSecrets::default();
    let caller = secrets.secrets_of(facts(&["unix:uid:1"]), || true);
    for (knowledge, proven) in [(EntryKnowledge::Stored, false), (EntryKnowledge::Synced, true), (EntryKnowledge::None, false)] {
        secrets.publish(Held { knowledge, ..Held::default() });
        assert_eq!(caller.borrow().known, proven, "{knowledge:?}");
    }
}

#[test]
fn a_revoked_identity_leaves_its_callers_state_and_no_other_becomes_the_default_of_sds() {
    let authority = authority();
    let secrets = CallerSecrets::default();
    let first = |revoked: bool| {
        let first = entry("a", &["unix:uid:1"], 1, "");
        if revoked { crate::fakes::held::revoked(first) } else { available(&authority, first) }
    };
    let second = identity(&authority, "b", &["unix:uid:1"], 2);
    let mut caller = secrets.secrets_of(facts(&["unix:uid:1"]), || true);
    let whole = secrets.states_of(facts(&["unix:uid:1"]), || true);
    for (revoked, ids) in [(false, &["/a", "/b"][..]), (true, &["/b"]), (false, &["/a", "/b"])] {
        let identities = vec![first(revoked), second.clone()];
        secrets.publish(Held { knowledge: EntryKnowledge::Synced, identities, ..Held::default() });
        assert!(caller.has_changed().unwrap());
        let state = Arc::clone(&caller.borrow_and_update());
        assert_eq!(paths(&state), ids);
        assert_eq!((state.default_revoked, state.revoked.len(), state.pending.len()), (revoked, usize::from(revoked), 0));
        assert_eq!(whole.borrow().identities.len(), ids.len());
        assert!(secrets.waiting().is_empty(), "nothing is fetched for it");
    }
    let identities = vec![first(false), crate::fakes::held::revoked(entry("b", &["unix:uid:1"], 2, ""))];
    secrets.publish(Held { knowledge: EntryKnowledge::Synced, identities, ..Held::default() });
    assert!(!caller.borrow().default_revoked, "the first one is still the default");
}
