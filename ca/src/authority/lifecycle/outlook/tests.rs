use std::time::Duration;

use super::super::gate::Gate;
use super::super::rotation::Pace;
use super::super::{Adopted, Event, Material, apply, plan};
use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn named(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

fn material(name: AuthorityName) -> Material {
    let not_after = (name.kind != AuthorityKind::Jwt).then(|| at(1_000));
    Material { key: pki::sha256(name.to_string().as_bytes()), public_der: Vec::new(), not_before: at(100), not_after }
}

fn step(state: &Lifecycle, event: Event) -> Lifecycle {
    apply(state, event, at(200)).unwrap().state
}

fn first() -> Lifecycle {
    ["root-1", "issuer-1", "jwt-1"].map(named).into_iter().fold(Lifecycle::default(), |state, name| {
        let adopted = step(&state, Event::Adopt(Adopted { name, material: material(name) }));
        step(&adopted, Event::Published { sequence: 1 })
    })
}

fn with_second_root() -> Lifecycle {
    let state = step(&first(), Event::Prepare(AuthorityKind::Root));
    ["root-2", "issuer-2"].map(named).into_iter().fold(state, |state, name| {
        let made = step(&state, Event::Made { name, material: material(name) });
        step(&made, Event::Published { sequence: 2 })
    })
}

const DAILY: Policy = Policy { jwt_key_life: Duration::from_secs(86_400), is_issuer_foreign: false };

fn told(state: &Lifecycle, rotations: &[Rotation], automatic: Option<Policy>, now: u64, name: &str) -> String {
    let outlook = Outlook { state, rotations, facts: &Facts::default(), automatic, now: at(now) };
    outlook.next_action(state.get(named(name)).unwrap())
}

#[test]
fn what_signs_is_told_when_it_is_replaced_and_why() {
    let state = first();
    let active = |name, now| told(&state, &[], Some(DAILY), now, name);
    assert_eq!(active("issuer-1", 200), "is replaced by itself from 1970-01-01T00:09:10Z on: half of its life is over then");
    assert_eq!(active("root-1", 200), "is replaced by itself from 1970-01-01T00:11:40Z on: a third of its life is left then");
    assert_eq!(active("issuer-1", 600), "is due to be replaced; the CA begins by itself");
    assert_eq!(active("issuer-1", 2_000), "has ended: nothing can be issued (`signet drill issuer`)");
    assert!(active("jwt-1", 200).contains("jwt_key_life"));
    let by_hand = told(&state, &[], None, 200, "root-1");
    assert_eq!(by_hand, "to be replaced before 1970-01-01T00:16:40Z by `signet drill root`: [rotation] automatic is off");
}

#[test]
fn a_rotation_says_of_each_authority_what_it_will_do_with_it() {
    let state = with_second_root();
    assert_eq!(told(&state, &[], None, 200, "root-2"), "may sign (`signet authority activate root-2`)");
    let rotation = plan::beginning(&state, AuthorityKind::Root, Pace::Taint, at(200)).unwrap();
    let under_way = [rotation.clone()];
    let said = |state: &Lifecycle, name| told(state, &under_way, Some(DAILY), 200, name);
    assert_eq!(said(&state, "root-1"), "is being replaced by root-2");
    assert_eq!(said(&state, "issuer-1"), "signs until root-2 does");
    assert_eq!(said(&state, "root-2"), "signs at once");
    assert_eq!(said(&state, "issuer-2"), "signs when root-2 does");
    let active = step(&state, Event::Activate { name: named("root-2"), gate: Gate::Open });
    assert_eq!(said(&active, "root-2"), "signs in place of root-1");
    assert!(said(&active, "issuer-2").starts_with("is replaced by itself from"), "{}", said(&active, "issuer-2"));
    assert_eq!(said(&active, "root-1"), "goes at once");
    assert_eq!(said(&active, "issuer-1"), "goes with root-1");
    assert_eq!(told(&active, &[], None, 200, "root-1"), "may go (`signet authority revoke root-1`)");
    let aborting = [Rotation { aborting: true, ..rotation }];
    assert_eq!(told(&state, &aborting, None, 200, "root-2"), "is dropped: the rotation is being undone");
    assert_eq!(told(&active, &aborting, None, 200, "root-2"), "gives way to root-1 again: the rotation is being undone");
    assert_eq!(told(&active, &aborting, None, 200, "root-1"), "signs again: its rotation is being undone");
}

#[test]
fn what_waits_says_for_what() {
    let state = step(&with_second_root(), Event::Activate { name: named("root-2"), gate: Gate::Open });
    let tainted = step(&state, Event::Taint(named("root-1")));
    assert_eq!(told(&tainted, &[], None, 200, "root-1"), "may go when this is over: the bundle has not gone out yet");
    let published = step(&tainted, Event::Published { sequence: 3 });
    let gone = step(&published, Event::Revoke { name: named("root-1"), gate: Gate::Open });
    assert_eq!(told(&gone, &[], None, 200, "root-1"), "its private key is being destroyed");
    let destroyed = step(&gone, Event::Destroyed(named("root-1")));
    assert_eq!(told(&destroyed, &[], None, 200, "root-1"), "none: its private key is destroyed");
}
