//! A real Envoy with its secrets by changes only (`DeltaSecrets`).

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Agent, Ca, CaOptions, Cli, Envoy, HttpConnection, HttpService, Requirement, TestBed, eventually, eventually_within, http_get,
    needs,
};

use crate::envoy_pair::serial;

const WEB: &str = "spiffe://example.org/web";
const API: &str = "spiffe://example.org/api";

/// The form of the trust bundle that an Envoy asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validation {
    Spiffe,
    TrustedCa,
}

/// A CA, an agent, a service, and two Envoys that speak mTLS with each other.
struct Pair {
    client: Envoy,
    server: Envoy,
    entrance: std::net::SocketAddr,
    api_entry: String,
    agent: Agent,
    ca: Ca,
    service: HttpService,
    bed: TestBed,
}

impl Pair {
    async fn start(leaf_ttl: &str, validation: Validation) -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions { leaf_ttl: leaf_ttl.to_owned(), ..CaOptions::default() }).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let entry = |name: &str, id: &str| {
            ca.create_entry(id, &[&format!("unix:path:{}", Envoy::program(&bed, name).display())], "node-1")
        };
        // Lists are part of a bundle as Envoy gets it: later ones would be another push of it.
        eventually("the agent to have the revocation lists", async || {
            (agent.metric("signet_agent_revocation_complete").await == Some(1.0)).then_some(())
        })
        .await;
        let (_web_entry, api_entry) = (entry("web", WEB), entry("api", API));
        let service = HttpService::start().await;
        let upstream = service.address.to_string();
        let inbound = ["--listen", "127.0.0.1:0", "--upstream", &upstream, "--client-id", WEB];
        let server = envoy(&bed, &agent, "api", API, &inbound, validation).await;
        let upstream = server.listener("inbound").await.to_string();
        let outbound = ["--outbound-listen", "127.0.0.1:0", "--outbound-upstream", &upstream, "--server-id", API];
        // Each connection to it is an mTLS connection of its own to the other.
        let outbound = [&outbound[..], &["--protocol", "tcp"]].concat();
        let client = envoy(&bed, &agent, "web", WEB, &outbound, validation).await;
        let entrance = client.listener("outbound").await;
        Self { client, server, entrance, api_entry, agent, ca, service, bed }
    }

    async fn both_sides_serve(&self) {
        let mut connection = HttpConnection::open(self.entrance).await.unwrap();
        for _ in 0..5 {
            let answer = connection.get("/").await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        }
    }
}

async fn envoy(bed: &TestBed, agent: &Agent, name: &str, id: &str, side: &[&str], validation: Validation) -> Envoy {
    let socket = agent.api_socket();
    let common =
        ["envoy", "bootstrap", "--delta", "--id", id, "--admin", "127.0.0.1:0", "--api-socket", socket.to_str().unwrap()];
    let mut bootstrap: Value = serde_json::from_str(&Cli::run(&[&common[..], side].concat()).ok().stdout).unwrap();
    assert!(bootstrap.to_string().contains("DELTA_GRPC"));
    if validation == Validation::TrustedCa {
        bootstrap["node"]["metadata"] = json!({ "disable_spiffe_cert_validation": true });
    }
    let envoy = Envoy::start(bed, name, &bootstrap.to_string()).await;
    envoy.ready().await;
    envoy
}

/// Requests flow, in either form of the trust bundle beside the exact names of the bootstrap; a peer of another name is refused.
#[tokio::test(flavor = "multi_thread")]
async fn delta_pairs_speak_with_the_spiffe_validator_and_with_trusted_ca() {
    if !needs("delta_pairs_speak_with_the_spiffe_validator_and_with_trusted_ca", Requirement::Envoy) {
        return;
    }
    for validation in [Validation::Spiffe, Validation::TrustedCa] {
        let pair = Pair::start("1h", validation).await;
        pair.both_sides_serve().await;
        assert!(pair.server.stat("ssl.handshake").await >= 1);
        let dump = pair.server.admin("/config_dump?resource=dynamic_active_secrets").await.body;
        assert_eq!(dump.contains("envoy.tls.cert_validator.spiffe"), validation == Validation::Spiffe, "{dump}");
        assert!(!dump.contains("PRIVATE KEY"));
        let inbound = pair.server.listener("inbound").await.to_string();
        let side =
            ["--outbound-listen", "127.0.0.1:0", "--outbound-upstream", &inbound, "--server-id", "spiffe://example.org/other"];
        drop(pair.client);
        let stranger = envoy(&pair.bed, &pair.agent, "web", WEB, &side, validation).await;
        assert_eq!(http_get(stranger.listener("outbound").await, "/").await.status, 503);
        assert!(stranger.stat("ssl.fail_verify_san").await >= 1);
    }
}

