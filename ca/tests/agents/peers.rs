//! Who may call what.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::test_agent::{Connection, TestAgent, connect, hello, key, reason};
use crate::test_ca::{TestCa, eventually};

/// Each RPC that only an agent may call, by name, with how it was answered.
async fn agents_only(connection: &Connection) -> Vec<(&'static str, Result<(), Status>)> {
    let renewal = connection.renew().await.map(drop);
    let batch = connection.no_entry().await;
    let sync = match connection.sync(hello()).await {
        Ok(mut stream) => {
            stream.hello().await;
            stream.update().await.map(drop)
        }
        Err(status) => Err(status),
    };
    let list =
        ServerReflectionRequest { host: String::new(), message_request: Some(MessageRequest::ListServices(String::new())) };
    let reflection = ServerReflectionClient::new(connection.channel.clone());
    let reflection = { reflection }.server_reflection_info(tokio_stream::once(list)).await.map(drop);
    vec![("BatchIssue", batch), ("Sync", sync), ("reflection", reflection), ("RenewAgent", renewal)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_svid_is_refused_by_each_node_rpc_and_an_agent_passes() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let of_agent = agent.connect(&ca).await;
    let workload = Arc::new(of_agent.issue(&entry.id).await.unwrap().unwrap());
    let of_workload = connect(&ca, Some(&workload)).await;
    for (rpc, answer) in agents_only(&of_workload).await {
        let refused = answer.expect_err(rpc);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_AN_AGENT"), "{rpc}");
    }
    for (rpc, answer) in agents_only(&of_agent).await {
        answer.expect(rpc);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_only_attestation_and_health_are_open() {
    let ca = TestCa::start().await;
    let anonymous = connect(&ca, None).await;
    for (rpc, answer) in agents_only(&anonymous).await {
        let refused = answer.expect_err(rpc);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "MUST_REATTEST"), "{rpc}");
    }
    let mut health = HealthClient::new(anonymous.channel.clone());
    eventually("serving", async || {
        health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner().status == 1
    })
    .await;
    let (request, _) = anonymous.join_request(&ca.token("n1").await, &key());
    anonymous.attestation().attest_join_token(request).await.unwrap();
    // The operators' service is not there at all.
    let mut admin = v1::admin_client::AdminClient::new(anonymous.channel.clone());
    assert_eq!(admin.list_nodes(v1::ListNodesRequest {}).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_is_refused_as_soon_as_its_node_is_evicted_or_banned_or_its_svid_ends() {
    let ca = TestCa::start().await;
    let (evicted, lapsed) = (TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await);
    let banned = TestAgent::attest(&ca, "n3").await;
    let (of_evicted, of_lapsed) = (evicted.connect(&ca).await, lapsed.connect(&ca).await);
    let of_banned = banned.connect(&ca).await;
    for connection in [&of_evicted, &of_lapsed, &of_banned] {
        connection.no_entry().await.unwrap();
    }
    ca.evict("n1").await;
    ca.ban("n3").await;
    let refused = of_evicted.no_entry().await.unwrap_err();
    assert!(refused.message().contains("new join token"), "{}", refused.message());
    for (connection, expected) in [(&of_evicted, "MUST_REATTEST"), (&of_banned, "BANNED")] {
        for (rpc, answer) in agents_only(connection).await {
            assert_eq!(reason(&answer.expect_err(rpc)), expected, "{rpc}");
        }
    }
    of_lapsed.no_entry().await.unwrap();
    ca.clock.advance(Duration::from_secs(3601));
    let refused = of_lapsed.no_entry().await.unwrap_err();
    assert_eq!(reason(&refused), "MUST_REATTEST");
    assert!(refused.message().contains("ended at"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_issued_to_its_own_node_only_and_a_batch_is_bounded() {
    let ca = TestCa::start().await;
    let (one, two) = (TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await);
    let entry = ca.entry("/web", "n1").await;
    let svid = one.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap();
    assert_eq!(svid.id().as_str(), "spiffe://example.org/web");
    let connection = two.connect(&ca).await;
    let error = connection.issue(&entry.id).await.unwrap().unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (i32::from(Code::NotFound), "ENTRY_NOT_FOUND"));
    let item = v1::batch_issue_request::Item { entry_id: entry.id, csr: Vec::new(), service_account: None };
    let ask = async |count| connection.node().batch_issue(v1::BatchIssueRequest { items: vec![item.clone(); count] }).await;
    assert_eq!(ask(500).await.unwrap().into_inner().items.len(), 500);
    assert_eq!(ask(501).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_request_of_a_batch_leaves_the_others_alone() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let item = |csr| v1::batch_issue_request::Item { entry_id: entry.id.clone(), csr, service_account: None };
    let other = identity::SpiffeId::parse("spiffe://example.org/other").unwrap();
    let own = identity::SpiffeId::parse("spiffe://example.org/web").unwrap();
    let items = vec![
        item(b"no request".to_vec()),
        item(pki::build_request(&key(), Some(&other)).unwrap()),
        item(pki::build_request(&key(), Some(&own)).unwrap()),
    ];
    let answer = agent.connect(&ca).await.node().batch_issue(v1::BatchIssueRequest { items }).await.unwrap().into_inner();
    let outcomes: Vec<_> = answer
        .items
        .into_iter()
        .map(|item| match item.outcome.unwrap() {
            v1::batch_issue_response::item::Outcome::Svid(svid) => svid.spiffe_id,
            v1::batch_issue_response::item::Outcome::Error(error) => error.reason,
        })
        .collect();
    assert_eq!(outcomes, ["CSR_INVALID", "CSR_INVALID", "spiffe://example.org/web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_above_the_maximum_is_refused_naming_both_to_the_operator_and_to_the_agent() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let refused = ca.entry_for("/web", "n1", 7201).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "TTL_ABOVE_MAX"));
    assert!(refused.message().contains("7201 s") && refused.message().contains("7200 s"), "{}", refused.message());
    let entry = ca.entry_for("/web", "n1", 7200).await.unwrap();
    agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap();
    // The maximum was lowered since: refused, not cut.
    let (directory, clock) = ca.stop().await;
    let ca = TestCa::with_max_ttl("1h", directory, clock).await;
    let error = agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (i32::from(Code::InvalidArgument), "TTL_ABOVE_MAX"));
    assert!(error.message.contains("7200s") && error.message.contains("3600s"), "{}", error.message);
}
