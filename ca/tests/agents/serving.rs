//! The CA's own certificate and the bundle, over time and restarts.

use std::time::Duration;

use crate::test_agent::{TestAgent, connect, hello};
use crate::test_ca::{TestCa, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_serving_certificate_is_reminted_at_half_life_and_not_before() {
    let ca = TestCa::start().await;
    let first = connect(&ca, None).await.server_serial;
    // Half of an hour is 30 minutes, give or take a tenth.
    ca.clock.advance(Duration::from_secs(26 * 60));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(connect(&ca, None).await.server_serial, first);
    ca.clock.advance(Duration::from_secs(8 * 60));
    eventually("a new serving certificate", async || connect(&ca, None).await.server_serial != first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_ca_has_the_same_root_bundle_sequence_nodes_and_entries() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let root = ca.root().await;
    let (directory, clock) = ca.stop().await;
    let ca = TestCa::over(directory, clock).await;
    assert_eq!(ca.root().await, root);
    assert_eq!(ca.status().await.bundle_sequence, agent.bundle.sequence);
    let connection = agent.connect(&ca).await;
    connection.issue(&entry.id).await.unwrap().unwrap();
    connection.renew().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_readiness_and_what_it_stands_on() {
    let ca = TestCa::start_without_rotation().await;
    eventually("ready", async || ca.status().await.ready).await;
    let status = ca.status().await;
    let roles: Vec<_> = status.certificates.iter().map(|certificate| certificate.role.as_str()).collect();
    assert_eq!(roles, ["root", "issuer", "serving"]);
    assert_eq!(status.address, ca.address.to_string());
    assert_eq!(status.warnings, Vec::<String>::new());
    assert!(ca.http("/readyz").await.ends_with("\r\n\r\nready\n"));
    assert!(ca.http("/metrics").await.contains("\nsignet_ca_issuer_past_half_life 0\n"));
    // Past half of the issuing CA's 30 days it warns and is ready; with less than it needs it is not.
    ca.clock.advance(Duration::from_secs(20 * 86_400));
    eventually("a warning while still ready", async || {
        let status = ca.status().await;
        status.ready && status.warnings.iter().any(|warning| warning.contains("signet ca issuer renew"))
    })
    .await;
    eventually("the same from readiness and metrics", async || {
        let (readyz, metrics) = (ca.http("/readyz").await, ca.http("/metrics").await);
        let warned = readyz.contains("\r\n\r\nready\nwarning: half of the issuing CA's life is over");
        readyz.starts_with("HTTP/1.1 200") && warned && metrics.contains("\nsignet_ca_issuer_past_half_life 1\n")
    })
    .await;
    ca.clock.advance(Duration::from_secs(10 * 86_400 - 2 * 3600));
    eventually("not ready with two hours left and leaves of an hour", async || !ca.status().await.ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_issuing_ca_is_taken_up_without_restart_and_without_ending_a_stream() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    let mut stream = connection.sync(hello()).await.unwrap();
    stream.hello().await;
    stream.update().await.unwrap();
    let issue = async || connection.issue(&entry.id).await.unwrap().unwrap().leaf().issuer_der().to_vec();
    let (before, serving_before) = (issue().await, connection.server_serial.clone());
    ca::issuer_renew(&ca.config(), None, &*ca.clock, &runtime::entropy::SystemEntropy).await.unwrap();
    eventually("leaves of the new issuing CA", async || issue().await != before).await;
    let after = connect(&ca, None).await;
    assert_ne!(after.server_serial, serving_before, "the serving certificate is of the new one too");
    let later = ca.entry("/api", "n1").await;
    let update = stream.update().await.unwrap();
    assert_eq!((update.upserted, update.bundle), (vec![later], None), "the root is the same, so the bundle is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ca_is_kept_off_the_state_directory() {
    let ca = TestCa::start().await;
    let second = ca::Server::bind(ca.config(), ca.clock.clone(), std::sync::Arc::new(runtime::entropy::SystemEntropy)).await;
    let refused = second.err().expect("one state directory, one process").to_string();
    assert!(refused.contains("in use by process"), "{refused}");
    let (directory, clock) = ca.stop().await;
    TestCa::over(directory, clock).await.stop().await;
}
