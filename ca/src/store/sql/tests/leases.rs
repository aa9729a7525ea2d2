//! Replicas and their leases: who has one, who may take it, and that nothing is written by one that another process has.

use std::sync::Arc;

use super::*;
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};
use crate::authority::lifecycle::{AuthorityKind, Event, Lifecycle, Material, apply};
use crate::issuance::LedgerError;
use crate::store::{AuthorityStore, BundleStore, Fence, IssuanceStore, Lease, LeaseError, ReplicaStore};

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
