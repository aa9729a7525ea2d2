use pki::{AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, SerialNumber};

use super::*;
use crate::authority::lifecycle::Material;
use crate::authority::lifecycle::Slot;
use crate::authority::lifecycle::gate::{AgentFacts, Leaves};
use crate::authority::lifecycle::rotation::Pace;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn named(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

fn authority(name: &str, slot: Slot, material: Material) -> Authority {
    let name = named(name);
    Authority {
        name,
        parent: (name.kind == AuthorityKind::Issuer).then(|| named("root-1")),
        slot,
        since: at(100),
        material: Some(material),
        published_in: (name.kind != AuthorityKind::Issuer).then_some(4),
        tainted_at: None,
        taint_published_in: None,
        destroyed: false,
    }
}

fn root_material() -> Material {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &"example.org".parse().unwrap(),
        public_key: key.public_key(),
        lifetime: std::time::Duration::from_secs(3600),
        serial: SerialNumber::from_bytes(&[1, 2]).unwrap(),
        now: at(1_000),
    };
    let root = pki::prepare_authority(&spec, None).unwrap().sign(&key).unwrap();
    Material {
        key: pki::sha256(key.public_key().spki_der()),
        public_der: root.der().to_vec(),
        not_before: root.not_before(),
        not_after: Some(root.not_after()),
    }
}

fn jwt_material() -> (Material, String) {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let public = key.public_key().clone();
    let material = Material {
        key: pki::sha256(public.spki_der()),
        public_der: public.spki_der().to_vec(),
        not_before: at(50),
        not_after: None,
    };
    (material, JwtAuthority::by_thumbprint(public).unwrap().key_id().to_string())
}

fn agent(name: &str, acknowledged: u64, connected: bool) -> AgentFacts {
    AgentFacts {
        node: node(name),
        connected,
        acknowledged,
        streams_behind: 0,
        files_behind: 0,
        files_written_at: None,
        svids_tainted: 0,
    }
}

fn view() -> (RotationView, String) {
    let (jwt, key_id) = jwt_material();
    let (root, successor) = (root_material(), root_material());
    let issuer = Material { public_der: Vec::new(), ..root_material() };
    let lifecycle = Lifecycle::restore([
        authority("root-1", Slot::Active, root),
        authority("issuer-1", Slot::Active, issuer),
        authority("jwt-1", Slot::Active, jwt),
        Authority { published_in: Some(7), ..authority("root-2", Slot::Prepared, successor) },
    ])
    .unwrap();
    let facts = Facts {
        agents: vec![agent("n1", 7, true), agent("n2", 6, true), agent("n3", 1, false)],
        leaves: [(named("issuer-1"), Leaves { held: 3, unexpired: 9, last_end: Some(at(5_000)), ..Leaves::default() })].into(),
        ..Facts::default()
    };
    let standing = RotationStanding {
        rotation: Rotation {
            from: named("root-1"),
            started_at: at(1_500),
            pace: Pace::Taint,
            aborting: false,
            accepted: Accepted { nodes: [node("n3")].into(), ..Accepted::default() },
        },
        phase: Phase::Distribute,
        began: vec![(Phase::Prepare, at(1_500)), (Phase::Distribute, at(1_600))],
        waits: vec![Waiting::Agents { sequence: 7, behind: [node("n2")].into(), absent: BTreeSet::new(), of: 2 }],
        leaves_most: 12,
        probes: Probes { made: 5, failed: 1, last_failure: Some("refused".to_owned()) },
        outcome: None,
    };
    let view = RotationView {
        lifecycle: lifecycle.into(),
        rotations: vec![standing],
        facts: facts.into(),
        bundle_sequence: 9,
        plugged_in: None,
        upstream: None,
        path: std::sync::Arc::default(),
        key_places: std::sync::Arc::default(),
        faults: Vec::new(),
        replicas: std::sync::Arc::default(),
        at: at(2_000),
    };
    (view, key_id)
}

#[test]
fn what_there_is_is_told_whole() {
    let (view, key_id) = view();
    let told = authorities(&view, false, None, at(2_000));
    let names: Vec<_> = told.authorities.iter().map(|one| (one.name.as_str(), one.slot.as_str())).collect();
    assert_eq!(names, [("root-1", "active"), ("root-2", "prepared"), ("issuer-1", "active"), ("jwt-1", "active")]);
    let [root, _, issuer, jwt] = told.authorities.as_slice() else { panic!("{told:?}") };
    assert_eq!((root.serial.as_str(), root.key.len(), root.fingerprint.len(), root.published_in), ("0102", 64, 64, 4));
    assert!(root.subject.contains("example.org") || !root.subject.is_empty(), "{root:?}");
    assert_eq!(root.next_action, "is being replaced by root-2");
    // A root is as much in use as its issuing CAs.
    for one in [root, issuer] {
        assert_eq!((one.leaves_held, one.leaves_unexpired, one.last_leaf_ends.as_ref().unwrap().seconds), (3, 9, 5_000));
    }
    assert_eq!(issuer.parent, "root-1");
    assert_eq!((jwt.key_id.clone(), jwt.not_after, jwt.kind()), (key_id, None, v1::AuthorityKind::Jwt));
    assert_eq!((told.bundle_sequence, told.rotations.len(), told.plugged_in_directory.as_str()), (9, 1, ""));
    assert_eq!(told.at.unwrap().seconds, 2_000);
}

