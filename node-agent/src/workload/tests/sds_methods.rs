//! The incremental stream and the fetch over the real socket.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use proto::envoy::envoy::config::core::v3::data_source::Specifier;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use sds::{SecretState, StreamProgress};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::socket::{Host, Stream, channel, state};

struct Incremental {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    holds: HashMap<String, String>,
}

impl Incremental {
    async fn open(channel: &Channel, names: &[&str], holds: HashMap<String, String>) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        let first = DeltaDiscoveryRequest {
            resource_names_subscribe: subscribe,
            initial_resource_versions: holds.clone(),
            ..Default::default()
        };
        requests.send(first).unwrap();
        let outgoing = tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing);
        let responses = SecretDiscoveryServiceClient::new(channel.clone()).delta_secrets(outgoing).await?.into_inner();
        Ok(Self { requests, responses, holds })
    }

    /// The names in the next response, acknowledged: those sent and those removed.
    async fn next(&mut self) -> Result<(Vec<String>, Vec<String>), Status> {
        let limit = Duration::from_secs(10);
        let message = tokio::time::timeout(limit, self.responses.message()).await.expect("an answer in time")?;
        let response = message.ok_or_else(|| Status::cancelled("ended"))?;
        self.requests.send(DeltaDiscoveryRequest { response_nonce: response.nonce, ..Default::default() }).unwrap();
        self.holds.extend(response.resources.iter().map(|resource| (resource.name.clone(), resource.version.clone())));
        Ok((response.resources.into_iter().map(|resource| resource.name).collect(), response.removed_resources))
    }

    async fn silent(&mut self) {
        let answer = tokio::time::timeout(Duration::from_millis(200), self.responses.message()).await;
        assert!(answer.is_err(), "it was answered");
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_stream_is_told_of_changes_and_of_what_went_and_comes_back_with_what_it_holds() {
    let host = Host::start();
    let connection = channel(&host.socket).await;
    let mut stream = Incremental::open(&connection, &["default", "ROOTCA"], HashMap::new()).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), (names(&["ROOTCA", "default"]), vec![]));
    host.eventually("signet_sds_acks_total", 1).await;
    host.source.push(state(&host.authority, &["web"]));
    assert_eq!(stream.next().await.unwrap(), (names(&["default"]), vec![]), "the bundle is the same");
    host.source.push(SecretState { known: true, ..SecretState::default() });
    assert_eq!(stream.next().await.unwrap(), (vec![], names(&["ROOTCA", "default"])));
    assert_eq!(host.metric("signet_sds_removals_total"), 2);
    let holds = std::mem::take(&mut stream.holds);
    drop((stream, connection));
    // Another connection starts from the first state: the certificate differs, the bundle does not.
    let connection = channel(&host.socket).await;
    let mut stream = Incremental::open(&connection, &["default", "ROOTCA"], holds).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), (names(&["default"]), vec![]));
    stream.silent().await;
    let wildcard = Incremental::open(&connection, &["*"], HashMap::new()).await.unwrap().next().await.unwrap_err();
    assert_eq!(wildcard.code(), Code::InvalidArgument, "{wildcard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_has_one_answer_and_each_absence_its_status() {
    let host = Host::start();
    let channel = channel(&host.socket).await;
    let mut client = SecretDiscoveryServiceClient::new(channel);
    let mut fetch = async |wanted: &[&str]| {
        let request = DiscoveryRequest { resource_names: names(wanted), ..Default::default() };
        client.fetch_secrets(request).await.map(|response| response.into_inner().resources.len()).map_err(|status| status.code())
    };
    assert_eq!(fetch(&["default", "ROOTCA"]).await, Ok(2));
    assert_eq!(fetch(&["default", "spiffe://example.org/api"]).await, Err(Code::NotFound));
    assert_eq!(fetch(&[]).await, Err(Code::InvalidArgument));
    host.source.push(SecretState { known: true, ..SecretState::default() });
    assert_eq!(fetch(&["default"]).await, Err(Code::PermissionDenied));
    host.source.push(SecretState::default());
    assert_eq!(fetch(&["default"]).await, Err(Code::Unavailable));
    assert_eq!(host.metric("signet_sds_pushes_total{resource=\"certificate\"}"), 1);
}

