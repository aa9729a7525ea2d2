//! A TCP listener that hands out finished handshakes only.
//!
//! Before authentication a peer can hold a place in `pending`, for `deadline` at most, and nothing else: work waits for the
//! whole client hello, and a permit is held only while a handshake computes, never while it waits for its peer.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use runtime::accept::pause_after_error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::pending::{Evicted, Pending, Spoke};
use crate::{ServerTls, TlsError, TlsStream};

/// Bounds before authentication.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeLimits {
    /// Connections that have not finished their handshake; the oldest silent one is closed for a newcomer. At least 1.
    pub pending: usize,
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
    /// This end's own credentials could not be used.
    Config,
}

/// Hears how each handshake ends; for metrics. Called from the accept loop, so it must not block.
pub trait HandshakeEvents: Send + Sync + 'static {
    /// One ended.
    fn handshake_ended(&self, outcome: HandshakeOutcome);
}

/// Handshakes run in tasks of their own; a silent or slow peer delays nobody. Dropping the listener ends them.
pub struct MtlsListener {
    listener: TcpListener,
    tls: ServerTls,
    limits: HandshakeLimits,
    permits: Arc<Semaphore>,
    handshakes: JoinSet<(SocketAddr, Result<TlsStream<TcpStream>, TlsError>)>,
    pending: Pending,
    events: Option<Arc<dyn HandshakeEvents>>,
}

impl MtlsListener {
    /// Takes over a bound listener. Nothing is accepted before [`next`](Self::next) is awaited.
    #[must_use]
    pub fn new(listener: TcpListener, tls: ServerTls, limits: HandshakeLimits) -> Self {
        let limits = HandshakeLimits { pending: limits.pending.max(1), concurrent: limits.concurrent.max(1), ..limits };
        Self {
            listener,
            tls,
            permits: Arc::new(Semaphore::new(limits.concurrent.min(Semaphore::MAX_PERMITS))),
            limits,
            handshakes: JoinSet::new(),
            pending: Pending::default(),
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

    /// The next finished handshake. Failed handshakes are logged and reported, EMFILE and the like are waited out: never an
    /// error. Cancel safe; connections are accepted only while it is awaited.
    pub async fn next(&mut self) -> Accepted {
        loop {
            tokio::select! {
                // Finished handshakes leave before newcomers enter, so that a flood of newcomers cannot keep them waiting.
                // Neither arm takes anything before the poll in which it wins.
                biased;
                Some(ended) = self.handshakes.join_next_with_id() => {
                    let (task, outcome) = match ended {
                        Ok((task, outcome)) => (task, Some(outcome)),
                        Err(error) => {
                            if error.is_panic() {
                                tracing::error!(%error, "a TLS handshake panicked");
                            }
                            (error.id(), None)
                        }
                    };
                    self.pending.remove(task);
                    if let Some((remote, outcome)) = outcome && let Some(stream) = self.report(remote, outcome) {
                        return Accepted { stream, remote };
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, remote)) => self.begin(stream, remote),
                    Err(error) => pause_after_error(&error).await,
                },
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, remote: SocketAddr) {
        if self.pending.len() >= self.limits.pending {
            let evicted = self.pending.evict();
            tracing::debug!(?evicted, "closed an unfinished connection for a newcomer");
            self.tell(match evicted {
                Evicted::Silent => HandshakeOutcome::EvictedSilent,
                Evicted::Stalled => HandshakeOutcome::EvictedStalled,
            });
        }
        if let Err(error) = stream.set_nodelay(true) {
            // The peer is gone already; the handshake will say so.
            tracing::debug!(%remote, %error, "cannot set TCP_NODELAY");
        }
        let (tls, permits, deadline, spoke) = (self.tls.clone(), self.permits.clone(), self.limits.deadline, Spoke::default());
        let told = spoke.clone();
        let task = self.handshakes.spawn(async move {
            let handshake = async {
                let hello = tls.client_hello(stream).await?;
                told.set();
                computing_with(&permits, tls.answer(hello)).await
            };
            let outcome = tokio::time::timeout(deadline, handshake).await;
            (remote, outcome.unwrap_or(Err(TlsError::Timeout { after: deadline })))
        });
        self.pending.add(task, spoke);
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
            | HandshakeOutcome::EvictedStalled => tracing::debug!(%remote, %error, "TLS handshake failed"),
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
