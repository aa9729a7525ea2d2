//! What is called back: found by whatever it was asked for, on record with its audit event, and the last word at the ledger.

use std::time::Duration;

use pki::crl::RevocationReason;

use std::sync::Arc;

use super::*;
use crate::issuance::LedgerError;
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::revocation::{CLOCK_SKEW, ListIntent, Outcome, Target};
use crate::store::{BundleStore, Change, IssuanceStore, NodeStore, RevocationStore, RevokeError, StoreHealth};

const OTHER_ISSUER: Sha256Digest = [0x2c; 32];
const WHY: RevocationReason = RevocationReason::Superseded;

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap()
}

/// An intent for `path`, asked for by the agent of `node`.
fn leaf(number: u64, path: &str, node: &str, issuer_key: Sha256Digest) -> Intent {
    Intent {
        subject: id(path),
        caller: format!("spiffe://example.org/signet/agent/{node}"),
        reason: Reason::Entry(entry_id(1)),
        issuer_key,
        ..intent(number)
    }
}

fn agent(number: u64, node: &str) -> Intent {
    let subject = id(&format!("signet/agent/{node}"));
    Intent { caller: format!("node {node}"), reason: Reason::Attestation, subject, ..intent(number) }
}

async fn with_leaves() -> Option<Fixture> {
    let fixture = Fixture::new()?;
    // Of whose trust domain the ledger is.
    fixture.store.bundle_sequence("example.org".parse().unwrap(), hash(1), Arc::default(), at(0)).await.unwrap();
    for intent in [
        leaf(1, "web", "n1", ISSUER),
        leaf(2, "web", "n2", OTHER_ISSUER),
        leaf(3, "api", "n1", ISSUER),
        agent(4, "n1"),
        agent(5, "n2"),
        Intent { reason: Reason::Serving, subject: id("signet/ca/a"), caller: "ca".to_owned(), ..intent(6) },
        Intent { not_after: at(100), ..leaf(7, "web", "n1", ISSUER) },
    ] {
        fixture.store.persist(intent).await.unwrap();
    }
    Some(fixture)
}

