//! Nodes and their standing.

use super::*;
use crate::records::NodeState;
use crate::store::{Change, NodeStore, StoreHealth};

/// A node `n1` with key 1 that attested with serial 1.
async fn attested() -> Option<Fixture> {
    let fixture = Fixture::new()?;
    fixture.token(1, "n1").await.unwrap();
    fixture.redeem(1, 1, 1).await.unwrap();
    fixture.store.set_agent_svid(node("n1"), svid(1), attestation(1), at(2)).await.unwrap();
    Some(fixture)
}

async fn renew(fixture: &Fixture, number: u64, presented: u64) -> Result<(), StoreError> {
    let grounds = SvidGrounds::Renewal { presented: serial(presented) };
    fixture.store.set_agent_svid(node("n1"), svid(number), grounds, at(3)).await
}

async fn serials(fixture: &Fixture) -> (Option<AgentSvidRecord>, Option<AgentSvidRecord>) {
    let record = fixture.store.node(node("n1")).await.unwrap().unwrap();
    (record.current, record.previous)
}

#[tokio::test]
async fn a_renewal_moves_current_to_previous_and_a_lost_one_gives_way() {
    let Some(fixture) = attested().await else { return };
    renew(&fixture, 2, 1).await.unwrap();
    assert_eq!(serials(&fixture).await, (Some(svid(2)), Some(svid(1))));
    // The reply with 2 was lost: the agent still has 1.
    renew(&fixture, 3, 1).await.unwrap();
    assert_eq!(serials(&fixture).await, (Some(svid(3)), Some(svid(1))));
    renew(&fixture, 4, 3).await.unwrap();
    assert_eq!(serials(&fixture).await, (Some(svid(4)), Some(svid(3))));
    let superseded = StoreError::Superseded { node: node("n1") };
    assert_eq!(renew(&fixture, 5, 1).await, Err(superseded), "neither current nor previous");
    let fixture = fixture.reopened();
    assert_eq!(serials(&fixture).await, (Some(svid(4)), Some(svid(3))));
}

#[tokio::test]
async fn a_reattestation_needs_the_key_on_record_and_moves_the_time() {
    let Some(fixture) = attested().await else { return };
    let grounds = |key| SvidGrounds::Reattestation { node_key_spki: vec![key; 91] };
    let other = fixture.store.set_agent_svid(node("n1"), svid(2), grounds(2), at(9)).await;
    assert_eq!(other, Err(StoreError::Superseded { node: node("n1") }));
    fixture.store.set_agent_svid(node("n1"), svid(2), grounds(1), at(9)).await.unwrap();
    assert_eq!(fixture.store.node(node("n1")).await.unwrap().unwrap().attested_at, at(9));
    assert_eq!(fixture.kinds().await.last().unwrap(), "node_reattested");
}

#[tokio::test]
async fn an_evicted_node_is_forgotten_with_its_used_token_and_gets_no_svid_that_was_under_way() {
    let Some(fixture) = attested().await else { return };
    let mut changes = fixture.store.changes();
    fixture.store.evict_node(node("n1"), OPERATOR, at(4)).await.unwrap();
    assert_eq!(changes.try_recv().unwrap(), Change::Node(node("n1")));
    assert_eq!(fixture.store.node(node("n1")).await.unwrap(), None);
    assert_eq!(fixture.store.node_by_key(vec![1; 91]).await.unwrap(), None);
    assert!(matches!(fixture.redeem(1, 1, 5).await, Err(RedeemError::Unknown)));
    let gone = StoreError::NotFound { what: "node", name: "n1".to_owned() };
    assert_eq!(renew(&fixture, 2, 1).await, Err(gone.clone()));
    assert_eq!(fixture.store.evict_node(node("n1"), OPERATOR, at(5)).await, Err(gone));
    // With a new token the same key comes back.
    fixture.token(2, "n1").await.unwrap();
    assert!(fixture.redeem(2, 1, 6).await.is_ok());
}

#[tokio::test]
async fn a_ban_holds_the_record_until_it_is_lifted_and_an_eviction_does_not_lift_it() {
    let Some(fixture) = attested().await else { return };
    let banned = Err(StoreError::Banned { node: node("n1") });
    fixture.store.ban_node(node("n1"), OPERATOR, at(4)).await.unwrap();
    let fixture = fixture.reopened();
    let record = fixture.store.node_by_key(vec![1; 91]).await.unwrap().unwrap();
    assert_eq!(record.state, NodeState::Banned);
    assert!(!record.accepts(&serial(1)));
    assert_eq!(renew(&fixture, 2, 1).await, banned);
    assert_eq!(fixture.store.evict_node(node("n1"), OPERATOR, at(5)).await, banned);
    // Again is fine: the ban stands.
    fixture.store.ban_node(node("n1"), OPERATOR, at(6)).await.unwrap();
    fixture.store.unban_node(node("n1"), OPERATOR, at(7)).await.unwrap();
    assert_eq!(fixture.store.node(node("n1")).await.unwrap(), None, "must attest anew");
    let twice = fixture.store.unban_node(node("n1"), OPERATOR, at(8)).await;
    assert_eq!(twice, Err(StoreError::NotFound { what: "banned node", name: "n1".to_owned() }));
}

#[tokio::test]
async fn a_name_can_be_banned_before_it_attests_and_only_a_banned_one_is_unbanned() {
    let Some(fixture) = attested().await else { return };
    assert!(fixture.store.unban_node(node("n1"), OPERATOR, at(3)).await.is_err());
    fixture.store.ban_node(node("n0"), OPERATOR, at(3)).await.unwrap();
    let records = fixture.store.nodes().await.unwrap();
    assert_eq!(records.iter().map(|record| record.node.as_str()).collect::<Vec<_>>(), ["n0", "n1"]);
    assert_eq!((records[0].node_key_spki.clone(), records[0].state), (None, NodeState::Banned));
}
