use std::sync::atomic::{AtomicBool, Ordering};

use pki::Timestamp;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::fakes::FakeAuthority;
use crate::fakes::held::{available, entry, facts, missing, of_account};
use crate::identities::{HeldIdentity, IdentityState};
use crate::workload::Unreadable;
use identity::SelectorKind;

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

/// What a caller with these selectors is told, and which of what is missing is fetched for it.
fn told(identities: &[HeldIdentity], caller: Facts) -> (Vec<String>, bool, usize) {
    let secrets = CallerSecrets::default();
    let held =
        Held { knowledge: EntryKnowledge::Synced, identities: identities.to_vec(), has_account_rule: true, ..Held::default() };
    let state = secrets.states_of(caller, || true);
    secrets.publish(held);
    let state = state.borrow();
    let paths = state.identities.iter().map(|identity| identity.entry.spiffe_id.path().to_owned()).collect();
    (paths, state.undecided.is_some(), secrets.waiting().len())
}

#[test]
fn the_rule_of_accounts_counts_where_the_ca_has_no_entry_revoked_or_not_and_may_have_none() {
    let in_pod = || facts(&["unix:uid:1", "k8s:ns:shop", "k8s:sa:web"]);
    let by_rule = missing(of_account("shop/web"), None);
    let of_ca = |selectors: &[&str]| missing(entry("a", selectors, 1, ""), None);
    let nothing = Vec::<String>::new();
    assert_eq!(told(std::slice::from_ref(&by_rule), in_pod()), (vec!["/of-account".to_owned()], false, 1));
    assert_eq!(told(&[of_ca(&["unix:uid:2"]), by_rule.clone()], in_pod()), (vec!["/of-account".to_owned()], false, 1));
    // An entry of the CA counts alone, and so does one that is revoked.
    assert_eq!(told(&[of_ca(&["unix:uid:1"]), by_rule.clone()], in_pod()), (vec!["/a".to_owned()], false, 1));
    let revoked = crate::fakes::held::revoked(entry("a", &["unix:uid:1"], 1, ""));
    assert_eq!(told(&[revoked, by_rule.clone()], in_pod()), (nothing.clone(), false, 0));
    // One that may match: nothing is given until that is known.
    let hashed = of_ca(&["unix:uid:1", &format!("unix:sha256:{}", "0f".repeat(32))]);
    let absent = |kind| Unreadable { kind, why: "later".to_owned(), passing: true };
    let unread = Facts { unreadable: vec![absent(SelectorKind::Sha256)], ..in_pod() };
    assert_eq!(told(&[hashed, by_rule.clone()], unread), (nothing.clone(), true, 0));
    // Another account, and no pod at all.
    assert_eq!(
        told(std::slice::from_ref(&by_rule), facts(&["unix:uid:1", "k8s:ns:mall", "k8s:sa:web"])),
        (nothing.clone(), true, 0)
    );
    assert_eq!(told(std::slice::from_ref(&by_rule), facts(&["unix:uid:1"])), (nothing.clone(), false, 0));
    // Its pod is not known yet.
    let unlisted = Facts { unreadable: vec![absent(SelectorKind::PodServiceAccount)], ..facts(&["unix:uid:1"]) };
    assert_eq!(told(&[], unlisted), (nothing, true, 0));
}
