//! Pods of agents: each with one key, each node from one cluster.

use futures_util::future::join_all;
use pki::crl::RevocationReason;

use super::*;
use crate::records::{AgentPod, LivePod};
use crate::revocation::Target;
use crate::store::{AgentPodError, IssuanceResult, IssuanceStore, NodeStore, ProvisioningStore, RevocationStore};

fn pod(cluster: &str, uid: &str, name: &str) -> AgentPod {
    AgentPod {
        cluster: cluster.to_owned(),
        node: node(name),
        namespace: "signet".to_owned(),
        account: "agent".to_owned(),
        pod: format!("agent-{uid}"),
        uid: uid.to_owned(),
    }
}

impl Fixture {
    /// Binds pod `uid` of the cluster "east" on a node to the key of which every byte is `key`.
    async fn pod(&self, uid: &str, name: &str, key: u8, now: u64) -> Result<NodeRecord, AgentPodError> {
        self.store.bind_agent_pod(pod("east", uid, name), vec![key; 91], at(now)).await
    }
}

#[tokio::test]
async fn a_pod_registers_its_node_and_comes_back_with_its_key_alone() {
    let Some(fixture) = Fixture::new() else { return };
    let record = fixture.pod("u1", "n1", 1, 10).await.unwrap();
    assert_eq!((record.node.clone(), record.node_key_spki), (node("n1"), Some(vec![1; 91])));
    fixture.store.set_agent_svid(node("n1"), svid(1), attestation(1), at(11)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.pod("u1", "n1", 1, 900_000).await.unwrap().current, Some(svid(1)), "as long as there is the pod");
    let thief = fixture.pod("u1", "n1", 2, 900_001).await;
    assert!(matches!(thief, Err(AgentPodError::Used)), "{thief:?}");
    assert_eq!(fixture.kinds().await, ["agent_pod_attested", "node_attested", "agent_pod_attested", "agent_pod_refused"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_keys_that_bring_one_pod_at_once_one_wins() {
    let Some(fixture) = Fixture::new() else { return };
    let results = join_all((0..64).map(|key| fixture.pod("u1", "n1", key, 1))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for refusal in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(refusal, AgentPodError::Used), "{refusal}");
    }
    let refused = fixture.kinds().await.iter().filter(|kind| *kind == "agent_pod_refused").count();
    assert_eq!(refused, 16, "a pod cannot fill the log");
}

#[tokio::test]
async fn a_new_pod_takes_its_node_over_from_an_older_one_of_its_cluster_and_from_nobody_else() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.pod("u1", "n1", 1, 1).await.unwrap();
    fixture.store.set_agent_svid(node("n1"), svid(1), attestation(1), at(2)).await.unwrap();
    let record = fixture.pod("u2", "n1", 2, 3).await.unwrap();
    assert_eq!((record.node_key_spki, record.current), (Some(vec![2; 91]), None), "the former key and its SVIDs are forgotten");
    let other = fixture.store.bind_agent_pod(pod("west", "u3", "n1"), vec![3; 91], at(4)).await;
    assert!(matches!(&other, Err(AgentPodError::NodeOfAnotherKey { node }) if node.as_str() == "n1"), "{other:?}");
    let key = fixture.pod("u4", "n2", 2, 5).await;
    assert!(matches!(&key, Err(AgentPodError::KeyOfAnotherNode { node }) if node.as_str() == "n1"), "{key:?}");
    // Whom an operator put on record, by a token, no pod replaces.
    fixture.token(7, "vm-1").await.unwrap();
    fixture.redeem(7, 7, 6).await.unwrap();
    let taken = fixture.pod("u5", "vm-1", 5, 7).await;
    assert!(matches!(&taken, Err(AgentPodError::NodeOfAnotherKey { node }) if node.as_str() == "vm-1"), "{taken:?}");
}

#[tokio::test]
async fn a_pod_stays_used_when_its_node_is_evicted_or_banned_and_a_new_one_is_taken() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.pod("u1", "n1", 1, 1).await.unwrap();
    fixture.store.evict_node(node("n1"), OPERATOR, at(2)).await.unwrap();
    for key in [1, 2] {
        assert!(matches!(fixture.pod("u1", "n1", key, 3).await, Err(AgentPodError::Used)), "key {key}");
    }
    fixture.pod("u2", "n1", 2, 3).await.unwrap();
    fixture.store.ban_node(node("n1"), OPERATOR, at(4)).await.unwrap();
    for (uid, name, key) in [("u2", "n1", 2), ("u3", "n1", 3), ("u3", "n2", 2)] {
        assert!(matches!(fixture.pod(uid, name, key, 5).await, Err(AgentPodError::Banned)), "{uid} {name} {key}");
    }
    fixture.store.unban_node(node("n1"), OPERATOR, at(6)).await.unwrap();
    assert!(matches!(fixture.pod("u2", "n1", 2, 7).await, Err(AgentPodError::Used)));
    fixture.pod("u3", "n1", 3, 7).await.unwrap();
}

