//! What each gate waits for, and what accepting it takes.

use std::time::Duration;

use identity::NodeName;

use super::super::gate::*;
use super::*;

fn node(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn agent(text: &str, acknowledged: u64) -> AgentFacts {
    AgentFacts {
        node: node(text),
        connected: true,
        acknowledged,
        streams_behind: 0,
        files_behind: 0,
        files_written_at: None,
        svids_tainted: 0,
    }
}

fn nothing() -> Accepted {
    Accepted::default()
}

fn waits(gate: Gate) -> Vec<Waiting> {
    match gate {
        Gate::Open => Vec::new(),
        Gate::Waits(waits) => waits,
    }
}

#[test]
fn a_root_signs_when_every_agent_stream_and_file_has_its_bundle() {
    let state = prepared(&adopted(), AuthorityKind::Root, 5);
    let root = name("root-2");
    let facts = |agents: Vec<AgentFacts>| Facts { agents, propagation_hold: Duration::from_secs(60), ..Facts::default() };
    let gate = |facts: &Facts, accepted: &Accepted| waits(activation(&state, root, facts, now(), accepted));
    assert_eq!(gate(&facts(vec![agent("a", 5), agent("b", 6)]), &nothing()), []);
    assert_eq!(gate(&facts(Vec::new()), &nothing()), [], "nobody is there to miss it");

    let absent = AgentFacts { connected: false, ..agent("c", 4) };
    let behind = facts(vec![agent("a", 5), agent("b", 4), absent]);
    let expected = Waiting::Agents { sequence: 5, behind: [node("b"), node("c")].into(), absent: [node("c")].into(), of: 3 };
    assert_eq!(gate(&behind, &nothing()), std::slice::from_ref(&expected));
    assert_eq!(expected.to_string(), "2 of 3 agents have not acknowledged bundle 5: b, c (not connected: c)");
    let one = Accepted { nodes: [node("c")].into(), ..nothing() };
    assert_eq!(gate(&behind, &one).len(), 1, "each must be named");
    let both = Accepted { nodes: [node("b"), node("c")].into(), ..nothing() };
    assert_eq!(gate(&behind, &both), []);

    let streams = facts(vec![AgentFacts { streams_behind: 2, ..agent("a", 5) }]);
    assert_eq!(gate(&streams, &nothing()), [Waiting::Streams { nodes: [node("a")].into(), behind: 2 }]);
    let files = facts(vec![AgentFacts { files_behind: 1, ..agent("a", 5) }]);
    assert_eq!(gate(&files, &nothing()), [Waiting::Files { nodes: [node("a")].into(), behind: 1 }]);
    let written =
        |ago: u64| facts(vec![AgentFacts { files_written_at: Some(now().minus(Duration::from_secs(ago))), ..agent("a", 5) }]);
    assert_eq!(gate(&written(59), &nothing()), [Waiting::PropagationHold { until: now().plus(Duration::from_secs(1)) }]);
    assert_eq!(gate(&written(60), &nothing()), []);
    let no_files = Accepted { files: true, ..nothing() };
    assert_eq!([gate(&files, &no_files), gate(&written(0), &no_files)], [Vec::new(), Vec::new()]);
}

#[test]
fn a_root_signs_when_objects_of_a_cluster_show_it_and_were_given_time_and_tokens_do_not_wait_for_them() {
    let state = prepared(&adopted(), AuthorityKind::Root, 5);
    let objects = |sequence, behind, written_ago: Option<u64>| {
        let written_at = written_ago.map(|ago| now().minus(Duration::from_secs(ago)));
        let first = if behind > 0 { vec!["istio-ca-root-cert in shop".to_owned()] } else { Vec::new() };
        let objects = ObjectFacts { what: "ConfigMaps", sequence, of: 3, behind, first, written_at };
        Facts { objects: vec![objects], propagation_hold: Duration::from_secs(60), ..Facts::default() }
    };
    let gate = |facts: &Facts, accepted: &Accepted| waits(activation(&state, name("root-2"), facts, now(), accepted));
    let told = gate(&objects(5, 1, None), &nothing());
    assert_eq!(told[0].to_string(), "1 of 3 ConfigMaps do not show it yet: istio-ca-root-cert in shop");
    assert!(matches!(told.as_slice(), [Waiting::Objects { behind: 1, of: 3, .. }]), "{told:?}");
    let before = gate(&objects(4, 0, Some(90)), &nothing());
    assert!(matches!(before.as_slice(), [Waiting::Objects { behind: 3, of: 3, .. }]), "held against an older bundle: {before:?}");
    assert_eq!(
        gate(&objects(5, 0, Some(59)), &nothing()),
        [Waiting::PropagationHold { until: now().plus(Duration::from_secs(1)) }]
    );
    assert_eq!(gate(&objects(5, 0, Some(60)), &nothing()), []);
    assert_eq!(gate(&objects(5, 1, None), &Accepted { files: true, ..nothing() }), []);
    let unknown = Facts { objects: vec![ObjectFacts::unknown("ConfigMaps")], ..Facts::default() };
    assert!(matches!(gate(&unknown, &nothing()).as_slice(), [Waiting::Objects { behind: 1, of: 1, .. }]));
    let state = prepared(&adopted(), AuthorityKind::Jwt, 5);
    assert_eq!(waits(activation(&state, name("jwt-2"), &objects(5, 1, None), now(), &nothing())), [], "no object shows JWT keys");
}

#[test]
fn nothing_signs_before_its_bundle_went_out_and_an_issuing_ca_needs_none() {
    let state = did(&adopted(), Event::Prepare(AuthorityKind::Jwt));
    let state = did(&state, Event::Made { name: name("jwt-2"), material: material(name("jwt-2")) });
    assert_eq!(waits(activation(&state, name("jwt-2"), &Facts::default(), now(), &nothing())), [Waiting::Publication]);
    let state = prepared(&state, AuthorityKind::Issuer, 3);
    let behind = Facts { agents: vec![agent("a", 0)], ..Facts::default() };
    assert_eq!(activation(&state, name("issuer-2"), &behind, now(), &nothing()), Gate::Open);
    assert_ne!(activation(&state, name("jwt-2"), &behind, now(), &nothing()), Gate::Open);
}

#[test]
fn a_root_goes_when_nothing_rests_on_it() {
    let state = prepared(&adopted(), AuthorityKind::Root, 2);
    let state = did(&state, Event::Activate { name: name("root-2"), gate: Gate::Open });
    let end = now().plus(Duration::from_secs(9));
    let rests = |held, unexpired| {
        let leaves = Leaves { held, unexpired, last_end: Some(end), ..Leaves::default() };
        Facts { agents: vec![agent("a", 9)], leaves: [(name("issuer-1"), leaves)].into(), ..Facts::default() }
    };
    let gate =
        |state: &Lifecycle, facts: &Facts, accepted: &Accepted| waits(revocation(state, name("root-1"), facts, now(), accepted));
    // Nobody was told to renew: each certificate counts to its end.
    assert_eq!(gate(&state, &rests(0, 2), &nothing()), [Waiting::Leaves { left: 2, last_end: Some(end) }]);
    assert_eq!(gate(&state, &rests(0, 0), &nothing()), []);
    assert_eq!(
        gate(&state, &rests(0, 2), &Accepted { leaves: 1, ..nothing() }).len(),
        1,
        "so many must be accepted as there are"
    );
    assert_eq!(gate(&state, &rests(0, 2), &Accepted { leaves: 2, ..nothing() }), []);

    let tainted = did(&state, Event::Taint(name("root-1")));
    assert_eq!(gate(&tainted, &rests(0, 2), &nothing()), [Waiting::Publication]);
    let tainted = did(&tainted, Event::Published { sequence: 3 });
    // Holders were told, so what they have in its place counts.
    assert_eq!(gate(&tainted, &rests(0, 2), &nothing()), []);
    assert_eq!(gate(&tainted, &rests(1, 2), &nothing()), [Waiting::Leaves { left: 1, last_end: Some(end) }]);
    let serving = Facts { agents: vec![AgentFacts { svids_tainted: 4, ..agent("a", 9) }], ..Facts::default() };
    assert_eq!(gate(&tainted, &serving, &nothing()), [Waiting::Svids { nodes: [node("a")].into(), left: 4 }]);
    let told_late = Facts { agents: vec![agent("a", 2)], ..Facts::default() };
    assert!(matches!(gate(&tainted, &told_late, &nothing()).as_slice(), [Waiting::Agents { sequence: 3, .. }]));
}

#[test]
fn a_jwt_key_goes_when_its_tokens_have_ended() {
    let state = prepared(&adopted(), AuthorityKind::Jwt, 2);
    let state = did(&state, Event::Activate { name: name("jwt-2"), gate: Gate::Open });
    let facts = |until| Facts { tokens_until: [(name("jwt-1"), until)].into(), ..Facts::default() };
    let gate = |until, accepted: &Accepted| waits(revocation(&state, name("jwt-1"), &facts(until), now(), accepted));
    assert_eq!(gate(now(), &nothing()), [Waiting::Tokens { until: now() }], "the last second is one of its life");
    assert_eq!(gate(now().minus(Duration::from_secs(1)), &nothing()), []);
    assert_eq!(gate(now(), &Accepted { tokens: true, ..nothing() }), []);
}

#[test]
fn many_names_are_told_as_a_number() {
    let behind: std::collections::BTreeSet<_> = ["a", "b", "c", "d", "e"].map(node).into();
    let text = Waiting::Streams { nodes: behind, behind: 5 }.to_string();
    assert!(text.ends_with("on a, b, c and 2 more"), "{text}");
}
