//! From a push to the first handshake with the new certificate in a real Envoy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::{SerialNumber, certificates_from_pem};
use runtime::clock::SystemClock;
use tests::{Agent, AgentOptions, Ca, CaOptions, Cli, Envoy, HttpService, Requirement, SdsClient, TestBed, WorkloadClient};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::figures::{Figures, Latencies};

const ID: &str = "spiffe://example.org/web";
const ROTATIONS: usize = 30;

pub(crate) async fn measure(figures: &mut Figures) {
    if !Requirement::Envoy.is_met() {
        figures.row(
            "push to the first handshake in Envoy",
            "not measured",
            "SIGNET_TEST_ENVOY names no Envoy; ./test installs one",
        );
        return;
    }
    let clock = SystemClock::shared();
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions { log_level: "info".to_owned(), ..CaOptions::default() }).await;
    let options = AgentOptions { log_level: Some("info".to_owned()), ..AgentOptions::default() };
    let agent = Agent::start_with(&bed, &ca, "node-1", options).await;
    // One identity for Envoy and for this process, so that both are told of a new SVID by the same push.
    let entry = ca.create_entry(ID, &["unix:uid:0"], "node-1");
    let service = HttpService::start().await;
    let (socket, upstream) = (agent.api_socket(), service.address.to_string());
    let mut arguments = vec!["envoy", "bootstrap", "--id", ID, "--listen", "127.0.0.1:0", "--upstream", &upstream];
    arguments.extend(["--client-id", ID, "--admin", "127.0.0.1:0", "--api-socket", socket.to_str().unwrap()]);
    let envoy = Envoy::start(&bed, "web", &Cli::run(&arguments).ok().stdout).await;
    envoy.ready().await;
    let listener = envoy.listener("inbound").await;
    let tls = client_tls(&socket).await;
    let mut client = SdsClient::connect(&socket).await.unwrap();
    let mut stream = client.subscribe(&[ID]).await.unwrap();
    let first = stream.next().await.unwrap();
    stream.acknowledge(&first).await;

    let mut latencies = Latencies::default();
    for rotation in 0..ROTATIONS {
        let _updated = ca.operate(&["entry", "update", &entry, "--dns", &format!("web-{rotation}.example.org")]).ok();
        let pushed = stream.next().await.unwrap();
        let begin = clock.boottime();
        stream.acknowledge(&pushed).await;
        let chain = pushed.secrets[0].chain_pem.as_ref().unwrap();
        let new = certificates_from_pem(chain.as_bytes()).unwrap()[0].serial().clone();
        while handshake(&tls, listener).await != new {}
        latencies.push(clock.boottime() - begin);
    }
    figures.row("push to the first handshake in Envoy", &latencies.text(), "median of 5 ms wanted; a handshake itself included");
}

async fn client_tls(socket: &std::path::Path) -> ClientTls {
    let mut svids = WorkloadClient::connect(socket).await.unwrap().fetch_x509_svids().await.unwrap();
    let held = svids.remove(0);
    let expect = PeerMatcher::Exact(held.svid.id().clone());
    let trust = ServerTrust::Bundle { bundle: watch::channel(Arc::new(held.bundle)).1, expect };
    ClientTls::new(trust, Some(watch::channel(Arc::new(held.svid)).1), &[b"http/1.1"], SystemClock::shared())
}

/// The serial that Envoy shows now.
async fn handshake(tls: &ClientTls, listener: SocketAddr) -> SerialNumber {
    let stream = tokio::time::timeout(Duration::from_secs(10), tls.connect(TcpStream::connect(listener).await.unwrap()));
    stream.await.unwrap().unwrap().peer().unwrap().serial().clone()
}
