//! What an RPC knows about the connection that it came on, and what ends a connection from this side.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use identity::SpiffeId;
use mtls::{
    Accepted, AddressGroup, Busy, Closed, EXPORTER_BYTES, Place, PlaceLimits, Places, Presence, TlsError, TlsStream, VerifiedPeer,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;
use tonic::{Extensions, Status};

use crate::metrics::{ConnectionOutcome, Limit, LimitMetrics};
use crate::rpc::intake::Intake;

/// Of one TLS connection; in the extensions of each request that came on it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectInfo {
    /// Who the client proved to be; `None` when it showed no certificate.
    pub(crate) peer: Option<VerifiedPeer>,
    /// Keying material of this connection for `pki::ATTESTATION_EXPORTER_LABEL`; a proof that carries it is good here only.
    pub(crate) exporter: [u8; EXPORTER_BYTES],
    /// Where the client is, for the log.
    pub(crate) remote: SocketAddr,
    /// What its calls may hold together; `None` when the client showed a certificate.
    pub(super) intake: Option<Arc<Intake>>,
    seat: Arc<Seat>,
}

/// Where a connection counts: among those of its address while nobody is known to be behind it, then among those of an identity.
#[derive(Debug)]
struct Seat {
    presence: Arc<Presence>,
    place: Mutex<SeatPlace>,
    limits: ConnectionLimits,
}

#[derive(Debug)]
enum SeatPlace {
    Anonymous {
        /// Since its accept.
        _of_address: Place<AddressGroup>,
        /// Since its handshake.
        _of_all: Place<AddressGroup>,
    },
    Known(Place<SpiffeId>),
}

/// A call that is worked on: its connection is not closed under it.
pub(crate) struct CallInProgress(Arc<Seat>);

impl ConnectInfo {
    /// The connection of a request.
    ///
    /// # Errors
    /// INTERNAL when the server was built without it: fail closed rather than treat the caller as anonymous.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let info = extensions.get::<Self>();
        info.cloned().ok_or_else(|| Status::internal("the connection is not known"))
    }

    /// The connection carries a call until the answer is dropped: one without a client certificate whose time is over meanwhile is
    /// closed after it, and so is one too many of an identity.
    #[must_use]
    pub(crate) fn begin_call(&self) -> CallInProgress {
        self.seat.presence.begin_work();
        CallInProgress(Arc::clone(&self.seat))
    }

    /// A call on this connection has shown who is behind it, by another credential than a client certificate. It counts among the
    /// connections of that identity from now on, and no more among those of its address, and its calls may hold what those of a known
    /// client may; its time stays as it is.
    pub(crate) fn vouched_for(&self, id: &SpiffeId) {
        let mut place = self.seat.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let SeatPlace::Anonymous { .. } = &*place {
            *place = SeatPlace::Known(self.seat.limits.enter_known(id.clone(), &self.seat.presence));
        }
        if let Some(intake) = &self.intake {
            intake.lift();
        }
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        let Seat { presence, place, limits } = &*self.0;
        presence.end_work();
        let closed = match &*place.lock().unwrap_or_else(PoisonError::into_inner) {
            // Among those of an address, no call spares its connection.
            SeatPlace::Anonymous { .. } => 0,
            SeatPlace::Known(place) => place.settle(),
        };
        limits.count(Limit::ConnectionsPerIdentity, closed);
    }
}

/// Bounds on finished connections: whoever reaches the port can open some, and whoever has an identity can open many. How many one
/// address may have is the listener's, which counts from the accept on. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimits {
    anonymous: Arc<Places<AddressGroup>>,
    known: Arc<Places<SpiffeId>>,
    /// How long a connection without a client certificate may live.
    anonymous_lifetime: Duration,
    anonymous_bytes: usize,
    metrics: LimitMetrics,
}

/// How many connections, and what they may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionBounds {
    /// Without a client certificate in all.
    pub(crate) anonymous: usize,
    /// Of one identity.
    pub(crate) per_identity: usize,
    /// How long one without a client certificate may live: long enough to attest, too short to sit there.
    pub(crate) anonymous_lifetime: Duration,
    /// What the calls on one of them may hold together, in bytes.
    pub(crate) anonymous_bytes: usize,
}

impl ConnectionLimits {
    /// Nothing is open.
    pub(crate) fn new(bounds: ConnectionBounds, metrics: LimitMetrics) -> Self {
        let ConnectionBounds { anonymous, per_identity, anonymous_lifetime, anonymous_bytes } = bounds;
        Self {
            anonymous: Places::new(PlaceLimits { per_holder: None, in_all: Some(anonymous), busy: Busy::Closed }),
            known: Places::new(PlaceLimits { per_holder: Some(per_identity), in_all: None, busy: Busy::Spared }),
            anonymous_lifetime,
            anonymous_bytes,
            metrics,
        }
    }

