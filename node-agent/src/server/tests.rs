mod revocation;

use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::v1::agent_admin_client::AgentAdminClient;
use proto::v1::{AgentStatusRequest, ExplainRequest};
use runtime::clock::TestClock;
use runtime::entropy::SystemEntropy;
use runtime::shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::fakes::FakeCa;

struct Bed {
    clock: Arc<TestClock>,
    ca: FakeCa,
    directory: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let ca = FakeCa::start(clock.clone()).await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
        Self { clock, ca, directory }
    }

    fn config(&self) -> AgentConfig {
        let at = self.directory.path().display();
        let pin = data_encoding::HEXLOWER.encode(&self.ca.fingerprint());
        let text = format!(
            "trust_domain = \"example.org\"\nstate_dir = \"{at}/state\"\nca_address = \"{}\"\nca_fingerprint = \"{pin}\"\n\
             join_token_file = \"{at}/token\"\napi_socket = \"{at}/public/api.sock\"\nadmin_socket = \"{at}/admin.sock\"\n\
             [telemetry]\naddress = \"127.0.0.1:0\"\n",
            self.ca.address
        );
        AgentConfig::parse("test.toml", &text).unwrap()
    }

    async fn bind(&self) -> Result<BoundServer, StartError> {
        Server::bind(self.config(), self.clock.clone(), Arc::new(SystemEntropy)).await
    }
}

async fn channel(socket: PathBuf) -> Channel {
    let connect = tower_connector(socket);
    Endpoint::from_static("http://agent").connect_with_connector(connect).await.unwrap()
}

/// A connector to one Unix socket.
fn tower_connector(
    socket: PathBuf,
) -> impl tower_service::Service<http::Uri, Response = TokioIo<UnixStream>, Error = std::io::Error, Future: Send> + Send {
    struct Connector(PathBuf);
    impl tower_service::Service<http::Uri> for Connector {
        type Response = TokioIo<UnixStream>;
        type Error = std::io::Error;
        type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Uri) -> Self::Future {
            let path = self.0.clone();
            Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
        }
    }
    Connector(socket)
}

