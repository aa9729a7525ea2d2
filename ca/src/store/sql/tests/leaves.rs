//! What of each issuing CA's signatures is good, and who has nothing better: the facts that let an authority go.

use super::*;
use crate::authority::lifecycle::gate::Leaves;
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::records::{EntryId, Outstanding};
use crate::store::sql::leaves;
use crate::store::{AuthorityStore, EntryStore, IssuanceStore};

const OLD: Sha256Digest = [0x01; 32];
const NEW: Sha256Digest = [0x02; 32];

fn signed_by(issuer_key: Sha256Digest, number: u64, caller: &str, reason: Reason) -> Intent {
    Intent { issuer_key, caller: caller.to_owned(), reason, ..intent(number) }
}

async fn intend(fixture: &Fixture, intent: Intent) {
    fixture.store.persist(intent).await.unwrap();
}

/// Recorded, and recorded as signed.
async fn issue(fixture: &Fixture, intent: Intent) {
    let serial = intent.serial.clone();
    fixture.store.persist(intent).await.unwrap();
    fixture.store.record_result(serial, vec![1], at(1)).await.unwrap();
}

/// Held and unexpired of the old CA and of the new one.
async fn counts(fixture: &Fixture, now: u64) -> [(u64, u64); 2] {
    let leaves = fixture.store.leaves(vec![OLD, NEW], at(now)).await.unwrap();
    [OLD, NEW].map(|key| (leaves[&key].held, leaves[&key].unexpired))
}

#[tokio::test]
async fn the_first_end_is_that_of_a_workload_whose_entry_is_there_and_that_has_nothing_newer() {
    let Some(fixture) = Fixture::new() else { return };
    let made = async |number: u8, path: &str| {
        let entry = entry(path, "n1", &["unix:uid:1"]);
        fixture.store.create_entry(entry_id(number), entry, OPERATOR, at(0)).await.unwrap().id
    };
    let (kept, gone) = (made(1, "kept").await, made(2, "gone").await);
    let first = async |now: u64| fixture.store.leaves(vec![OLD, NEW], at(now)).await.unwrap()[&OLD].first_workload_end;
    let leaf = |number: u64, reason: Reason, end: u64| Intent { not_after: at(end), ..signed_by(OLD, number, "n1", reason) };
    assert_eq!(first(1).await, None);
    issue(&fixture, leaf(1, Reason::AgentRenewal, 50)).await;
    assert_eq!(first(1).await, None, "an agent's own");
    issue(&fixture, leaf(2, Reason::Entry(kept.clone()), 90)).await;
    issue(&fixture, leaf(3, Reason::Entry(gone.clone()), 80)).await;
    assert_eq!((first(1).await, first(80).await, first(81).await), (Some(at(80)), Some(at(80)), Some(at(90))));
    fixture.store.delete_entry(gone, OPERATOR, at(2)).await.unwrap();
    assert_eq!(first(1).await, Some(at(90)), "nobody renews it, and nobody should");
    issue(&fixture, leaf(4, Reason::Entry(kept), 120)).await;
    assert_eq!(first(1).await, Some(at(120)), "what it had before ends unnoticed");
}

