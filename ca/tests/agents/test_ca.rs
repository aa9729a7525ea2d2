//! A CA in this process, on port 0 and a clock that the test moves, with its operator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ca::config::CaConfig;
use ca::{RunError, Server};
use hyper_util::rt::TokioIo;
use proto::v1;
use proto::v1::admin_client::AdminClient;
use runtime::clock::{Clock, TestClock};
use runtime::entropy::SystemEntropy;
use runtime::shutdown::ShutdownTrigger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::clock_leap::LeapingClock;

pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// For tests of what happens when nobody replaces an authority.
pub(crate) const WITHOUT_ROTATION: &str = "[rotation]\nautomatic = false\n";

/// Asks again until the answer is yes, for 30 s.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), polling).await.expect(what);
}

pub(crate) struct TestCa {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<TestClock>,
    /// The same as the CA reads it.
    pub(crate) leaping: Arc<LeapingClock>,
    telemetry: String,
    directory: Arc<tempfile::TempDir>,
    config: CaConfig,
    trigger: ShutdownTrigger,
    running: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl TestCa {
    /// A fresh CA with leaves of an hour.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// One that replaces none of its authorities by itself.
    pub(crate) async fn start_without_rotation() -> Self {
        Self::start_with(|_| WITHOUT_ROTATION.to_owned()).await
    }

    /// The same with more configuration, made where its directory is known.
    pub(crate) async fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let more = more(directory.path());
        let config = config(directory.path(), &more);
        let options = ca::InitOptions { algorithm: pki::KeyAlgorithm::EcdsaP256, root_key_out: None };
        ca::init(&config, options, &*clock, &SystemEntropy).await.unwrap();
        Self::with(config, Arc::new(directory), clock).await
    }

    /// A CA over a state directory that is there.
    pub(crate) async fn over(directory: Arc<tempfile::TempDir>, clock: Arc<TestClock>) -> Self {
        let config = config(directory.path(), "");
        Self::with(config, directory, clock).await
    }

    /// A CA over a state directory that is there, with more in its configuration.
    pub(crate) async fn over_with(more: &str, directory: Arc<tempfile::TempDir>, clock: Arc<TestClock>) -> Self {
        let config = config(directory.path(), more);
        Self::with(config, directory, clock).await
    }

    /// A CA whose authority lies in `plugged`, below the directory.
    pub(crate) async fn plugged_in(plugged: &str, directory: Arc<tempfile::TempDir>, clock: Arc<TestClock>) -> Self {
        let more = format!("[authority]\ndirectory = \"{}/{plugged}\"\n", directory.path().display());
        let config = config(directory.path(), &more);
        Self::with(config, directory, clock).await
    }

    /// What it was started with, and then ended, with another maximum TTL.
    pub(crate) async fn with_max_ttl(max_ttl: &str, directory: Arc<tempfile::TempDir>, clock: Arc<TestClock>) -> Self {
        let text = config_text(directory.path(), "").replace("max_ttl = \"2h\"", &format!("max_ttl = \"{max_ttl}\""));
        Self::with(CaConfig::parse("test", &text).unwrap(), directory, clock).await
    }

    async fn with(config: CaConfig, directory: Arc<tempfile::TempDir>, clock: Arc<TestClock>) -> Self {
        let leaping = LeapingClock::over(Arc::clone(&clock));
        let bound = Server::bind(config.clone(), leaping.clone(), Arc::new(SystemEntropy)).await.unwrap();
        let address = bound.addresses().listening;
        let telemetry = bound.addresses().telemetry.clone().unwrap();
        let (trigger, shutdown) = runtime::shutdown::channel();
        #[expect(clippy::disallowed_methods, reason = "the test owns the task and ends it")]
        let running = tokio::spawn(bound.run(shutdown));
        Self { address, clock, leaping, telemetry, directory, config, trigger, running }
    }

    /// Ends it in good order, and says what is left to start another one from.
    pub(crate) async fn stop(self) -> (Arc<tempfile::TempDir>, Arc<TestClock>) {
        self.trigger.fire();
        let ended = tokio::time::timeout(Duration::from_secs(5), self.running).await;
        ended.expect("ends in 5 s").unwrap().unwrap();
        (self.directory, self.clock)
    }

