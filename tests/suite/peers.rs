//! Other people's clients over the Workload API: fetch, rotation, the end of an entitlement, JWT-SVIDs, and mTLS with each other and
//! with Envoy, before and after a rotation.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use tests::{Agent, Ca, CaOptions, Cli, Envoy, Peer, PeerKind, Requirement, TestBed, needs};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Renewed after half of it: long enough for the slowest client to start, short enough to wait for.
const LEAF_TTL: &str = "30s";
const AUDIENCE: &str = "reports";
const PROXY: &str = "spiffe://example.org/proxy";

/// A CA, an agent, and an entry for each client that is there, told apart by its program.
struct Street {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    entries: BTreeMap<PeerKind, String>,
}

impl Street {
    /// `None` when the machine has no client at all; those that are missing are named as not run.
    async fn start(test: &str) -> Option<Self> {
        let kinds: Vec<_> = PeerKind::CLIENTS
            .into_iter()
            .filter(|kind| needs(&format!("{test} ({})", kind.name()), Requirement::Peer(*kind)))
            .collect();
        if kinds.is_empty() {
            return None;
        }
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions { leaf_ttl: LEAF_TTL.to_owned(), ..CaOptions::default() }).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let mut street = Self { bed, ca, agent, entries: BTreeMap::new() };
        for kind in kinds {
            street.allow(kind);
        }
        // A client that asks once is denied for as long as its entry has not reached the agent.
        street.agent.holds(u32::try_from(street.entries.len()).unwrap()).await;
        Some(street)
    }

    fn allow(&mut self, kind: PeerKind) {
        let program = kind.program().expect("only clients that are there");
        let entry = self.ca.create_entry(&id(kind), &[&format!("unix:path:{}", program.display())], "node-1");
        self.entries.insert(kind, entry);
    }

    fn kinds(&self) -> Vec<PeerKind> {
        self.entries.keys().copied().collect()
    }

    fn peer(&self, kind: PeerKind, words: &[&str]) -> Peer {
        Peer::start(&self.bed, kind, &self.agent.api_socket(), words)
    }

    async fn run(&self, kind: PeerKind, words: &[&str]) -> Value {
        Peer::run(&self.bed, kind, &self.agent.api_socket(), words).await
    }

    /// A watcher of each client, each with its first state.
    async fn watchers(&self) -> Vec<Peer> {
        let mut watchers: Vec<_> = self.kinds().into_iter().map(|kind| self.peer(kind, &["watch-x509"])).collect();
        for watcher in &mut watchers {
            first_serial(watcher).await;
        }
        watchers
    }
}

fn id(kind: PeerKind) -> String {
    format!("spiffe://example.org/client/{}", kind.name())
}

fn serial(state: &Value) -> String {
    state["svids"][0]["serial"].as_str().unwrap_or_default().to_owned()
}

/// Waits for the first state and demands that it is the client's own.
async fn first_serial(watcher: &mut Peer) -> String {
    let state = watcher.line_where(|line| line.get("svids").is_some()).await;
    let kind = watcher.kind;
    assert_eq!(state["svids"][0]["id"], id(kind), "{state}");
    assert_eq!(state["svids"].as_array().unwrap().len(), 1, "{state}");
    assert_eq!(state["bundles"]["example.org"], 1, "{state}");
    serial(&state)
}

/// Waits until each watcher has seen another certificate.
async fn rotation(watchers: &mut [Peer]) {
    for watcher in watchers {
        let seen = serial(&watcher.line_where(|line| line.get("svids").is_some()).await);
        watcher.line_where(|line| line.get("svids").is_some() && serial(line) != seen).await;
    }
}

#[tokio::test]
async fn each_client_fetches_sees_a_rotation_hears_of_the_end_and_comes_back() {
    let Some(mut street) = Street::start("peers: fetch and watch").await else { return };
    let mut watchers = Vec::new();
    for kind in street.kinds() {
        let fetched = street.run(kind, &["fetch-x509"]).await;
        assert_eq!(fetched["svids"][0]["id"], id(kind), "{fetched}");
        watchers.push(street.peer(kind, &["watch-x509"]));
    }
    for watcher in &mut watchers {
        let first = first_serial(watcher).await;
        let renewed = watcher.line_where(|line| line.get("svids").is_some() && serial(line) != first).await;
        assert_eq!(renewed["svids"][0]["id"], id(watcher.kind), "{renewed}");
    }
    for (kind, entry) in std::mem::take(&mut street.entries) {
        let _deleted = street.ca.operate(&["entry", "delete", &entry]).ok();
        let watcher = watchers.iter_mut().find(|watcher| watcher.kind == kind).unwrap();
        let end = watcher.line_where(|line| line.get("error").is_some()).await;
        assert_eq!(end["error"], "PermissionDenied", "the {} client: {end}", kind.name());
        street.allow(kind);
        let back = watcher.line_where(|line| line.get("svids").is_some()).await;
        assert_eq!(back["svids"][0]["id"], id(kind), "{back}");
    }
}

#[tokio::test]
async fn a_jwt_svid_fetched_by_one_client_is_validated_by_every_other_for_its_audience_alone() {
    let Some(street) = Street::start("peers: JWT-SVIDs").await else { return };
    for fetching in street.kinds() {
        let fetched = street.run(fetching, &["fetch-jwt", AUDIENCE]).await;
        assert_eq!(fetched["id"], id(fetching), "{fetched}");
        let token = fetched["token"].as_str().unwrap();
        for validating in street.kinds() {
            let validated = street.run(validating, &["validate-jwt", AUDIENCE, token]).await;
            assert_eq!(validated["id"], id(fetching), "{} validates {}: {validated}", validating.name(), fetching.name());
            let refused = street.run(validating, &["validate-jwt", "others", token]).await;
            assert!(refused.get("error").is_some() && refused.get("id").is_none(), "{}: {refused}", validating.name());
        }
    }
}