#[tokio::test]
async fn of_many_pods_of_a_node_the_newest_are_remembered_and_the_one_on_record() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.pod("first", "n1", 1, 1).await.unwrap();
    for number in 0..100_u8 {
        // Refused: from a pod of another cluster on the same node.
        let other = pod("west", &format!("u{number}"), "n1");
        fixture.store.bind_agent_pod(other, vec![200; 91], at(10 + u64::from(number))).await.unwrap_err();
    }
    let rows = fixture.rows("SELECT count(*) AS rows FROM agent_pods");
    assert!(rows <= 65, "{rows}");
    fixture.pod("next", "n1", 2, 900).await.expect("what is on record is still known as of this cluster");
}

impl Fixture {
    /// Records that something is to be signed for a pod on a node, which was found at this second, and that it was signed.
    async fn issue_for_pod(&self, number: u64, name: &str, confirmed: u64) -> Result<(), StoreError> {
        let pod = LivePod { cluster: "east".to_owned(), node: name.to_owned(), pod: "shop/web-1 0b9fcbc5".to_owned() };
        let intent = Intent {
            caller: agent_id(name),
            reason: Reason::LivePod(pod.clone()),
            provenance: Some(Provenance { grounds: RenewalGrounds::LivePod(pod), line_start: at(confirmed) }),
            now: at(100),
            ..intent(number)
        };
        self.store.persist(intent).await.map_err(|refused| refused.0)?;
        let result = IssuanceResult { serial: serial(number), certificate_der: vec![1], now: at(100) };
        let refused = self.store.record_results(vec![result]).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        Ok(())
    }

    async fn confirmed(&self, name: &str, now: u64) -> Option<(Timestamp, Timestamp)> {
        let subject = SpiffeId::parse("spiffe://example.org/web").unwrap();
        let found = self.store.confirmed_pod(agent_id(name), subject, at(now)).await.unwrap()?;
        assert_eq!(found.pod.cluster, "east");
        Some((found.confirmed_at, found.held.not_after))
    }
}

fn agent_id(name: &str) -> String {
    format!("spiffe://example.org/signet/agent/{name}")
}

#[tokio::test]
async fn a_cluster_vouches_for_a_node_by_the_key_on_record_until_that_is_used_up() {
    let Some(fixture) = Fixture::new() else { return };
    let cluster = async |name: &str| fixture.store.cluster_of_node(node(name)).await.unwrap();
    assert_eq!(cluster("n1").await, None);
    fixture.pod("u1", "n1", 1, 1).await.unwrap();
    assert_eq!(cluster("n1").await.as_deref(), Some("east"));
    fixture.token(7, "vm-1").await.unwrap();
    fixture.redeem(7, 7, 6).await.unwrap();
    assert_eq!(cluster("vm-1").await, None, "by a token");
    fixture.issue_for_pod(1, "n1", 50).await.unwrap();
    for name in ["vm-1", "n2"] {
        let refused = fixture.issue_for_pod(2, name, 50).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotFound { .. }), "{name}: {refused:?}");
    }
    fixture.store.evict_node(node("n1"), OPERATOR, at(101)).await.unwrap();
    assert_eq!(cluster("n1").await, None, "evicted");
    assert!(matches!(fixture.issue_for_pod(3, "n1", 50).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn what_a_node_was_given_last_for_an_account_says_when_its_pod_was_found() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.pod("u1", "n1", 1, 1).await.unwrap();
    assert_eq!(fixture.confirmed("n1", 100).await, None);
    fixture.issue_for_pod(1, "n1", 40).await.unwrap();
    fixture.issue_for_pod(2, "n1", 50).await.unwrap();
    assert_eq!(fixture.confirmed("n1", 100).await, Some((at(50), at(3600))));
    assert_eq!(fixture.confirmed("n2", 100).await, None, "another agent");
    assert_eq!(fixture.confirmed("n1", 3600).await.map(|(found, _)| found), Some(at(50)));
    assert_eq!(fixture.confirmed("n1", 3601).await, None, "it has ended");
    let target = Target::Serial(serial(2));
    fixture.store.revoke(target, RevocationReason::KeyCompromise, OPERATOR, at(100)).await.unwrap();
    assert_eq!(fixture.confirmed("n1", 100).await, None, "it is revoked");
}
