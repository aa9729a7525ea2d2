//! What is not known counts as missing, and what is known counts as it was said.

use std::collections::HashMap;
use std::sync::Mutex;

use identity::{NodeName, SpiffeId};
use pki::{AudienceSet, JwtKey, KeyAlgorithm, PrivateKey, SerialNumber, Sha256Digest};

use super::*;
use crate::authority::lifecycle::gate::Leaves;
use crate::authority::lifecycle::{Adopted, Event, apply};
use crate::issuance::{Intent, Ledger};
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::records::{AgentSvidRecord, EntryId, Reason, SvidGrounds, TokenRecord};
use crate::replicas::Tenure;
use crate::rpc::admin_sources::Progress;
use crate::store::{Actor, AuthorityStore, NodeStore, SqliteStore, TokenStore};

const NOW: u64 = 1_700_000_000;
const WINDOW: Duration = Duration::from_secs(1000);

#[derive(Default)]
struct FakeFleet(Mutex<HashMap<NodeName, NodeConnection>>);

impl Fleet for FakeFleet {
    fn connection(&self, node: &NodeName) -> Option<NodeConnection> {
        self.0.lock().unwrap().get(node).copied()
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW + seconds)
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::from_bytes(&[1, number]).unwrap()
}

struct Fixture {
    store: Arc<SqliteStore>,
    fleet: Arc<FakeFleet>,
    facts: FactsOfFleet,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("store.db")).unwrap());
        let fleet = Arc::new(FakeFleet::default());
        let facts = FactsOfFleet {
            tenure: Tenure::fixed("ca-1"),
            store: Arc::<SqliteStore>::clone(&store),
            fleet: Arc::<FakeFleet>::clone(&fleet),
            reattest_window: WINDOW,
            propagation_hold: Duration::from_secs(60),
            cluster: Vec::new(),
        };
        Self { store, fleet, facts, _directory: directory }
    }

    /// A node that attested at the beginning; `svid_ends` is the end of its agent SVID, if it ever got one.
    async fn attest(&self, number: u8, name: &str, svid_ends: Option<u64>) {
        let token = TokenRecord { hash: [number; 32], node: node(name), expires_at: at(60) };
        self.store.create_token(token, Actor::System, at(0)).await.unwrap();
        self.store.redeem_token([number; 32], vec![number; 91], at(0)).await.unwrap();
        if let Some(end) = svid_ends {
            let svid = AgentSvidRecord { serial: serial(number), not_after: at(end) };
            let grounds = SvidGrounds::Attestation { node_key_spki: vec![number; 91] };
            self.store.set_agent_svid(node(name), svid, grounds, at(0)).await.unwrap();
        }
    }

    fn connect(&self, name: &str, bundle_sequence: u64, progress: Option<NodeProgress>) {
        self.fleet.0.lock().unwrap().insert(node(name), NodeConnection { bundle_sequence, progress });
    }

    async fn agents(&self, now: u64) -> Vec<AgentFacts> {
        self.facts.gather(&Lifecycle::default(), at(now)).await.unwrap().agents
    }
}

fn told(bundle_sequence: u64, streams_behind: u32, files_behind: u32, svids_tainted: u32) -> Progress {
    Progress { bundle_sequence, streams_behind, streams: 5, files_behind, files: 2, svids_tainted }
}

fn behind(facts: &AgentFacts) -> (u64, u32, u32, Option<Timestamp>, u32) {
    let AgentFacts { node: _, connected: _, acknowledged, streams_behind, files_behind, files_written_at, svids_tainted } = facts;
    (*acknowledged, *streams_behind, *files_behind, *files_written_at, *svids_tainted)
}

#[tokio::test]
async fn whoever_may_come_with_an_old_bundle_is_a_receiver_and_nobody_else_is() {
    let fixture = Fixture::new();
    fixture.attest(1, "live", Some(600)).await;
    fixture.attest(2, "ended", Some(100)).await;
    fixture.attest(3, "no-svid", None).await;
    fixture.attest(4, "banned", Some(600)).await;
    fixture.store.ban_node(node("banned"), Actor::System, at(1)).await.unwrap();
    fixture.connect("banned", 9, None);
    let names = async |now| fixture.agents(now).await.iter().map(|agent| agent.node.to_string()).collect::<Vec<_>>();
    assert_eq!(names(50).await, ["ended", "live"]);
    // The windows end at 1100 and 1600.
    assert_eq!(names(1100).await, ["ended", "live"]);
    assert_eq!(names(1101).await, ["live"]);
    assert_eq!(names(1600).await, ["live"]);
    assert!(names(1601).await.is_empty());
    fixture.connect("live", 9, None);
    assert_eq!(names(1601).await, ["live"], "connected, whatever the records say");
}

