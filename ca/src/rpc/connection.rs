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
    pub(crate) peer: Option<Arc<VerifiedPeer>>,
    /// Keying material of this connection for `pki::proof::ATTESTATION_EXPORTER_LABEL`; a proof that carries it is good here only.
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
        let exporter = stream.exporter(pki::proof::ATTESTATION_EXPORTER_LABEL)?;
        let peer = stream.peer().cloned();
        Ok(Self::over(stream, Origin { peer, exporter, remote, presence, place }, limits))
    }
}

/// Where a connection comes from.
struct Origin {
    peer: Option<Arc<VerifiedPeer>>,
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

/// Not vectored, as far as HTTP/2 is told: what is shorter than [`super::pieces::PIECE_BYTES`] it then copies to what else it has to
/// write, and the whole of an answer is one TLS record and one segment.
impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_end(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
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
mod tests;
