//! How far a node was with the bundle, for when it is not connected.

use super::*;
use crate::store::{AuthorityStore, NodeStore, Settled};

async fn two_nodes() -> Option<Fixture> {
    let fixture = Fixture::new()?;
    for (number, name) in [(1, "n1"), (2, "n2")] {
        fixture.token(number, name).await.unwrap();
        fixture.redeem(number, number, 1).await.unwrap();
    }
    Some(fixture)
}

async fn acknowledged(fixture: &Fixture) -> Vec<(String, u64)> {
    let mut all: Vec<_> =
        fixture.store.acknowledged().await.unwrap().into_iter().map(|(node, at)| (node.to_string(), at)).collect();
    all.sort();
    all
}

#[tokio::test]
async fn an_acknowledgement_never_goes_back_and_survives_a_restart() {
    let Some(fixture) = two_nodes().await else { return };
    let events = fixture.events().await.len();
    assert_eq!(acknowledged(&fixture).await, []);
    for sequence in [7, 9, 8] {
        fixture.store.acknowledge_bundle(node("n1"), sequence).await.unwrap();
    }
    fixture.store.acknowledge_bundle(node("n2"), 3).await.unwrap();
    fixture.store.acknowledge_bundle(node("nobody"), 5).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(acknowledged(&fixture).await, [("n1".to_owned(), 9), ("n2".to_owned(), 3)]);
    assert_eq!(fixture.events().await.len(), events, "not audited");
}

#[tokio::test]
async fn what_was_settled_keeps_the_time_of_the_first_word_and_never_goes_back() {
    let Some(fixture) = two_nodes().await else { return };
    fixture.store.acknowledge_bundle(node("n1"), 9).await.unwrap();
    assert!(fixture.store.settled().await.unwrap().is_empty());
    for (sequence, second) in [(8, 1), (9, 2), (9, 3), (8, 4)] {
        fixture.store.settle_bundle(node("n1"), Settled { sequence, at: at(second) }).await.unwrap();
    }
    fixture.store.settle_bundle(node("n2"), Settled { sequence: 4, at: at(5) }).await.unwrap();
    fixture.store.settle_bundle(node("nobody"), Settled { sequence: 4, at: at(5) }).await.unwrap();
    let fixture = fixture.reopened();
    let wanted = [(node("n1"), Settled { sequence: 9, at: at(2) }), (node("n2"), Settled { sequence: 4, at: at(5) })];
    assert_eq!(fixture.store.settled().await.unwrap(), wanted.into());
    assert_eq!(acknowledged(&fixture).await, [("n1".to_owned(), 9), ("n2".to_owned(), 4)]);
}

#[tokio::test]
async fn it_goes_with_the_node_and_with_its_key() {
    let Some(fixture) = two_nodes().await else { return };
    for name in ["n1", "n2"] {
        fixture.store.settle_bundle(node(name), Settled { sequence: 9, at: at(2) }).await.unwrap();
    }
    fixture.store.evict_node(node("n1"), OPERATOR, at(3)).await.unwrap();
    assert_eq!(acknowledged(&fixture).await, [("n2".to_owned(), 9)]);
    // The same key again, and then another one.
    fixture.redeem(2, 2, 3).await.unwrap();
    assert_eq!(acknowledged(&fixture).await, [("n2".to_owned(), 9)]);
    fixture.token(3, "n2").await.unwrap();
    fixture.redeem(3, 3, 4).await.unwrap();
    assert_eq!(acknowledged(&fixture).await, []);
    // A banned name says nothing.
    fixture.store.ban_node(node("n2"), OPERATOR, at(5)).await.unwrap();
    fixture.store.acknowledge_bundle(node("n2"), 9).await.unwrap();
    assert_eq!(acknowledged(&fixture).await, []);
}
