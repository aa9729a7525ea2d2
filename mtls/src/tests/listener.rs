//! The listener under peers that are silent, stall, or break off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::clock::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fixture::Bench;
use crate::{
    Accepted, ClientAuthentication, HandshakeEvents, HandshakeLimits, HandshakeOutcome, MtlsListener, TlsError, TlsStream,
};

const LIMITS: HandshakeLimits =
    HandshakeLimits { pending: 64, per_address: 64, concurrent: 1, deadline: Duration::from_secs(60) };
const SOON: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Counted(Mutex<Vec<HandshakeOutcome>>);

impl HandshakeEvents for Counted {
    fn handshake_ended(&self, outcome: HandshakeOutcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

impl Counted {
    fn count(&self, outcome: HandshakeOutcome) -> usize {
        self.0.lock().unwrap().iter().filter(|ended| **ended == outcome).count()
    }
}

struct Running {
    address: SocketAddr,
    events: Arc<Counted>,
    accepted: mpsc::UnboundedReceiver<Accepted>,
    tasks: JoinSet<()>,
}

async fn start(bench: &Bench, limits: HandshakeLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let events = Arc::new(Counted::default());
    let mut listener =
        MtlsListener::new(listener, bench.server(ClientAuthentication::Optional), limits).reporting_to(events.clone());
    let address = listener.local_addr().unwrap();
    let (sender, accepted) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { while sender.send(listener.next().await).is_ok() {} });
    Running { address, events, accepted, tasks }
}

async fn connect(bench: &Bench, address: SocketAddr) -> Result<TlsStream<TcpStream>, TlsError> {
    bench.client(bench.anyone()).connect(TcpStream::connect(address).await.unwrap()).await
}

/// The bytes of a client hello, as ours sends it.
async fn client_hello(bench: &Bench) -> Vec<u8> {
    let (near, mut far) = duplex(1 << 16);
    let client = bench.client(bench.anyone());
    let mut hello = vec![0; 1 << 14];
    let read = tokio::select! {
        _ = client.connect(near) => unreachable!("nobody answers"),
        read = far.read(&mut hello) => read.unwrap(),
    };
    hello.truncate(read);
    hello
}

#[tokio::test]
async fn five_hundred_silent_peers_do_not_delay_a_good_one() {
    let bench = Bench::new();
    let mut running = start(&bench, LIMITS).await;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let clock = SystemClock::shared();
    let begin = clock.boottime();
    let client = connect(&bench, running.address);
    let client = timeout(SOON, client).await.unwrap().unwrap();
    let accepted = timeout(SOON, running.accepted.recv()).await.unwrap().unwrap();
    let took = clock.boottime() - begin;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(accepted.remote, client.io().local_addr().unwrap());
    assert_eq!(accepted.stream.peer().unwrap().id().as_str(), "spiffe://example.org/web");
    assert!(accepted.stream.io().nodelay().unwrap());
    assert_eq!(running.events.count(HandshakeOutcome::AddressEvictedSilent), 501 - LIMITS.per_address);
    assert_eq!(running.events.count(HandshakeOutcome::Finished), 1);
}

#[tokio::test]
async fn peers_that_stop_after_their_hello_hold_no_permit_and_no_place() {
    let bench = Bench::new();
    let mut running = start(&bench, LIMITS).await;
    let hello = client_hello(&bench).await;
    let mut stalled = Vec::new();
    for _ in 0..LIMITS.pending {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        // The server's answer shows that it has computed, and waits.
        timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
        stalled.push(stream);
    }
    let client = connect(&bench, running.address);
    timeout(SOON, client).await.unwrap().unwrap();
    timeout(SOON, running.accepted.recv()).await.unwrap().unwrap();
    assert_eq!(running.events.count(HandshakeOutcome::AddressEvictedStalled), 1);
}

#[tokio::test]
async fn a_handshake_has_a_deadline_and_failures_are_told_apart() {
    let bench = Bench::new();
    let mut running = start(&bench, HandshakeLimits { deadline: Duration::from_secs(2), ..LIMITS }).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    drop(TcpStream::connect(running.address).await.unwrap());
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(timeout(SOON, silent.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "closed at the deadline");

    bench.client_svid.send_replace(super::Authority::new("example.org", &bench.clock).svid("/web"));
    let refused = connect(&bench, running.address);
    let mut refused = timeout(SOON, refused).await.unwrap().unwrap();
    assert!(timeout(SOON, refused.read_u8()).await.unwrap().is_err());

    bench.client_svid.send_replace(bench.authority.svid("/web"));
    let good = connect(&bench, running.address);
    timeout(SOON, good).await.unwrap().unwrap();
    timeout(SOON, running.accepted.recv()).await.unwrap().unwrap();
    use HandshakeOutcome as Outcome;
    for outcome in [Outcome::Timeout, Outcome::Io, Outcome::Protocol, Outcome::PeerRejected, Outcome::Finished] {
        assert_eq!(running.events.count(outcome), 1, "{outcome:?}");
    }
}

/// Reads the end of a connection that this side did not end.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(timeout(SOON, stream.read(&mut [0; 8])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn one_more_than_an_address_may_have_closes_its_oldest_and_nobody_elses() {
    let bench = Bench::new();
    let limits = HandshakeLimits { pending: 64, per_address: 3, ..LIMITS };
    let running = start(&bench, limits).await;
    let from = async |last: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        socket.connect(running.address).await.unwrap()
    };
    let other = from(2).await;
    let mut silent = Vec::new();
    for _ in 0..limits.per_address {
        silent.push(from(3).await);
    }
    // At the limit nobody is closed: the next one is accepted after all of these.
    let fourth = from(3).await;
    assert!(is_closed(&mut silent[0]).await, "the oldest silent one of the address");
    let evicted = |outcome| running.events.count(outcome);
    assert_eq!((evicted(HandshakeOutcome::AddressEvictedSilent), evicted(HandshakeOutcome::EvictedSilent)), (1, 0));
    for stream in silent[1..].iter().chain([&fourth, &other]) {
        assert_eq!(stream.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn dropping_the_listener_ends_its_handshakes() {
    let bench = Bench::new();
    let mut running = start(&bench, LIMITS).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let good = connect(&bench, running.address);
    timeout(SOON, good).await.unwrap().unwrap();
    running.tasks.shutdown().await;
    let ended = timeout(SOON, silent.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert!(TcpStream::connect(running.address).await.is_err());
}
