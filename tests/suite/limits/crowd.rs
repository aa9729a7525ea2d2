//! Connections: of one address before authentication, of one identity after it, and slow ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustDomain;
use mtls::{ClientTls, PeerMatcher, ServerTrust, TlsStream};
use pki::X509Svid;
use runtime::clock::SystemClock;
use tests::{Ca, CaConnection, TestBed, attested_connection, issue};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use super::{batch, comes_to, metric, options, reached};

const SOON: Duration = Duration::from_secs(60);

/// A connection from this address of loopback.
async fn tcp(ca: &Ca, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(ca.address).await.unwrap()
}

/// A TLS connection from this address of loopback, on which nothing is said: as `svid`, or without a certificate. Returns once the
/// server's first frame was read, so that the server has it among its connections.
async fn tls(ca: &Ca, fingerprint: &str, last: u8, svid: Option<&Arc<X509Svid>>) -> TlsStream<TcpStream> {
    let sha256 = data_encoding::HEXLOWER.decode(fingerprint.as_bytes()).unwrap().try_into().unwrap();
    let trust_domain = TrustDomain::parse(&ca.trust_domain).unwrap();
    let trust = ServerTrust::PinnedRoot { sha256, expect: PeerMatcher::SignetCa(trust_domain.clone()), trust_domain };
    let svid = svid.map(|svid| watch::channel(Arc::clone(svid)).1);
    let client = ClientTls::new(trust, svid, &[b"h2"], SystemClock::shared());
    let mut stream = client.connect(tcp(ca, last).await).await.unwrap();
    let mut settings = [0; 9];
    tokio::time::timeout(SOON, stream.read_exact(&mut settings)).await.expect("the server greets").unwrap();
    stream
}

/// Waits for the end of a connection that this side did not end.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    drop(tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the CA closes it"));
}

/// Whether the CA has left a connection open, as far as this side knows now. What it said is read and forgotten.
fn is_open(stream: &TcpStream) -> bool {
    loop {
        match stream.try_read(&mut [0; 1 << 14]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silent_connection_more_than_64_of_an_address_closes_the_oldest_and_never_the_newcomer() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("handshake_deadline = \"60s\"")).await;
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let other = tcp(&ca, 8).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(tcp(&ca, 7).await);
    }
    // Connections are accepted in their order: when this one is served, all of those were taken in.
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let evicted = "handshakes_total{outcome=\"address_evicted_silent\"}";
    assert_eq!(metric(&ca, evicted).await, 0);
    assert!(silent.iter().all(is_open), "64 are within the limit");
    let newcomer = tcp(&ca, 7).await;
    closed(&mut silent[0]).await;
    comes_to(&ca, evicted, 1).await;
    assert!(silent[1..].iter().chain([&other, &newcomer]).all(is_open));
    // The newcomer is good: from the very address that is full.
    let good = tls(&ca, &fingerprint, 7, None).await;
    closed(&mut silent[1]).await;
    assert!(is_open(good.io()) && batch(&connection, &[], &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_handshakes_and_anonymous_connections_of_an_address_share_its_64_places() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("handshake_deadline = \"60s\"")).await;
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let (mut unfinished, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..32 {
        unfinished.push(tcp(&ca, 7).await);
        idle.push(tls(&ca, &fingerprint, 7, None).await);
    }
    assert_eq!(reached(&ca, "connections_per_address").await, 0);
    assert!(unfinished.iter().chain(idle.iter().map(TlsStream::io)).all(is_open), "32 of each kind are within the limit");
    // Whoever comes, the one silent for longest goes, of whichever kind it is; who comes gets in.
    let newcomer = tcp(&ca, 7).await;
    closed(&mut unfinished[0]).await;
    let good = tls(&ca, &fingerprint, 7, None).await;
    closed(&mut idle[0]).await;
    comes_to(&ca, "limits_reached_total{limit=\"connections_per_address\"}", 2).await;
    comes_to(&ca, "handshakes_total{outcome=\"address_evicted_silent\"}", 1).await;
    let others = unfinished[1..].iter().chain(idle[1..].iter().chain([&good]).map(TlsStream::io));
    assert!(others.chain([&newcomer]).all(is_open));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_anonymous_connection_too_many_closes_the_one_silent_for_longest_and_agents_do_not_count() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("connections_per_address = 4")).await;
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let (_connection, agent) = attested_connection(&ca, "node-1").await;
    let other = tls(&ca, &fingerprint, 8, None).await;
    let (mut agents, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        agents.push(tls(&ca, &fingerprint, 7, Some(&agent.svid)).await);
    }
    for _ in 0..4 {
        idle.push(tls(&ca, &fingerprint, 7, None).await);
    }
    assert_eq!(reached(&ca, "connections_per_address").await, 0);
    let newcomer = tls(&ca, &fingerprint, 7, None).await;
    closed(&mut idle[0]).await;
    comes_to(&ca, "limits_reached_total{limit=\"connections_per_address\"}", 1).await;
    assert!(idle[1..].iter().chain(&agents).chain([&other, &newcomer]).all(|stream| is_open(stream.io())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_gets_in_past_its_16_lingering_connections() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("")).await;
    let (first, agent) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    drop(first);
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let mut lingering = Vec::new();
    for _ in 0..16 {
        lingering.push(tls(&ca, &fingerprint, 7, Some(&agent.svid)).await);
    }
    let before = reached(&ca, "connections_per_identity").await;
    assert!(lingering[1..].iter().all(|stream| is_open(stream.io())));
    let svid = Some(agent.svid.clone());
    let back = CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, svid).await.expect("the newcomer is served");
    assert_eq!(issue(&back, &[&entry]).await.unwrap().len(), 1);
    closed(&mut lingering[0]).await;
    assert!(lingering[2..].iter().all(|stream| is_open(stream.io())), "only the longest silent one went");
    assert!(reached(&ca, "connections_per_identity").await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_takes_longer_than_5_s_is_ended() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("")).await;
    let mut silent = tcp(&ca, 7).await;
    closed(&mut silent).await;
    comes_to(&ca, "handshakes_total{outcome=\"timeout\"}", 1).await;
}
