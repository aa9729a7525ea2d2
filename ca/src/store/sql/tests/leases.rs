//! Replicas and their leases: who has one, who may take it, and that nothing is written by one that another process has.

use std::sync::Arc;

use super::*;
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};
use crate::authority::lifecycle::{AuthorityKind, Event, Lifecycle, Material, apply};
use crate::issuance::LedgerError;
use crate::store::{AuthorityStore, BundleStore, Fence, IssuanceStore, IssuerRequest, Lease, LeaseError, ReplicaStore};

async fn present(fixture: &Fixture, name: &str, byte: u8, silent: Option<Lease>) -> Result<Fence, LeaseError> {
    let registration = registration(name, byte);
    let epoch = fixture.store.register(registration.clone(), silent, at(0)).await?;
    Ok(Fence { replica: registration.replica, epoch, lead: None })
}

async fn lead(fixture: &Fixture, fence: &Fence, silent: Option<Lease>) -> Result<Fence, LeaseError> {
    let lead = fixture.store.take_lead(fence.clone(), silent, at(1)).await?;
    Ok(Fence { lead: Some(lead), ..fence.clone() })
}

fn rotation() -> Rotation {
    let from = "root-1".parse().unwrap();
    Rotation { from, started_at: at(5), pace: Pace::Taint, aborting: false, accepted: Accepted::default() }
}

/// The lifecycle with a first root.
fn with_root() -> Lifecycle {
    let material = Material { key: [1; 32], public_der: vec![1], not_before: at(0), not_after: Some(at(1000)) };
    let adopted = crate::authority::lifecycle::Adopted { name: "root-1".parse().unwrap(), material };
    apply(&Lifecycle::default(), Event::Adopt(adopted), at(1)).unwrap().state
}

fn fenced<T: std::fmt::Debug>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Fenced { .. }))
}

/// What every write of a rotation answers to this fence.
async fn written(fixture: &Fixture, fence: &Fence, number: u64) -> Vec<Result<(), StoreError>> {
    let store = &fixture.store;
    let before = Arc::new(store.lifecycle().await.unwrap());
    let after = if *before == Lifecycle::default() { Arc::new(with_root()) } else { Arc::clone(&before) };
    vec![
        store.put_rotation(fence.clone(), rotation(), OPERATOR, at(number)).await,
        store.end_rotation(fence.clone(), AuthorityKind::Root, Outcome::Completed, OPERATOR, at(number)).await,
        store.store_lifecycle(fence.clone(), before, after, None, OPERATOR, at(number)).await,
        store.persist_fenced(fence.clone(), intent(number)).await.map_err(|LedgerError(error)| error),
    ]
}

#[tokio::test]
async fn whoever_lost_a_lease_writes_nothing_of_a_rotation() {
    let Some(fixture) = Fixture::new() else { return };
    let first = lead(&fixture, &present(&fixture, "a", 1, None).await.unwrap(), None).await.unwrap();
    assert_eq!(written(&fixture, &first, 1).await, vec![Ok(()); 4], "accepted before it is refused");

    // The same replica in another process: of its host, which one process at a time has.
    let again = lead(&fixture, &present(&fixture, "a", 1, None).await.unwrap(), None).await.unwrap();
    assert!(again.epoch > first.epoch && again.lead > first.lead);
    let (events, stored) = (fixture.events().await.len(), fixture.store.lifecycle().await.unwrap());
    for outcome in written(&fixture, &first, 2).await {
        assert!(fenced(&outcome), "{outcome:?}");
    }
    // Neither does one half of what another process has let it.
    let half = Fence { lead: again.lead, ..first.clone() };
    assert!(written(&fixture, &half, 2).await.iter().all(fenced));
    let half = Fence { lead: first.lead, ..again.clone() };
    assert!(written(&fixture, &half, 2).await.iter().all(fenced));
    assert_eq!((fixture.events().await.len(), fixture.store.lifecycle().await.unwrap()), (events, stored), "not a row");
    assert_eq!(fixture.store.rotations().await.unwrap(), []);
    assert!(fixture.store.issued(serial(2)).await.unwrap().is_none());
    assert!(fenced(&fixture.store.beat(first.clone(), at(2)).await));

    assert_eq!(written(&fixture, &again, 3).await, vec![Ok(()); 4], "and who has it does");
    // What is given up is written by no more, and taken at once.
    fixture.store.give_up(again.clone()).await.unwrap();
    assert!(written(&fixture, &again, 4).await.iter().all(fenced));
    lead(&fixture, &present(&fixture, "a", 1, None).await.unwrap(), None).await.unwrap();
}

#[tokio::test]
async fn who_does_not_lead_moves_no_authority() {
    let Some(fixture) = Fixture::new() else { return };
    let follower = present(&fixture, "b", 2, None).await.unwrap();
    let outcomes = written(&fixture, &follower, 1).await;
    assert!(outcomes[..3].iter().all(fenced), "{outcomes:?}");
    assert_eq!(outcomes[3], Ok(()), "a certificate of its own needs its own lease alone");
    assert!(written(&fixture, &lead(&fixture, &follower, None).await.unwrap(), 2).await.iter().all(Result::is_ok));
}

/// For an issuing CA, by the key that `key` stands for.
fn asked_by(fence: &Fence, key: u8) -> IssuerRequest {
    let (name, root) = ("issuer-5".parse().unwrap(), "root-1".parse().unwrap());
    IssuerRequest { name, replica: fence.replica.clone(), root, csr_der: vec![key] }
}

