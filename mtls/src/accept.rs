//! A TCP listener that hands out finished handshakes only.
//!
//! Before authentication a peer can hold a place among those of its address and in `pending`, for `deadline` at most, and nothing
//! else: work waits for the whole client hello, and a permit is held only while a handshake computes, never while it waits for its
//! peer. The place among those of its address is handed on with a finished handshake, so that the same count goes on until somebody
//! is known to be behind the connection.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use runtime::accept::pause_after;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::pending::{Evicted, Pending};
use crate::{AddressGroup, Busy, Order, Place, PlaceLimits, Places, Presence, ServerTls, TlsError, TlsStream};

/// Bounds before authentication.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeLimits {
    /// Connections that have not finished their handshake; the oldest silent one is closed for a newcomer. At least 1.
    pub pending: usize,
    /// Connections from one [`AddressGroup`]: those that have not finished their handshake, and those that have and keep
    /// [`Accepted::place`]. The one silent for longest is closed for a newcomer. At least 1.
    pub per_address: usize,
    /// Handshakes that compute at once (only once the whole client hello is there). At least 1.
    pub concurrent: usize,
    /// From accept to finished.
    pub deadline: Duration,
}

/// A finished handshake.
#[derive(Debug)]
pub struct Accepted {
    /// The encrypted stream, with its peer if that showed a certificate.
    pub stream: TlsStream<TcpStream>,
    /// Where it comes from.
    pub remote: SocketAddr,
    /// By which it is told to end: whoever serves it asks [`Presence::poll_closed`], and tells what is heard.
    pub presence: Arc<Presence>,
    /// Its place among those of its address. To be kept while nobody is known to be behind it.
    pub place: Place<AddressGroup>,
}

/// What a handshake's task leaves behind.
struct Ended {
    remote: SocketAddr,
    presence: Arc<Presence>,
    place: Place<AddressGroup>,
    outcome: Result<TlsStream<TcpStream>, TlsError>,
}

/// How a handshake ended: a closed set, for a counter's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeOutcome {
    /// Finished, and handed out.
    Finished,
    /// This end refused the peer's certificate.
    PeerRejected,
    /// The peer refused this end's certificate or terms.
    PeerAlert,
    /// The peer does not speak TLS 1.3.
    Protocol,
    /// The connection broke.
    Io,
    /// Not finished by the deadline.
    Timeout,
    /// Closed without a client hello, for a newcomer.
    EvictedSilent,
    /// Closed after a client hello, for a newcomer.
    EvictedStalled,
    /// Closed without a client hello, for a newcomer from the same address.
    AddressEvictedSilent,
    /// Closed after a client hello, for a newcomer from the same address.
    AddressEvictedStalled,
    /// This end's own credentials could not be used.
    Config,
}

/// Hears how each handshake ends; for metrics. Called from the accept loop, so it must not block.
pub trait HandshakeEvents: Send + Sync + 'static {
    /// One ended.
    fn handshake_ended(&self, outcome: HandshakeOutcome);

    /// No connection could be accepted: there is no descriptor or no memory for one. It is tried again after a pause.
    fn accept_failed(&self) {}

    /// One connection, finished or not, was closed for a newcomer from the same address. An unfinished one is told of by
    /// [`handshake_ended`](Self::handshake_ended) too.
    fn closed_for_address(&self) {}
}

/// Handshakes run in tasks of their own; a silent or slow peer delays nobody. Dropping the listener ends them.
pub struct MtlsListener {
    listener: TcpListener,
    tls: ServerTls,
    limits: HandshakeLimits,
    permits: Arc<Semaphore>,
    handshakes: JoinSet<Ended>,
    pending: Pending,
    addresses: Arc<Places<AddressGroup>>,
    order: Arc<Order>,
    /// Set after a shortage, until it has been waited out.
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether the last try failed for a shortage.
    short: bool,
    events: Option<Arc<dyn HandshakeEvents>>,
}

