//! Join tokens, re-attestation, renewal.

use std::time::Duration;

use tonic::Code;

use crate::test_agent::{TestAgent, connect, key, reason};
use crate::test_ca::TestCa;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_attests_one_node_key_which_may_retry() {
    let ca = TestCa::start().await;
    let (node_key, other_key, token) = (key(), key(), ca.token("n1").await);
    let connection = connect(&ca, None).await;
    let attest = async |token: &str, node_key| {
        let (request, _) = connection.join_request(token, node_key);
        connection.attestation().attest_join_token(request).await.map(tonic::Response::into_inner)
    };
    let first = attest(&token, &node_key).await.unwrap();
    assert_eq!(first.bundle.as_ref().unwrap().x509_authorities.len(), 1);
    let retried = attest(&token, &node_key).await.unwrap();
    assert_ne!(first.svid.unwrap().chain, retried.svid.unwrap().chain, "a retry gets a certificate for its own key");
    let refused = attest(&token, &other_key).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "TOKEN_USED"));
    for unknown in ["0".repeat(32), "F".repeat(32), String::new(), "x".repeat(10_000)] {
        let refused = attest(&unknown, &other_key).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "TOKEN_UNKNOWN"));
    }
    ca.clock.advance(Duration::from_secs(601));
    let connection = connect(&ca, None).await;
    let (request, _) = connection.join_request(&token, &node_key);
    let refused = connection.attestation().attest_join_token(request).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_on_its_own_connection_and_for_its_own_request_only() {
    let ca = TestCa::start().await;
    let (node_key, token) = (key(), ca.token("n1").await);
    let (one, other) = (connect(&ca, None).await, connect(&ca, None).await);
    assert_ne!(one.exporter, other.exporter);
    let (request, _) = one.join_request(&token, &node_key);
    let replayed = other.attestation().attest_join_token(request.clone()).await.unwrap_err();
    assert_eq!((replayed.code(), reason(&replayed).as_str()), (Code::PermissionDenied, "PROOF_INVALID"));
    let mut other_csr = request.clone();
    other_csr.csr = pki::build_request(&key(), None).unwrap();
    assert_eq!(reason(&one.attestation().attest_join_token(other_csr).await.unwrap_err()), "PROOF_INVALID");
    let mut other_key = request.clone();
    other_key.node_public_key = key().public_key().spki_der().to_vec();
    assert_eq!(reason(&one.attestation().attest_join_token(other_key).await.unwrap_err()), "PROOF_INVALID");
    one.attestation().attest_join_token(request).await.expect("none of the refused calls used the token up");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_svid_needs_a_key_of_its_own() {
    let ca = TestCa::start().await;
    let (node_key, token) = (key(), ca.token("n1").await);
    let connection = connect(&ca, None).await;
    let (mut request, _) = connection.join_request(&token, &node_key);
    let honest = request.clone();
    request.csr = pki::build_request(&node_key, None).unwrap();
    let transcript = pki::proof::join_token_transcript(&connection.exporter, &pki::sha256(token.as_bytes()), &request.csr);
    request.proof = node_key.sign(&transcript).unwrap();
    assert_eq!(reason(&connection.attestation().attest_join_token(request).await.unwrap_err()), "CSR_INVALID");
    connection.attestation().attest_join_token(honest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_agent_comes_back_by_its_node_key_within_the_window() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    ca.clock.advance(3 * HOUR);
    let connection = connect_after_remint(&ca, &agent).await;
    let elsewhere = connect(&ca, None).await.exporter;
    let refused = connection.reattest(&agent.node_key, &elsewhere).await.unwrap_err();
    assert_eq!(reason(&refused), "PROOF_INVALID", "a proof for another connection");
    let stranger = connection.reattest(&key(), &connection.exporter).await.unwrap_err();
    assert_eq!((stranger.code(), reason(&stranger).as_str()), (Code::Unauthenticated, "MUST_REATTEST"));
    assert!(stranger.message().contains("token"), "{}", stranger.message());
    let svid = std::sync::Arc::new(connection.reattest(&agent.node_key, &connection.exporter).await.unwrap());
    connect(&ca, Some(&svid)).await.renew().await.unwrap();
    // The window (a day) counts from the end of the newest SVID.
    ca.clock.advance(28 * HOUR);
    let connection = connect_after_remint(&ca, &agent).await;
    let late = connection.reattest(&agent.node_key, &connection.exporter).await.unwrap_err();
    assert_eq!(reason(&late), "MUST_REATTEST");
    assert!(late.message().contains("window") && late.message().contains("token"), "{}", late.message());
}

/// The CA's own certificate lapsed with the clock's jump; its next tick makes a new one.
async fn connect_after_remint(ca: &TestCa, _: &TestAgent) -> crate::test_agent::Connection {
    tokio::time::sleep(Duration::from_millis(2500)).await;
    connect(ca, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_or_banned_node_does_not_come_back_and_a_standing_one_does() {
    let ca = TestCa::start().await;
    let (standing, evicted, banned) =
        (TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await, TestAgent::attest(&ca, "n3").await);
    ca.evict("n2").await;
    ca.ban("n3").await;
    let connection = connect(&ca, None).await;
    connection.reattest(&standing.node_key, &connection.exporter).await.unwrap();
    let refused = connection.reattest(&evicted.node_key, &connection.exporter).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "MUST_REATTEST"));
    let refused = connection.reattest(&banned.node_key, &connection.exporter).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "BANNED"));
    // A new token lets the evicted one in, and not the banned one.
    let token = ca.token("n2").await;
    let (request, _) = connection.join_request(&token, &evicted.node_key);
    connection.attestation().attest_join_token(request).await.unwrap();
    let token = ca.token("n4").await;
    let (request, _) = connection.join_request(&token, &banned.node_key);
    let refused = connection.attestation().attest_join_token(request).await.unwrap_err();
    assert_eq!(reason(&refused), "BANNED", "the key is blocked under every name");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_keeps_the_previous_serial_good_and_ends_the_one_before() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let first = agent.connect(&ca).await;
    let second = std::sync::Arc::new(first.renew().await.unwrap());
    assert_ne!(second.leaf().serial(), agent.svid.leaf().serial());
    assert_eq!(second.id(), agent.svid.id());
    first.no_entry().await.expect("the previous serial may still speak");
    let second = connect(&ca, Some(&second)).await;
    let third = std::sync::Arc::new(second.renew().await.unwrap());
    let refused = first.no_entry().await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "MUST_REATTEST"));
    second.no_entry().await.unwrap();
    connect(&ca, Some(&third)).await.no_entry().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_got_is_in_the_ledger_by_its_serial() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    let renewed = connection.renew().await.unwrap();
    let workload = connection.issue(&entry.id).await.unwrap().unwrap();
    let audit = ca.audit().await;
    let serials = [
        agent.svid.leaf().serial().to_string(),
        renewed.leaf().serial().to_string(),
        workload.leaf().serial().to_string(),
        connection.server_serial.to_string(),
    ];
    for serial in serials {
        assert!(audit.contains(&serial), "{serial} is not in:\n{audit}");
    }
    assert!(!audit.contains(&"00".repeat(17)), "and what was never issued is not");
}
