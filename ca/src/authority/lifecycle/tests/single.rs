//! Transitions one by one: what they lead to, what they refuse, and that the second time changes nothing.

use super::super::gate::{Gate, Waiting};
use super::*;

fn activate(text: &str) -> Event {
    Event::Activate { name: name(text), gate: Gate::Open }
}

fn revoke(text: &str) -> Event {
    Event::Revoke { name: name(text), gate: Gate::Open }
}

fn shut() -> Gate {
    Gate::Waits(vec![Waiting::Publication])
}

fn slot(state: &Lifecycle, text: &str) -> Slot {
    state.get(name(text)).unwrap().slot
}

#[test]
fn a_root_is_prepared_with_an_issuing_ca_and_both_sign_at_once() {
    let state = adopted();
    let transition = apply(&state, Event::Prepare(AuthorityKind::Root), now()).unwrap();
    assert_eq!(transition.effects, [Effect::Make { name: name("root-2"), parent: None }]);
    let root_made =
        apply(&transition.state, Event::Made { name: name("root-2"), material: material(name("root-2")) }, now()).unwrap();
    let make_issuer = Effect::Make { name: name("issuer-2"), parent: Some(name("root-2")) };
    assert_eq!(root_made.effects, [make_issuer, Effect::Publish]);
    assert_eq!(root_made.state.in_bundle(AuthorityKind::Root).count(), 2);
    let error = apply(&root_made.state, activate("root-2"), now()).unwrap_err();
    assert_eq!(error, Refusal::NoIssuer(name("root-2")), "nothing could sign under it yet");

    let state = prepared(&state, AuthorityKind::Root, 2);
    assert_eq!(state.get(name("root-2")).unwrap().published_in, Some(2));
    assert_eq!(state.get(name("root-1")).unwrap().published_in, Some(1));
    let error = apply(&state, activate("issuer-2"), now()).unwrap_err();
    assert!(matches!(error, Refusal::ParentNotActive { .. }) && error.to_string().contains("activate root-2"), "{error}");
    let error = apply(&state, Event::Activate { name: name("root-2"), gate: shut() }, now()).unwrap_err();
    assert!(matches!(error, Refusal::Gate { .. }), "{error}");
    let transition = apply(&state, activate("root-2"), now()).unwrap();
    assert_eq!(transition.effects, [Effect::Sign]);
    let signing = |text| slot(&transition.state, text);
    assert_eq!([signing("root-1"), signing("issuer-1")], [Slot::Old; 2]);
    assert_eq!([signing("root-2"), signing("issuer-2")], [Slot::Active; 2]);
}

#[test]
fn every_event_changes_nothing_the_second_time() {
    let prepared_root = prepared(&adopted(), AuthorityKind::Root, 2);
    let active = did(&prepared_root, activate("root-2"));
    let tainted = did(&active, Event::Taint(name("root-1")));
    let published = did(&tainted, Event::Published { sequence: 3 });
    let revoked = did(&published, revoke("root-1"));
    let destroyed = did(&revoked, Event::Destroyed(name("root-1")));
    for (after, event) in [
        (&prepared_root, Event::Prepare(AuthorityKind::Root)),
        (&prepared_root, Event::Made { name: name("root-2"), material: material(name("root-2")) }),
        (&prepared_root, Event::Published { sequence: 9 }),
        (&active, activate("root-2")),
        (&tainted, Event::Taint(name("root-1"))),
        (&published, Event::Published { sequence: 9 }),
        (&revoked, revoke("root-1")),
        (&revoked, Event::Revoke { name: name("root-1"), gate: shut() }),
        (&destroyed, Event::Destroyed(name("root-1"))),
        (&destroyed, Event::Adopt(Adopted { name: name("root-1"), material: material(name("root-1")) })),
    ] {
        let transition = apply(after, event.clone(), now()).unwrap();
        assert_eq!((&transition.state, transition.effects.as_slice()), (after, [].as_slice()), "{event:?}");
    }
}

#[test]
fn what_signs_is_neither_tainted_nor_revoked_and_the_way_out_is_told() {
    let state = adopted();
    for text in ["root-1", "issuer-1", "jwt-1"] {
        for event in [Event::Taint(name(text)), revoke(text)] {
            let error = apply(&state, event, now()).unwrap_err();
            let way_out = format!("signet drill {}", name(text).kind);
            assert!(matches!(error, Refusal::Slot { slot: Slot::Active, .. }) && error.to_string().contains(&way_out), "{error}");
        }
    }
}

