//! Several replicas on one database at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use identity::SystemIdentity;
use pki::crl::RevocationReason;

use super::super::told;
use super::*;
use crate::audit::ChainWalk;
use crate::authority::lifecycle::gate::Gate;
use crate::authority::lifecycle::{Adopted, AuthorityKind, AuthorityName, Event, Lifecycle, Material, apply};
use crate::federation::StoredFederation;
use crate::issuance::LedgerError;
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::revocation::{ListIntent, Target};
use crate::store::{
    AuthorityStore, Change, EntryStore, FederationStore, Fence, IssuanceStore, IssuerRequest, LeaseError, NodeStore,
    ReplicaStore, RevocationStore, StoreHealth,
};

/// How long anything may take that another replica is told of.
const LIMIT: Duration = Duration::from_secs(60);

/// A store on the database of another.
fn beside(fixture: &Fixture) -> PostgresStore {
    PostgresStore::open(config(&fixture.database), own()).unwrap()
}

/// Until something is so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}

/// An intent of the agent of `n1` for its entry 1.
fn of_entry(number: u64) -> Intent {
    let agent = SystemIdentity::Agent(node("n1")).id(&"example.org".parse().unwrap());
    Intent { caller: agent.to_string(), reason: Reason::Entry(entry_id(1)), ..intent(number) }
}

/// The same, of a JWT-SVID.
fn token_for_entry() -> JwtIntent {
    let Intent { subject, caller, reason, now, .. } = of_entry(0);
    let (audiences, key_id) = (pki::AudienceSet::parse(&["reports".to_owned()]).unwrap(), "k".parse().unwrap());
    let key = sha256(b"jwt-1");
    JwtIntent { subject, audiences, key_id, key, expires_at: at(300), signing_input: [7; 32], caller, reason, now }
}

/// `n1` attested, with the entry 1.
async fn with_entry() -> Option<Fixture> {
    let fixture = Fixture::new()?;
    fixture.token(1, "n1").await.unwrap();
    fixture.redeem(1, 1, 1).await.unwrap();
    fixture.store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    Some(fixture)
}