#[tokio::test]
async fn a_connected_agent_is_as_far_as_it_says_of_this_bundle() {
    let fixture = Fixture::new();
    fixture.attest(1, "n1", Some(600)).await;
    // The stream counts, not what was kept of an earlier one.
    fixture.store.settle_bundle(node("n1"), Settled { sequence: 9, at: at(1) }).await.unwrap();
    let seen = async |sequence, progress: Option<(Progress, Option<Timestamp>)>| {
        let progress = progress.map(|(told, files_written_at)| NodeProgress { told, files_written_at });
        fixture.connect("n1", sequence, progress);
        let agents = fixture.agents(50).await;
        assert!(agents[0].connected);
        behind(&agents[0])
    };
    assert_eq!(seen(0, None).await, (0, 1, 0, None, 0), "before its first word");
    assert_eq!(seen(9, None).await, (9, 1, 0, None, 0), "it tells no progress");
    assert_eq!(seen(9, Some((told(9, 3, 1, 4), None))).await, (9, 3, 1, None, 4));
    assert_eq!(seen(9, Some((told(9, 0, 0, 0), Some(at(7))))).await, (9, 0, 0, Some(at(7)), 0));
    // It has acknowledged a newer bundle than it spoke of.
    assert_eq!(seen(10, Some((told(9, 0, 0, 0), Some(at(7))))).await, (10, 5, 2, None, 0));
    let alone = Progress { streams: 0, files: 0, ..told(9, 0, 0, 0) };
    assert_eq!(seen(10, Some((alone, None))).await, (10, 1, 0, None, 0));
    // Its word came before its acknowledgement.
    assert_eq!(seen(8, Some((told(9, 0, 0, 0), Some(at(7))))).await, (8, 0, 0, Some(at(7)), 0));
}

#[tokio::test]
async fn an_absent_agent_is_as_far_as_it_was_when_it_was_last_heard() {
    let fixture = Fixture::new();
    fixture.attest(1, "n1", Some(600)).await;
    let seen = async || {
        let agents = fixture.agents(50).await;
        assert!(!agents[0].connected);
        behind(&agents[0])
    };
    assert_eq!(seen().await, (0, 1, 0, None, 0), "never heard");
    fixture.store.acknowledge_bundle(node("n1"), 9).await.unwrap();
    assert_eq!(seen().await, (9, 1, 0, None, 0), "its workloads may have nothing of it");
    fixture.store.settle_bundle(node("n1"), Settled { sequence: 9, at: at(5) }).await.unwrap();
    assert_eq!(seen().await, (9, 0, 0, Some(at(5)), 0));
    fixture.store.acknowledge_bundle(node("n1"), 10).await.unwrap();
    assert_eq!(seen().await, (10, 1, 0, None, 0));
}

fn material(key: Sha256Digest, public_der: Vec<u8>, ends: Option<u64>) -> Material {
    Material { key, public_der, not_before: at(0), not_after: ends.map(at) }
}

/// A root, an issuing CA that signed before, one that signs, and a JWT key.
fn lifecycle(jwt_public: Vec<u8>) -> Lifecycle {
    let adopt = |name: &str, material| Event::Adopt(Adopted { name: name.parse().unwrap(), material });
    let events = [
        adopt("root-1", material([1; 32], vec![1], Some(9000))),
        adopt("issuer-1", material([2; 32], vec![2], Some(500))),
        adopt("issuer-2", material([3; 32], vec![3], Some(900))),
        adopt("jwt-1", material([4; 32], jwt_public, None)),
    ];
    events.into_iter().fold(Lifecycle::default(), |state, event| apply(&state, event, at(0)).unwrap().state)
}

#[tokio::test]
async fn leaves_and_tokens_are_told_by_the_name_of_who_signed_them() {
    let fixture = Fixture::new();
    let jwt = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
    let lifecycle = lifecycle(jwt.authority().public_key().spki_der().to_vec());
    let subject = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let reason = |number| Reason::Entry(EntryId::from_random([number; 16]));
    for (number, key) in [(1, 2), (2, 2), (3, 3)] {
        let intent = Intent {
            serial: serial(number),
            tbs_der: vec![number],
            subject: subject.clone(),
            caller: "n1".to_owned(),
            reason: reason(number),
            provenance: None,
            not_after: at(100),
            issuer_key: [key; 32],
            now: at(0),
        };
        fixture.store.persist(intent).await.unwrap();
    }
    let token = JwtIntent {
        subject,
        audiences: AudienceSet::parse(&["db"]).unwrap(),
        key_id: jwt.key_id().clone(),
        key: [4; 32],
        expires_at: at(70),
        signing_input: [5; 32],
        caller: "n1".to_owned(),
        reason: reason(1),
        now: at(0),
    };
    fixture.store.persist_jwt(token).await.unwrap();

    let facts = fixture.facts.gather(&lifecycle, at(50)).await.unwrap();
    let counted = |held| Leaves { held, unexpired: held, last_end: Some(at(100)), ..Leaves::default() };
    let name = |text: &str| text.parse::<AuthorityName>().unwrap();
    assert_eq!(facts.leaves, [(name("issuer-1"), counted(2)), (name("issuer-2"), counted(1))].into());
    assert_eq!(facts.tokens_until, [(name("jwt-1"), at(70))].into());
    assert_eq!(facts.propagation_hold, Duration::from_secs(60));
    // No leaf outlives its issuer.
    let later = fixture.facts.gather(&lifecycle, at(501)).await.unwrap();
    assert_eq!(later.leaves, [(name("issuer-2"), Leaves::default())].into());
}

#[tokio::test]
async fn a_jwt_key_that_cannot_be_named_opens_no_gate() {
    let fixture = Fixture::new();
    let error = fixture.facts.gather(&lifecycle(vec![0x30]), at(50)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("jwt-1")), "{error}");
}