#[tokio::test]
async fn whoever_is_a_replica_no_more_asks_for_no_issuing_ca_signs_none_moves_none_and_leads_nobody() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let gone = present(&fixture, "a", 1, None).await.unwrap();
    let other = present(&fixture, "b", 2, None).await.unwrap();
    let now = present(&fixture, "a", 1, None).await.unwrap();
    let (own, request) = (asked_by(&now, 7), asked_by(&other, 8));
    store.ask_issuer(now.clone(), own.clone(), at(1)).await.unwrap();
    store.ask_issuer(other.clone(), request.clone(), at(1)).await.unwrap();

    assert!(fenced(&store.ask_issuer(gone.clone(), asked_by(&gone, 9), at(2)).await));
    assert!(fenced(&store.claim_issuer(gone.clone(), request.clone()).await));
    assert!(fenced(&store.forget_issuer(gone.clone(), own.name).await));
    assert_eq!(store.issuer_requests().await.unwrap(), [own, request.clone()], "nothing was taken back or put in its place");
    // What the same replica claimed is not answered by the process that it was before.
    assert!(store.claim_issuer(now.clone(), request.clone()).await.unwrap());
    assert!(fenced(&store.answer_issuer(gone.clone(), request.clone(), vec![1]).await));
    assert_eq!(store.issuer_answer(request.clone()).await.unwrap(), None);
    store.answer_issuer(now.clone(), request.clone(), vec![2]).await.unwrap();
    assert_eq!(store.issuer_answer(request).await.unwrap(), Some(vec![2]));

    let of_its_own = Rotation { from: "issuer-1".parse().unwrap(), ..rotation() };
    assert!(fenced(&store.put_rotation(gone.clone(), of_its_own.clone(), OPERATOR, at(3)).await));
    store.put_rotation(now.clone(), of_its_own, OPERATOR, at(3)).await.unwrap();
    assert!(fenced(&store.end_rotation(gone.clone(), AuthorityKind::Issuer, Outcome::Completed, OPERATOR, at(3)).await));
    store.end_rotation(now.clone(), AuthorityKind::Issuer, Outcome::Completed, OPERATOR, at(3)).await.unwrap();

    let refused = lead(&fixture, &gone, None).await;
    assert!(matches!(refused, Err(LeaseError::Store(StoreError::Fenced { .. }))), "{refused:?}");
    lead(&fixture, &now, None).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_there_is_not_forgotten_and_one_that_is_gone_by_the_leader_alone() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let leader = lead(&fixture, &present(&fixture, "a", 1, None).await.unwrap(), None).await.unwrap();
    let other = present(&fixture, "b", 2, None).await.unwrap();
    let follower = present(&fixture, "c", 3, None).await.unwrap();
    store.ask_issuer(other.clone(), asked_by(&other, 7), at(1)).await.unwrap();
    let refused = store.forget_replica(leader.clone(), other.replica.clone(), at(2)).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "somebody is behind it: {refused:?}");

    let seen = store.replicas().await.unwrap().into_iter().find(|known| known.name == other.replica).unwrap().lease;
    store.retire_replica(leader.clone(), seen, OPERATOR, at(3)).await.unwrap();
    assert!(fenced(&store.forget_replica(follower, other.replica.clone(), at(4)).await));
    assert_eq!(store.replicas().await.unwrap().len(), 3);
    store.forget_replica(leader, other.replica.clone(), at(4)).await.unwrap();
    assert_eq!(store.replicas().await.unwrap().len(), 2);
    // What it had asked for went with it: another host of this name is given nothing for a key that it does not have.
    let back = present(&fixture, "b", 2, None).await.unwrap();
    assert!(back.epoch > other.epoch + 1, "what was fenced off stays so: {}", back.epoch);
    assert_eq!(store.issuer_requests().await.unwrap(), []);
}

#[tokio::test]
async fn two_replicas_never_make_serials_with_the_same_first_byte() {
    let Some(fixture) = Fixture::new() else { return };
    present(&fixture, "a", 1, None).await.unwrap();
    let refused = present(&fixture, "b", 1, None).await.unwrap_err();
    assert!(matches!(&refused, LeaseError::Byte { byte: 1, by } if by.as_str() == "a"), "{refused:?}");
    present(&fixture, "b", 2, None).await.unwrap();
    present(&fixture, "a", 3, None).await.expect("it may take another one");
    present(&fixture, "c", 1, None).await.expect("which frees the first");
    let replicas = fixture.store.replicas().await.unwrap();
    let known: Vec<_> = replicas.iter().map(|replica| (replica.name.as_str(), replica.serial_byte)).collect();
    assert_eq!(known, [("a", 3), ("b", 2), ("c", 1)]);
    assert_eq!(replicas[1].address, "b.example.org:8443");
}

#[tokio::test]
async fn a_bundle_is_numbered_for_the_authorities_that_are_stored_alone() {
    let Some(fixture) = Fixture::new() else { return };
    let domain: identity::TrustDomain = "example.org".parse().unwrap();
    let number = |of: Lifecycle| fixture.store.bundle_sequence(domain.clone(), hash(7), Arc::new(of), at(1));
    let sequence = number(Lifecycle::default()).await.unwrap();
    let leader = lead(&fixture, &present(&fixture, "a", 1, None).await.unwrap(), None).await.unwrap();
    assert_eq!(written(&fixture, &leader, 1).await, vec![Ok(()); 4]);
    let refused = number(Lifecycle::default()).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    assert_eq!(number(with_root()).await.unwrap(), sequence, "the same content");
}
