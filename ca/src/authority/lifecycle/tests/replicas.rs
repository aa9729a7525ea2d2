//! Two replicas under one root: what is shared is moved by the one that leads, and each follows with what is its own.

use std::collections::BTreeSet;

use identity::ReplicaName;

use super::super::gate::{Accepted, Facts, Gate, Leaves, Waiting, activation, removal, still_under};
use super::super::rotation::{Next, Pace, Phase, Rotation};
use super::*;

fn replica(text: &str) -> ReplicaName {
    ReplicaName::parse(text).unwrap()
}

/// What `owner` sees, as the other one sees it.
fn seen_by_other(state: &Lifecycle, owner: &str) -> Lifecycle {
    let roots = state.of(AuthorityKind::Root).cloned();
    let own = state.others().map(|foreign| foreign.authority.clone());
    let others = state.authorities().filter(|authority| authority.name.kind != AuthorityKind::Root).cloned();
    let others = others.map(|authority| Foreign { replica: replica(owner), authority });
    Lifecycle::restore(roots.chain(own)).unwrap().beside(others).unwrap()
}

fn slot_of(state: &Lifecycle, text: &str) -> Slot {
    state.everything().find(|authority| authority.name == name(text)).unwrap().slot
}

fn facts(others: &[&str]) -> Facts {
    Facts { replicas: others.iter().map(|text| replica(text)).collect::<BTreeSet<_>>(), ..Facts::default() }
}

/// What `a`, who leads, and `b` see after both have an issuing CA.
fn both() -> (Lifecycle, Lifecycle) {
    let before = seen_by_other(&adopted(), "a");
    assert_eq!(before.next_name(AuthorityKind::Issuer), name("issuer-2"), "no name is used twice, whoever used it");
    let b = did(&before, Event::Adopt(Adopted { name: name("issuer-2"), material: material(name("issuer-2")) }));
    assert!(!b.moves_shared(&before), "its own issuing CA is its own");
    (seen_by_other(&b, "b"), b)
}

#[test]
fn a_root_is_changed_by_the_one_that_leads_and_the_other_follows_before_anything_is_taken_away() {
    let (a, _) = both();
    let next = prepared(&a, AuthorityKind::Root, 2);
    assert!(next.moves_shared(&a));
    let gate = |state: &Lifecycle, live: &[&str]| activation(state, name("root-2"), &facts(live), now(), &Accepted::default());
    let waits = Gate::Waits(vec![Waiting::Replicas([replica("b")].into())]);
    assert_eq!((gate(&next, &["b"]), gate(&next, &[])), (waits, Gate::Open), "who is gone is not waited for");

    // The other one prepares its own under the new root, and moves nothing else.
    let before = seen_by_other(&next, "a");
    let b = did(&before, Event::Prepare(AuthorityKind::Root));
    let b = did(&b, Event::Made { name: name("issuer-4"), material: material(name("issuer-4")) });
    assert!(!b.moves_shared(&before));
    let a = seen_by_other(&b, "b");
    assert_eq!(gate(&a, &["b"]), Gate::Open);

    let a = did(&a, Event::Activate { name: name("root-2"), gate: Gate::Open });
    assert_eq!((slot_of(&a, "issuer-3"), slot_of(&a, "issuer-2")), (Slot::Active, Slot::Active), "each signs");
    let rotation =
        Rotation { from: name("root-1"), started_at: now(), pace: Pace::Taint, aborting: false, accepted: Accepted::default() };
    let behind = vec![Waiting::Replicas([replica("b")].into())];
    assert_eq!(rotation.next(&a, &facts(&["b"]), now()), Next::Wait(Phase::Replace, behind), "nothing is renewed in vain");

    let before = seen_by_other(&a, "a");
    let b = did(&before, Event::Activate { name: name("issuer-4"), gate: Gate::Open });
    assert!(!b.moves_shared(&before));
    assert_eq!((slot_of(&b, "issuer-2"), slot_of(&b, "issuer-4")), (Slot::Old, Slot::Active));
    let a = seen_by_other(&b, "b");
    assert_eq!(still_under(&a, name("root-1"), &facts(&["b"])), []);

    let a = did(&a, Event::Taint(name("root-1")));
    assert!(a.tainted().any(|authority| authority.name == name("issuer-2")), "what the other one signed is renewed too");
    let revoked = apply(&a, Event::Revoke { name: name("root-1"), gate: Gate::Open }, now()).unwrap();
    assert!(revoked.state.moves_shared(&a));
    assert_eq!(["issuer-1", "issuer-2"].map(|text| slot_of(&revoked.state, text)), [Slot::Revoked; 2]);
    let destroyed: Vec<_> = revoked.effects.iter().filter(|effect| matches!(effect, Effect::Destroy(_))).collect();
    let own = [Effect::Destroy(name("root-1")), Effect::Destroy(name("issuer-1"))];
    assert_eq!(destroyed, own.iter().collect::<Vec<_>>(), "the key of another replica is destroyed there");
}

