//! SDS over the real socket, with a source that gives by selectors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use prost::Message;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use runtime::clock::{Clock, SystemClock};
use runtime::shutdown::{self, ShutdownTrigger};
use sds::{BearerRefusal, BearerToken, SdsMetrics, SdsProgress, SdsService, SecretSource, SecretState, ValidationContextKind};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

use super::super::{
    Caller, CallerFacts, ExecutableDemand, ExecutableHashes, NodePods, ServeError, WorkloadLimits, WorkloadMetrics,
    WorkloadServer,
};
use super::children::{Running, child, end_by_pid};
use crate::fakes::FakeAuthority;

/// Gives every caller the state of its executable's name.
#[derive(Default)]
pub(super) struct FakeSource {
    /// One sender for each connection.
    states: Mutex<BTreeMap<i32, Vec<watch::Sender<Arc<SecretState>>>>>,
    state: Arc<SecretState>,
    of_tokens: Arc<SecretState>,
    /// One sender for each time that the token was brought.
    pub(super) tokens: Mutex<BTreeMap<String, Vec<watch::Sender<Arc<SecretState>>>>>,
    last_caller: Mutex<Option<Caller>>,
}

impl FakeSource {
    pub(super) fn push(&self, state: SecretState) {
        let own = i32::try_from(std::process::id()).unwrap();
        let (states, state) = (self.states.lock().unwrap(), Arc::new(state));
        for sender in &states[&own] {
            sender.send_replace(Arc::clone(&state));
        }
    }

    fn forget_all(&self) {
        self.states.lock().unwrap().clear();
    }
}

impl FakeSource {
    /// Whether the last caller was attested with the content of its executable.
    fn hashed(&self) -> bool {
        let caller = self.last_caller.lock().unwrap().clone().unwrap();
        caller.selectors.iter().any(|selector| selector.is(identity::SelectorKind::Sha256))
    }
}

impl SecretSource for FakeSource {
    type Caller = Caller;

    fn subscribe(&self, caller: &Caller) -> watch::Receiver<Arc<SecretState>> {
        *self.last_caller.lock().unwrap() = Some(caller.clone());
        let (sender, receiver) = watch::channel(Arc::clone(&self.state));
        self.states.lock().unwrap().entry(caller.pid).or_default().push(sender);
        receiver
    }

    /// Takes tokens that begin with `good`, for an identity that no caller has by itself.
    fn bearer(&self, _: &Caller, token: BearerToken) -> Result<watch::Receiver<Arc<SecretState>>, BearerRefusal> {
        let text = token.into_text();
        let state = match text.split_once('.') {
            Some(("off", _)) => return Err(BearerRefusal::Off),
            Some((good, _)) if good.starts_with("good") => Arc::clone(&self.of_tokens),
            // Whoever refuses lets go of the sender.
            _ => {
                let refused = SecretState { refused: Some("the CA refuses it".into()), ..SecretState::default() };
                return Ok(watch::channel(Arc::new(refused)).1);
            }
        };
        let (sender, receiver) = watch::channel(state);
        self.tokens.lock().unwrap().entry(text.to_string()).or_default().push(sender);
        Ok(receiver)
    }
}

pub(super) struct Host {
    pub(super) authority: FakeAuthority,
    pub(super) source: Arc<FakeSource>,
    pub(super) socket: PathBuf,
    pub(super) progress: SdsProgress,
    metrics: prometheus_client::registry::Registry,
    shutdown: ShutdownTrigger,
    wanted: watch::Sender<bool>,
    task: JoinHandle<Result<(), ServeError>>,
    _directory: tempfile::TempDir,
}

impl Host {
    pub(super) fn start() -> Self {
        Self::start_with(WorkloadLimits::default())
    }

    pub(super) fn start_with(limits: WorkloadLimits) -> Self {
        Self::start_hashing(limits, ExecutableHashes::new(SystemClock::shared()))
    }

    fn start_hashing(limits: WorkloadLimits, hashes: ExecutableHashes) -> Self {
        let authority = FakeAuthority::new(SystemClock::shared().now().into());
        let state = state(&authority, &["web"]);
        let of_tokens = Arc::new(self::state(&authority, &["token"]));
        let source = Arc::new(FakeSource { state: Arc::new(state), of_tokens, ..FakeSource::default() });
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("public/api.sock");
        let mut metrics = prometheus_client::registry::Registry::with_prefix("signet");
        let clock = SystemClock::shared();
        let sds_metrics = SdsMetrics::register(&mut metrics);
        let service = SdsService::new(Arc::clone(&source), ValidationContextKind::SpiffeValidator, clock, sds_metrics);
        let progress = service.progress();
        let server = WorkloadServer::bind(&socket, limits).unwrap();
        let (shutdown, listener) = shutdown::channel();
        let routes = tonic::service::Routes::new(service.into_server());
        let workload_metrics = WorkloadMetrics::register(&mut metrics);
        let (wanted, demand) = watch::channel(false);
        let facts = CallerFacts { executables: ExecutableDemand::new(Arc::new(hashes), demand), pods: NodePods::off() };
        #[expect(clippy::disallowed_methods, reason = "a test owns its task")]
        let task = tokio::spawn(server.run(routes, workload_metrics, facts, SystemClock::shared(), listener));
        Self { authority, source, socket, progress, metrics, shutdown, wanted, task, _directory: directory }
    }

