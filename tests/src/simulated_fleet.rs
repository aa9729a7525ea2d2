//! Agents without nodes: tasks that attest, connect and sync over the real protocol, each under a name of its own, as many as one machine
//! bears. They hold what agents hold (an SVID, a sync stream), acknowledge what they are sent, renew what is tainted, and come back by the
//! same waits.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey, Sha256Digest, X509Svid, build_request};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::authority_admin_client::AuthorityAdminClient;
use proto::v1::{sync_request, sync_response};
use runtime::backoff::Backoff;
use runtime::entropy::{SystemEntropy, bytes};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::node_client::{AttestedNode, CaConnection, hello, svid_of};
use crate::{Ca, WorkloadClient};

/// Between tries of an agent to reach a CA that is away, as `node-agent` waits.
const AWAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// From the connection to the first update; `node-agent` gives a call as long.
const DEADLINE: Duration = Duration::from_secs(30);
/// Attestations at once: they are not what is looked at.
const ATTESTING: usize = 16;

/// Where agents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetAddresses {
    /// Each has its own address of 127.0.0.0/8.
    Many,
    /// All share one, as behind a translating router.
    One,
}

impl FleetAddresses {
    fn of(self, number: usize) -> IpAddr {
        let [.., high, low] = number.to_be_bytes();
        match self {
            Self::Many => Ipv4Addr::new(127, 1, high, low).into(),
            Self::One => Ipv4Addr::new(127, 0, 0, 9).into(),
        }
    }
}

/// What the agents met.
#[derive(Default)]
struct Counts {
    connected: AtomicUsize,
    timeouts: AtomicU64,
    renewals: AtomicU64,
    tries: AtomicU64,
    faults: Mutex<BTreeMap<String, u64>>,
}

/// One agent.
struct SimulatedAgent {
    number: usize,
    svid: Mutex<Arc<X509Svid>>,
    acknowledged: AtomicU64,
}

/// What all agents know of their CA.
struct Surroundings {
    address: std::net::SocketAddr,
    trust_domain: String,
    fingerprint: String,
    counts: Counts,
}

/// Agents that run until this is dropped.
pub struct SimulatedFleet {
    agents: Vec<Arc<SimulatedAgent>>,
    surroundings: Arc<Surroundings>,
    running: JoinSet<()>,
}

impl SimulatedFleet {
    /// Attests so many nodes, `sim-0` and on, each from an address of its own; none of them is connected yet.
    ///
    /// # Panics
    /// When the CA refuses an honest node.
    pub async fn attest(ca: &Ca, size: usize) -> Self {
        let limit = runtime::hardening::raise_descriptor_limit().expect("the limit can be raised to the hard one");
        assert!(limit > u64::try_from(size).expect("a size fits") + 200, "{size} agents need more descriptors than {limit}");
        let mut admin = AdminClient::new(admin_channel(ca).await);
        let mut tokens = Vec::new();
        let mut fingerprint = String::new();
        for number in 0..size {
            let request = v1::CreateTokenRequest { node: format!("sim-{number}"), ttl_seconds: 3600 };
            let token = admin.create_token(request).await.expect("a token can be made").into_inner();
            fingerprint = token.ca_fingerprint;
            tokens.push(token.token);
        }
        let counts = Counts::default();
        let surroundings =
            Arc::new(Surroundings { address: ca.address, trust_domain: ca.trust_domain.clone(), fingerprint, counts });
        let (turns, mut attesting) = (Arc::new(Semaphore::new(ATTESTING)), JoinSet::new());
        for (number, token) in tokens.into_iter().enumerate() {
            let (surroundings, turns) = (Arc::clone(&surroundings), Arc::clone(&turns));
            attesting.spawn(async move {
                let _turn = turns.acquire().await.expect("nobody closes it");
                let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
                let connection = surroundings.connect(None, FleetAddresses::Many.of(number)).await.expect("the CA is there");
                let AttestedNode { svid, .. } = connection.attest(&token, &node_key).await.expect("an honest node attests");
                Arc::new(SimulatedAgent { number, svid: Mutex::new(svid), acknowledged: AtomicU64::new(0) })
            });
        }
        let agents = attesting.join_all().await;
        Self { agents, surroundings, running: JoinSet::new() }
    }

