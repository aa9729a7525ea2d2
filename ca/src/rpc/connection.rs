//! What an RPC knows about the connection that it came on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use mtls::{Accepted, EXPORTER_BYTES, TlsError, TlsStream, VerifiedPeer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;
use tonic::{Extensions, Status};

use crate::metrics::ConnectionOutcome;

/// Of one TLS connection; in the extensions of each request that came on it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectInfo {
    /// Who the client proved to be; `None` when it showed no certificate.
    pub(crate) peer: Option<VerifiedPeer>,
    /// Keying material of this connection for `pki::ATTESTATION_EXPORTER_LABEL`; a proof that carries it is good here only.
    pub(crate) exporter: [u8; EXPORTER_BYTES],
    /// Where the client is, for the log.
    pub(crate) remote: SocketAddr,
    /// The place that the connection takes while nobody is known to be behind it; `None` with a client certificate.
    anonymous: Option<Arc<AnonymousPlace>>,
}

/// A place among the connections without a client certificate.
#[derive(Debug)]
struct AnonymousPlace {
    slot: Mutex<Option<OwnedSemaphorePermit>>,
    calls: AtomicUsize,
}

/// A call that is worked on: its connection is not closed under it.
pub(crate) struct CallInProgress(Option<Arc<AnonymousPlace>>);

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
    /// closed after it.
    #[must_use]
    pub(crate) fn begin_call(&self) -> CallInProgress {
        if let Some(place) = &self.anonymous {
            place.calls.fetch_add(1, Ordering::Relaxed);
        }
        CallInProgress(self.anonymous.clone())
    }

    /// A call on this connection has shown who is behind it, by another credential than a client certificate. Its place is free for
    /// others from now on; its time stays as it is.
    pub(crate) fn vouched_for(&self) {
        if let Some(place) = &self.anonymous {
            drop(place.slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            place.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Bounds on connections without a client certificate: whoever reaches the port can open them.
#[derive(Clone)]
pub(crate) struct AnonymousLimit {
    slots: Arc<Semaphore>,
    lifetime: Duration,
}

impl AnonymousLimit {
    /// At most `connections` at once, each closed after `lifetime`: long enough to attest, too short to sit there.
    pub(crate) fn new(connections: usize, lifetime: Duration) -> Self {
        Self { slots: Arc::new(Semaphore::new(connections)), lifetime }
    }
}

/// Why a finished handshake is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    /// Too many clients without a certificate at once.
    #[error("too many connections without a client certificate are open")]
    TooManyAnonymous,
    /// The TLS stack gave no keying material.
    #[error("no keying material for attestation: {0}")]
    Exporter(#[from] TlsError),
}

/// A TLS connection as tonic takes it.
pub(crate) struct Connection<S = TlsStream<TcpStream>> {
    stream: S,
    info: ConnectInfo,
    anonymous: Option<Anonymous>,
}

struct Anonymous {
    deadline: Pin<Box<tokio::time::Sleep>>,
    /// From here on a call in progress is no reason to go on.
    last: tokio::time::Instant,
    place: Arc<AnonymousPlace>,
}

impl Anonymous {
    /// Whether the connection had its time.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            std::task::ready!(self.deadline.as_mut().poll(cx));
            let next = self.deadline.deadline() + CALL_CHECK;
            if self.place.calls.load(Ordering::Relaxed) == 0 || next > self.last {
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
    /// Takes over a finished handshake.
    ///
    /// # Errors
    /// [`Unserved`]; the connection is closed by the drop.
    pub(crate) fn new(accepted: Accepted, limit: &AnonymousLimit) -> Result<Self, Unserved> {
        let Accepted { stream, remote } = accepted;
        let exporter = stream.exporter(pki::ATTESTATION_EXPORTER_LABEL)?;
        let info = ConnectInfo { peer: stream.peer().cloned(), exporter, remote, anonymous: None };
        Self::over(stream, info, limit)
    }
}

impl<S> Connection<S> {
    fn over(stream: S, mut info: ConnectInfo, limit: &AnonymousLimit) -> Result<Self, Unserved> {
        let anonymous = match info.peer {
            Some(_) => None,
            None => {
                let slot = Arc::clone(&limit.slots).try_acquire_owned().map_err(|_| Unserved::TooManyAnonymous)?;
                let place = Arc::new(AnonymousPlace { slot: Mutex::new(Some(slot)), calls: AtomicUsize::new(0) });
                info.anonymous = Some(Arc::clone(&place));
                let deadline = tokio::time::sleep(limit.lifetime);
                let last = deadline.deadline() + LONGEST_CALL;
                Some(Anonymous { deadline: Box::pin(deadline), last, place })
            }
        };
        Ok(Self { stream, info, anonymous })
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

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(anonymous) = &mut self.anonymous
            && anonymous.poll_over(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a connection without a client certificate had its time",
            )));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn anonymous(
        stream: tokio::io::DuplexStream,
        limit: &AnonymousLimit,
    ) -> Result<Connection<tokio::io::DuplexStream>, Unserved> {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let info = ConnectInfo { peer: None, exporter: [0; EXPORTER_BYTES], remote, anonymous: None };
        Connection::over(stream, info, limit)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_certificate_ends_after_its_time_even_if_silent() {
        let limit = AnonymousLimit::new(1, Duration::from_secs(60));
        let (here, mut there) = tokio::io::duplex(64);
        let mut connection = anonymous(here, &limit).unwrap();
        tokio::time::sleep(Duration::from_secs(59)).await;
        there.write_all(b"in time").await.unwrap();
        let mut bytes = [0; 7];
        connection.read_exact(&mut bytes).await.unwrap();
        let error = tokio::time::timeout(Duration::from_secs(2), connection.read_exact(&mut bytes)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn only_so_many_connections_without_a_certificate_are_open_and_an_end_makes_room() {
        let limit = AnonymousLimit::new(2, Duration::from_secs(60));
        let open = || anonymous(tokio::io::duplex(64).0, &limit);
        let (one, _two) = (open().unwrap(), open().unwrap());
        assert!(matches!(open(), Err(Unserved::TooManyAnonymous)));
        drop(one);
        assert!(open().is_ok());
    }

    #[tokio::test]
    async fn a_caller_that_showed_a_token_gives_its_place_to_others() {
        let limit = AnonymousLimit::new(1, Duration::from_secs(60));
        let open = || anonymous(tokio::io::duplex(64).0, &limit);
        let known = open().unwrap();
        assert!(matches!(open(), Err(Unserved::TooManyAnonymous)));
        known.connect_info().vouched_for();
        let _newcomer = open().unwrap();
        known.connect_info().vouched_for();
        assert!(matches!(open(), Err(Unserved::TooManyAnonymous)), "a place is given back once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_time_is_over_ends_after_the_call_that_it_carries_or_a_minute_later() {
        let limit = AnonymousLimit::new(2, Duration::from_secs(60));
        let mut bytes = [0; 1];
        for (call, seconds) in [(Duration::from_secs(70), 70), (Duration::from_secs(1000), 120)] {
            let (here, _there) = tokio::io::duplex(64);
            let mut connection = anonymous(here, &limit).unwrap();
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
