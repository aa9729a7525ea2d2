use mtls::Order;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

type Pipe = tokio::io::DuplexStream;

struct Bench {
    limits: ConnectionLimits,
    addresses: Arc<Places<AddressGroup>>,
    order: Arc<Order>,
}

impl Bench {
    fn new(per_address: usize, anonymous: usize, per_identity: usize) -> Self {
        let anonymous_lifetime = Duration::from_secs(60);
        let bounds = ConnectionBounds { anonymous, per_identity, anonymous_lifetime, anonymous_bytes: 1 << 18 };
        let limits = ConnectionLimits::new(bounds, LimitMetrics::register(&mut runtime::telemetry::registry()));
        let per_holder = Some(per_address);
        let addresses = Places::new(PlaceLimits { per_holder, in_all: None, busy: Busy::Closed });
        Self { limits, addresses, order: Arc::default() }
    }

    fn from(&self, last: u8, stream: Pipe) -> Connection<Pipe> {
        let remote = SocketAddr::from(([127, 0, 0, last], 1));
        let presence = Presence::new(&self.order);
        let (place, _) = self.addresses.enter(remote.ip().into(), &presence);
        Connection::over(stream, Origin { peer: None, exporter: [0; EXPORTER_BYTES], remote, presence, place }, &self.limits)
    }

    fn anonymous(&self, stream: Pipe) -> Connection<Pipe> {
        self.from(1, stream)
    }
}

/// Whether the connection was closed for a newer one.
fn is_closed(connection: &mut Connection<Pipe>) -> bool {
    let mut bytes = [0; 1];
    let read = Pin::new(connection).poll_read(&mut Context::from_waker(std::task::Waker::noop()), &mut ReadBuf::new(&mut bytes));
    matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted)
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_certificate_ends_after_its_time_even_if_silent() {
    let bench = Bench::new(1, 1, 1);
    let (here, mut there) = tokio::io::duplex(64);
    let mut connection = bench.anonymous(here);
    tokio::time::sleep(Duration::from_secs(59)).await;
    there.write_all(b"in time").await.unwrap();
    let mut bytes = [0; 7];
    connection.read_exact(&mut bytes).await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(2), connection.read_exact(&mut bytes)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_certificate_ends_after_its_time_even_if_its_peer_takes_little() {
    let bench = Bench::new(1, 1, 1);
    let (here, mut there) = tokio::io::duplex(64);
    let mut connection = bench.anonymous(here);
    let writing = async { connection.write_all(&[0; 1 << 16]).await.unwrap_err().kind() };
    let taking = async {
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            there.read_exact(&mut [0; 8]).await.unwrap();
        }
    };
    let ended = async {
        tokio::select! { kind = writing => kind, () = taking => unreachable!("it goes on") }
    };
    let ended = tokio::time::timeout(Duration::from_secs(62), ended).await.expect("it ends in time");
    assert_eq!(ended, io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn one_too_many_of_an_address_closes_its_oldest_silent_one_and_never_the_newcomer() {
    let bench = Bench::new(2, 10, 1);
    let (mut streams, mut peers) = (Vec::new(), Vec::new());
    for last in [2, 1, 1, 1] {
        let (here, there) = tokio::io::duplex(64);
        streams.push(bench.from(last, here));
        peers.push(there);
        if streams.len() == 3 {
            // The first of the two at the limit says something, so that the second is the silent one.
            peers[1].write_all(b"x").await.unwrap();
            streams[1].read_exact(&mut [0; 1]).await.unwrap();
            assert!(!streams.iter_mut().any(is_closed), "at the limit all stay");
        }
    }
    let closed: Vec<_> = streams.iter_mut().map(is_closed).collect();
    assert_eq!(closed, [false, false, true, false]);
}

#[tokio::test]
async fn only_so_many_connections_without_a_certificate_are_open_and_the_address_with_the_most_makes_room() {
    let bench = Bench::new(10, 3, 1);
    let open = |last| bench.from(last, tokio::io::duplex(64).0);
    let (mut one, mut two, mut other) = (open(1), open(1), open(2));
    let mut newcomer = open(3);
    assert_eq!([&mut one, &mut two, &mut other, &mut newcomer].map(is_closed), [true, false, false, false]);
    drop(two);
    let mut fits = open(3);
    assert!(![&mut other, &mut newcomer, &mut fits].into_iter().any(is_closed));
}

#[tokio::test]
async fn a_caller_that_showed_a_token_counts_with_its_identity_and_no_more_with_its_address() {
    let bench = Bench::new(1, 1, 2);
    let web = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let mut known = Vec::new();
    for _ in 0..3 {
        let connection = bench.anonymous(tokio::io::duplex(64).0);
        connection.connect_info().vouched_for(&web);
        connection.connect_info().vouched_for(&SpiffeId::parse("spiffe://example.org/other").unwrap());
        known.push(connection);
    }
    let mut newcomer = bench.anonymous(tokio::io::duplex(64).0);
    let closed: Vec<_> = known.iter_mut().map(is_closed).collect();
    assert_eq!((closed, is_closed(&mut newcomer)), (vec![true, false, false], false));
}

#[tokio::test]
async fn replicas_that_share_an_identity_are_not_closed_in_the_middle_of_their_calls() {
    let bench = Bench::new(10, 10, 1);
    let web = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let open = || {
        let connection = bench.anonymous(tokio::io::duplex(64).0);
        let call = connection.connect_info().begin_call();
        connection.connect_info().vouched_for(&web);
        (connection, call)
    };
    let ((mut one, its_call), (mut two, _other_call)) = (open(), open());
    assert_eq!([is_closed(&mut one), is_closed(&mut two)], [false, false]);
    drop(its_call);
    assert_eq!([is_closed(&mut one), is_closed(&mut two)], [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_time_is_over_ends_after_the_call_that_it_carries_or_a_minute_later() {
    let bench = Bench::new(2, 2, 1);
    let mut bytes = [0; 1];
    for (call, seconds) in [(Duration::from_secs(70), 70), (Duration::from_secs(1000), 120)] {
        let (here, _there) = tokio::io::duplex(64);
        let mut connection = bench.anonymous(here);
        let in_progress = connection.connect_info().begin_call();
        let ended = async {
            let early = tokio::time::timeout(Duration::from_secs(seconds - 1), connection.read_exact(&mut bytes)).await;
            assert!(early.is_err(), "{call:?}: it ended early");
            let end = tokio::time::timeout(Duration::from_secs(2), connection.read_exact(&mut bytes)).await;
            assert_eq!(end.expect("it ends in time").unwrap_err().kind(), io::ErrorKind::TimedOut);
        };
        let answered = async {
            tokio::time::sleep(call).await;
            drop(in_progress);
        };
        tokio::join!(ended, answered);
    }
}