#[tokio::test]
async fn a_certificate_is_held_until_a_newer_one_of_the_same_holder_is_recorded_as_signed() {
    let Some(fixture) = Fixture::new() else { return };
    let entry = || Reason::Entry(entry_id(1));
    issue(&fixture, signed_by(OLD, 1, "n1", entry())).await;
    // Another agent with the same entry, and the same agent with another entry.
    issue(&fixture, signed_by(OLD, 2, "n2", entry())).await;
    issue(&fixture, signed_by(OLD, 3, "n1", Reason::Entry(entry_id(2)))).await;
    assert_eq!(counts(&fixture, 10).await, [(3, 3), (0, 0)]);
    // The intent alone may never have been signed.
    intend(&fixture, signed_by(NEW, 4, "n1", entry())).await;
    assert_eq!(counts(&fixture, 10).await, [(3, 3), (1, 1)]);
    fixture.store.record_result(serial(4), vec![1], at(1)).await.unwrap();
    assert_eq!(counts(&fixture, 10).await, [(2, 3), (1, 1)]);
    // What was signed by the old CA after that is held there again.
    issue(&fixture, signed_by(OLD, 5, "n1", entry())).await;
    assert_eq!(counts(&fixture, 10).await, [(3, 4), (0, 1)]);
    // An answer that comes late is no news.
    intend(&fixture, signed_by(OLD, 6, "n2", entry())).await;
    issue(&fixture, signed_by(NEW, 7, "n2", entry())).await;
    fixture.store.record_result(serial(6), vec![1], at(1)).await.unwrap();
    assert_eq!(counts(&fixture, 10).await, [(2, 5), (1, 2)]);
    let fixture = fixture.reopened();
    assert_eq!(counts(&fixture, 10).await, [(2, 5), (1, 2)]);
}

#[tokio::test]
async fn an_agents_own_svid_is_one_line_however_it_was_got() {
    let Some(fixture) = Fixture::new() else { return };
    let agent = |issuer, number, caller: &str, reason| {
        let subject = SpiffeId::parse("spiffe://example.org/signet/agent/n1").unwrap();
        Intent { subject, ..signed_by(issuer, number, caller, reason) }
    };
    issue(&fixture, agent(OLD, 1, "node n1", Reason::Attestation)).await;
    issue(&fixture, agent(OLD, 2, "spiffe://example.org/signet/agent/n1", Reason::AgentRenewal)).await;
    assert_eq!(counts(&fixture, 10).await, [(1, 2), (0, 0)]);
    issue(&fixture, agent(NEW, 3, "spiffe://example.org/signet/agent/n1", Reason::AgentRenewal)).await;
    assert_eq!(counts(&fixture, 10).await, [(0, 2), (1, 1)]);
    issue(&fixture, agent(OLD, 4, "node n1", Reason::Attestation)).await;
    assert_eq!(counts(&fixture, 10).await, [(1, 3), (0, 1)]);
}

#[tokio::test]
async fn callers_who_share_a_name_are_held_apart_until_each_presents_its_own_certificate() {
    let Some(fixture) = Fixture::new() else { return };
    let token = || Reason::Token { issuer: "https://issuer.example".to_owned(), subject: "pod".to_owned() };
    let name = "spiffe://example.org/web";
    issue(&fixture, signed_by(OLD, 1, name, token())).await;
    issue(&fixture, signed_by(OLD, 2, name, token())).await;
    issue(&fixture, signed_by(NEW, 3, name, token())).await;
    assert_eq!(counts(&fixture, 10).await, [(2, 2), (1, 1)]);
    issue(&fixture, signed_by(NEW, 4, name, Reason::Renewal { presented: serial(2) })).await;
    assert_eq!(counts(&fixture, 10).await, [(1, 2), (2, 2)]);
    issue(&fixture, signed_by(NEW, 5, name, Reason::Renewal { presented: serial(4) })).await;
    assert_eq!(counts(&fixture, 10).await, [(1, 2), (2, 3)]);
}

#[tokio::test]
async fn what_has_ended_counts_no_more_and_what_the_ca_makes_for_itself_never_does() {
    let Some(fixture) = Fixture::new() else { return };
    for (number, reason) in [(1, Reason::Authority), (2, Reason::Serving)] {
        issue(&fixture, signed_by(OLD, number, "ca", reason)).await;
    }
    assert_eq!(counts(&fixture, 10).await, [(0, 0), (0, 0)]);
    let until = |number, end| Intent {
        not_after: at(end),
        ..signed_by(OLD, number, "n1", Reason::Entry(entry_id(u8::try_from(number).unwrap())))
    };
    issue(&fixture, until(3, 100)).await;
    issue(&fixture, until(4, 200)).await;
    let last = async |now| fixture.store.leaves(vec![OLD], at(now)).await.unwrap()[&OLD];
    assert_eq!(last(100).await, Leaves { held: 2, unexpired: 2, last_end: Some(at(200)), ..Leaves::default() });
    assert_eq!(last(101).await, Leaves { held: 1, unexpired: 1, last_end: Some(at(200)), ..Leaves::default() });
    assert_eq!(last(201).await, Leaves::default());
}