#[test]
fn a_taint_reaches_the_issuing_cas_below_and_no_others() {
    let state = prepared(&adopted(), AuthorityKind::Issuer, 1);
    let state = did(&state, activate("issuer-2"));
    let state = did(&prepared(&state, AuthorityKind::Root, 2), activate("root-2"));
    let issuer_only = did(&state, Event::Taint(name("issuer-1")));
    assert_eq!(issuer_only.tainted().map(|authority| authority.name).collect::<Vec<_>>(), [name("issuer-1")]);
    let state = did(&state, Event::Taint(name("root-1")));
    let tainted: Vec<_> = state.tainted().map(|authority| authority.name.to_string()).collect();
    assert_eq!(tainted, ["root-1", "issuer-1", "issuer-2"]);
    let published = did(&state, Event::Published { sequence: 7 });
    assert_eq!(published.get(name("issuer-2")).unwrap().taint_published_in, Some(7));
    let error = apply(&state, activate("root-1"), now()).unwrap_err();
    assert!(error.to_string().contains("tainted"), "{error}");
    let revoked = did(&published, revoke("root-1"));
    assert_eq!(revoked.tainted().count(), 0, "nothing vouches for them any more");
    assert_eq!(slot(&revoked, "issuer-2"), Slot::Revoked);
}

#[test]
fn an_activation_is_undone_while_the_old_one_is_not_tainted() {
    let state = did(&prepared(&adopted(), AuthorityKind::Root, 2), activate("root-2"));
    let back = apply(&state, Event::Activate { name: name("root-1"), gate: shut() }, now()).unwrap();
    assert_eq!(back.effects, [Effect::Sign], "an old one needs no gate: it never left the bundle");
    assert_eq!([slot(&back.state, "root-1"), slot(&back.state, "issuer-1")], [Slot::Active; 2]);
    assert_eq!([slot(&back.state, "root-2"), slot(&back.state, "issuer-2")], [Slot::Old; 2]);
}

#[test]
fn a_prepared_one_is_dropped_with_what_is_below_it_and_its_name_is_not_used_again() {
    let state = prepared(&adopted(), AuthorityKind::Root, 2);
    let transition = apply(&state, Event::Revoke { name: name("root-2"), gate: shut() }, now()).unwrap();
    let destroy = |text| Effect::Destroy(name(text));
    assert_eq!(transition.effects, [Effect::Publish, destroy("root-2"), destroy("issuer-2")]);
    let again = did(&transition.state, Event::Prepare(AuthorityKind::Root));
    assert_eq!([slot(&again, "root-3"), slot(&again, "issuer-3")], [Slot::Making; 2]);
    let late = apply(&again, Event::Made { name: name("root-2"), material: material(name("root-3")) }, now());
    assert_eq!(late.unwrap_err(), Refusal::MadeTwice(name("root-2")));
}

#[test]
fn what_was_prepared_under_the_former_root_goes_when_another_root_signs() {
    let state = prepared(&adopted(), AuthorityKind::Root, 2);
    let state = prepared(&state, AuthorityKind::Issuer, 2);
    assert_eq!(state.get(name("issuer-3")).unwrap().parent, Some(name("root-1")));
    let transition = apply(&state, activate("root-2"), now()).unwrap();
    assert_eq!(slot(&transition.state, "issuer-3"), Slot::Revoked);
    assert_eq!(transition.effects, [Effect::Destroy(name("issuer-3")), Effect::Sign]);
}

#[test]
fn a_root_that_waited_too_long_gets_another_issuing_ca() {
    let state = prepared(&adopted(), AuthorityKind::Root, 2);
    let mut all: Vec<_> = state.authorities().cloned().collect();
    let issuer = all.iter_mut().find(|authority| authority.name == name("issuer-2")).unwrap();
    issuer.material.as_mut().unwrap().not_after = Some(now().minus(std::time::Duration::from_secs(1)));
    let state = Lifecycle::restore(all).unwrap();
    assert_eq!(apply(&state, activate("root-2"), now()).unwrap_err(), Refusal::NoIssuer(name("root-2")));
    let transition = apply(&state, Event::Prepare(AuthorityKind::Root), now()).unwrap();
    let make = Effect::Make { name: name("issuer-3"), parent: Some(name("root-2")) };
    assert_eq!(transition.effects, [Effect::Destroy(name("issuer-2")), make]);
    assert_eq!(slot(&transition.state, "issuer-2"), Slot::Revoked);
}

#[test]
fn what_has_ended_does_not_sign() {
    let state = prepared(&adopted(), AuthorityKind::Issuer, 1);
    let later = now().plus(std::time::Duration::from_secs(1001));
    assert_eq!(apply(&state, activate("issuer-2"), later).unwrap_err(), Refusal::Ended(name("issuer-2")));
    let state = prepared(&state, AuthorityKind::Jwt, 2);
    assert!(apply(&state, activate("jwt-2"), later).is_ok(), "a JWT key does not end by itself");
}