async fn http_get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What SDS answers to the question for `default`, and the stream, which stays open.
async fn first_answer(api_socket: &Path) -> (DiscoveryResponse, Streaming<DiscoveryResponse>) {
    let mut sds = SecretDiscoveryServiceClient::new(channel(api_socket.to_owned()).await);
    let ask = DiscoveryRequest { resource_names: vec!["default".to_owned()], ..DiscoveryRequest::default() };
    let asked = futures_util::StreamExt::chain(tokio_stream::iter([ask]), tokio_stream::pending());
    let first = async {
        let mut answers = sds.stream_secrets(asked).await.unwrap().into_inner();
        (answers.message().await.unwrap().unwrap(), answers)
    };
    tokio::time::timeout(Duration::from_secs(30), first).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_sockets_to_a_served_identity_and_its_explanation() {
    let bed = Bed::new().await;
    let uid = nix::unistd::getuid();
    bed.ca.entries.send_replace(vec![
        bed.ca.entry("mine", "/web", &format!("unix:uid:{uid}")),
        bed.ca.entry("other", "/other", "unix:path:/nowhere"),
    ]);
    let server = bed.bind().await.unwrap();
    let addresses = server.addresses().clone();
    assert_eq!(bed.ca.seen().connections, 0, "everything is bound before the CA is met");
    let (trigger, shutdown) = shutdown::channel();
    #[expect(clippy::disallowed_methods, reason = "joined below")]
    let running = tokio::spawn(server.run(shutdown));

    let (answer, _stream) = first_answer(&addresses.api_socket).await;
    assert_eq!(answer.resources.len(), 1);

    let mut admin = AgentAdminClient::new(channel(addresses.admin_socket).await);
    let pid = i32::try_from(std::process::id()).unwrap();
    let explained = admin.explain(ExplainRequest { pid, ..ExplainRequest::default() }).await.unwrap().into_inner();
    assert!(explained.selectors.contains(&format!("unix:uid:{uid}")));
    assert_eq!(explained.matched.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["mine"]);
    assert_eq!((explained.entries, explained.nearest_miss), (2, None));
    // The one that nobody waits for comes in a batch of its own.
    let both = async {
        loop {
            let status = admin.agent_status(AgentStatusRequest {}).await.unwrap().into_inner();
            if status.identities.iter().filter(|identity| identity.state == "available").count() == 2 {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(status.ready && status.connected, "{status:?}");
    assert_eq!(status.spiffe_id, "spiffe://example.org/signet/agent/n1");

    bed.ca.entries.send_replace(vec![bed.ca.entry("other", "/other", "unix:path:/nowhere")]);
    let missed = async {
        loop {
            let explained = admin.explain(ExplainRequest { pid, ..ExplainRequest::default() }).await.unwrap().into_inner();
            if let Some(miss) = explained.nearest_miss {
                return miss;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let miss = tokio::time::timeout(Duration::from_secs(30), missed).await.unwrap();
    assert_eq!((miss.entry.unwrap().id.as_str(), miss.missing), ("other", vec!["unix:path:/nowhere".to_owned()]));

    let telemetry = addresses.telemetry.unwrap();
    assert!(http_get(&telemetry, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = http_get(&telemetry, "/metrics").await;
    for line in ["signet_agent_sync_connected 1", "signet_agent_bundle_sequence 5", "signet_sds_pushes_total"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    trigger.fire();
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("ends in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_told_which_streams_have_taken_a_new_bundle_and_when_nothing_rests_on_a_tainted_key() {
    use crate::fakes::FakeAuthority;
    use proto::workload::X509BundlesRequest;
    use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
    use runtime::clock::Clock;

    let bed = Bed::new().await;
    bed.ca.entries.send_replace(vec![bed.ca.entry("mine", "/web", &format!("unix:uid:{}", nix::unistd::getuid()))]);
    let server = bed.bind().await.unwrap();
    let socket = server.addresses().api_socket.clone();
    let (trigger, shutdown) = shutdown::channel();
    #[expect(clippy::disallowed_methods, reason = "joined below")]
    let running = tokio::spawn(server.run(shutdown));
    // Bundle, streams, of them behind, SVIDs that rest on a tainted key: as told last.
    let told = || bed.ca.seen().progress.last().map(|(_, p)| (p.bundle_sequence, p.streams, p.streams_behind, p.svids_tainted));
    let until = async |what: &str, expected: (u64, u32, u32, u32)| {
        for _ in 0..600 {
            if told() == Some(expected) {
                return;
            }
            bed.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} never came true: {:?}", bed.ca.seen().progress);
    };

    let (say, asked) = tokio::sync::mpsc::unbounded_channel();
    let ask = |last: Option<&DiscoveryResponse>| DiscoveryRequest {
        resource_names: vec!["ROOTCA".to_owned()],
        version_info: last.map(|last| last.version_info.clone()).unwrap_or_default(),
        response_nonce: last.map(|last| last.nonce.clone()).unwrap_or_default(),
        ..DiscoveryRequest::default()
    };
    say.send(ask(None)).unwrap();
    let mut sds = SecretDiscoveryServiceClient::new(channel(socket.clone()).await);
    let asked = tokio_stream::wrappers::UnboundedReceiverStream::new(asked);
    let mut answers = sds.stream_secrets(asked).await.unwrap().into_inner();
    let first = tokio::time::timeout(Duration::from_secs(30), answers.message()).await.unwrap().unwrap().unwrap();
    until("the stream without an answer", (5, 1, 1, 0)).await;
    say.send(ask(Some(&first))).unwrap();
    until("the answer", (5, 1, 0, 0)).await;
    let mut bundles = tonic::Request::new(X509BundlesRequest {});
    bundles.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    let mut workload = SpiffeWorkloadApiClient::new(channel(socket).await);
    let mut bundles = workload.fetch_x509_bundles(bundles).await.unwrap().into_inner();
    assert!(bundles.message().await.unwrap().is_some());
    until("both have all", (5, 2, 0, 0)).await;

    // A second root: the stream of SDS has it when it says so.
    let (old, new) = (Arc::clone(&bed.ca.authority), Arc::new(FakeAuthority::new(bed.clock.now().into())));
    bed.ca.answer(|answers| answers.bundle = Some(FakeAuthority::bundle_of(&[&old, &new], &[], 6)));
    until("one of two has the bundle", (6, 2, 1, 0)).await;
    assert!(bundles.message().await.unwrap().is_some());
    let second = answers.message().await.unwrap().unwrap();
    say.send(ask(Some(&second))).unwrap();
    until("both have it", (6, 2, 0, 0)).await;

    // The taint: the agent's SVID and the workload's are replaced, without a message on these streams.
    bed.ca.rotate(&new, &new, &FakeAuthority::bundle_of(&[&old, &new], &[old.root_key()], 7), bed.clock.now().into());
    until("nothing rests on the old root", (7, 2, 0, 0)).await;
    let words = bed.ca.seen().progress;
    assert!(words.iter().any(|(_, word)| word.bundle_sequence == 7 && word.svids_tainted > 0), "{words:?}");
    bed.ca.rotate(&new, &new, &FakeAuthority::bundle_of(&[&new], &[old.root_key()], 8), bed.clock.now().into());
    let third = answers.message().await.unwrap().unwrap();
    say.send(ask(Some(&third))).unwrap();
    until("all have the new root alone", (8, 2, 0, 0)).await;
    trigger.fire();
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("ends in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_be_helped_ends_with_the_reason_and_its_twin_runs() {
    let bed = Bed::new().await;
    bed.ca.answer(|answers| answers.refuse_attestation = Some("TOKEN_EXPIRED"));
    let (_trigger, shutdown) = shutdown::channel();
    let ended = tokio::time::timeout(Duration::from_secs(30), bed.bind().await.unwrap().run(shutdown)).await.unwrap();
    assert!(matches!(ended, Err(RunError::Node(NodeFailure::TokenRefused(_)))), "{ended:?}");

    bed.ca.answer(|answers| answers.refuse_attestation = None);
    let server = bed.bind().await.unwrap();
    assert!(matches!(bed.bind().await.err(), Some(StartError::State(_))), "the directory has one owner");
    let readiness = server.readiness().clone();
    let (trigger, shutdown) = shutdown::channel();
    #[expect(clippy::disallowed_methods, reason = "joined below")]
    let running = tokio::spawn(server.run(shutdown));
    for _ in 0..600 {
        if readiness.failing().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(readiness.failing(), Vec::<String>::new());
    trigger.fire();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_ca_of_istio_the_same_sockets_serve_and_what_it_cannot_give_is_told() {
    let bed = Bed::new().await;
    let (at, uid) = (bed.directory.path().display(), nix::unistd::getuid());
    std::fs::write(bed.directory.path().join("roots.pem"), bed.ca.authority.bundle(1).to_pem()).unwrap();
    let text = format!(
        "trust_domain = \"example.org\"\nstate_dir = \"{at}/state\"\nprovider = \"istio\"\n\
         api_socket = \"{at}/public/api.sock\"\nadmin_socket = \"{at}/admin.sock\"\n[istio]\naddress = \"{}\"\n\
         roots = \"{at}/roots.pem\"\n[[istio.identity]]\nspiffe_id = \"spiffe://example.org/web\"\n\
         selectors = [\"unix:uid:{uid}\"]\ntoken_file = \"{at}/jwt\"\n",
        bed.ca.address
    );
    let config = AgentConfig::parse("test.toml", &text).unwrap();
    let clock: Arc<dyn Clock> = bed.clock.clone();
    let warned = crate::check(&config, &clock).unwrap();
    assert_eq!((warned.configured_identities, warned.warnings.len()), (Some(1), 1), "{warned:?}");
    std::fs::write(bed.directory.path().join("jwt"), "aaa.bbb.ccc").unwrap();
    assert!(crate::check(&config, &clock).unwrap().warnings.is_empty());

    let server = Server::bind(config, bed.clock.clone(), Arc::new(SystemEntropy)).await.unwrap();
    let addresses = server.addresses().clone();
    let (trigger, shutdown) = shutdown::channel();
    #[expect(clippy::disallowed_methods, reason = "joined below")]
    let running = tokio::spawn(server.run(shutdown));
    let (answer, _stream) = first_answer(&addresses.api_socket).await;
    assert_eq!(answer.resources.len(), 1);

    let mut admin = AgentAdminClient::new(channel(addresses.admin_socket).await);
    let status = admin.agent_status(AgentStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.provider.as_str(), status.spiffe_id.as_str()), ("istio", ""));
    assert_eq!(status.absent, ["entry sync", "bundle push", "revocation", "JWT-SVID"]);
    assert_eq!(status.identities.iter().map(|identity| identity.state.as_str()).collect::<Vec<_>>(), ["available"]);
    let pid = i32::try_from(std::process::id()).unwrap();
    let explained = admin.explain(ExplainRequest { pid, ..ExplainRequest::default() }).await.unwrap().into_inner();
    assert_eq!(explained.matched.len(), 1);
    let seen = bed.ca.seen();
    assert_eq!((seen.tokens.len(), seen.streams, seen.batches.len(), seen.reattestations), (0, 0, 0, 0), "no call of signet.v1");
    trigger.fire();
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("ends in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_check_tells_every_fault_and_passes_when_all_is_there() {
    let bed = Bed::new().await;
    let clock: Arc<dyn Clock> = bed.clock.clone();
    let report = crate::check(&bed.config(), &clock).unwrap();
    assert!(report.needs_join_token && report.spiffe_id.is_none());
    let broken = AgentConfig { first_trust: None, first_proof: None, ..bed.config() };
    let faults = crate::check(&broken, &clock).unwrap_err();
    assert_eq!(faults.0.len(), 2, "{faults}");
    assert!(!bed.directory.path().join("state").exists(), "a check makes nothing");
}
