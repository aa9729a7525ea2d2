//! Bytes, items and streams: at the limit, and one over.

use std::time::Duration;

use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::v1;
use proto::v1::batch_issue_response::item::Outcome;
use proto::v1::node_attestation_client::NodeAttestationClient;
use tests::{Ca, CaConnection, CaOptions, TestBed, TokenIssuer, attested_connection, hello};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{batch, csr, options, padded, reached};

#[track_caller]
fn check_too_large(refused: &Status, key: &str) {
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains(&format!("[limits] {key} = ")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_request_of_16_kib_is_read_and_one_byte_more_is_not() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let ask = async |bytes| batch(&connection, &[&entry], &padded::csr(bytes)).await.unwrap().remove(0);
    assert!(matches!(ask(16 * 1024).await, Outcome::Svid(_)));
    let Outcome::Error(refused) = ask(16 * 1024 + 1).await else { panic!("a larger one is read") };
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument.into(), "CSR_INVALID"));
    assert!(refused.message.contains("16385 bytes") && refused.message.contains("[limits] csr_bytes = 16384"), "{refused:?}");
    let refused = connection.node().renew_agent(v1::RenewAgentRequest { csr: padded::csr(16 * 1024 + 1) }).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("csr_bytes"), "{refused:?}");
    connection.node().renew_agent(v1::RenewAgentRequest { csr: padded::csr(16 * 1024) }).await.unwrap();
    assert_eq!(reached(&ca, "csr_bytes").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_certificate_takes_64_kib_and_not_one_byte_more() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let options = CaOptions { trust_domain: "cluster.local".to_owned(), extra: issuer.rule(""), ..CaOptions::default() };
    let ca = Ca::start(&bed, options).await;
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let connection = CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, None).await.unwrap();
    let token = issuer.token("system:serviceaccount:default:httpbin");
    let pem = pki::request_to_pem(&csr());
    let ask = async |bytes| {
        let mut request = Request::new(padded::create_certificate(&pem, bytes));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        IstioCertificateServiceClient::new(connection.channel.clone()).create_certificate(request).await
    };
    assert_eq!(ask(64 * 1024).await.unwrap().into_inner().cert_chain.len(), 3);
    check_too_large(&ask(64 * 1024 + 1).await.unwrap_err(), "create_certificate_bytes");
    // As PEM within the message, the request itself has its own limit.
    let large = pki::request_to_pem(&padded::csr(16 * 1024 + 1));
    let mut request = Request::new(proto::istio::IstioCertificateRequest { csr: large, ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let refused = IstioCertificateServiceClient::new(connection.channel.clone()).create_certificate(request).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("[limits] csr_bytes"), "{refused:?}");
    assert_eq!((reached(&ca, "message_bytes").await, reached(&ca, "csr_bytes").await), (1, 1));
}

/// A hello with a build of so many letters.
fn long_hello(letters: usize) -> v1::Hello {
    v1::Hello { build: "b".repeat(letters), ..hello() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_message_has_1_mib_and_an_attestation_64_kib_and_one_byte_more_ends_them() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let sync = async |bytes| -> Result<Option<v1::sync_response::Message>, Status> {
        let message = padded::of_size(bytes, |letters| v1::SyncRequest {
            message: Some(v1::sync_request::Message::Hello(long_hello(letters))),
        });
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        sender.send(message).unwrap();
        let requests = UnboundedReceiverStream::new(requests);
        let mut answers = connection.node().sync(requests).await?.into_inner();
        answers.message().await?;
        Ok(answers.message().await?.and_then(|answer| answer.message))
    };
    let update = sync(1024 * 1024).await.unwrap();
    assert!(matches!(update, Some(v1::sync_response::Message::Update(_))), "{update:?}");
    check_too_large(&sync(1024 * 1024 + 1).await.unwrap_err(), "sync_message_bytes");

    let reattest = async |bytes| -> Result<Option<v1::ReattestResponse>, Status> {
        let message = padded::of_size(bytes, |letters| {
            let begin = v1::reattest_request::Begin { hello: Some(long_hello(letters)), node_public_key: vec![0; 91] };
            v1::ReattestRequest { step: Some(v1::reattest_request::Step::Begin(begin)) }
        });
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        sender.send(message).unwrap();
        let mut client = NodeAttestationClient::new(connection.channel.clone());
        client.reattest(UnboundedReceiverStream::new(requests)).await?.into_inner().message().await
    };
    assert!(reattest(64 * 1024).await.unwrap().is_some(), "a challenge");
    check_too_large(&reattest(64 * 1024 + 1).await.unwrap_err(), "attestation_bytes");
    let token = padded::of_size(64 * 1024 + 1, |letters| v1::AttestJoinTokenRequest {
        hello: Some(long_hello(letters)),
        ..v1::AttestJoinTokenRequest::default()
    });
    let mut client = NodeAttestationClient::new(connection.channel.clone());
    check_too_large(&client.attest_join_token(token).await.unwrap_err(), "attestation_bytes");
    assert_eq!(reached(&ca, "message_bytes").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_500_items_and_not_501() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let csr = csr();
    let full = batch(&connection, &[entry.as_str(); 500], &csr).await.unwrap();
    assert!(full.len() == 500 && full.iter().all(|outcome| matches!(outcome, Outcome::Svid(_))));
    let refused = batch(&connection, &[entry.as_str(); 501], &csr).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("501 items") && refused.message().contains("[limits] batch_items = 500"), "{refused:?}");
    assert_eq!(reached(&ca, "batch_items").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_100_streams_and_the_next_waits_for_one_to_end() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let watch = async || -> Streaming<HealthCheckResponse> {
        let mut client = HealthClient::new(connection.channel.clone());
        let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        stream
    };
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(watch().await);
    }
    let next = watch();
    tokio::pin!(next);
    let waiting = tokio::time::timeout(Duration::from_secs(2), &mut next).await;
    assert!(waiting.is_err(), "a 101st stream is served");
    open.pop();
    tokio::time::timeout(Duration::from_secs(60), next).await.expect("a stream that ended makes room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_is_bounded_as_configured() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("header_bytes = 4096")).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let ask = async |bytes: usize| {
        let mut request = Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-padding", "p".repeat(bytes).parse().unwrap());
        HealthClient::new(connection.channel.clone()).check(request).await.is_ok()
    };
    // What the client sends besides has less than 500 bytes; the same connection goes on after each refusal.
    for (bytes, served) in [(4096 - 41 - 500, true), (4096 - 41, false), (4096 - 41 - 500, true)] {
        assert_eq!(ask(bytes).await, served, "{bytes}");
    }
}