fn numbers(outcome: &Outcome) -> Vec<u64> {
    let number = |serial: &SerialNumber| (1..100).find(|number| super::serial(*number) == *serial).unwrap();
    let mut numbers: Vec<_> = outcome.revoked.iter().map(|revocation| number(&revocation.serial)).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn each_target_means_its_own_certificates_that_somebody_may_still_accept() {
    let Some(fixture) = with_leaves().await else { return };
    let now = at(100).plus(CLOCK_SKEW).plus(Duration::from_secs(1));
    let planned = async |target, now| fixture.store.plan_revocation(target, WHY, now).await.unwrap();
    assert_eq!(numbers(&planned(Target::Serial(serial(3)), now).await), [3]);
    assert_eq!(numbers(&planned(Target::Identity(id("web")), now).await), [1, 2]);
    assert_eq!(
        numbers(&planned(Target::Identity(id("web")), at(100).plus(CLOCK_SKEW)).await),
        [1, 2, 7],
        "by a clock that is behind"
    );
    assert_eq!(numbers(&planned(Target::Node(node("n1")), now).await), [1, 3, 4]);
    assert_eq!(numbers(&planned(Target::Node(node("n3")), now).await), [0; 0]);
    assert_eq!(numbers(&planned(Target::Entry(entry_id(1)), now).await), [1, 2, 3]);
    let by_identity = planned(Target::Identity(id("web")), now).await;
    let issuers: Vec<_> = by_identity.revoked.iter().map(|revocation| revocation.issuer_key).collect();
    assert!(issuers.contains(&Some(ISSUER)) && issuers.contains(&Some(OTHER_ISSUER)));
    assert!(matches!(
        fixture.store.plan_revocation(Target::Serial(serial(7)), WHY, now).await,
        Err(RevokeError::Ended { not_after, .. }) if not_after == at(100)
    ));
    assert!(matches!(fixture.store.plan_revocation(Target::Serial(serial(6)), WHY, now).await, Err(RevokeError::OfTheCa { .. })));
    assert!(matches!(
        fixture.store.plan_revocation(Target::Serial(serial(50)), WHY, now).await,
        Err(RevokeError::Unknown { .. })
    ));
    // Nothing of it was done.
    assert!(fixture.store.revocations(now).await.unwrap().is_empty());
    assert_eq!(*fixture.store.revoked().borrow().as_ref(), crate::revocation::Revoked::default());
}

#[tokio::test]
async fn a_denied_identity_is_refused_at_the_ledger_however_it_was_admitted_and_others_are_not() {
    let Some(fixture) = with_leaves().await else { return };
    let (store, mut changes) = (&fixture.store, fixture.store.changes());
    let done = store.revoke(Target::Identity(id("web")), WHY, OPERATOR, at(200)).await.unwrap();
    assert!(done.identity_denied);
    // Before the answer.
    assert!(store.revoked().borrow().denied.contains(&id("web")) && store.revoked().borrow().serials.contains(&serial(2)));
    assert_eq!(changes.try_recv().unwrap(), Change::Revocations);
    let refused = store.persist(leaf(10, "web", "n1", ISSUER)).await.unwrap_err();
    assert!(matches!(refused, LedgerError(StoreError::Denied { id: denied }) if denied == id("web")));
    assert!(store.issued(serial(10)).await.unwrap().is_none());
    store.persist(leaf(11, "web/below", "n1", ISSUER)).await.unwrap();
    let jwt = |path: &str| JwtIntent {
        subject: id(path),
        audiences: pki::AudienceSet::parse(&["db".to_owned()]).unwrap(),
        key_id: "k".parse().unwrap(),
        key: [4; 32],
        expires_at: at(500),
        signing_input: hash(1),
        caller: "spiffe://example.org/signet/agent/n1".to_owned(),
        reason: Reason::Entry(entry_id(1)),
        now: at(200),
    };
    assert!(matches!(store.persist_jwt(jwt("web")).await, Err(LedgerError(StoreError::Denied { .. }))));
    store.persist_jwt(jwt("api")).await.unwrap();
    let events = fixture.kinds().await.len();
    assert!(matches!(store.persist_jwt(jwt("web")).await, Err(LedgerError(StoreError::Denied { .. }))));
    assert_eq!(fixture.kinds().await.len(), events, "a refusal leaves nothing behind");

    let fixture = fixture.reopened();
    let store = &fixture.store;
    assert!(store.revoked().borrow().denied.contains(&id("web")), "known before anybody asks");
    assert!(store.restore_identity(id("web"), OPERATOR, at(300)).await.unwrap());
    assert!(!store.restore_identity(id("web"), OPERATOR, at(300)).await.unwrap());
    store.persist(leaf(12, "web", "n1", ISSUER)).await.unwrap();
    assert!(store.revoked().borrow().serials.contains(&serial(1)), "a serial stays");
}

#[tokio::test]
async fn what_was_admitted_before_its_node_was_banned_is_not_recorded_after() {
    let Some(fixture) = with_leaves().await else { return };
    fixture.token(1, "n1").await.unwrap();
    fixture.redeem(1, 7, 10).await.unwrap();
    fixture.store.set_agent_svid(node("n1"), svid(4), attestation(7), at(10)).await.unwrap();
    let done = fixture.store.revoke(Target::Node(node("n1")), WHY, OPERATOR, at(20)).await.unwrap();
    assert!(done.node_banned);
    assert!(matches!(fixture.store.persist(leaf(20, "api", "n1", ISSUER)).await, Err(LedgerError(StoreError::Banned { .. }))));
    fixture.store.persist(leaf(21, "api", "n2", ISSUER)).await.unwrap();
    let kinds = fixture.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "certificate_revoked").count(), 4, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "node_banned").count(), 1);
}