    /// What its clock says.
    pub(crate) fn clock_now(&self) -> pki::Timestamp {
        self.clock.now().into()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Result<(), RunError> {
        tokio::time::timeout(Duration::from_secs(10), self.running).await.expect("ends by itself").unwrap()
    }

    /// The store's file, as somebody else on this machine reaches it.
    pub(crate) fn store(directory: &Path) -> rusqlite::Connection {
        rusqlite::Connection::open(directory.join("ca/store.db")).unwrap()
    }

    /// Where everything lies.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The answer at this path of the telemetry address, head and body.
    pub(crate) async fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.telemetry).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The head of the answer at this path, whatever bytes follow.
    pub(crate) async fn http_head(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.telemetry).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).split("\r\n\r\n").next().unwrap_or_default().to_owned()
    }

    /// What it was started with.
    pub(crate) fn config(&self) -> CaConfig {
        self.config.clone()
    }

    pub(crate) async fn operator(&self) -> AdminClient<Channel> {
        AdminClient::new(self.admin_channel().await)
    }

    /// A connection to the operators' socket.
    pub(crate) async fn admin_channel(&self) -> Channel {
        let endpoint = Endpoint::from_static("http://admin.signet");
        endpoint.connect_with_connector(UnixConnector(self.config.admin_socket.clone())).await.unwrap()
    }

    pub(crate) async fn token(&self, node: &str) -> String {
        let request = v1::CreateTokenRequest { node: node.to_owned(), ttl_seconds: 0 };
        self.operator().await.create_token(request).await.unwrap().into_inner().token
    }

    pub(crate) async fn entry(&self, path: &str, node: &str) -> v1::Entry {
        self.entry_for(path, node, 0).await.unwrap()
    }

    /// An entry whose certificates live for this long; 0 is the default.
    pub(crate) async fn entry_for(&self, path: &str, node: &str, ttl_seconds: u32) -> Result<v1::Entry, tonic::Status> {
        let request = v1::CreateEntryRequest {
            spiffe_id: format!("spiffe://{TRUST_DOMAIN}{path}"),
            selectors: vec!["unix:uid:1000".to_owned()],
            parent_node: node.to_owned(),
            ttl_seconds,
            ..v1::CreateEntryRequest::default()
        };
        Ok(self.operator().await.create_entry(request).await?.into_inner())
    }

    pub(crate) async fn evict(&self, node: &str) {
        drop(self.operator().await.evict_node(v1::EvictNodeRequest { node: node.to_owned() }).await.unwrap());
    }

    pub(crate) async fn ban(&self, node: &str) {
        drop(self.operator().await.ban_node(v1::BanNodeRequest { node: node.to_owned() }).await.unwrap());
    }

    pub(crate) async fn status(&self) -> v1::StatusResponse {
        self.operator().await.status(v1::StatusRequest {}).await.unwrap().into_inner()
    }

    pub(crate) async fn root(&self) -> pki::Sha256Digest {
        let text = self.status().await.root_fingerprint;
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    /// Every body of the audit log, in one text.
    pub(crate) async fn audit(&self) -> String {
        let request = v1::TailAuditRequest { lines: 10_000, follow: false };
        let mut events = self.operator().await.tail_audit(request).await.unwrap().into_inner();
        let mut text = String::new();
        while let Some(event) = events.message().await.unwrap() {
            text.push_str(&event.kind);
            text.push_str(&event.body);
            text.push('\n');
        }
        text
    }
}

fn config(directory: &Path, more: &str) -> CaConfig {
    CaConfig::parse("test", &config_text(directory, more)).unwrap()
}

fn config_text(directory: &Path, more: &str) -> String {
    format!(
        "trust_domain = \"{TRUST_DOMAIN}\"\nstate_dir = \"{0}/ca\"\nlisten = \"127.0.0.1:0\"\nadmin_socket = \"{0}/admin.sock\"\n\
         [leaf]\ndefault_ttl = \"1h\"\nmax_ttl = \"2h\"\n[attestation]\nreattest_window = \"1d\"\n\
         [telemetry]\naddress = \"127.0.0.1:0\"\n{more}",
        directory.display()
    )
}

#[derive(Clone)]
struct UnixConnector(PathBuf);

impl tower_service::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}