    /// Lets all connect at once, and again whenever their stream ends.
    pub fn connect(&mut self, addresses: FleetAddresses) {
        for agent in &self.agents {
            let (agent, surroundings) = (Arc::clone(agent), Arc::clone(&self.surroundings));
            self.running.spawn(async move { agent.run(&surroundings, addresses).await });
        }
    }

    /// Ends all streams, as the nodes' power would.
    pub async fn disconnect(&mut self) {
        self.running.shutdown().await;
        self.surroundings.counts.connected.store(0, Ordering::Relaxed);
    }

    /// How many have a stream on which everything came.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.surroundings.counts.connected.load(Ordering::Relaxed)
    }

    /// How many have acknowledged a bundle of this sequence or a later one.
    #[must_use]
    pub fn acknowledged(&self, sequence: u64) -> usize {
        self.agents.iter().filter(|agent| agent.acknowledged.load(Ordering::Relaxed) >= sequence).count()
    }

    /// How often a call was not answered within 30 s.
    #[must_use]
    pub fn timeouts(&self) -> u64 {
        self.surroundings.counts.timeouts.load(Ordering::Relaxed)
    }

    /// How often an agent tried to connect.
    #[must_use]
    pub fn tries(&self) -> u64 {
        self.surroundings.counts.tries.load(Ordering::Relaxed)
    }

    /// How many SVIDs were renewed because they rested on a tainted key.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.surroundings.counts.renewals.load(Ordering::Relaxed)
    }

    /// What went wrong, and how often.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<String, u64> {
        self.surroundings.counts.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The SVIDs that the agents hold.
    #[must_use]
    pub fn svids(&self) -> Vec<Arc<X509Svid>> {
        self.agents.iter().map(|agent| agent.svid()).collect()
    }
}

/// The operators' service for the CA's own authorities.
///
/// # Panics
/// When nobody listens at its socket.
pub async fn authority_admin(ca: &Ca) -> AuthorityAdminClient<Channel> {
    AuthorityAdminClient::new(admin_channel(ca).await)
}

async fn admin_channel(ca: &Ca) -> Channel {
    WorkloadClient::connect(&ca.admin_socket()).await.expect("the CA's operators are served").channel()
}

impl Surroundings {
    async fn connect(&self, svid: Option<Arc<X509Svid>>, from: IpAddr) -> Result<CaConnection, String> {
        CaConnection::open_from(self.address, &self.trust_domain, &self.fingerprint, svid, Some(from)).await
    }

    fn fault(&self, what: String) {
        let mut faults = self.counts.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *faults.entry(what).or_default() += 1;
    }
}