#[test]
fn a_plugged_in_authority_is_not_rotated_here() {
    let jwt = Adopted { name: name("jwt-1"), material: material(name("jwt-1")) };
    let state = did(&Lifecycle::default(), Event::Adopt(jwt));
    for kind in [AuthorityKind::Root, AuthorityKind::Issuer] {
        assert_eq!(apply(&state, Event::Prepare(kind), now()).unwrap_err(), Refusal::PluggedIn(kind));
    }
    assert!(apply(&state, Event::Prepare(AuthorityKind::Jwt), now()).is_ok());
}

#[test]
fn an_issuing_ca_made_offline_signs_at_once_and_a_root_does_not() {
    let state = adopted();
    let adopt = |text: &str| Event::Adopt(Adopted { name: name(text), material: material(name(text)) });
    let state = did(&state, adopt("issuer-5"));
    assert_eq!([slot(&state, "issuer-1"), slot(&state, "issuer-5")], [Slot::Old, Slot::Active]);
    assert!(matches!(apply(&state, adopt("root-2"), now()), Err(Refusal::Adoption(..))));
    let mut other = material(name("issuer-5"));
    other.key[5] = 1;
    let taken = Event::Adopt(Adopted { name: name("issuer-5"), material: other });
    assert!(matches!(apply(&state, taken, now()), Err(Refusal::Adoption(..))));
    assert_eq!(did(&state, Event::Prepare(AuthorityKind::Issuer)).next(AuthorityKind::Issuer).unwrap().name, name("issuer-6"));
}

#[test]
fn there_is_a_bound_to_how_many_are_in_force() {
    let mut state = adopted();
    for number in 2..=u32::try_from(MOST_IN_FORCE).unwrap() {
        let text = format!("jwt-{number}");
        state = did(&prepared(&state, AuthorityKind::Jwt, u64::from(number)), activate(&text));
    }
    let error = apply(&state, Event::Prepare(AuthorityKind::Jwt), now()).unwrap_err();
    assert_eq!(error, Refusal::TooMany { kind: AuthorityKind::Jwt, most: MOST_IN_FORCE });
    let state = did(&state, revoke("jwt-1"));
    assert!(apply(&state, Event::Prepare(AuthorityKind::Jwt), now()).is_ok());
}

#[test]
fn a_stored_state_that_no_events_make_is_refused_whole() {
    let state = prepared(&adopted(), AuthorityKind::Root, 2);
    let all: Vec<_> = state.authorities().cloned().collect();
    assert_eq!(Lifecycle::restore(all.clone()), Ok(state.clone()));
    let edited = |text: &str, edit: &dyn Fn(&mut Authority)| {
        let mut all = all.clone();
        edit(all.iter_mut().find(|authority| authority.name == name(text)).unwrap());
        Lifecycle::restore(all).unwrap_err()
    };
    assert!(matches!(edited("root-2", &|authority| authority.slot = Slot::Active), LifecycleFault::TwoActive(..)));
    assert!(matches!(edited("issuer-2", &|authority| authority.parent = None), LifecycleFault::Parent(_)));
    assert!(matches!(edited("jwt-1", &|authority| authority.parent = Some(name("root-1"))), LifecycleFault::Parent(_)));
    assert!(matches!(
        edited("issuer-1", &|authority| authority.parent = Some(name("root-2"))),
        LifecycleFault::ParentNotActive(_)
    ));
    assert!(matches!(edited("jwt-1", &|authority| authority.material = None), LifecycleFault::Material(..)));
    assert!(matches!(edited("jwt-1", &|authority| authority.slot = Slot::Making), LifecycleFault::Material(..)));
    assert!(matches!(edited("jwt-1", &|authority| authority.tainted_at = Some(now())), LifecycleFault::Tainted(..)));
    assert!(matches!(edited("jwt-1", &|authority| authority.name = name("root-1")), LifecycleFault::Repeated(_)));
}

#[test]
fn names_have_one_text_each() {
    for text in ["root-1", "issuer-42", "jwt-4294967295"] {
        assert_eq!(name(text).to_string(), text);
    }
    for text in
        ["", "root", "root-", "root-0", "root-01", "root-+1", "Root-1", "root-4294967296", "leaf-1", "root-1-1", " root-1"]
    {
        assert!(text.parse::<AuthorityName>().is_err(), "{text:?}");
    }
}
