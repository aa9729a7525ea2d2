//! A CA with one node and one workload, which is this process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ca::config::CaConfig;
use node_agent::config::AgentConfig;
use pki::{Certificate, Timestamp, certificates_from_pem};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::agent_admin_client::AgentAdminClient;
use runtime::clock::{Clock, TestClock};
use runtime::entropy::SystemEntropy;
use runtime::shutdown::ShutdownTrigger;
use tests::{SdsClient, WorkloadClient, eventually};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAYS: Duration = Duration::from_secs(48 * 3600);
/// The life of every leaf here.
pub(crate) const TTL: Duration = Duration::from_secs(3600);
/// Longer than any wait between two tries.
pub(crate) const PATIENCE: Duration = Duration::from_secs(400);
const ID: &str = "spiffe://example.org/web";

struct Running {
    trigger: ShutdownTrigger,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.trigger.fire();
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("ends in time").unwrap();
    }
}

/// What an open SDS stream brought: each leaf, and the agent's clock when it came.
pub(crate) type Offered = Arc<Mutex<Vec<(Certificate, Timestamp)>>>;

pub(crate) struct House {
    pub(crate) ca_clock: Arc<TestClock>,
    pub(crate) agent_clock: Arc<TestClock>,
    pub(crate) ca_config: CaConfig,
    ca: Option<Running>,
    agent: Running,
    api_socket: PathBuf,
    pub(crate) agent_admin: PathBuf,
    offered: Offered,
    streams: Mutex<Vec<JoinHandle<()>>>,
    _directory: tempfile::TempDir,
}