#[tokio::test]
async fn what_does_not_say_who_signed_it_counts_for_every_ca_as_held_while_it_lasts() {
    let Some(fixture) = Fixture::new() else { return };
    issue(&fixture, signed_by(OLD, 1, "n1", Reason::Entry(entry_id(1)))).await;
    fixture.tamper("INSERT INTO leaves (issuer_key, not_after, position) VALUES (x'', 1700000500, 0)");
    issue(&fixture, signed_by(NEW, 2, "n1", Reason::Entry(entry_id(1)))).await;
    assert_eq!(counts(&fixture, 500).await, [(1, 2), (2, 2)]);
    assert_eq!(counts(&fixture, 501).await, [(0, 1), (1, 1)]);
    assert!(fixture.store.leaves(vec![], at(500)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_outstanding_for_an_entry_is_found_whoever_signed_it_along_what_has_not_ended() {
    let Some(fixture) = Fixture::new() else { return };
    let [web, db] = [1, 2].map(entry_id);
    let made = |issuer_key, number, entry: &EntryId, end| Intent {
        not_after: at(end),
        ..signed_by(issuer_key, number, "n1", Reason::Entry(entry.clone()))
    };
    issue(&fixture, made(OLD, 1, &web, 100)).await;
    issue(&fixture, made(OLD, 2, &web, 9)).await;
    issue(&fixture, made(OLD, 3, &db, 100)).await;
    // Not answered: it may have been signed.
    intend(&fixture, made(NEW, 4, &web, 300)).await;
    issue(&fixture, signed_by(NEW, 5, "n1", Reason::AgentRenewal)).await;
    let outstanding = |entries: Vec<EntryId>, now| {
        fixture.by_hand(move |connection| leaves::outstanding(connection, &entries, at(now)).unwrap())
    };
    let found = outstanding(vec![web.clone(), entry_id(3)], 10);
    assert_eq!(found, [(web.clone(), Outstanding { count: 2, until: at(300) })].into());
    let found = outstanding(vec![web.clone(), db], 300);
    assert_eq!(found, [(web, Outstanding { count: 1, until: at(300) })].into());
    assert_eq!(outstanding(vec![], 0), [].into());
}

#[tokio::test]
async fn of_each_jwt_key_the_last_end_of_its_tokens_is_known_over_restarts() {
    let Some(fixture) = Fixture::new() else { return };
    let key = |text: &str| pki::KeyId::parse(text).unwrap();
    let token = |kid: &str, end| JwtIntent {
        subject: SpiffeId::parse("spiffe://example.org/web").unwrap(),
        audiences: pki::AudienceSet::parse(&["db"]).unwrap(),
        key_id: key(kid),
        key: [4; 32],
        expires_at: at(end),
        signing_input: [7; 32],
        caller: "n1".to_owned(),
        reason: Reason::Entry(entry_id(1)),
        now: at(0),
    };
    for (kid, end) in [("k1", 300), ("k1", 200), ("k2", 250)] {
        fixture.store.persist_jwt(token(kid, end)).await.unwrap();
    }
    let fixture = fixture.reopened();
    let asked = vec![key("k1"), key("k2"), key("k3")];
    let found = fixture.store.tokens_until(asked).await.unwrap();
    assert_eq!(found, [(key("k1"), at(300)), (key("k2"), at(250))].into());
}