impl SimulatedAgent {
    fn svid(&self) -> Arc<X509Svid> {
        Arc::clone(&self.svid.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn run(&self, surroundings: &Surroundings, addresses: FleetAddresses) {
        let mut backoff = Backoff::new(AWAY.0, AWAY.1);
        loop {
            surroundings.counts.tries.fetch_add(1, Ordering::Relaxed);
            let mut counted = Counted { counts: &surroundings.counts, is_connected: false };
            let ended = self.sync(surroundings, addresses, &mut counted, &mut backoff).await;
            drop(counted);
            if let Err(fault) = ended {
                surroundings.fault(fault);
            }
            let [random] = bytes(&SystemEntropy);
            tokio::time::sleep(backoff.next_delay(random)).await;
        }
    }

    /// One stream, from its connection to its end.
    async fn sync(
        &self,
        surroundings: &Surroundings,
        addresses: FleetAddresses,
        counted: &mut Counted<'_>,
        backoff: &mut Backoff,
    ) -> Result<(), String> {
        let (requests, outgoing) = mpsc::channel(8);
        let opening = async {
            let connection = surroundings.connect(Some(self.svid()), addresses.of(self.number)).await?;
            let features = ["bundle-progress", "revocation"].map(str::to_owned).to_vec();
            let hello = v1::Hello { features, ..hello() };
            say(&requests, sync_request::Message::Hello(hello)).await?;
            let stream = connection.node().sync(ReceiverStream::new(outgoing)).await.map_err(|status| told(&status))?;
            let mut stream = stream.into_inner();
            loop {
                match stream.message().await.map_err(|status| told(&status))?.and_then(|message| message.message) {
                    Some(sync_response::Message::Update(first)) => return Ok((connection, stream, first)),
                    Some(sync_response::Message::Hello(_) | sync_response::Message::Checkpoints(_)) => {}
                    None => return Err("the stream ended before its first update".to_owned()),
                }
            }
        };
        let opened: Result<_, String> = match tokio::time::timeout(DEADLINE, opening).await {
            Ok(opened) => opened,
            Err(_) => {
                surroundings.counts.timeouts.fetch_add(1, Ordering::Relaxed);
                Err("no first update in time".to_owned())
            }
        };
        let (connection, mut stream, first) = opened?;
        counted.connect();
        backoff.reset();
        self.take(surroundings, &connection, &requests, first).await?;
        while let Some(message) = stream.message().await.map_err(|status| told(&status))? {
            if let Some(sync_response::Message::Update(update)) = message.message {
                self.take(surroundings, &connection, &requests, update).await?;
            }
        }
        Ok(())
    }

    /// Takes an update: what is tainted is renewed, progress is told, then it is acknowledged.
    async fn take(
        &self,
        surroundings: &Surroundings,
        connection: &CaConnection,
        requests: &mpsc::Sender<v1::SyncRequest>,
        update: v1::SyncUpdate,
    ) -> Result<(), String> {
        let before = self.acknowledged.load(Ordering::Relaxed);
        let (bundle_sequence, tainted) = match update.bundle {
            Some(bundle) => (bundle.sequence, self.rests_on(&bundle.tainted_keys)),
            None => (before, false),
        };
        let progress = |svids_tainted| sync_request::Progress { bundle_sequence, svids_tainted, ..Default::default() };
        say(requests, sync_request::Message::Progress(progress(u32::from(tainted)))).await?;
        let ack = sync_request::Ack { sequence: update.sequence, bundle_sequence };
        say(requests, sync_request::Message::Ack(ack)).await?;
        self.acknowledged.store(bundle_sequence, Ordering::Relaxed);
        if tainted {
            self.renew(surroundings, connection).await?;
            say(requests, sync_request::Message::Progress(progress(0))).await?;
        }
        Ok(())
    }

    fn rests_on(&self, tainted: &[Vec<u8>]) -> bool {
        let svid = self.svid();
        let has = |key: Sha256Digest| tainted.iter().any(|tainted| tainted.as_slice() == key);
        svid.chain().iter().any(|certificate| has(certificate.public_key().fingerprint()))
    }

    async fn renew(&self, surroundings: &Surroundings, connection: &CaConnection) -> Result<(), String> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let csr = build_request(&key, None).expect("requests can be made");
        let asked = tokio::time::timeout(DEADLINE, connection.node().renew_agent(v1::RenewAgentRequest { csr })).await;
        let Ok(answer) = asked else {
            surroundings.counts.timeouts.fetch_add(1, Ordering::Relaxed);
            return Err("no renewal in time".to_owned());
        };
        let answer = answer.map_err(|status| told(&status))?.into_inner();
        let svid = Arc::new(svid_of(&answer.svid.expect("a renewal carries an SVID"), key));
        *self.svid.lock().unwrap_or_else(PoisonError::into_inner) = svid;
        surroundings.counts.renewals.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// One that is counted as connected, until its stream is gone, however that ends.
struct Counted<'a> {
    counts: &'a Counts,
    is_connected: bool,
}

impl Counted<'_> {
    fn connect(&mut self) {
        self.is_connected = true;
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.is_connected {
            // A fleet that was disconnected as a whole has counted to zero.
            let one_less = |count: usize| Some(count.saturating_sub(1));
            self.counts.connected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok();
        }
    }
}

async fn say(requests: &mpsc::Sender<v1::SyncRequest>, message: sync_request::Message) -> Result<(), String> {
    requests.send(v1::SyncRequest { message: Some(message) }).await.map_err(|_| "the stream is gone".to_owned())
}

fn told(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