#[test]
fn revoked_ones_are_told_when_asked_for() {
    let (mut view, _) = view();
    let gone =
        Authority { material: None, published_in: None, destroyed: true, ..authority("jwt-2", Slot::Revoked, jwt_material().0) };
    view.lifecycle = std::sync::Arc::new(Lifecycle::restore(view.lifecycle.authorities().cloned().chain([gone])).unwrap());
    let count = |revoked| authorities(&view, revoked, None, at(2_000)).authorities.len();
    assert_eq!((count(false), count(true)), (4, 5));
}

#[test]
fn a_report_counts_those_that_are_awaited_by_the_sequence_that_they_must_have() {
    let (view, _) = view();
    let told = report(&view, &view.rotations[0], at(2_345));
    assert_eq!((told.from.as_str(), told.to.as_str(), told.phase.as_str()), ("root-1", "root-2", "distribute"));
    // n3 is accepted; bundle 7 is the first with root-2, whatever came after it.
    assert_eq!((told.bundle_sequence, told.agents, told.agents_on_sequence), (7, 2, 1));
    assert_eq!((told.leaves_left, told.leaves_most), (9, 12), "not tainted: all that have not ended");
    assert_eq!((told.probes, told.probes_failed, told.last_probe_failure.as_str()), (5, 1, "refused"));
    assert_eq!((told.started_at.unwrap().seconds, told.at.unwrap().seconds), (1_500, 2_345));
    assert_eq!((told.outcome.as_str(), told.aborting), ("", false));
    let phases: Vec<_> = told.phases.iter().map(|one| (one.phase.as_str(), one.began_at.unwrap().seconds)).collect();
    assert_eq!(phases, [("prepare", 1_500), ("distribute", 1_600)]);
    let [wait] = told.waiting.as_slice() else { panic!("{told:?}") };
    assert_eq!((wait.kind.as_str(), wait.left, wait.nodes.as_slice()), ("agents", 1, &["n2".to_owned()][..]));
    assert!(wait.text.starts_with("1 of 2 agents"), "{wait:?}");
}

#[test]
fn an_end_is_told_and_each_wait_by_its_kind() {
    let (mut view, _) = view();
    view.rotations[0].outcome = Some(Outcome::RolledBack);
    assert_eq!(report(&view, &view.rotations[0], at(1)).outcome, "rolled_back");
    assert!(authorities(&view, true, None, at(2_000)).rotations.is_empty(), "one that has ended is not under way");
    let nodes: BTreeSet<_> = [node("n1")].into();
    let waits = [
        Waiting::Publication,
        Waiting::Streams { nodes: nodes.clone(), behind: 2 },
        Waiting::Files { nodes: nodes.clone(), behind: 3 },
        Waiting::Objects { what: "ConfigMaps", behind: 6, of: 7, first: Vec::new() },
        Waiting::PropagationHold { until: at(9) },
        Waiting::Leaves { left: 4, last_end: Some(at(8)) },
        Waiting::Svids { nodes, left: 5 },
        Waiting::Tokens { until: at(7) },
    ];
    let told: Vec<_> = waits.iter().map(wait).map(|wait| (wait.kind, wait.left, wait.until.map(|time| time.seconds))).collect();
    let expected = [
        ("publication", 1, None),
        ("streams", 2, None),
        ("files", 3, None),
        ("objects", 6, None),
        ("propagation_hold", 1, Some(9)),
        ("leaves", 4, Some(8)),
        ("svids", 5, None),
        ("tokens", 1, Some(7)),
    ];
    assert_eq!(told, expected.map(|(kind, left, until)| (kind.to_owned(), left, until)));
}

#[test]
fn requests_are_read_or_refused() {
    for one in AuthorityKind::ALL {
        assert_eq!(kind(kind_number(one)).unwrap(), one);
    }
    assert!(kind(0).is_err() && kind(4).is_err());
    assert_eq!(accepted(None).unwrap(), Accepted::default());
    let losses = v1::AcceptedLosses { nodes: vec!["n1".to_owned()], leaves: 2, tokens: true, files: true };
    let read = accepted(Some(losses.clone())).unwrap();
    assert_eq!(read, Accepted { nodes: [node("n1")].into(), leaves: 2, tokens: true, files: true });
    assert!(accepted(Some(v1::AcceptedLosses { nodes: vec!["a/b".to_owned()], ..losses.clone() })).is_err());
    let many = vec!["n1".to_owned(); MAX_ACCEPTED_NODES + 1];
    let refused = accepted(Some(v1::AcceptedLosses { nodes: many, ..losses })).unwrap_err();
    assert!(matches!(refused, AuthorityAdminError::TooManyNodes { .. }));
}
