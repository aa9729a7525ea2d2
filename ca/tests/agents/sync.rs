//! The sync stream.

use std::time::Duration;

use proto::v1;
use tonic::Code;

use crate::test_agent::{TestAgent, hello, reason};
use crate::test_ca::{TestCa, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn everything_first_then_what_changes_and_acknowledgements_are_known_to_the_operator() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let before = ca.entry("/before", "n1").await;
    ca.entry("/elsewhere", "n2").await;
    let connection = agent.connect(&ca).await;
    let mut stream = connection.sync(hello()).await.unwrap();
    let greeting = stream.hello().await;
    assert_eq!(greeting.protocol, v1::PROTOCOL_VERSION);
    assert!(greeting.wall_clock.is_some());
    let first = stream.update().await.unwrap();
    assert_eq!((first.sequence, first.replaces_entries), (1, true));
    assert_eq!(first.upserted, std::slice::from_ref(&before));
    assert_eq!(first.bundle.as_ref(), Some(&agent.bundle));
    stream.acknowledge(1, first.bundle.unwrap().sequence).await;

    let after = ca.entry("/after", "n1").await;
    let second = stream.update().await.unwrap();
    assert_eq!((second.sequence, second.replaces_entries, &second.bundle), (2, false, &None));
    assert_eq!((second.upserted, second.removed.len()), (vec![after], 0));
    ca.operator().await.delete_entry(v1::DeleteEntryRequest { id: before.id.clone(), ..Default::default() }).await.unwrap();
    let third = stream.update().await.unwrap();
    assert_eq!((third.sequence, third.upserted.len(), third.removed), (3, 0, vec![before.id]));
    stream.acknowledge(3, agent.bundle.sequence).await;

    let node = async || ca.operator().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes.remove(0);
    eventually("the acknowledged bundle is told", async || {
        let node = node().await;
        node.connected && node.bundle_sequence == agent.bundle.sequence
    })
    .await;
    drop((stream, connection));
    eventually("a stream that is gone does not count as connected", async || !node().await.connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eviction_and_ban_end_an_open_stream_within_a_second_and_spare_the_others() {
    let ca = TestCa::start().await;
    let agents = [TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await, TestAgent::attest(&ca, "n3").await];
    let mut streams = Vec::new();
    for agent in &agents {
        let mut stream = agent.connect(&ca).await.sync(hello()).await.unwrap();
        stream.hello().await;
        stream.update().await.unwrap();
        streams.push(stream);
    }
    let [evicted, banned, spared] = streams.try_into().ok().unwrap();
    for (mut stream, node, expected) in [(evicted, "n1", "MUST_REATTEST"), (banned, "n2", "BANNED")] {
        if expected == "BANNED" {
            ca.ban(node).await;
        } else {
            ca.evict(node).await;
        }
        let ended =
            tokio::time::timeout(Duration::from_secs(1), stream.update()).await.expect("ends within a second").unwrap_err();
        assert_eq!(reason(&ended), expected);
    }
    ca.entry("/late", "n3").await;
    let mut spared = spared;
    assert_eq!(spared.update().await.unwrap().upserted.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_or_an_unknown_requirement_is_refused_naming_both_versions() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let connection = agent.connect(&ca).await;
    let refusal = async |hello| {
        let mut stream = connection.sync(hello).await.unwrap();
        stream.hello().await;
        stream.update().await.map(drop)
    };
    refusal(hello()).await.unwrap();
    let newer = refusal(v1::Hello { protocol: 2, ..hello() }).await.unwrap_err();
    assert_eq!((newer.code(), reason(&newer).as_str()), (Code::FailedPrecondition, "PROTOCOL_MISMATCH"));
    assert!(newer.message().contains("protocol 2") && newer.message().contains("speaks 1"), "{}", newer.message());
    let demanding = refusal(v1::Hello { required_features: vec!["warp".to_owned()], ..hello() }).await.unwrap_err();
    assert_eq!((demanding.code(), reason(&demanding).as_str()), (Code::FailedPrecondition, "UNKNOWN_REQUIRED_FEATURE"));
    assert!(demanding.message().contains("warp"), "{}", demanding.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_of_a_node_replaces_the_older() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let connection = agent.connect(&ca).await;
    let mut older = connection.sync(hello()).await.unwrap();
    older.hello().await;
    older.update().await.unwrap();
    let mut newer = connection.sync(hello()).await.unwrap();
    newer.hello().await;
    newer.update().await.unwrap();
    assert_eq!(older.update().await.unwrap_err().code(), Code::Aborted);
    ca.entry("/web", "n1").await;
    assert_eq!(newer.update().await.unwrap().upserted.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_what_was_never_sent_ends_the_stream() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let mut stream = agent.connect(&ca).await.sync(hello()).await.unwrap();
    stream.hello().await;
    stream.update().await.unwrap();
    stream.acknowledge(1, 1).await;
    stream.acknowledge(2, 1).await;
    assert_eq!(stream.update().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_ca_ends_streams_in_good_order() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let mut stream = agent.connect(&ca).await.sync(hello()).await.unwrap();
    stream.hello().await;
    stream.update().await.unwrap();
    ca.stop().await;
    let ended = stream.update().await.unwrap_err();
    assert_eq!(reason(&ended), "NOT_READY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_agent_whose_svid_has_ended_ends_its_stream_and_one_of_a_standing_agent_does_not() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let mut stream = agent.connect(&ca).await.sync(hello()).await.unwrap();
    stream.hello().await;
    let first = stream.update().await.unwrap();
    stream.acknowledge(1, first.bundle.unwrap().sequence).await;
    ca.entry("/web", "n1").await;
    assert_eq!(stream.update().await.unwrap().sequence, 2);
    ca.clock.advance(Duration::from_secs(3601));
    stream.acknowledge(2, agent.bundle.sequence).await;
    // Sooner than the check of silent streams.
    let ended = tokio::time::timeout(Duration::from_secs(3), stream.update()).await.expect("the message is checked");
    assert_eq!(reason(&ended.unwrap_err()), "MUST_REATTEST");
}
