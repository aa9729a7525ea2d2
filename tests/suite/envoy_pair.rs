//! Two real Envoys, both sides of mTLS from the agent over SDS.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tests::{
    Agent, Ca, CaOptions, Cli, Envoy, HttpConnection, HttpService, Requirement, TestBed, eventually, eventually_within, http_get,
    needs,
};

pub(crate) const WEB: &str = "spiffe://example.org/web";
pub(crate) const API: &str = "spiffe://example.org/api";

/// A CA, an agent, a service, and the entries of both proxies.
pub(crate) struct Mesh {
    pub(crate) bed: TestBed,
    pub(crate) agent: Agent,
    pub(crate) service: HttpService,
    pub(crate) ca: Ca,
}

impl Mesh {
    pub(crate) async fn start(leaf_ttl: &str) -> Self {
        let bed = TestBed::new();
        let options = CaOptions { leaf_ttl: leaf_ttl.to_owned(), ..CaOptions::default() };
        let ca = Ca::start(&bed, options).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        for (name, id) in [("web", WEB), ("api", API)] {
            ca.create_entry(id, &[&format!("unix:path:{}", Envoy::program(&bed, name).display())], "node-1");
        }
        Self { bed, agent, service: HttpService::start().await, ca }
    }

    /// The Envoy of `api`: lets the clients named in, by mTLS.
    pub(crate) async fn inbound(&self, clients: &[&str]) -> Envoy {
        let socket = self.agent.api_socket();
        let envoy = Envoy::start(&self.bed, "api", &inbound_bootstrap(API, self.service.address, clients, &socket)).await;
        envoy.ready().await;
        envoy
    }

    /// An Envoy that carries plain requests to `server` by mTLS, and where it takes them.
    pub(crate) async fn outbound(&self, name: &str, id: &str, upstream: SocketAddr, server: &str) -> (Envoy, SocketAddr) {
        outbound(&self.bed, name, id, upstream, server, &self.agent, "http").await
    }

    /// The same for bytes: a connection for a connection.
    pub(crate) async fn outbound_tcp(&self, name: &str, id: &str, upstream: SocketAddr, server: &str) -> (Envoy, SocketAddr) {
        outbound(&self.bed, name, id, upstream, server, &self.agent, "tcp").await
    }
}

pub(crate) fn inbound_bootstrap(id: &str, upstream: SocketAddr, clients: &[&str], socket: &std::path::Path) -> String {
    let upstream = upstream.to_string();
    let socket = socket.to_str().unwrap();
    let mut arguments = vec!["envoy", "bootstrap", "--id", id, "--listen", "127.0.0.1:0", "--upstream", &upstream];
    arguments.extend(["--admin", "127.0.0.1:0", "--api-socket", socket]);
    for client in clients {
        arguments.extend(["--client-id", client]);
    }
    Cli::run(&arguments).ok().stdout
}

pub(crate) async fn outbound(
    bed: &TestBed,
    name: &str,
    id: &str,
    upstream: SocketAddr,
    server: &str,
    agent: &Agent,
    protocol: &str,
) -> (Envoy, SocketAddr) {
    let upstream = upstream.to_string();
    let socket = agent.api_socket();
    let mut arguments =
        vec!["envoy", "bootstrap", "--id", id, "--outbound-listen", "127.0.0.1:0", "--outbound-upstream", &upstream];
    arguments.extend(["--protocol", protocol]);
    arguments.extend(["--server-id", server, "--admin", "127.0.0.1:0", "--api-socket", socket.to_str().unwrap()]);
    let envoy = Envoy::start(bed, name, &Cli::run(&arguments).ok().stdout).await;
    envoy.ready().await;
    let address = envoy.listener("outbound").await;
    (envoy, address)
}

