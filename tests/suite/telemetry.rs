//! Metrics and readiness are what their documentation says.

use std::collections::BTreeSet;
use std::path::Path;

use tests::{Agent, Ca, CaOptions, TestBed, http_get, nobody_listens};

/// Names in the first column of the tables of docs/metrics.md.
fn documented() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(file).expect("docs/metrics.md is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `signet_")?.split_once('`'));
    rows.map(|(name, _)| format!("signet_{name}")).collect()
}

fn served(metrics: &str) -> impl Iterator<Item = String> + '_ {
    metrics.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_served_is_documented_and_every_documented_one_is_served() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let (of_ca, of_agent) = (ca.metrics().await, agent.metrics().await);
    let served: BTreeSet<_> =
        served(&of_ca).chain(served(&of_agent)).map(|name| name.trim_end_matches("_total").to_owned()).collect();
    let documented: BTreeSet<_> = documented().iter().map(|name| name.trim_end_matches("_total").to_owned()).collect();
    let undocumented: Vec<_> = served.difference(&documented).collect();
    let unserved: Vec<_> = documented.difference(&served).collect();
    assert!(undocumented.is_empty() && unserved.is_empty(), "undocumented: {undocumented:?}; not served: {unserved:?}");
    assert!(served.len() >= 15, "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_the_power_to_issue_and_says_what_is_missing() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    ca.ready().await;
    assert_eq!(http_get(ca.telemetry(), "/livez").await.status, 200);
    assert_eq!(http_get(ca.telemetry(), "/nothing").await.status, 404);
    // An agent that cannot reach its CA lives, and is not ready.
    let token = ca.create_token("node-1");
    let (nobody, _port) = nobody_listens();
    let options = tests::AgentOptions { ca_address: Some(nobody), ..tests::AgentOptions::default() };
    let agent = Agent::launch(&bed, &ca, "node-1", &token, options).await;
    let (status, why) = agent.readiness().await;
    assert_eq!(status, 503);
    assert!(why.contains("SVID") && why.contains("bundle"), "{why}");
}