impl House {
    /// Everything runs, the workload has its first SVID over a stream that stays open, and both clocks have come two days since the CA was
    /// made, so that there is a past to go back to.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let clock = || TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let (ca_clock, agent_clock) = (clock(), clock());
        // A port of its own for as long as the test runs, since the CA comes back to it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "trust_domain = \"example.org\"\nstate_dir = \"{at}/ca\"\nlisten = \"127.0.0.1:{port}\"\nadmin_socket = \"{at}/ca.sock\"\n\
             [leaf]\ndefault_ttl = \"1h\"\nmax_ttl = \"2h\"\n[attestation]\nreattest_window = \"7d\"\n"
        );
        let ca_config = CaConfig::parse("test", &text).unwrap();
        let options = ca::InitOptions { algorithm: pki::KeyAlgorithm::EcdsaP256, root_key_out: None };
        let made = ca::init(&ca_config, options, &*ca_clock, &SystemEntropy).await.unwrap();
        ca_clock.advance(DAYS * 2);
        agent_clock.advance(DAYS * 2);
        let ca = run_ca(&ca_config, &ca_clock).await.unwrap();

        let admin = WorkloadClient::connect(&ca_config.admin_socket).await.unwrap().channel();
        let mut admin = AdminClient::new(admin);
        let token = v1::CreateTokenRequest { node: "node-1".to_owned(), ttl_seconds: 0 };
        let token = admin.create_token(token).await.unwrap().into_inner().token;
        std::fs::write(directory.path().join("token"), token).unwrap();
        let entry = v1::CreateEntryRequest {
            spiffe_id: ID.to_owned(),
            selectors: vec![format!("unix:uid:{}", nix::unistd::getuid())],
            parent_node: "node-1".to_owned(),
            ..v1::CreateEntryRequest::default()
        };
        admin.create_entry(entry).await.unwrap();

        let pin = data_encoding::HEXLOWER.encode(&made.root_fingerprint);
        let text = format!(
            "trust_domain = \"example.org\"\nstate_dir = \"{at}/agent\"\nca_address = \"127.0.0.1:{port}\"\nca_fingerprint = \"{pin}\"\n\
             join_token_file = \"{at}/token\"\napi_socket = \"{at}/public/api.sock\"\nadmin_socket = \"{at}/agent.sock\"\n"
        );
        let config = AgentConfig::parse("test", &text).unwrap();
        let (api_socket, agent_admin) = (config.api_socket.clone(), config.admin_socket.clone());
        let bound = node_agent::Server::bind(config, agent_clock.clone(), Arc::new(SystemEntropy)).await.unwrap();
        let agent = run(move |shutdown| async move { bound.run(shutdown).await.unwrap() });
        let house = Self {
            ca_clock,
            agent_clock,
            ca_config,
            ca: Some(ca),
            agent,
            api_socket,
            agent_admin,
            offered: Offered::default(),
            streams: Mutex::default(),
            _directory: directory,
        };
        house.subscribe(&house.offered).await;
        house.leaf_after(0).await;
        house.in_step().await;
        house
    }

    /// One more stream; what comes on it goes to `offered`.
    pub(crate) async fn subscribe(&self, offered: &Offered) {
        let (offered, clock) = (Arc::clone(offered), Arc::clone(&self.agent_clock));
        let mut client = SdsClient::connect(&self.api_socket).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "ended with the house")]
        let task = tokio::spawn(async move {
            let Ok(mut stream) = client.subscribe(&["default"]).await else { return };
            while let Ok(response) = stream.next().await {
                for chain in response.secrets.iter().filter_map(|secret| secret.chain_pem.as_ref()) {
                    let leaf = certificates_from_pem(chain.as_bytes()).unwrap().swap_remove(0);
                    offered.lock().unwrap().push((leaf, clock.now().into()));
                }
                stream.acknowledge(&response).await;
            }
        });
        self.streams.lock().unwrap().push(task);
    }

    /// How many leaves came over the first stream.
    pub(crate) fn leaves(&self) -> usize {
        self.offered.lock().unwrap().len()
    }

    /// The next leaf on the first stream after so many.
    pub(crate) async fn leaf_after(&self, count: usize) -> Certificate {
        eventually("another leaf", async || self.offered.lock().unwrap().get(count).map(|(leaf, _)| leaf.clone())).await
    }

    /// What the agent says of itself.
    pub(crate) async fn status(&self) -> v1::AgentStatusResponse {
        let channel = WorkloadClient::connect(&self.agent_admin).await.unwrap().channel();
        AgentAdminClient::new(channel).agent_status(v1::AgentStatusRequest {}).await.unwrap().into_inner()
    }

    /// What it says of the workload's identity.
    pub(crate) async fn identity(&self) -> v1::IdentityStatus {
        self.status().await.identities.swap_remove(0)
    }

    /// Waits until node and CA are in step, and the identity is there and was not refused since.
    pub(crate) async fn in_step(&self) {
        eventually("node and CA in step", async || {
            let status = self.status().await;
            let well = |identity: &v1::IdentityStatus| identity.state == "available" && identity.last_error.is_empty();
            (status.connected && status.ready && status.identities.iter().all(well)).then_some(())
        })
        .await;
    }

    /// Waits until the agent's own words about the identity contain this.
    pub(crate) async fn says(&self, words: &str) -> v1::IdentityStatus {
        eventually(words, async || Some(self.identity().await).filter(|identity| identity.last_error.contains(words))).await
    }

    /// Waits until what the agent warns of contains this.
    pub(crate) async fn warns(&self, words: &str) {
        eventually(words, async || self.status().await.warnings.iter().any(|warning| warning.contains(words)).then_some(()))
            .await;
    }

    /// Whether the CA says that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.operator().await.status(v1::StatusRequest {}).await.unwrap().into_inner().ready
    }

    /// Waits until the CA is ready, or is not for a reason with these words.
    pub(crate) async fn ca_says(&self, words: Option<&str>) {
        eventually(words.unwrap_or("ready"), async || {
            let status = self.operator().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
            match words {
                None => status.ready,
                Some(words) => !status.ready && status.warnings.iter().any(|warning| warning.contains(words)),
            }
            .then_some(())
        })
        .await;
    }

    /// Time passes for both.
    pub(crate) fn pass(&self, span: Duration) {
        self.ca_clock.advance(span);
        self.agent_clock.advance(span);
    }

    async fn operator(&self) -> AdminClient<Channel> {
        AdminClient::new(WorkloadClient::connect(&self.ca_config.admin_socket).await.unwrap().channel())
    }

    /// Every certificate that was recorded to be signed: for whom, when, and until when.
    pub(crate) async fn ledger(&self) -> Vec<Recorded> {
        let request = v1::TailAuditRequest { lines: 10_000, follow: false };
        let mut events = self.operator().await.tail_audit(request).await.unwrap().into_inner();
        let mut ledger = Vec::new();
        while let Some(event) = events.message().await.unwrap() {
            if event.kind == "certificate_intended" {
                let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
                let text = |name: &str| body[name].as_str().unwrap().to_owned();
                let time = u64::try_from(event.time.unwrap().seconds).unwrap();
                ledger.push(Recorded {
                    subject: text("subject"),
                    not_after: text("not_after"),
                    time: Timestamp::from_unix_seconds(time),
                });
            }
        }
        ledger
    }

    /// How many certificates were recorded for the workload.
    pub(crate) async fn issued(&self) -> usize {
        self.ledger().await.iter().filter(|recorded| recorded.subject == ID).count()
    }

    /// Ends the CA.
    pub(crate) async fn stop_ca(&mut self) {
        self.ca.take().unwrap().stop().await;
    }

    /// Starts it again.
    pub(crate) async fn start_ca(&mut self) -> Result<(), ca::StartError> {
        self.ca = Some(run_ca(&self.ca_config, &self.ca_clock).await?);
        Ok(())
    }

    /// What holds at all times, whatever the clocks did; then everything is stopped.
    pub(crate) async fn verify_and_stop(self) {
        // Whatever was recorded lasts at most as long as leaves of workloads do, counted from the time of its issuance.
        for Recorded { subject, not_after, time } in self.ledger().await.into_iter().filter(|recorded| recorded.subject == ID) {
            assert_eq!(not_after, time.plus(TTL - Duration::from_secs(1)).to_string(), "{subject}");
        }
        // Whatever was offered was valid by the clock of the node at that moment.
        let offered = self.offered.lock().unwrap().clone();
        for (leaf, now) in &offered {
            assert!(
                leaf.not_before() <= *now && *now <= leaf.not_after(),
                "offered at {now}: {} to {}",
                leaf.not_before(),
                leaf.not_after()
            );
            assert!(leaf.not_after().since(leaf.not_before()) < TTL + MINUTE, "with the minute that leaves are dated back by");
        }
        for stream in self.streams.lock().unwrap().drain(..) {
            stream.abort();
        }
        self.agent.stop().await;
        if let Some(ca) = self.ca {
            ca.stop().await;
        }
    }
}

/// One intent of the CA's ledger.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) subject: String,
    pub(crate) not_after: String,
    pub(crate) time: Timestamp,
}

async fn run_ca(config: &CaConfig, clock: &Arc<TestClock>) -> Result<Running, ca::StartError> {
    let bound = ca::Server::bind(config.clone(), clock.clone(), Arc::new(SystemEntropy)).await?;
    Ok(run(move |shutdown| async move { bound.run(shutdown).await.unwrap() }))
}

fn run<F: Future<Output = ()> + Send + 'static>(service: impl FnOnce(runtime::shutdown::Shutdown) -> F) -> Running {
    let (trigger, shutdown) = runtime::shutdown::channel();
    #[expect(clippy::disallowed_methods, reason = "stopped with the house")]
    let task = tokio::spawn(service(shutdown));
    Running { trigger, task }
}