/// P1: requests flow between two Envoys that hold nothing but what SDS gave them.
#[tokio::test(flavor = "multi_thread")]
async fn p01_requests_flow_between_two_envoys() {
    if !needs("p01_requests_flow_between_two_envoys", Requirement::Envoy) {
        return;
    }
    let mesh = Mesh::start("1h").await;
    let server = mesh.inbound(&[WEB]).await;
    let (client, entrance) = mesh.outbound("web", WEB, server.listener("inbound").await, API).await;
    let mut connection = HttpConnection::open(entrance).await.unwrap();
    for _ in 0..20 {
        let answer = connection.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
    // Both ends did speak mTLS, 1.3, with a verified peer.
    assert!(client.stat("ssl.handshake").await >= 1 && server.stat("ssl.handshake").await >= 1);
    assert!(server.stat("ssl.versions.TLSv1.3").await >= 1);
    assert_eq!(server.stat("ssl.no_certificate").await, 0);
    // Each Envoy holds its own certificate and no other's.
    for (envoy, own, other) in [(&client, WEB, API), (&server, API, WEB)] {
        let held = envoy.admin("/certs").await.body;
        assert!(held.contains(own) && !held.contains(other), "{held}");
    }
}

/// P2: a server, or a client, that is somebody else is refused for its name.
#[tokio::test(flavor = "multi_thread")]
async fn p02_a_wrong_id_is_refused_on_either_side() {
    if !needs("p02_a_wrong_id_is_refused_on_either_side", Requirement::Envoy) {
        return;
    }
    let mesh = Mesh::start("1h").await;
    let server = mesh.inbound(&[WEB]).await;
    let inbound = server.listener("inbound").await;
    let (good, entrance) = mesh.outbound("web", WEB, inbound, API).await;
    assert_eq!(http_get(entrance, "/").await.status, 200, "the twin passes");
    assert_eq!(good.stat("ssl.fail_verify_san").await, 0);
    drop(good);
    // The client wants somebody else than the server is.
    let (client, entrance) = mesh.outbound("web", WEB, inbound, "spiffe://example.org/other").await;
    assert_eq!(http_get(entrance, "/").await.status, 503);
    assert!(client.stat("ssl.fail_verify_san").await >= 1);
    drop(client);
    // The server wants somebody else than the client is.
    drop(server);
    let server = mesh.inbound(&["spiffe://example.org/other"]).await;
    let (_client, entrance) = mesh.outbound("web", WEB, server.listener("inbound").await, API).await;
    assert_eq!(http_get(entrance, "/").await.status, 503);
    assert!(server.stat("ssl.fail_verify_san").await >= 1);
}

/// P3: a certificate of a trust domain that nobody trusts is refused before its name is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn p03_an_unknown_trust_domain_is_refused() {
    if !needs("p03_an_unknown_trust_domain_is_refused", Requirement::Envoy) {
        return;
    }
    let mesh = Mesh::start("1h").await;
    let stranger = "spiffe://stranger.example/web";
    let server = mesh.inbound(&[WEB, stranger]).await;
    let inbound = server.listener("inbound").await;
    let (_good, entrance) = mesh.outbound("web", WEB, inbound, API).await;
    assert_eq!(http_get(entrance, "/").await.status, 200, "the twin passes");
    assert_eq!(server.stat("ssl.fail_verify_error").await, 0);

    let bed = TestBed::new();
    let options = CaOptions { trust_domain: "stranger.example".to_owned(), ..CaOptions::default() };
    let ca = Ca::start(&bed, options).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    ca.create_entry(stranger, &[&format!("unix:path:{}", Envoy::program(&bed, "web").display())], "node-1");
    let (client, entrance) = outbound(&bed, "web", stranger, inbound, API, &agent, "http").await;
    assert_eq!(http_get(entrance, "/").await.status, 503);
    assert!(client.stat("ssl.fail_verify_error").await >= 1, "the stranger does not know our domain either");
    // That client never reached the server's own check. One that trusts the server does.
    let refused = crate::stranger::knock(&ca, &mesh.agent, inbound).await;
    assert!(refused.contains("alert") || refused.contains("Alert"), "{refused}");
    eventually("the server to count the refusal", async || (server.stat("ssl.fail_verify_error").await >= 1).then_some(())).await;
}