async fn assert_unbroken(fixture: &Fixture) {
    let events = fixture.events().await;
    let mut walk = ChainWalk::new(fixture.store.chain_head().await.unwrap());
    for event in &events {
        walk.step(event).unwrap();
    }
    walk.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_used_once_whichever_replica_is_asked() {
    let Some(fixture) = Fixture::new() else { return };
    let other = beside(&fixture);
    for round in 1..=8 {
        fixture.token(round, &format!("n{round}")).await.unwrap();
        let tries = (0..8_u8).map(|key| {
            let store = if key % 2 == 0 { &fixture.store } else { &other };
            store.redeem_token(hash(round), vec![round * 8 + key; 91], at(1))
        });
        let answers = join_all(tries).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "round {round}");
        let refused = answers.iter().filter(|answer| matches!(answer, Err(RedeemError::UsedByAnotherKey))).count();
        assert_eq!(refused, 7, "round {round}: {answers:?}");
    }
    assert_unbroken(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_write_at_once_append_to_one_chain_and_share_one_clock() {
    let Some(fixture) = Fixture::new() else { return };
    let other = beside(&fixture);
    let stores = [&fixture.store, &other];
    let writes = (0..200_u64).map(|number| stores[usize::from(number % 2 == 0)].persist(intent(number)));
    for written in join_all(writes).await {
        written.unwrap();
    }
    assert_unbroken(&fixture).await;
    assert_eq!(fixture.events().await.len(), 200);
    // A serial that one used is used.
    assert!(matches!(other.persist(intent(1)).await, Err(LedgerError(StoreError::Exists { .. }))));
    assert!(matches!(fixture.store.persist(intent(2)).await, Err(LedgerError(StoreError::Exists { .. }))));
    // A clock that is behind what the other issued is refused.
    other.persist(Intent { now: at(10_000), not_after: at(20_000), ..intent(900) }).await.unwrap();
    assert!(matches!(fixture.store.persist(intent(901)).await, Err(LedgerError(StoreError::ClockBehind(_)))));
}

#[tokio::test]
async fn what_one_changes_the_other_is_told_and_does_not_remember_otherwise() {
    let Some(fixture) = with_entry().await else { return };
    let other = beside(&fixture);
    let mut changes = other.changes();
    assert_eq!(other.node_entries(node("n1")).await.unwrap().entries().len(), 1);
    fixture.store.create_entry(entry_id(2), entry("api", "n1", &["unix:uid:2"]), OPERATOR, at(1)).await.unwrap();
    until(
        "a change of entries is told",
        async || matches!(changes.try_recv(), Ok(Change::Entries(nodes)) if nodes.contains(&node("n1"))),
    )
    .await;
    assert_eq!(other.node_entries(node("n1")).await.unwrap().entries().len(), 2);
    fixture.store.evict_node(node("n1"), OPERATOR, at(2)).await.unwrap();
    until("a change of a node is told", async || changes.try_recv() == Ok(Change::Node(node("n1")))).await;
    let mut revoked = other.revoked();
    let web = entry("web", "n1", &[]).spiffe_id;
    fixture.store.revoke(Target::Identity(web.clone()), RevocationReason::KeyCompromise, OPERATOR, at(3)).await.unwrap();
    tokio::time::timeout(LIMIT, revoked.wait_for(|revoked| revoked.denied.contains(&web))).await.unwrap().unwrap();
    until("a revocation is told", async || changes.try_recv() == Ok(Change::Revocations)).await;
    let (federation, document) = (federation("other.org"), foreign_document(1, "one"));
    fixture.store.add_federation(federation.clone(), Some(document.clone()), OPERATOR, at(4)).await.unwrap();
    until("a relationship is told", async || changes.try_recv() == Ok(Change::Federations)).await;
    assert_eq!(other.federations().await.unwrap(), [StoredFederation { federation, document: Some(document) }]);
}

/// The server gives the number of a process again, most of all after a restart: a replica knows its own word by more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_knows_its_own_word_whoever_passes_it_on_and_looks_at_every_other() {
    let Some(fixture) = with_entry().await else { return };
    let (listens, is_listening) = tokio::sync::oneshot::channel();
    let config = config(&fixture.database);
    let ear = tokio::task::spawn_blocking(move || {
        let network = Network::start().unwrap();
        let (link, mut heard) = Connector::new(config, network.handle().clone()).open().unwrap();
        link.control("LISTEN signet_changes").unwrap();
        listens.send(()).unwrap();
        told::heard(heard.blocking_recv().unwrap().payload()).by.unwrap()
    });
    is_listening.await.unwrap();
    fixture.store.create_entry(entry_id(2), entry("api", "n1", &["unix:uid:2"]), OPERATOR, at(1)).await.unwrap();
    let own = ear.await.unwrap();
    let mut changes = fixture.store.changes();
    for (by, node) in [(own, "n1"), (own + 1_000_000, "n2")] {
        fixture.tamper(&format!("SELECT pg_notify('signet_changes', '{{\"by\":{by},\"nodes\":[\"{node}\"]}}')"));
    }
    let mut told = Vec::new();
    until("another's word is told on", async || {
        told.extend(std::iter::from_fn(|| changes.try_recv().ok()));
        told.contains(&Change::Node(node("n2")))
    })
    .await;
    assert!(!told.contains(&Change::Node(node("n1"))), "everyone was told by the writer itself: {told:?}");
}

#[tokio::test]
async fn what_one_deleted_evicted_or_denied_the_other_records_nothing_for_whatever_it_remembers() {
    let Some(fixture) = with_entry().await else { return };
    let other = beside(&fixture);
    assert_eq!(other.node_entries(node("n1")).await.unwrap().entries().len(), 1);
    other.persist(of_entry(1)).await.expect("it is there");
    fixture.store.delete_entry(entry_id(1), OPERATOR, at(1)).await.unwrap();
    // At once: whether the other has heard of it makes no difference.
    let refused = other.persist(of_entry(2)).await.unwrap_err();
    assert!(matches!(&refused, LedgerError(StoreError::NotFound { what: "entry", .. })), "{refused}");

    fixture.store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(2)).await.unwrap();
    other.persist(of_entry(3)).await.expect("it is there again");
    let of_another = Intent { subject: SpiffeId::parse("spiffe://example.org/other").unwrap(), ..of_entry(4) };
    assert!(matches!(other.persist(of_another).await, Err(LedgerError(StoreError::NotFound { what: "entry", .. }))));
    fixture.store.evict_node(node("n1"), OPERATOR, at(3)).await.unwrap();
    assert!(matches!(other.persist(of_entry(5)).await, Err(LedgerError(StoreError::NotFound { what: "entry", .. }))));

    assert!(matches!(other.persist_jwt(token_for_entry()).await, Err(LedgerError(StoreError::NotFound { what: "entry", .. }))));

    fixture.token(2, "n1").await.unwrap();
    fixture.redeem(2, 1, 4).await.unwrap();
    other.persist_jwt(token_for_entry()).await.expect("it attested again");
    other.persist(of_entry(6)).await.expect("it attested again");
    let web = entry("web", "n1", &[]).spiffe_id;
    fixture.store.revoke(Target::Identity(web), RevocationReason::KeyCompromise, OPERATOR, at(5)).await.unwrap();
    assert!(matches!(other.persist(of_entry(7)).await, Err(LedgerError(StoreError::Denied { .. }))));
    assert_unbroken(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_in_an_empty_database_make_its_schema_once() {
    // Whatever transactions there are by default.
    for isolation in ["read committed", "serializable"] {
        let Some(database) = PostgresServer::database() else { return };
        database.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = '{isolation}'", database.name()));
        let opening = (0..4).map(|_| {
            let config = config(&database);
            tokio::task::spawn_blocking(move || PostgresStore::open(config, own()).map(drop).map_err(|error| error.to_string()))
        });
        for opened in join_all(opening).await {
            opened.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_under_load_lose_nothing_that_was_answered_and_the_replicas_go_on_by_themselves() {
    let Some(fixture) = Fixture::new() else { return };
    let other = beside(&fixture);
    let stores = [&fixture.store, &other];
    let mut recorded = HashSet::new();
    for round in 0..5_u64 {
        let killer = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            tokio::task::block_in_place(|| fixture.database.end_sessions())
        };
        let writes = (0..100_u64).map(|number| async move {
            let number = round * 1_000 + number;
            let answer = stores[usize::from(number % 2 == 0)].persist(intent(number)).await;
            (number, answer)
        });
        let (ended, answers) = tokio::join!(killer, join_all(writes));
        assert!(ended > 0);
        recorded.extend(answers.into_iter().filter(|(_, answer)| answer.is_ok()).map(|(number, _)| number));
        for store in stores {
            until("the store takes writes again", async || {
                store.recover().await;
                store.state().borrow().refusal().is_none()
            })
            .await;
        }
        for (store, number) in stores.into_iter().zip([round * 1_000 + 500, round * 1_000 + 501]) {
            store.persist(intent(number)).await.unwrap();
            recorded.insert(number);
        }
    }
    for number in &recorded {
        assert!(fixture.store.issued(serial(*number)).await.unwrap().is_some(), "{number} was answered");
    }
    assert_unbroken(&fixture).await;
}

#[tokio::test]
async fn a_lease_is_taken_from_another_process_when_it_is_silent_free_or_its_own_and_never_else() {
    let Some(fixture) = Fixture::new() else { return };
    let other = beside(&fixture);
    let of = |name: &str, byte, instance| Registration { instance: [instance; 32], ..registration(name, byte) };
    let epoch = fixture.store.register(of("a", 1, 1), None, at(0)).await.unwrap();
    let held = |refused: LeaseError| match refused {
        LeaseError::Held { lease, .. } => lease,
        other @ (LeaseError::Byte { .. } | LeaseError::Store(_)) => panic!("{other:?}"),
    };
    let a = Fence { replica: ReplicaName::parse("a").unwrap(), epoch, lead: None };
    let a = Fence { lead: Some(fixture.store.take_lead(a.clone(), None, at(0)).await.unwrap()), ..a };

    // Another host with this name, and another replica that wants the lead.
    let seen = held(other.register(of("a", 1, 9), None, at(1)).await.unwrap_err());
    let b = other.register(of("b", 2, 2), None, at(1)).await.unwrap();
    let b = Fence { replica: ReplicaName::parse("b").unwrap(), epoch: b, lead: None };
    let led = held(other.take_lead(b.clone(), None, at(1)).await.unwrap_err());
    assert_eq!((led.replica.as_str(), Some(led.epoch)), ("a", a.lead));
    // It lives: what was seen is over.
    assert_eq!(fixture.store.beat(a.clone(), at(2)).await.unwrap(), a.lead);
    assert_ne!(held(other.register(of("a", 1, 9), Some(seen), at(2)).await.unwrap_err()).beat, 0);
    let led = held(other.take_lead(b.clone(), Some(led), at(2)).await.unwrap_err());
    // It does not: as seen, so taken. What it held it has no more, and it is told.
    let lead = other.take_lead(b.clone(), Some(led), at(3)).await.unwrap();
    let b = Fence { lead: Some(lead), ..b };
    assert_eq!(fixture.store.beat(a.clone(), at(4)).await.unwrap(), None, "it is the replica still, and leads no more");
    assert!(matches!(fixture.store.take_lead(a.clone(), None, at(4)).await, Err(LeaseError::Held { .. })));
    assert_eq!(other.beat(b.clone(), at(4)).await.unwrap(), b.lead);
    // An orderly end needs no silence.
    other.give_up(b).await.unwrap();
    assert!(fixture.store.take_lead(a.clone(), None, at(5)).await.unwrap() > lead);
    let replica = held(other.register(of("a", 1, 9), None, at(5)).await.unwrap_err());
    assert!(other.register(of("a", 1, 9), Some(replica), at(5)).await.unwrap() > epoch);
    assert!(matches!(fixture.store.beat(a, at(6)).await, Err(StoreError::Fenced { .. })));
    let kinds = fixture.kinds().await;
    assert_eq!(
        kinds,
        ["replica_registered", "lead_taken", "replica_registered", "lead_taken", "lead_taken", "replica_registered"],
        "each that is another one than before, and no other"
    );
    assert_unbroken(&fixture).await;
}

/// What two replicas have to write by, the first of which leads.
async fn two_replicas(fixture: &Fixture) -> (PostgresStore, [Fence; 2]) {
    let other = PostgresStore::open(config(&fixture.database), ReplicaName::parse("ca-2").unwrap()).unwrap();
    let mut fences = Vec::new();
    for (store, name, byte) in [(&fixture.store, "ca-1", 1), (&other, "ca-2", 2)] {
        let registration = registration(name, byte);
        let epoch = store.register(registration.clone(), None, at(0)).await.unwrap();
        fences.push(Fence { replica: registration.replica, epoch, lead: None });
    }
    fences[0].lead = Some(fixture.store.take_lead(fences[0].clone(), None, at(0)).await.unwrap());
    (other, fences.try_into().unwrap())
}

fn adopted(state: &Lifecycle, text: &str) -> Lifecycle {
    let name: AuthorityName = text.parse().unwrap();
    let not_after = (name.kind != AuthorityKind::Jwt).then(|| at(1000));
    let material = Material { key: sha256(text.as_bytes()), public_der: vec![1], not_before: at(0), not_after };
    apply(state, Event::Adopt(Adopted { name, material }), at(1)).unwrap().state
}

async fn stored(store: &PostgresStore, fence: &Fence, event: impl FnOnce(&Lifecycle) -> Lifecycle) -> Result<(), StoreError> {
    let before = store.lifecycle().await.unwrap();
    let after = event(&before);
    store.store_lifecycle(fence.clone(), Arc::new(before), Arc::new(after), None, OPERATOR, at(2)).await
}

#[tokio::test]
async fn each_replica_has_its_own_under_roots_that_only_the_leader_moves_and_none_signs_with_what_was_taken_out() {
    let Some(fixture) = Fixture::new() else { return };
    let (other, [one, two]) = two_replicas(&fixture).await;
    for text in ["root-1", "issuer-1", "jwt-1"] {
        stored(&fixture.store, &one, |state| adopted(state, text)).await.unwrap();
    }
    stored(&other, &two, |state| adopted(state, "issuer-2")).await.expect("its own");
    let (first, second) = (fixture.store.lifecycle().await.unwrap(), other.lifecycle().await.unwrap());
    let active = |state: &Lifecycle| state.active(AuthorityKind::Issuer).unwrap().name.to_string();
    assert_eq!((active(&first), active(&second)), ("issuer-1".to_owned(), "issuer-2".to_owned()));
    let others = |state: &Lifecycle| state.others().map(|foreign| foreign.authority.name.to_string()).collect::<Vec<_>>();
    assert_eq!((others(&first), others(&second)), (vec!["issuer-2".to_owned()], vec!["issuer-1".to_owned(), "jwt-1".to_owned()]));

    let prepare = |state: &Lifecycle| apply(state, Event::Prepare(AuthorityKind::Root), at(2)).unwrap().state;
    let refused = stored(&other, &two, prepare).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    stored(&fixture.store, &one, prepare).await.unwrap();

    // What signs may sign until it is taken out, whoever did that.
    let by_two = |number| Intent { issuer_key: sha256(b"issuer-2"), ..intent(number) };
    other.persist(by_two(1)).await.expect("accepted before it is refused");
    fixture.by_hand(|connection| {
        let sql = "UPDATE signet.authorities SET slot = 'revoked' WHERE kind = 'issuer' AND number = 2";
        crate::store::sql::columns::run(connection, sql, ()).unwrap();
    });
    fixture.store.persist(intent(2)).await.unwrap();
    let refused = other.persist(by_two(3)).await;
    assert!(matches!(refused, Err(LedgerError(StoreError::Changed { .. }))), "{refused:?}");
}

#[tokio::test]
async fn what_a_replica_asks_for_is_signed_by_one_other_and_given_to_it_alone() {
    let Some(fixture) = Fixture::new() else { return };
    let (other, [one, two]) = two_replicas(&fixture).await;
    let (name, root) = ("issuer-5".parse().unwrap(), "root-1".parse().unwrap());
    let request = IssuerRequest { name, replica: two.replica.clone(), root, csr_der: vec![7] };
    other.ask_issuer(two.clone(), request.clone(), at(1)).await.unwrap();
    assert_eq!(fixture.store.issuer_requests().await.unwrap(), std::slice::from_ref(&request));
    // Nobody else may put another key in its place, nor block its number.
    let stolen = IssuerRequest { csr_der: vec![9], ..request.clone() };
    fixture.store.ask_issuer(one.clone(), stolen.clone(), at(1)).await.unwrap();
    let own = IssuerRequest { replica: one.replica.clone(), ..stolen.clone() };
    assert_eq!(fixture.store.issuer_requests().await.unwrap(), [own, request.clone()], "it is the request of the one that asked");
    fixture.store.forget_issuer(one.clone(), name).await.unwrap();
    assert!(!fixture.store.claim_issuer(one.clone(), stolen).await.unwrap());

    assert!(fixture.store.claim_issuer(one.clone(), request.clone()).await.unwrap());
    assert!(!other.claim_issuer(two.clone(), request.clone()).await.unwrap(), "one signs it");
    // However impatient who asks is, until it is clear that nothing comes.
    other.ask_issuer(two.clone(), request.clone(), at(2)).await.unwrap();
    assert!(!other.claim_issuer(two.clone(), request.clone()).await.unwrap(), "one signs it");
    other.answer_issuer(two.clone(), request.clone(), vec![6]).await.unwrap();
    assert_eq!(other.issuer_answer(request.clone()).await.unwrap(), None, "who has not claimed it does not answer");
    fixture.store.answer_issuer(one.clone(), request.clone(), vec![8]).await.unwrap();
    assert_eq!(other.issuer_answer(request.clone()).await.unwrap(), Some(vec![8]));
    assert_eq!(fixture.store.issuer_requests().await.unwrap(), []);
    assert!(!fixture.store.claim_issuer(one.clone(), request.clone()).await.unwrap(), "nothing is signed twice");
    // The same again keeps the answer; another key has none.
    other.ask_issuer(two.clone(), request.clone(), at(2)).await.unwrap();
    assert_eq!(other.issuer_answer(request.clone()).await.unwrap(), Some(vec![8]));
    let anew = IssuerRequest { csr_der: vec![10], ..request.clone() };
    other.ask_issuer(two.clone(), anew.clone(), at(3)).await.unwrap();
    assert_eq!(other.issuer_answer(anew).await.unwrap(), None);
    other.forget_issuer(two, name).await.unwrap();
    assert_eq!(fixture.store.issuer_requests().await.unwrap(), []);
}

#[tokio::test]
async fn a_request_that_was_claimed_by_a_process_that_is_gone_may_be_signed_by_another_after_a_while() {
    let Some(fixture) = Fixture::new() else { return };
    let (other, [one, two]) = two_replicas(&fixture).await;
    let (name, root) = ("issuer-5".parse().unwrap(), "root-1".parse().unwrap());
    let request = IssuerRequest { name, replica: two.replica.clone(), root, csr_der: vec![7] };
    other.ask_issuer(two.clone(), request.clone(), at(1)).await.unwrap();
    assert!(fixture.store.claim_issuer(one.clone(), request.clone()).await.unwrap());
    for _ in 0..7 {
        other.ask_issuer(two.clone(), request.clone(), at(1)).await.unwrap();
    }
    assert!(!other.claim_issuer(two.clone(), request.clone()).await.unwrap());
    other.ask_issuer(two.clone(), request.clone(), at(1)).await.unwrap();
    assert!(other.claim_issuer(two.clone(), request.clone()).await.unwrap());
    // What the first one signed after all is not taken.
    fixture.store.answer_issuer(one, request.clone(), vec![8]).await.unwrap();
    assert_eq!(other.issuer_answer(request).await.unwrap(), None);
}

#[tokio::test]
async fn a_replica_is_fenced_off_as_it_was_seen_and_forgotten_when_nothing_of_it_is_in_force() {
    let Some(fixture) = Fixture::new() else { return };
    let (other, [one, two]) = two_replicas(&fixture).await;
    stored(&fixture.store, &one, |state| adopted(state, "root-1")).await.unwrap();
    stored(&other, &two, |state| adopted(state, "issuer-1")).await.unwrap();
    stored(&other, &two, |state| adopted(state, "jwt-1")).await.unwrap();
    other.persist_jwt(token_for_entry_of_nobody()).await.expect("accepted before it is refused");
    let lease =
        async || fixture.store.replicas().await.unwrap().into_iter().find(|known| known.name == two.replica).unwrap().lease;
    let (name, root) = ("issuer-2".parse().unwrap(), "root-1".parse().unwrap());
    let request = IssuerRequest { name, replica: two.replica.clone(), root, csr_der: vec![7] };
    other.ask_issuer(two.clone(), request.clone(), at(2)).await.unwrap();
    assert!(fixture.store.claim_issuer(one.clone(), request.clone()).await.unwrap(), "accepted before it is refused");
    let seen = lease().await;
    // It lives after all.
    other.beat(two.clone(), at(3)).await.unwrap();
    let refused = fixture.store.retire_replica(one.clone(), seen, OPERATOR, at(4)).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    let seen = lease().await;
    let refused = other.retire_replica(two.clone(), seen.clone(), OPERATOR, at(4)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "for the one that leads: {refused:?}");
    fixture.store.retire_replica(one.clone(), seen, OPERATOR, at(4)).await.unwrap();
    assert!(matches!(other.beat(two.clone(), at(5)).await, Err(StoreError::Fenced { .. })), "no process is it any more");
    assert_eq!(fixture.store.issuer_requests().await.unwrap(), [], "nothing is signed for it");
    assert!(!fixture.store.claim_issuer(one.clone(), request).await.unwrap(), "nor by whoever knew of it before");
    // Again, it is so already.
    fixture.store.retire_replica(one.clone(), lease().await, OPERATOR, at(5)).await.unwrap();

    let refused = fixture.store.forget_replica(one.clone(), two.replica.clone(), at(6)).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "its authorities are in force: {refused:?}");
    let event = Event::TaintReplica(two.replica.clone());
    stored(&fixture.store, &one, |state| apply(state, event, at(6)).unwrap().state).await.unwrap();
    let event = Event::RevokeReplica { replica: two.replica.clone(), gate: Gate::Open };
    stored(&fixture.store, &one, |state| apply(state, event, at(7)).unwrap().state).await.unwrap();
    // Whatever process of it wakes up: nothing is recorded under what was taken out.
    let intent = Intent { issuer_key: sha256(b"issuer-1"), ..intent(7) };
    assert!(matches!(other.persist(intent).await, Err(LedgerError(StoreError::Changed { .. }))));
    let refused = other.persist_jwt(token_for_entry_of_nobody()).await;
    assert!(matches!(refused, Err(LedgerError(StoreError::Changed { .. }))), "{refused:?}");

    fixture.store.forget_replica(one.clone(), two.replica.clone(), at(8)).await.unwrap();
    fixture.store.forget_replica(one, two.replica.clone(), at(8)).await.unwrap();
    let names: Vec<_> = fixture.store.replicas().await.unwrap().into_iter().map(|known| known.name.to_string()).collect();
    assert_eq!(names, ["ca-1"]);
    let kinds = fixture.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| kind.starts_with("replica_re")).collect::<Vec<_>>().len(), 4, "{kinds:?}");
    // Its serial byte is free; its epochs go on.
    let epoch = other.register(registration("ca-2", 2), None, at(9)).await.unwrap();
    assert!(epoch > two.epoch + 1, "{epoch}");
}

/// A token under `jwt-1` that no entry is asked about.
fn token_for_entry_of_nobody() -> JwtIntent {
    JwtIntent { reason: Reason::Attestation, ..token_for_entry() }
}

#[tokio::test]
async fn lists_that_another_replica_has_replaced_get_no_higher_sequence_and_a_new_one_is_told() {
    let Some(fixture) = Fixture::new() else { return };
    let (other, _) = two_replicas(&fixture).await;
    let (issuer_key, issuer_der) = ([6; 32], vec![6]);
    let list = |number| ListIntent {
        issuer_key,
        issuer_der: issuer_der.clone(),
        number,
        next_update: at(100),
        entries: 0,
        tbs: [1; 32],
    };
    fixture.store.record_list(list(1), at(0)).await.unwrap();
    fixture.store.keep_list(issuer_key, 1, vec![1]).await.unwrap();
    let of = |der: u8| vec![(issuer_key, sha256(&[der]))];
    let first = other.revocation_sequence([1; 32], of(1), at(0)).await.unwrap();
    let mut changes = other.changes();
    fixture.store.record_list(list(2), at(0)).await.unwrap();
    // Until the next one is kept this is the newest.
    assert_eq!(other.revocation_sequence([1; 32], of(1), at(0)).await.unwrap(), first);
    fixture.store.keep_list(issuer_key, 2, vec![2]).await.unwrap();
    until("a list is told", async || changes.try_recv() == Ok(Change::Revocations)).await;
    let second = fixture.store.revocation_sequence([2; 32], of(2), at(0)).await.unwrap();
    let refused = other.revocation_sequence([1; 32], of(1), at(0)).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    assert_eq!(other.revocation_sequence([2; 32], of(2), at(0)).await.unwrap(), second);
}