    fn enter_anonymous(&self, from: SocketAddr, presence: &Arc<Presence>) -> Place<AddressGroup> {
        let (place, Closed { in_all, .. }) = self.anonymous.enter(from.ip().into(), presence);
        self.count(Limit::AnonymousConnections, in_all);
        place
    }

    fn enter_known(&self, id: SpiffeId, presence: &Arc<Presence>) -> Place<SpiffeId> {
        let (place, closed) = self.known.enter(id, presence);
        self.count(Limit::ConnectionsPerIdentity, closed.per_holder);
        place
    }

    fn count(&self, limit: Limit, closed: usize) {
        for _ in 0..closed {
            tracing::info!(?limit, "closed a connection for a newer one");
            self.metrics.reached(limit);
        }
    }
}

/// A TLS connection as tonic takes it.
pub(crate) struct Connection<S = TlsStream<TcpStream>> {
    stream: S,
    info: ConnectInfo,
    /// When one without a client certificate had its time.
    lifetime: Option<Lifetime>,
}

struct Lifetime {
    deadline: Pin<Box<tokio::time::Sleep>>,
    /// From here on a call in progress is no reason to go on.
    last: tokio::time::Instant,
}

impl Lifetime {
    /// Whether the connection had its time.
    fn poll_over(&mut self, presence: &Presence, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            std::task::ready!(self.deadline.as_mut().poll(cx));
            let next = self.deadline.deadline() + CALL_CHECK;
            if !presence.is_busy() || next > self.last {
                return Poll::Ready(());
            }
            self.deadline.as_mut().reset(next);
        }
    }
}

/// How often a connection whose time is over is looked at while a call is in progress, and for how long at most.
const CALL_CHECK: Duration = Duration::from_millis(500);
const LONGEST_CALL: Duration = Duration::from_secs(60);

impl Connection {
    /// Takes over a finished handshake. Others may be closed for it.
    ///
    /// # Errors
    /// The TLS stack gave no keying material; the connection is closed by the drop.
    pub(crate) fn new(accepted: Accepted, limits: &ConnectionLimits) -> Result<Self, TlsError> {
        let Accepted { stream, remote, presence, place } = accepted;
        let exporter = stream.exporter(pki::ATTESTATION_EXPORTER_LABEL)?;
        let peer = stream.peer().cloned();
        Ok(Self::over(stream, Origin { peer, exporter, remote, presence, place }, limits))
    }
}

/// Where a connection comes from.
struct Origin {
    peer: Option<VerifiedPeer>,
    exporter: [u8; EXPORTER_BYTES],
    remote: SocketAddr,
    presence: Arc<Presence>,
    place: Place<AddressGroup>,
}

impl<S> Connection<S> {
    fn over(stream: S, origin: Origin, limits: &ConnectionLimits) -> Self {
        let Origin { peer, exporter, remote, presence, place } = origin;
        let (place, lifetime, intake) = match &peer {
            Some(peer) => (SeatPlace::Known(limits.enter_known(peer.id().clone(), &presence)), None, None),
            None => {
                let deadline = tokio::time::sleep(limits.anonymous_lifetime);
                let last = deadline.deadline() + LONGEST_CALL;
                let lifetime = Lifetime { deadline: Box::pin(deadline), last };
                let of_all = limits.enter_anonymous(remote, &presence);
                let intake = Intake::new(limits.anonymous_bytes, limits.metrics.clone());
                (SeatPlace::Anonymous { _of_address: place, _of_all: of_all }, Some(lifetime), Some(intake))
            }
        };
        let seat = Arc::new(Seat { presence, place: Mutex::new(place), limits: limits.clone() });
        Self { stream, info: ConnectInfo { peer, exporter, remote, intake, seat }, lifetime }
    }

    /// For the count.
    pub(crate) fn outcome(&self) -> ConnectionOutcome {
        if self.info.peer.is_some() { ConnectionOutcome::Identified } else { ConnectionOutcome::Anonymous }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl<S> Connection<S> {
    /// Fails when the connection is to end. Looked at when something is written too: HTTP/2 reads nothing from a peer that its own
    /// answers wait for.
    fn check_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Self { info, lifetime, .. } = self;
        let presence = &info.seat.presence;
        if presence.poll_closed(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "closed for a newer connection of the same address or identity",
            ));
        }
        if let Some(lifetime) = lifetime
            && lifetime.poll_over(presence, cx).is_ready()
        {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a connection without a client certificate had its time"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_end(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.info.seat.presence.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_end(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    /// HTTP/2 hands over the head of a frame and what it carries as two parts: in one go they are one TLS record and one segment.
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check_end(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_end(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
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
        let read =
            Pin::new(connection).poll_read(&mut Context::from_waker(std::task::Waker::noop()), &mut ReadBuf::new(&mut bytes));
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
}
