//! What a node acknowledged of the trust bundle is known while it is away, and while the CA was.

use tests::{Agent, Ca, CaOptions, TestBed, eventually};

/// Whether node-1 is connected, and its bundle sequence, as an operator sees it.
fn listed(ca: &Ca) -> (bool, u64) {
    let nodes = ca.operate(&["node", "list"]).ok().json();
    let node = nodes.as_array().unwrap().iter().find(|node| node["node"] == "node-1").unwrap().clone();
    (node["connected"].as_bool().unwrap(), node["bundle_sequence"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_that_an_absent_node_has_is_told_also_after_a_restart_of_the_ca() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    let newest = ca.operate(&["status"]).ok().json()["bundle_sequence"].as_u64().unwrap();
    let until = async |ca: &Ca, what: &str, wanted: (bool, u64)| {
        eventually(what, async || (listed(ca) == wanted).then_some(())).await;
    };
    until(&ca, "the agent to acknowledge the bundle", (true, newest)).await;
    agent.process.stop().await;
    until(&ca, "the node to be away with what it has", (false, newest)).await;
    ca.kill_hard().await;
    ca.start_again().await;
    assert_eq!(listed(&ca), (false, newest));
    agent.start_again().await;
    until(&ca, "the node to be back", (true, newest)).await;
}