/// P4: certificates rotate under kept connections and under a new one every 20 ms, and nobody notices.
///
/// The outbound Envoy carries TCP, so that each connection to it is an mTLS connection of its own to the other.
#[tokio::test(flavor = "multi_thread")]
async fn p04_a_rotation_loses_no_request() {
    if !needs("p04_a_rotation_loses_no_request", Requirement::Envoy) {
        return;
    }
    let mesh = Mesh::start("20s").await;
    let server = mesh.inbound(&[WEB]).await;
    let (client, entrance) = mesh.outbound_tcp("web", WEB, server.listener("inbound").await, API).await;
    let updates = (server.stat("ssl_context_update_by_sds").await, client.stat("ssl_context_update_by_sds").await);
    let mut kept = Vec::new();
    for _ in 0..5 {
        kept.push(HttpConnection::open(entrance).await.unwrap());
    }
    let (mut fresh, mut requests, mut rotations) = (0_u64, 0_u32, 0_u32);
    let (mut last_server, mut last_client) = (serial(&server).await, serial(&client).await);
    let mut every = tokio::time::interval(Duration::from_millis(20));
    eventually_within("two rotations of both ends", Duration::from_secs(60), async || {
        // A second of load between two looks at the serials.
        for _ in 0..50 {
            every.tick().await;
            let answer = http_get(entrance, "/").await;
            assert_eq!(answer.status, 200, "a new connection failed after {requests} requests: {}", answer.body);
            for connection in &mut kept {
                let answer = connection.get("/").await;
                assert_eq!(answer.status, 200, "a kept connection failed after {requests} requests: {}", answer.body);
            }
            requests += 6;
            fresh += 1;
        }
        let (now_server, now_client) = (serial(&server).await, serial(&client).await);
        if now_server != last_server && now_client != last_client {
            (last_server, last_client) = (now_server, now_client);
            rotations += 1;
        }
        (rotations >= 2).then_some(())
    })
    .await;
    assert!(server.stat("ssl_context_update_by_sds").await >= updates.0 + 2);
    assert!(client.stat("ssl_context_update_by_sds").await >= updates.1 + 2);
    let handshakes = server.stat("ssl.handshake").await;
    assert!(handshakes >= fresh + 5, "{fresh} new connections made {handshakes} handshakes: they were not new");
    assert_eq!(server.stat("ssl.connection_error").await, 0);
    println!("P4: {requests} requests, {handshakes} mTLS handshakes, {rotations} rotations, none lost");
}

/// The serial of the certificate that an Envoy holds.
pub(crate) async fn serial(envoy: &Envoy) -> String {
    let certificates: Value = serde_json::from_str(&envoy.admin("/certs").await.body).expect("/certs is JSON");
    let chains = certificates["certificates"].as_array().expect("/certs lists certificates");
    let mut serials = chains.iter().filter_map(|chain| chain["cert_chain"][0]["serial_number"].as_str());
    serials.next_back().expect("the Envoy holds a certificate").to_owned()
}

/// What `signet envoy bootstrap` prints is what Envoy accepts.
#[tokio::test(flavor = "multi_thread")]
async fn p01_envoy_validates_the_bootstrap_we_print() {
    if !needs("p01_envoy_validates_the_bootstrap_we_print", Requirement::Envoy) {
        return;
    }
    let bed = TestBed::new();
    let socket = bed.path().join("api.sock");
    let inbound = inbound_bootstrap(API, "127.0.0.1:8080".parse().unwrap(), &[WEB], &socket);
    let file = bed.write("bootstrap.json", &inbound);
    let mut command = std::process::Command::new(Envoy::program(&bed, "check"));
    command.args(["--mode", "validate", "-c"]).arg(file);
    let mut check = tests::Process::start("validate", &mut command, bed.path());
    assert!(check.exit(Duration::from_secs(30)).await.success(), "{}", check.stderr());
}