/// A stream of the state of the world for `default` with these credentials, and what it got.
async fn with_tokens(channel: &Channel, authorization: &[&str]) -> Result<String, Status> {
    let (requests, outgoing) = mpsc::unbounded_channel();
    requests.send(DiscoveryRequest { resource_names: names(&["default"]), ..Default::default() }).unwrap();
    let mut request = tonic::Request::new(tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing));
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    let mut responses = SecretDiscoveryServiceClient::new(channel.clone()).stream_secrets(request).await?.into_inner();
    let limit = Duration::from_secs(10);
    let response = tokio::time::timeout(limit, responses.message()).await.expect("an answer in time")?.unwrap();
    let secret = Secret::decode(response.resources[0].value.as_slice()).unwrap();
    let Some(Type::TlsCertificate(certificate)) = secret.r#type else { panic!("no certificate") };
    let Some(Specifier::InlineBytes(chain)) = certificate.certificate_chain.unwrap().specifier else { panic!("not inline") };
    let leaf = pki::certificates_from_pem(&chain).unwrap().remove(0);
    drop(requests);
    Ok(leaf.uri_sans()[0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_stands_for_its_own_identity_and_a_bad_one_never_for_the_callers() {
    let host = Host::start();
    let connection = channel(&host.socket).await;
    assert_eq!(with_tokens(&connection, &[]).await.unwrap(), "spiffe://example.org/web");
    assert_eq!(with_tokens(&connection, &["Bearer good.a.a"]).await.unwrap(), "spiffe://example.org/token");
    assert_eq!(with_tokens(&connection, &[]).await.unwrap(), "spiffe://example.org/web", "the connection is what it was");
    for bad in [&["Bearer bad.a.a"][..], &["Bearer off.a.a"], &["Basic x"], &["Bearer good.a.a", "Bearer good.a.a"], &[""]] {
        let refused = with_tokens(&connection, bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{bad:?}: {refused}");
        assert!(!refused.message().contains("bad.a.a"));
    }
    let mut request = tonic::Request::new(DiscoveryRequest { resource_names: names(&["default"]), ..Default::default() });
    request.metadata_mut().insert("authorization", "Bearer bad.a.a".parse().unwrap());
    let fetched = SecretDiscoveryServiceClient::new(connection).fetch_secrets(request).await.unwrap_err();
    assert_eq!(fetched.code(), Code::Unauthenticated, "{fetched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_token_share_it_while_one_is_open_and_nobody_else_does() {
    let host = Host::start();
    let (first, second) = (channel(&host.socket).await, channel(&host.socket).await);
    let open = async |connection: &Channel, token: &str| {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let asked = DeltaDiscoveryRequest { resource_names_subscribe: names(&["default"]), ..Default::default() };
        requests.send(asked).unwrap();
        let mut request = tonic::Request::new(tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut responses =
            SecretDiscoveryServiceClient::new(connection.clone()).delta_secrets(request).await.unwrap().into_inner();
        responses.message().await.unwrap().unwrap();
        (requests, responses)
    };
    let brought = |token: &str| host.source.tokens.lock().unwrap().get(token).map_or(0, Vec::len);
    let streams = (open(&first, "good.a.a").await, open(&first, "good.a.a").await, open(&first, "good2.a.a").await);
    assert_eq!((brought("good.a.a"), brought("good2.a.a")), (1, 1));
    let other = open(&second, "good.a.a").await;
    assert_eq!(brought("good.a.a"), 2, "another connection brings it for itself");
    drop((streams, other));
    host.eventually("signet_sds_open_streams", 0).await;
    assert!(host.source.tokens.lock().unwrap().values().flatten().all(watch::Sender::is_closed), "nothing is kept");
    drop(open(&first, "good.a.a").await);
    assert_eq!(brought("good.a.a"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_counts_the_streams_of_callers_and_of_tokens_until_their_answers_and_their_ends() {
    let host = Host::start();
    let connection = channel(&host.socket).await;
    let until = async |streams: usize, behind: usize| {
        for _ in 0..2000 {
            if host.progress.now() == (StreamProgress { streams, behind }) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is {:?}, not {streams} and {behind}", host.progress.now());
    };
    let mut own = Stream::open(&connection, &["default"]).await.unwrap();
    until(1, 1).await;
    own.next().await.unwrap();
    until(1, 0).await;
    let (requests, outgoing) = mpsc::unbounded_channel();
    requests.send(DiscoveryRequest { resource_names: names(&["default"]), ..Default::default() }).unwrap();
    let mut request = tonic::Request::new(tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing));
    request.metadata_mut().insert("authorization", "Bearer good.a.a".parse().unwrap());
    let mut by_token = SecretDiscoveryServiceClient::new(connection.clone()).stream_secrets(request).await.unwrap().into_inner();
    let sent = by_token.message().await.unwrap().unwrap();
    until(2, 1).await;
    let (version_info, response_nonce) = (sent.version_info, sent.nonce);
    requests
        .send(DiscoveryRequest { resource_names: names(&["default"]), version_info, response_nonce, ..Default::default() })
        .unwrap();
    until(2, 0).await;
    host.source.push(state(&host.authority, &["web"]));
    assert_eq!(host.progress.now(), StreamProgress { streams: 2, behind: 1 }, "what was published counts at once");
    own.next().await.unwrap();
    until(2, 0).await;
    drop((requests, by_token));
    until(1, 0).await;
    drop((own, connection));
    until(0, 0).await;
}
