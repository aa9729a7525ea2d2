//! Rotations step by step, and when they are due.

use std::time::Duration;

use super::super::gate::{Accepted, Facts, Leaves, Waiting};
use super::super::rotation::{Next, NoWayBack, Outcome, Pace, Phase, Rotation};
use super::super::schedule::{Policy, due};
use super::*;

fn rotation(text: &str) -> Rotation {
    Rotation { from: name(text), started_at: now(), pace: Pace::Taint, aborting: false, accepted: Accepted::default() }
}

#[test]
fn a_root_goes_through_all_phases() {
    let rotation = rotation("root-1");
    let mut state = adopted();
    let mut phases = Vec::new();
    let mut sequence = 1;
    let outcome = loop {
        match rotation.next(&state, &Facts::default(), now()) {
            Next::Apply(phase, event) => {
                assert_eq!(rotation.entered(phase, &state), Some(now()), "{phase:?}");
                phases.push(phase);
                state = did(&state, event);
            }
            Next::Wait(phase, _) => {
                phases.push(phase);
                let making: Vec<_> = state
                    .authorities()
                    .filter(|authority| authority.slot == Slot::Making)
                    .map(|authority| authority.name)
                    .collect();
                let revoked: Vec<_> = state
                    .authorities()
                    .filter(|authority| authority.slot == Slot::Revoked)
                    .map(|authority| authority.name)
                    .collect();
                for name in making {
                    state = did(&state, Event::Made { name, material: material(name) });
                }
                for name in revoked {
                    state = did(&state, Event::Destroyed(name));
                }
                sequence += 1;
                state = did(&state, Event::Published { sequence });
            }
            Next::Done(outcome) => break outcome,
        }
    };
    phases.dedup();
    assert_eq!(
        (outcome, phases.as_slice()),
        (Outcome::Completed, [Phase::Prepare, Phase::Distribute, Phase::Replace, Phase::Withdraw].as_slice())
    );
    assert_eq!(state.active(AuthorityKind::Root).unwrap().name, name("root-2"));
    // Long after: since when the successor was prepared is not stored, and the rest is.
    let known = [Phase::Prepare, Phase::Distribute, Phase::Replace, Phase::Withdraw].map(|phase| rotation.entered(phase, &state));
    assert_eq!(known, [Some(now()), None, None, Some(now())]);
    let undone = Rotation { aborting: true, ..rotation };
    assert_eq!(undone.entered(Phase::Prepare, &state), None);
}

#[test]
fn without_haste_nothing_is_tainted_and_leaves_are_waited_for() {
    let state =
        did(&prepared(&adopted(), AuthorityKind::Issuer, 1), Event::Activate { name: name("issuer-2"), gate: gate::Gate::Open });
    let natural = Rotation { pace: Pace::Natural, ..rotation("issuer-1") };
    let leaves = Leaves { held: 0, unexpired: 3, last_end: None, ..Leaves::default() };
    let facts = Facts { leaves: [(name("issuer-1"), leaves)].into(), ..Facts::default() };
    assert_eq!(
        natural.next(&state, &facts, now()),
        Next::Wait(Phase::Replace, vec![Waiting::Leaves { left: 3, last_end: None }])
    );
    assert!(matches!(natural.next(&state, &Facts::default(), now()), Next::Apply(Phase::Replace, Event::Revoke { .. })));
    assert!(matches!(rotation("issuer-1").next(&state, &facts, now()), Next::Apply(Phase::Replace, Event::Taint(_))));
}

#[test]
fn there_is_no_way_back_from_a_taint_and_it_says_why() {
    let rotation = rotation("jwt-1");
    let state = prepared(&adopted(), AuthorityKind::Jwt, 2);
    assert_eq!(rotation.check_way_back(&state, now()), Ok(()));
    let state = did(&state, Event::Activate { name: name("jwt-2"), gate: gate::Gate::Open });
    assert_eq!(rotation.check_way_back(&state, now()), Ok(()));
    let state = did(&state, Event::Taint(name("jwt-1")));
    assert_eq!(rotation.check_way_back(&state, now()), Err(NoWayBack::Tainted(name("jwt-1"))));
    let aborting = Rotation { aborting: true, ..rotation };
    assert!(!matches!(aborting.next(&state, &Facts::default(), now()), Next::Done(_)), "it goes on instead");
    let state = did(&state, Event::Revoke { name: name("jwt-1"), gate: gate::Gate::Open });
    assert_eq!(aborting.check_way_back(&state, now()), Err(NoWayBack::Revoked(name("jwt-1"))));
}

/// A root whose issuing CAs have ended, or are given up, signs nothing: going back to it would leave the CA without.
#[test]
fn there_is_no_way_back_to_a_root_under_which_nothing_can_sign() {
    let rotation = Rotation { aborting: true, ..rotation("root-1") };
    let state = prepared(&adopted(), AuthorityKind::Root, 2);
    let state = did(&state, Event::Activate { name: name("root-2"), gate: gate::Gate::Open });
    assert_eq!(rotation.check_way_back(&state, now()), Ok(()));
    assert!(matches!(rotation.next(&state, &Facts::default(), now()), Next::Apply(_, Event::Activate { .. })));
    let state = did(&state, Event::Taint(name("issuer-1")));
    assert_eq!(rotation.check_way_back(&state, now()), Err(NoWayBack::NoIssuer(name("root-1"))));
    let next = rotation.next(&state, &Facts::default(), now());
    assert!(matches!(next, Next::Apply(Phase::Replace, Event::Taint(_))), "it goes on instead: {next:?}");
}

#[test]
fn each_kind_is_due_at_its_time_and_the_issuing_ca_first() {
    let state = adopted();
    let policy = Policy { jwt_key_life: Duration::from_secs(600), is_issuer_foreign: false };
    let at = |seconds| due(&state, policy, now().plus(Duration::from_secs(seconds))).collect::<Vec<_>>();
    // Root and issuing CA live 1,000 s here.
    assert_eq!(at(499), []);
    assert_eq!(at(500), [AuthorityKind::Issuer]);
    assert_eq!(at(600), [AuthorityKind::Issuer, AuthorityKind::Jwt]);
    assert_eq!(at(666), [AuthorityKind::Issuer, AuthorityKind::Root, AuthorityKind::Jwt]);
}
