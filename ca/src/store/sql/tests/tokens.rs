//! Join tokens: once, by one key.

use futures_util::future::join_all;

use super::*;
use crate::records::NodeState;
use crate::store::NodeStore;

#[tokio::test]
async fn a_token_registers_the_node_with_the_key_and_the_same_key_may_retry_while_it_lives() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    let record = fixture.redeem(1, 1, 10).await.unwrap();
    assert_eq!((record.node.clone(), record.state), (node("n1"), NodeState::Attested));
    assert_eq!(record.node_key_spki, Some(vec![1; 91]));
    fixture.store.set_agent_svid(node("n1"), svid(1), attestation(1), at(11)).await.unwrap();
    let fixture = fixture.reopened();
    let retried = fixture.redeem(1, 1, 599).await.unwrap();
    assert_eq!(retried.current, Some(svid(1)), "the SVID of a lost reply stays on record");
    let late = fixture.redeem(1, 1, 600).await.unwrap_err();
    assert!(matches!(late, RedeemError::Expired { expires_at, now } if expires_at == at(600) && now == at(600)));
    assert_eq!(fixture.kinds().await, ["token_created", "token_redeemed", "node_attested", "token_redeemed", "token_refused"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_keys_that_redeem_one_token_at_once_one_wins_and_may_retry() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    let results = join_all((0..64).map(|key| fixture.redeem(1, key, 1))).await;
    let winners: Vec<u8> = (0..64).filter(|&key| results[usize::from(key)].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    for refusal in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(refusal, RedeemError::UsedByAnotherKey), "{refusal}");
    }
    let nodes = fixture.store.nodes().await.unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].node_key_spki, Some(vec![winners[0]; 91]));
    assert!(fixture.redeem(1, winners[0], 2).await.is_ok());
    let refused = fixture.kinds().await.iter().filter(|kind| *kind == "token_refused").count();
    assert_eq!(refused, 16, "a spent token cannot fill the log");
}

#[tokio::test]
async fn an_unknown_token_is_refused_and_leaves_no_trace() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    assert!(matches!(fixture.redeem(2, 1, 1).await, Err(RedeemError::Unknown)));
    assert_eq!(fixture.kinds().await, ["token_created"]);
    assert!(fixture.redeem(1, 1, 1).await.is_ok());
}

#[tokio::test]
async fn a_new_token_replaces_the_key_of_its_node_and_ends_the_tokens_of_the_former_one() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    fixture.redeem(1, 1, 1).await.unwrap();
    fixture.store.set_agent_svid(node("n1"), svid(1), attestation(1), at(2)).await.unwrap();
    fixture.token(2, "n1").await.unwrap();
    let record = fixture.redeem(2, 2, 3).await.unwrap();
    assert_eq!((record.node_key_spki, record.current, record.previous), (Some(vec![2; 91]), None, None));
    // The former key cannot take the name back with the token that it used, nor land an SVID that was under way.
    assert!(matches!(fixture.redeem(1, 1, 4).await, Err(RedeemError::Unknown)));
    let late = fixture.store.set_agent_svid(node("n1"), svid(9), attestation(1), at(4)).await;
    assert_eq!(late, Err(StoreError::Superseded { node: node("n1") }));
    let body = fixture.events().await.into_iter().rfind(|event| event.kind == "token_redeemed").unwrap().body;
    assert!(body.contains(r#""record":"key_replaced""#) && body.contains("former_node_key"), "{body}");
}

#[tokio::test]
async fn a_key_has_one_name() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    fixture.token(2, "n2").await.unwrap();
    fixture.redeem(1, 1, 1).await.unwrap();
    let refusal = fixture.redeem(2, 1, 1).await.unwrap_err();
    assert!(matches!(refusal, RedeemError::KeyOfAnotherNode { node: other } if other == node("n1")));
    assert!(fixture.redeem(2, 2, 1).await.is_ok());
}