/// A certificate rotates under a kept connection and under a new one every 20 ms, and nobody notices; the bundle is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_delta_rotation_loses_no_request_and_sends_the_certificate_alone() {
    if !needs("a_delta_rotation_loses_no_request_and_sends_the_certificate_alone", Requirement::Envoy) {
        return;
    }
    let pair = Pair::start("20s", Validation::Spiffe).await;
    let mut kept = HttpConnection::open(pair.entrance).await.unwrap();
    let bundles = pair.agent.metric("signet_sds_pushes_total{resource=\"validation_context\"}").await;
    let before = (serial(&pair.server).await, serial(&pair.client).await);
    let (mut every, mut requests) = (tokio::time::interval(Duration::from_millis(20)), 0_u32);
    eventually_within("a rotation of both ends", Duration::from_secs(60), async || {
        for _ in 0..50 {
            every.tick().await;
            let answer = http_get(pair.entrance, "/").await;
            assert_eq!(answer.status, 200, "a new connection failed after {requests} requests: {}", answer.body);
            assert_eq!(kept.get("/").await.status, 200, "the kept connection failed after {requests} requests");
            requests += 2;
        }
        (serial(&pair.server).await != before.0 && serial(&pair.client).await != before.1).then_some(())
    })
    .await;
    assert_eq!(pair.server.stat("ssl.connection_error").await, 0);
    assert_eq!(pair.agent.metric("signet_sds_pushes_total{resource=\"validation_context\"}").await, bundles);
    assert_eq!(pair.agent.metric("signet_sds_nacks_total").await, Some(0.0));
    println!("delta: {requests} requests through a rotation, none lost");
}

/// An entry that is deleted is told as removed, which Envoy accepts and goes on; the entry made anew brings a new certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_entry_is_told_removed_and_comes_back() {
    if !needs("a_deleted_entry_is_told_removed_and_comes_back", Requirement::Envoy) {
        return;
    }
    let pair = Pair::start("1h", Validation::Spiffe).await;
    let before = serial(&pair.server).await;
    assert_eq!(pair.agent.metric("signet_sds_removals_total").await, Some(0.0));
    assert_eq!(pair.ca.operate(&["entry", "delete", &pair.api_entry]).ok().json()["deleted"], pair.api_entry.as_str());
    eventually("both names of the server to be told removed", async || {
        (pair.agent.metric("signet_sds_removals_total").await == Some(2.0)).then_some(())
    })
    .await;
    // Envoy has no way to take a certificate away from its listeners: it serves on until the certificate ends.
    pair.both_sides_serve().await;
    assert_eq!(pair.agent.metric("signet_sds_nacks_total").await, Some(0.0));
    pair.ca.create_entry(API, &[&format!("unix:path:{}", Envoy::program(&pair.bed, "api").display())], "node-1");
    eventually("the server's new certificate", async || (serial(&pair.server).await != before).then_some(())).await;
    pair.both_sides_serve().await;
}

/// An agent that is started again is told what its Envoys hold, sends the new certificates and not the bundle, and removes nothing
/// while it does not know the entries yet.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_agent_only_what_differs_is_sent() {
    if !needs("after_a_restart_of_the_agent_only_what_differs_is_sent", Requirement::Envoy) {
        return;
    }
    let mut pair = Pair::start("1h", Validation::Spiffe).await;
    let before = (serial(&pair.server).await, serial(&pair.client).await);
    pair.agent.process.kill_hard().await;
    pair.both_sides_serve().await;
    pair.agent.start_again().await;
    eventually_within("new certificates after the restart", Duration::from_secs(60), async || {
        (serial(&pair.server).await != before.0 && serial(&pair.client).await != before.1).then_some(())
    })
    .await;
    pair.both_sides_serve().await;
    let metric = async |name: &str| pair.agent.metric(name).await;
    assert_eq!(metric("signet_sds_pushes_total{resource=\"validation_context\"}").await, Some(0.0), "they hold it");
    assert_eq!(metric("signet_sds_removals_total").await, Some(0.0));
    assert_eq!(metric("signet_sds_nacks_total").await, Some(0.0));
    assert_eq!(http_get(pair.service.address, "/").await.status, 200);
}