#[test]
fn both_bundles_say_the_same() {
    let (a, b) = both();
    let b = did(&b, Event::Adopt(Adopted { name: name("jwt-2"), material: material(name("jwt-2")) }));
    let a_sees = seen_by_other(&b, "b");
    let jwts = |state: &Lifecycle| state.in_bundle(AuthorityKind::Jwt).map(|jwt| jwt.name).collect::<Vec<_>>();
    assert_eq!((jwts(&b), jwts(&a_sees)), (vec![name("jwt-1"), name("jwt-2")], vec![name("jwt-1"), name("jwt-2")]));
    assert_eq!(a.in_bundle(AuthorityKind::Root).count(), 1);
    let root = b.get(name("root-1")).unwrap().clone();
    let twice = Lifecycle::default().beside([Foreign { replica: replica("b"), authority: root }]);
    assert!(twice.is_err(), "a root is nobody's own");
}

#[test]
fn what_rests_on_a_replica_that_is_gone_is_renewed_before_its_authorities_are_taken_out() {
    let (a, b) = both();
    let b = did(&b, Event::Adopt(Adopted { name: name("jwt-2"), material: material(name("jwt-2")) }));
    let b = did(&b, Event::Prepare(AuthorityKind::Issuer));
    let a = {
        let seen = seen_by_other(&b, "b");
        assert_eq!(seen.others().count(), a.others().count() + 2);
        seen
    };
    let remove = |gate| Event::RevokeReplica { replica: replica("b"), gate };
    // Not before others were told to renew.
    assert!(matches!(apply(&a, remove(Gate::Open), now()), Err(Refusal::Slot { .. })));

    let tainted = apply(&a, Event::TaintReplica(replica("b")), now()).unwrap();
    assert_eq!(tainted.effects, [Effect::Publish]);
    assert!(tainted.state.moves_shared(&a), "it is for the one that leads");
    let a = tainted.state;
    a.check().unwrap();
    assert_eq!(["issuer-2", "jwt-2", "issuer-3"].map(|text| slot_of(&a, text)), [Slot::Old, Slot::Old, Slot::Revoked]);
    assert_eq!(["issuer-1", "jwt-1"].map(|text| slot_of(&a, text)), [Slot::Active; 2], "what is another's stays as it is");
    assert_eq!(a.tainted().count(), 2);
    assert_eq!(apply(&a, Event::TaintReplica(replica("b")), now()).unwrap(), Transition { state: a.clone(), effects: vec![] });

    let held = |held| Leaves { held, unexpired: 9, ..Leaves::default() };
    let with = |leaves: u64, until: Option<u64>| Facts {
        leaves: [(name("issuer-2"), held(leaves)), (name("issuer-1"), held(7))].into(),
        tokens_until: until
            .map(|seconds| (name("jwt-2"), now().plus(std::time::Duration::from_secs(seconds))))
            .into_iter()
            .collect(),
        ..Facts::default()
    };
    let gate = |state: &Lifecycle, facts: &Facts| removal(state, &replica("b"), facts, now());
    assert!(
        matches!(gate(&a, &with(0, None)), Gate::Waits(waits) if waits.contains(&Waiting::Publication)),
        "nobody was told yet"
    );
    let a = did(&a, Event::Published { sequence: 9 });
    assert!(matches!(gate(&a, &with(1, None)), Gate::Waits(_)), "one has nothing better yet");
    assert!(matches!(gate(&a, &with(0, Some(60))), Gate::Waits(_)), "a token is good still");
    let waits = gate(&a, &with(1, None));
    assert!(matches!(apply(&a, remove(waits), now()), Err(Refusal::Gate { .. })));
    assert_eq!(gate(&a, &with(0, None)), Gate::Open);
    let removed = apply(&a, remove(Gate::Open), now()).unwrap();
    assert_eq!(["issuer-2", "jwt-2"].map(|text| slot_of(&removed.state, text)), [Slot::Revoked; 2]);
    assert_eq!(removed.state.in_bundle(AuthorityKind::Jwt).count(), 1, "tokens under its key are refused");
    assert_eq!(removed.effects, [Effect::Publish], "no key of it lies here");
    assert_eq!(apply(&removed.state, remove(Gate::Open), now()).unwrap().effects, []);
}