impl MtlsListener {
    /// Takes over a bound listener. Nothing is accepted before [`next`](Self::next) is awaited.
    #[must_use]
    pub fn new(listener: TcpListener, tls: ServerTls, limits: HandshakeLimits) -> Self {
        let HandshakeLimits { pending, per_address, concurrent, deadline } = limits;
        let limits =
            HandshakeLimits { pending: pending.max(1), per_address: per_address.max(1), concurrent: concurrent.max(1), deadline };
        Self {
            listener,
            tls,
            permits: Arc::new(Semaphore::new(limits.concurrent.min(Semaphore::MAX_PERMITS))),
            limits,
            handshakes: JoinSet::new(),
            pending: Pending::default(),
            addresses: Places::new(PlaceLimits { per_holder: Some(limits.per_address), in_all: None, busy: Busy::Closed }),
            order: Arc::default(),
            pause: None,
            short: false,
            events: None,
        }
    }

    /// Tells `events` how each handshake ends.
    #[must_use]
    pub fn reporting_to(mut self, events: Arc<dyn HandshakeEvents>) -> Self {
        self.events = Some(events);
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next finished handshake. Failed handshakes are logged and reported, EMFILE and the like are waited out, during which
    /// handshakes go on: never an error. Cancel safe; connections are accepted only while it is awaited.
    pub async fn next(&mut self) -> Accepted {
        loop {
            tokio::select! {
                // Finished handshakes leave before newcomers enter, so that a flood of newcomers cannot keep them waiting.
                // Neither arm takes anything before the poll in which it wins.
                biased;
                Some(ended) = self.handshakes.join_next_with_id() => {
                    let (task, ended) = match ended {
                        Ok((task, ended)) => (task, Some(ended)),
                        Err(error) => {
                            if error.is_panic() {
                                tracing::error!(%error, "a TLS handshake panicked");
                            }
                            (error.id(), None)
                        }
                    };
                    self.pending.remove(task);
                    if let Some(Ended { remote, presence, place, outcome }) = ended
                        && let Some(stream) = self.report(remote, outcome)
                    {
                        return Accepted { stream, remote, presence, place };
                    }
                }
                accepted = accept_after(&mut self.pause, &self.listener) => match accepted {
                    Ok((stream, remote)) => self.begin(stream, remote),
                    Err(error) => self.accept_failed(&error),
                },
            }
        }
    }

    /// A shortage of descriptors must not last for as long as silent peers like: one of them makes room at each further try. Not at the
    /// first one, which comes right behind whoever took the last descriptor and has had no time to speak.
    fn accept_failed(&mut self, error: &io::Error) {
        let Some(pause) = pause_after(error) else { return };
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        if let Some(events) = &self.events {
            events.accept_failed();
        }
        let lasts = std::mem::replace(&mut self.short, true);
        if lasts && self.pending.evict_silent().is_some() {
            self.tell(HandshakeOutcome::EvictedSilent);
        }
    }

    /// Gives a newcomer from there its place. What is too much then is closed: first of the same address, then of all that wait.
    fn enter(&mut self, from: AddressGroup, presence: &Arc<Presence>) -> Place<AddressGroup> {
        let (place, closed) = self.addresses.enter(from, presence);
        for _ in 0..closed.per_holder {
            tracing::debug!(%from, "closed a connection for a newcomer from the same address");
            if let Some(events) = &self.events {
                events.closed_for_address();
            }
        }
        if closed.per_holder > 0 {
            for evicted in self.pending.end_closed() {
                self.tell(match evicted {
                    Evicted::Silent => HandshakeOutcome::AddressEvictedSilent,
                    Evicted::Stalled => HandshakeOutcome::AddressEvictedStalled,
                });
            }
        }
        if self.pending.len() >= self.limits.pending
            && let Some(evicted) = self.pending.evict()
        {
            tracing::debug!(%from, ?evicted, "closed an unfinished connection for a newcomer");
            self.tell(match evicted {
                Evicted::Silent => HandshakeOutcome::EvictedSilent,
                Evicted::Stalled => HandshakeOutcome::EvictedStalled,
            });
        }
        place
    }

    fn begin(&mut self, stream: TcpStream, remote: SocketAddr) {
        self.short = false;
        let presence = Presence::new(&self.order);
        let place = self.enter(remote.ip().into(), &presence);
        if let Err(error) = stream.set_nodelay(true) {
            // The peer is gone already; the handshake will say so.
            tracing::debug!(%remote, %error, "cannot set TCP_NODELAY");
        }
        let (tls, permits, deadline, waiting) = (self.tls.clone(), self.permits.clone(), self.limits.deadline, presence.clone());
        let task = self.handshakes.spawn(async move {
            let handshake = async {
                let hello = tls.client_hello(stream).await?;
                presence.heard();
                presence.begin_work();
                let answered = computing_with(&permits, tls.answer(hello)).await;
                presence.end_work();
                presence.heard();
                answered
            };
            let outcome = tokio::time::timeout(deadline, handshake).await;
            Ended { remote, presence, place, outcome: outcome.unwrap_or(Err(TlsError::Timeout { after: deadline })) }
        });
        self.pending.add(task, waiting);
    }

    fn report(&self, remote: SocketAddr, outcome: Result<TlsStream<TcpStream>, TlsError>) -> Option<TlsStream<TcpStream>> {
        let error = match outcome {
            Ok(stream) => {
                self.tell(HandshakeOutcome::Finished);
                return Some(stream);
            }
            Err(error) => error,
        };
        let outcome = match &error {
            TlsError::PeerRejected { .. } => HandshakeOutcome::PeerRejected,
            TlsError::PeerAlert { .. } => HandshakeOutcome::PeerAlert,
            TlsError::Protocol { .. } => HandshakeOutcome::Protocol,
            TlsError::Io { .. } => HandshakeOutcome::Io,
            TlsError::Timeout { .. } => HandshakeOutcome::Timeout,
            TlsError::Config { .. } => HandshakeOutcome::Config,
        };
        // What a port scan causes is not worth a line by default; what tells of a misconfigured identity is.
        match outcome {
            HandshakeOutcome::PeerRejected | HandshakeOutcome::PeerAlert => {
                tracing::info!(%remote, %error, "TLS handshake refused")
            }
            HandshakeOutcome::Config => tracing::error!(%remote, %error, "TLS handshake failed"),
            HandshakeOutcome::Finished
            | HandshakeOutcome::Protocol
            | HandshakeOutcome::Io
            | HandshakeOutcome::Timeout
            | HandshakeOutcome::EvictedSilent
            | HandshakeOutcome::EvictedStalled
            | HandshakeOutcome::AddressEvictedSilent
            | HandshakeOutcome::AddressEvictedStalled => tracing::debug!(%remote, %error, "TLS handshake failed"),
        }
        self.tell(outcome);
        None
    }

    fn tell(&self, outcome: HandshakeOutcome) {
        if let Some(events) = &self.events {
            events.handshake_ended(outcome);
        }
    }
}

/// Accepts after the pause, if there is one. Cancel safe: a pause that is not over stays.
async fn accept_after(pause: &mut Option<Pin<Box<Sleep>>>, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(waiting) = pause {
        waiting.await;
        *pause = None;
    }
    listener.accept().await
}

/// Polls `task` only while holding a permit, and holds none while it waits. rustls computes inside the poll that brings the
/// bytes, so this bounds the handshakes that compute, and a peer that stops in the middle blocks nobody.
async fn computing_with<F: Future>(permits: &Semaphore, task: F) -> F::Output {
    let mut task = pin!(task);
    let mut permit = Box::pin(permits.acquire());
    poll_fn(move |context| {
        // The semaphore is never closed; were it, the handshakes would go on unbounded rather than not at all.
        let held = ready!(permit.as_mut().poll(context));
        permit = Box::pin(permits.acquire());
        let polled = task.as_mut().poll(context);
        drop(held);
        polled
    })
    .await
}