#[tokio::test]
async fn clients_speak_mtls_with_each_other_before_and_after_a_rotation() {
    let Some(street) = Street::start("peers: mTLS").await else { return };
    let all: Vec<_> = street.kinds().into_iter().map(id).collect();
    let serve: Vec<_> = std::iter::once("serve").chain(all.iter().map(String::as_str)).collect();
    let mut servers = Vec::new();
    for kind in street.kinds() {
        let mut server = street.peer(kind, &serve);
        let port = server.line_where(|line| line.get("port").is_some()).await["port"].as_u64().unwrap();
        servers.push((server, format!("127.0.0.1:{port}")));
    }
    let mut dialers: Vec<_> = street.kinds().into_iter().map(|kind| street.peer(kind, &["dial"])).collect();
    let mut watchers = street.watchers().await;
    for round in ["before", "after"] {
        for dialer in &mut dialers {
            for (server, address) in &mut servers {
                let pair = format!("{} dials {} {round} the rotation", dialer.kind.name(), server.kind.name());
                dialer.process.tell(&format!("{address} {}", id(server.kind)));
                let answer = dialer.line().await;
                assert_eq!(answer["peer"], id(server.kind), "{pair}: {answer}\n{}", server.process.stdout());
                assert_eq!(answer["answer"], format!("hello from {}", dialer.kind.name()), "{pair}: {answer}");
                let seen = server.line_where(|line| line.get("peer").is_some()).await;
                assert_eq!(seen["peer"], id(dialer.kind), "{pair}: {seen}");
            }
            // The same server under another name than its own.
            let (server, address) = &servers[0];
            dialer.process.tell(&format!("{address} spiffe://example.org/another"));
            let refused = dialer.line().await;
            assert!(refused.get("error").is_some(), "{} takes {} for another: {refused}", dialer.kind.name(), server.kind.name());
        }
        if round == "before" {
            rotation(&mut watchers).await;
        }
    }
}

#[tokio::test]
async fn clients_speak_mtls_with_envoy_before_and_after_a_rotation() {
    if !needs("peers: Envoy", Requirement::Envoy) {
        return;
    }
    let Some(street) = Street::start("peers: Envoy").await else { return };
    street.ca.create_entry(PROXY, &[&format!("unix:path:{}", Envoy::program(&street.bed, "proxy").display())], "node-1");
    let echo = Echo::start().await;
    let upstream = echo.address.to_string();
    let socket = street.agent.api_socket();
    let clients: Vec<_> = street.kinds().into_iter().map(id).collect();
    let mut words =
        vec!["envoy", "bootstrap", "--id", PROXY, "--protocol", "tcp", "--listen", "127.0.0.1:0", "--upstream", &upstream];
    words.extend(["--admin", "127.0.0.1:0", "--api-socket", socket.to_str().unwrap()]);
    for client in &clients {
        words.extend(["--client-id", client]);
    }
    let inbound = Envoy::start(&street.bed, "proxy", &Cli::run(&words).ok().stdout).await;
    inbound.ready().await;
    let listening = inbound.listener("inbound").await;
    let mut dialers: Vec<_> = street.kinds().into_iter().map(|kind| street.peer(kind, &["dial"])).collect();
    let mut outbound = Vec::new();
    for kind in street.kinds() {
        let mut server = street.peer(kind, &["serve", PROXY]);
        let port = server.line_where(|line| line.get("port").is_some()).await["port"].as_u64().unwrap();
        let (server_address, server_id) = (format!("127.0.0.1:{port}"), id(kind));
        let mut words = vec!["envoy", "bootstrap", "--id", PROXY, "--protocol", "tcp", "--outbound-listen", "127.0.0.1:0"];
        words.extend(["--outbound-upstream", &server_address, "--server-id", &server_id, "--admin", "127.0.0.1:0"]);
        words.extend(["--api-socket", socket.to_str().unwrap()]);
        // Under the one program name, since that is what the entry knows it by; told apart by its files.
        let envoy = Envoy::start_as(&street.bed, "proxy", &format!("to-{}", kind.name()), &Cli::run(&words).ok().stdout).await;
        envoy.ready().await;
        let address = envoy.listener("outbound").await;
        outbound.push((envoy, address, server));
    }
    let mut watchers = street.watchers().await;
    for round in ["before", "after"] {
        for dialer in &mut dialers {
            dialer.process.tell(&format!("{listening} {PROXY}"));
            let answer = dialer.line().await;
            assert_eq!(answer["peer"], PROXY, "{} dials Envoy {round} the rotation: {answer}", dialer.kind.name());
        }
        for (_, address, server) in &mut outbound {
            let answer = ask(*address).await;
            assert_eq!(answer, "hello from a plain program", "Envoy dials {} {round} the rotation", server.kind.name());
            let seen = server.line_where(|line| line.get("peer").is_some()).await;
            assert_eq!(seen["peer"], PROXY, "{seen}");
        }
        if round == "before" {
            rotation(&mut watchers).await;
        }
    }
}

/// Sends a line in plain text and reads the answer.
async fn ask(address: SocketAddr) -> String {
    let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    connection.write_all(b"hello from a plain program\n").await.unwrap();
    let mut answer = String::new();
    connection.read_line(&mut answer).await.unwrap();
    answer.trim_end().to_owned()
}

/// Sends back what it is sent.
struct Echo {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut bytes = [0; 1024];
                    while let Ok(count @ 1..) = connection.read(&mut bytes).await {
                        if connection.write_all(&bytes[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, _task: task }
    }
}