#[tokio::test]
async fn an_agent_svid_that_is_revoked_is_off_the_record_of_its_node() {
    let Some(fixture) = with_leaves().await else { return };
    for (number, key, name) in [(1, 7, "n1"), (2, 8, "n2")] {
        fixture.token(number, name).await.unwrap();
        fixture.redeem(number, key, 10).await.unwrap();
    }
    fixture.store.set_agent_svid(node("n1"), svid(4), attestation(7), at(10)).await.unwrap();
    fixture.store.set_agent_svid(node("n2"), svid(5), attestation(8), at(10)).await.unwrap();
    let mut changes = fixture.store.changes();
    fixture.store.revoke(Target::Serial(serial(4)), WHY, OPERATOR, at(20)).await.unwrap();
    assert_eq!(changes.try_recv().unwrap(), Change::Node(node("n1")));
    assert!(fixture.store.node(node("n1")).await.unwrap().unwrap().current.is_none());
    assert_eq!(fixture.store.node(node("n2")).await.unwrap().unwrap().current, Some(svid(5)));
}

#[tokio::test]
async fn revocations_are_forgotten_only_when_no_list_needs_them() {
    let Some(fixture) = with_leaves().await else { return };
    fixture.store.revoke(Target::Serial(serial(1)), WHY, OPERATOR, at(20)).await.unwrap();
    let end = at(3600).plus(CLOCK_SKEW);
    assert_eq!(fixture.store.purge_revocations(end).await.unwrap(), 0);
    assert_eq!(fixture.store.revocations(end).await.unwrap().len(), 1);
    let over = end.plus(Duration::from_secs(1));
    assert!(fixture.store.revocations(over).await.unwrap().is_empty());
    assert_eq!(fixture.store.purge_revocations(over).await.unwrap(), 1);
    assert!(fixture.store.revoked().borrow().serials.is_empty());
}

#[tokio::test]
async fn numbers_of_lists_go_up_alone_and_a_list_is_kept_under_its_own() {
    let Some(fixture) = Fixture::new() else { return };
    let list =
        |number| ListIntent { issuer_key: ISSUER, issuer_der: vec![1], number, next_update: at(100), entries: 0, tbs: hash(1) };
    let store = &fixture.store;
    store.record_list(list(7), at(0)).await.unwrap();
    for not_above in [7, 6] {
        assert!(matches!(store.record_list(list(not_above), at(0)).await, Err(StoreError::Changed { .. })));
    }
    store.keep_list(ISSUER, 7, vec![7]).await.unwrap();
    store.record_list(list(9), at(0)).await.unwrap();
    assert!(matches!(store.keep_list(ISSUER, 7, vec![8]).await, Err(StoreError::Changed { .. })));
    let stored = store.revocation_lists().await.unwrap();
    assert_eq!((stored.len(), stored[0].number, stored[0].list_der.clone()), (1, 9, Some(vec![7])));
    assert_eq!(fixture.kinds().await, ["revocation_list_intended", "revocation_list_intended"]);

    let first = store.revocation_sequence(hash(1), vec![], at(0)).await.unwrap();
    assert_eq!(store.revocation_sequence(hash(1), vec![], at(50)).await.unwrap(), first);
    assert!(store.revocation_sequence(hash(2), vec![], at(0)).await.unwrap() > first);
}

#[tokio::test]
async fn whoever_signed_what_is_good_is_known_with_its_last_end() {
    let Some(fixture) = with_leaves().await else { return };
    fixture.store.persist(Intent { not_after: at(9000), ..leaf(30, "web", "n1", OTHER_ISSUER) }).await.unwrap();
    assert_eq!(fixture.store.signers(at(0)).await.unwrap(), [(ISSUER, at(3600)), (OTHER_ISSUER, at(9000))]);
    assert_eq!(fixture.store.signers(at(3601)).await.unwrap(), [(OTHER_ISSUER, at(9000))]);
}