    pub(super) fn metric(&self, line: &str) -> i64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
    }

    pub(super) async fn eventually(&self, line: &str, value: i64) {
        for _ in 0..2000 {
            if self.metric(line) == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{line} is {}, not {value}", self.metric(line));
    }
}

pub(super) fn state(authority: &FakeAuthority, names: &[&str]) -> SecretState {
    let now = SystemClock::shared().now().into();
    let svid = |name: &&str| Arc::new(authority.svid(&authority.id(&format!("/{name}")), Duration::from_secs(600), now));
    let (svids, bundle) = (names.iter().map(svid).collect(), Some(Arc::new(authority.bundle(1))));
    SecretState { known: true, svids, bundle, ..SecretState::default() }
}

struct Connector(PathBuf);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(socket).await?)) })
    }
}

pub(super) async fn channel(socket: &Path) -> Channel {
    Endpoint::from_static("http://sds").connect_with_connector(Connector(socket.to_owned())).await.unwrap()
}

pub(super) struct Stream {
    pub(super) requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    names: Vec<String>,
}

impl Stream {
    pub(super) async fn open(channel: &Channel, names: &[&str]) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        requests.send(DiscoveryRequest { resource_names: names.clone(), ..Default::default() }).unwrap();
        let outgoing = tokio_stream::wrappers::UnboundedReceiverStream::new(outgoing);
        let responses = SecretDiscoveryServiceClient::new(channel.clone()).stream_secrets(outgoing).await?.into_inner();
        Ok(Self { requests, responses, names })
    }

    /// The next response, acknowledged: its certificate's ID, or nothing for a validation context.
    pub(super) async fn next(&mut self) -> Result<Vec<(String, bool)>, Status> {
        let limit = Duration::from_secs(10);
        let message = tokio::time::timeout(limit, self.responses.message()).await.expect("an answer in time")?;
        let response = message.ok_or_else(|| Status::cancelled("ended"))?;
        let acknowledgement = DiscoveryRequest {
            resource_names: self.names.clone(),
            version_info: response.version_info,
            response_nonce: response.nonce,
            ..Default::default()
        };
        self.requests.send(acknowledgement).unwrap();
        let secrets = response.resources.iter().map(|any| Secret::decode(any.value.as_slice()).unwrap());
        Ok(secrets.map(|secret| (secret.name, matches!(secret.r#type, Some(Type::TlsCertificate(_))))).collect())
    }

    /// Connects until the executable was read in time, each time as the agent ends the connection.
    async fn attested_whole(host: &Host) -> Self {
        for _ in 0..10 {
            let mut stream = Self::open(&channel(&host.socket).await, &["default"]).await.unwrap();
            stream.next().await.unwrap();
            if host.source.hashed() {
                return stream;
            }
            let ended = tokio::time::timeout(Duration::from_secs(30), stream.responses.message()).await;
            assert!(ended.expect("the agent ends the connection").is_err());
        }
        panic!("the executable of this test was never read in time");
    }

    async fn silent(&mut self) {
        let answer = tokio::time::timeout(Duration::from_millis(200), self.responses.message()).await;
        assert!(answer.is_err(), "it was answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_gets_its_secrets_updates_and_silence_for_others_names() {
    let host = Host::start();
    let channel = channel(&host.socket).await;
    let mut certificate = Stream::open(&channel, &["default"]).await.unwrap();
    let mut trust = Stream::open(&channel, &["ROOTCA"]).await.unwrap();
    let mut others = Stream::open(&channel, &["spiffe://example.org/api"]).await.unwrap();
    assert_eq!(certificate.next().await.unwrap(), [("default".to_owned(), true)]);
    assert_eq!(trust.next().await.unwrap(), [("ROOTCA".to_owned(), false)]);
    others.silent().await;
    host.eventually("signet_sds_acks_total", 2).await;
    assert_eq!(host.metric("signet_sds_open_streams"), 3);
    assert_eq!(host.metric("signet_sds_unanswered_names_total{reason=\"not_the_callers\"}"), 1);
    assert_eq!(host.metric("signet_sds_pushes_total{resource=\"certificate\"}"), 1);
    // One state, and each stream of the connection gets its part of it, at once.
    host.source.push(state(&host.authority, &["web", "api"]));
    assert_eq!(certificate.next().await.unwrap(), [("default".to_owned(), true)]);
    assert_eq!(others.next().await.unwrap(), [("spiffe://example.org/api".to_owned(), true)]);
    trust.silent().await;
    drop((certificate, trust, others));
    host.eventually("signet_sds_open_streams", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_source_says_that_the_caller_is_gone() {
    let host = Host::start();
    let channel = channel(&host.socket).await;
    let mut stream = Stream::open(&channel, &["default"]).await.unwrap();
    stream.next().await.unwrap();
    host.source.forget_all();
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_end_with_their_status() {
    let host = Host::start();
    let channel = channel(&host.socket).await;
    let mut foreign = Stream::open(&channel, &[]).await.unwrap();
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    foreign.requests.send(DiscoveryRequest { type_url: cluster, ..Default::default() }).unwrap();
    assert_eq!(foreign.next().await.unwrap_err().code(), Code::InvalidArgument);
    // The connection is none the worse.
    assert!(Stream::open(&channel, &["default"]).await.unwrap().next().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundred_and_first_stream_of_a_connection_is_refused() {
    let host = Host::start();
    let channel = channel(&host.socket).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(Stream::open(&channel, &["ROOTCA"]).await.unwrap());
    }
    let refused = Stream::open(&channel, &["ROOTCA"]).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let other = self::channel(&host.socket).await;
    assert!(Stream::open(&other, &["ROOTCA"]).await.unwrap().next().await.is_ok(), "another connection has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_process_even_when_another_holds_the_socket() {
    let host = Host::start();
    let mut parent = Running::start(&mut child("connects_and_hands_its_socket_to_a_child"));
    parent.tell(host.socket.to_str().unwrap());
    let heir: i32 = parent.hear().parse().unwrap();
    host.eventually("signet_workload_connections", 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(host.metric("signet_workload_connections"), 1, "it stays while the process lives");
    parent.end();
    host.eventually("signet_workload_connections", 0).await;
    assert!(super::children::attest_pid(heir).is_ok(), "the heir still lives, and holds the other end");
    end_by_pid(heir);
}

/// Executables are read only while somebody asks, and whoever was attested before comes back to be attested whole.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_demand_for_hashes_ends_connections_made_without_and_no_others() {
    let host = Host::start();
    let before = channel(&host.socket).await;
    let mut stream = Stream::open(&before, &["default"]).await.unwrap();
    stream.next().await.unwrap();
    assert!(!host.source.hashed());
    host.wanted.send_replace(true);
    assert!(stream.next().await.is_err(), "the connection is ended");
    let mut stream = Stream::attested_whole(&host).await;
    for wanted in [false, true] {
        host.wanted.send_replace(wanted);
        stream.silent().await;
    }
    host.source.push(state(&host.authority, &["web", "api"]));
    assert!(stream.next().await.is_ok(), "a connection attested whole goes on");
}

/// By its clock each read of a file takes longer than it may, until it is told otherwise.
struct SlowReads(AtomicBool);

impl Clock for SlowReads {
    fn now(&self) -> SystemTime {
        SystemClock::shared().now()
    }

    fn boottime(&self) -> Duration {
        static READS: AtomicU32 = AtomicU32::new(0);
        let reads = if self.0.load(Ordering::SeqCst) { READS.fetch_add(1, Ordering::SeqCst) } else { 0 };
        Duration::from_secs(3600) * reads
    }
}

/// A node is slow when it starts, which is when everybody connects; and a proxy has one connection, for as long as it runs.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_could_not_be_attested_whole_is_served_what_is_its_own_and_made_to_come_back() {
    let slow = Arc::new(SlowReads(AtomicBool::new(true)));
    let clock: Arc<dyn Clock> = Arc::<SlowReads>::clone(&slow);
    let host = Host::start_hashing(WorkloadLimits::default(), ExecutableHashes::new(clock));
    host.wanted.send_replace(true);
    let first = channel(&host.socket).await;
    let mut stream = Stream::open(&first, &["default"]).await.unwrap();
    stream.next().await.unwrap();
    assert!(!host.source.hashed());
    let unreadable = host.source.last_caller.lock().unwrap().clone().unwrap().unreadable;
    assert!(unreadable.iter().any(|absent| absent.passing && absent.why.contains("longer than")), "{unreadable:?}");
    slow.0.store(false, Ordering::SeqCst);
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.responses.message()).await;
    assert!(ended.expect("the agent ends the connection").is_err());
    let mut stream = Stream::open(&channel(&host.socket).await, &["default"]).await.unwrap();
    stream.next().await.unwrap();
    assert!(host.source.hashed());
    stream.silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served_and_the_end_comes_soon_with_streams_open() {
    let host = Host::start();
    let channel = channel(&host.socket).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let service = "envoy.service.secret.v3.SecretDiscoveryService".to_owned();
    let answer = health.check(tonic_health::pb::HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    let mut stream = Stream::open(&channel, &["default"]).await.unwrap();
    stream.next().await.unwrap();
    host.shutdown.fire();
    tokio::time::timeout(Duration::from_secs(3), host.task).await.expect("it ends in time").unwrap().unwrap();
    assert!(stream.next().await.is_err());
    assert!(!host.socket.exists());
}
