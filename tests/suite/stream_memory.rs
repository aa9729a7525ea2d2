//! What an agent's streams cost when their first messages are large, as those of proxies in a large mesh are.

use std::time::Duration;

use proto::envoy::envoy::config::core::v3::Node;
use tests::{Agent, Ca, CaOptions, SdsClient, SdsStream, TestBed};

const ID: &str = "spiffe://example.org/web";
const CONNECTIONS: u64 = 50;
const STREAMS_EACH: u64 = 8;
const NODE_BYTES: usize = 61_000;

/// What a stream may cost in KiB, its share of the connection and unoptimised code included: less than half of its first message.
const MOST_KIB: u64 = 24;

async fn open(client: &mut SdsClient) -> SdsStream {
    let node = Node { id: "n".repeat(NODE_BYTES), ..Node::default() };
    let mut stream = client.subscribe_as_node(&[ID], node).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("an answer").unwrap();
    stream.acknowledge(&answer).await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_a_large_first_message_is_not_kept_while_the_stream_lives() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    ca.create_entry(ID, &[&format!("unix:uid:{}", nix::unistd::getuid())], "node-1");
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut held = vec![open(&mut client).await];
    let before = agent.process.resident_kib();
    let mut clients = vec![client];
    for _ in 0..CONNECTIONS {
        let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
        for _ in 0..STREAMS_EACH {
            held.push(open(&mut client).await);
        }
        clients.push(client);
    }
    let grown = agent.process.resident_kib().saturating_sub(before);
    let streams = CONNECTIONS * STREAMS_EACH;
    assert!(grown < streams * MOST_KIB, "{streams} streams cost {grown} KiB, {} each", grown / streams);
}