#[tokio::test]
async fn neither_a_banned_name_nor_a_banned_key_redeems_and_an_unbanned_one_does() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    fixture.token(2, "n2").await.unwrap();
    fixture.token(3, "n1").await.unwrap();
    fixture.redeem(1, 1, 1).await.unwrap();
    fixture.store.ban_node(node("n1"), OPERATOR, at(2)).await.unwrap();
    assert!(matches!(fixture.redeem(3, 9, 3).await, Err(RedeemError::Banned)), "the name");
    assert!(matches!(fixture.redeem(2, 1, 3).await, Err(RedeemError::Banned)), "the key");
    assert_eq!(fixture.token(4, "n1").await, Err(StoreError::Banned { node: node("n1") }));
    fixture.store.unban_node(node("n1"), OPERATOR, at(4)).await.unwrap();
    assert!(matches!(fixture.redeem(1, 1, 5).await, Err(RedeemError::Unknown)), "a used token died with the ban");
    assert!(fixture.redeem(2, 1, 5).await.is_ok());
    assert!(fixture.redeem(3, 9, 5).await.is_ok());
}

#[tokio::test]
async fn a_revoked_token_is_redeemed_by_nobody_while_others_are_and_open_ones_are_listed() {
    let Some(fixture) = Fixture::new() else { return };
    for (number, name) in [(1, "n1"), (2, "n2"), (3, "n3"), (4, "n4")] {
        fixture.token(number, name).await.unwrap();
    }
    fixture.redeem(1, 1, 1).await.unwrap();
    fixture.redeem(2, 2, 1).await.unwrap();
    let open = async |now: u64| {
        let open = fixture.store.open_tokens(at(now)).await.unwrap();
        open.into_iter().map(|open| (open.token.node.to_string(), open.used)).collect::<Vec<_>>()
    };
    let shown = [("n1", true), ("n2", true), ("n3", false), ("n4", false)].map(|(name, used)| (name.to_owned(), used));
    assert_eq!(open(599).await, shown);
    assert_eq!(open(600).await, [], "those that have ended are open to nobody");
    let id = |number: u8| TokenRecord { hash: hash(number), node: node("n"), expires_at: at(0) }.id();
    // One that nobody used, and one by which its key might come back.
    for (number, used) in [(3, false), (1, true)] {
        let revoked = fixture.store.revoke_token(id(number), OPERATOR, at(2)).await.unwrap();
        assert_eq!((revoked.token.hash, revoked.token.expires_at, revoked.used), (hash(number), at(600), used));
        let refused = fixture.redeem(number, number, 2).await.unwrap_err();
        assert!(matches!(&refused, RedeemError::Expired { expires_at, .. } if *expires_at == at(2)), "{refused}");
        assert!(refused.to_string().contains("an operator revoked it"), "{refused}");
        let again = fixture.store.revoke_token(id(number), OPERATOR, at(3)).await;
        assert!(matches!(again, Err(StoreError::NotFound { what: "join token", .. })), "{again:?}");
    }
    assert_eq!(open(3).await, [("n2".to_owned(), true), ("n4".to_owned(), false)]);
    for number in [2, 4] {
        fixture.redeem(number, number, 4).await.expect("the others are as they were");
    }
    let never = fixture.store.revoke_token(id(9), OPERATOR, at(3)).await;
    assert!(matches!(never, Err(StoreError::NotFound { what: "join token", .. })), "{never:?}");
    let events = fixture.events().await;
    let revoked: Vec<_> = events.iter().filter(|event| event.kind == "token_revoked").map(|event| event.body.as_str()).collect();
    let [first, second] = revoked.as_slice() else { panic!("{revoked:?}") };
    assert!(first.contains(r#""node":"n3","standing":"open","token":"0303030303030303","uid":1000"#), "{first}");
    assert!(second.contains(r#""standing":"used""#), "{second}");
    assert_eq!(fixture.store.nodes().await.unwrap().len(), 3, "the node that joined by it stays");
}

#[tokio::test]
async fn a_token_is_remembered_for_a_day_after_its_end() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.token(1, "n1").await.unwrap();
    let day = 24 * 60 * 60;
    for (now, remembered) in [(600 + day, true), (601 + day, false)] {
        let number = if remembered { 2 } else { 3 };
        let token = TokenRecord { hash: hash(number), node: node("n2"), expires_at: at(now + 600) };
        fixture.store.create_token(token, OPERATOR, at(now)).await.unwrap();
        let refusal = fixture.redeem(1, 1, now).await.unwrap_err();
        assert_eq!(matches!(refusal, RedeemError::Expired { .. }), remembered, "{refusal}");
    }
}
