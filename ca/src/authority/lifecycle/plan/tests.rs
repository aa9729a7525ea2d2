use std::time::Duration;

use super::super::gate::{AgentFacts, Leaves};
use super::super::{Adopted, MOST_IN_FORCE};
use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn named(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

/// root-1, issuer-1 and jwt-1 sign.
fn first() -> Lifecycle {
    let mut state = Lifecycle::default();
    for name in ["root-1", "issuer-1", "jwt-1"].map(named) {
        let not_after = (name.kind != AuthorityKind::Jwt).then(|| at(1_000_000));
        let material = Material { not_after, ..imagined(name, at(0)) };
        let adopted = apply(&state, Event::Adopt(Adopted { name, material }), at(0)).unwrap();
        state = apply(&adopted.state, Event::Published { sequence: 1 }, at(0)).unwrap().state;
    }
    state
}

fn after(state: &Lifecycle, event: Event) -> Lifecycle {
    let Transition { state, effects } = apply(state, event, at(0)).unwrap();
    settle(state, effects, at(0)).unwrap()
}

fn agent(node: &str, connected: bool) -> AgentFacts {
    AgentFacts {
        node: NodeName::parse(node).unwrap(),
        connected,
        acknowledged: 1,
        streams_behind: 0,
        files_behind: 0,
        files_written_at: None,
        svids_tainted: 0,
    }
}

fn two_agents() -> Facts {
    let leaves = Leaves { held: 3, unexpired: 7, last_end: Some(at(500)), ..Leaves::default() };
    Facts {
        agents: vec![agent("n1", true), agent("n2", true)],
        leaves: [(named("issuer-1"), leaves)].into(),
        tokens_until: [(named("jwt-1"), at(300))].into(),
        propagation_hold: Duration::from_secs(60),
        replicas: BTreeSet::new(),
        objects: Vec::new(),
    }
}

fn drill(kind: AuthorityKind, facts: &Facts) -> Plan {
    let state = first();
    plan(&beginning(&state, kind, Pace::Taint, at(0)).unwrap(), &state, facts, at(0)).unwrap()
}

fn told(plan: &Plan) -> Vec<(Phase, &str)> {
    plan.steps.iter().map(|step| (step.phase, step.text.as_str())).collect()
}

#[test]
fn a_root_drill_is_told_step_by_step_with_its_names() {
    let plan = drill(AuthorityKind::Root, &two_agents());
    assert_eq!(
        told(&plan),
        [
            (Phase::Prepare, "made: root-2, issuer-2; a bundle with root-2 goes out"),
            (
                Phase::Distribute,
                "all agents (2 are connected) acknowledge the bundle with root-2, their open streams take it and their files are written"
            ),
            (
                Phase::Distribute,
                "from now on root-2, issuer-2 sign in place of root-1, issuer-1; the CA's own serving certificate is renewed"
            ),
            (Phase::Replace, "root-1, issuer-1 are tainted: 3 certificates are renewed at once"),
            (
                Phase::Replace,
                "all agents (2 are connected) have taken the news, and nobody holds a certificate that rests on root-1"
            ),
            (Phase::Withdraw, "root-1 leaves the bundle; private keys are destroyed: root-1, issuer-1"),
        ]
    );
    assert_eq!((plan.agents_connected, plan.leaves), (2, 3));
    assert_eq!(plan.longest_wait, "the renewal of 3 certificates by the agents that hold them");
}

#[test]
fn an_issuer_waits_for_nobody_before_it_signs_and_a_jwt_key_for_its_tokens() {
    let plan = drill(AuthorityKind::Issuer, &two_agents());
    assert!(told(&plan).contains(&(Phase::Distribute, "nobody is waited for: an issuing CA comes with each certificate")));
    assert!(!plan.steps.iter().any(|step| step.text.contains("leaves the bundle")), "{plan:?}");
    let plan = drill(AuthorityKind::Jwt, &two_agents());
    assert_eq!(plan.longest_wait, "JWT-SVIDs under jwt-1, good until 1970-01-01T00:05:00Z");
    assert_eq!(plan.steps.last().unwrap().text, "jwt-1 leaves the bundle; private keys are destroyed: jwt-1");
}

#[test]
fn who_is_away_is_the_longest_wait_until_accepted() {
    let mut facts = two_agents();
    facts.agents.push(agent("n3", false));
    let plan_of = |facts: &Facts| drill(AuthorityKind::Root, facts);
    assert!(plan_of(&facts).longest_wait.starts_with("agents that are not connected: n3."), "{:?}", plan_of(&facts));
    assert_eq!(plan_of(&facts).agents_absent.len(), 1);
    let state = first();
    let mut rotation = beginning(&state, AuthorityKind::Root, Pace::Taint, at(0)).unwrap();
    rotation.accepted.nodes.insert(NodeName::parse("n3").unwrap());
    let accepted = plan(&rotation, &state, &facts, at(0)).unwrap();
    assert!(accepted.agents_absent.is_empty() && !accepted.longest_wait.contains("n3"), "{accepted:?}");
}

#[test]
fn files_are_held_for_a_while() {
    let mut facts = Facts { leaves: [].into(), ..two_agents() };
    facts.agents[0].files_written_at = Some(at(0));
    assert!(drill(AuthorityKind::Root, &facts).longest_wait.contains("is given 60 s"));
}

#[test]
fn the_natural_way_waits_for_the_last_end() {
    let state = first();
    let rotation = beginning(&state, AuthorityKind::Issuer, Pace::Natural, at(0)).unwrap();
    let plan = plan(&rotation, &state, &two_agents(), at(0)).unwrap();
    assert_eq!(plan.leaves, 7);
    assert_eq!(plan.longest_wait, "certificates that rest on issuer-1 and end by themselves, the last at 1970-01-01T00:08:20Z");
    assert!(!plan.steps.iter().any(|step| step.text.contains("tainted")), "{plan:?}");
}

#[test]
fn what_is_done_already_is_not_planned_again() {
    let state = first();
    let rotation = beginning(&state, AuthorityKind::Root, Pace::Taint, at(0)).unwrap();
    let facts = two_agents();
    let whole = plan(&rotation, &state, &facts, at(0)).unwrap();
    // Asked for, and nothing made yet: the making is told.
    let asked = apply(&state, Event::Prepare(AuthorityKind::Root), at(0)).unwrap().state;
    assert_eq!(plan(&rotation, &asked, &facts, at(0)).unwrap().steps, whole.steps);
    let prepared = after(&state, Event::Prepare(AuthorityKind::Root));
    assert_eq!(plan(&rotation, &prepared, &facts, at(0)).unwrap().steps, whole.steps[1..]);
    let active = after(&prepared, Event::Activate { name: named("root-2"), gate: super::super::gate::Gate::Open });
    assert_eq!(plan(&rotation, &active, &facts, at(0)).unwrap().steps, whole.steps[3..]);
}

#[test]
fn the_way_back_is_planned_too() {
    let state = after(&first(), Event::Prepare(AuthorityKind::Root));
    let rotation = Rotation { aborting: true, ..beginning(&state, AuthorityKind::Root, Pace::Taint, at(0)).unwrap() };
    let back = plan(&rotation, &state, &two_agents(), at(0)).unwrap();
    assert_eq!(told(&back), [(Phase::Withdraw, "root-2 leaves the bundle; private keys are destroyed: root-2, issuer-2")]);
}

#[test]
fn what_cannot_begin_is_refused_with_the_way_out() {
    let none = beginning(&Lifecycle::default(), AuthorityKind::Issuer, Pace::Taint, at(0)).unwrap_err();
    assert_eq!(none, Refusal::PluggedIn(AuthorityKind::Issuer));
    let mut full = first();
    while full.of(AuthorityKind::Jwt).count() < MOST_IN_FORCE {
        full = after(&full, Event::Prepare(AuthorityKind::Jwt));
        let name = full.next(AuthorityKind::Jwt).unwrap().name;
        full = after(&full, Event::Activate { name, gate: super::super::gate::Gate::Open });
    }
    let rotation = beginning(&full, AuthorityKind::Jwt, Pace::Taint, at(0)).unwrap();
    let refused = plan(&rotation, &full, &two_agents(), at(0)).unwrap_err();
    assert_eq!(refused, Refusal::TooMany { kind: AuthorityKind::Jwt, most: MOST_IN_FORCE });
}
