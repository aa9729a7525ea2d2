//! One HTTP/2 connection (RFC 9113) for all calls: opened when there is something to send, and anew when it has ended or has gone silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mtls::https::{HttpsClient, WebRoots};
use runtime::clock::Clock;
use runtime::private_files::read_bounded;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::{ApiError, ClusterConfig};

/// The time for name, connection and handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How often the server is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// The most bytes of the headers of an answer.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// The most bytes of a file of roots.
const MAX_ROOTS_BYTES: usize = 512 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// The connection, when there is one.
pub(crate) struct Connection {
    config: ClusterConfig,
    clock: Arc<dyn Clock>,
    open: Mutex<Open>,
    /// Answers that came, on whichever connection.
    answers: AtomicU64,
}

#[derive(Default)]
struct Open {
    sender: Option<Sender>,
    /// Which connection that is, counted from 1.
    number: u64,
    /// They move the connections, old ones until their last call has ended.
    drivers: JoinSet<()>,
}

impl Connection {
    /// Nothing is connected to yet.
    pub(crate) fn new(config: ClusterConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, open: Mutex::default(), answers: AtomicU64::new(0) }
    }

    pub(crate) fn config(&self) -> &ClusterConfig {
        &self.config
    }

    pub(crate) fn boottime(&self) -> Duration {
        self.clock.boottime()
    }

    /// The connection that is open, with its number. One caller at a time opens one; the others wait for it.
    pub(crate) async fn sender(&self) -> Result<(Sender, u64), ApiError> {
        let mut open = self.open.lock().await;
        while open.drivers.try_join_next().is_some() {}
        if let Some(sender) = open.sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), open.number));
        }
        let stream = self.https().await?.open(&self.config.api_server, b"h2", CONNECT_DEADLINE).await?;
        let (interval, timeout) = PING;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true)
            .max_header_list_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| ApiError::Handshake { cause })?;
        open.drivers.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the API server broke");
            }
        });
        open.sender = Some(sender.clone());
        open.number += 1;
        Ok((sender, open.number))
    }

    /// An answer began to come.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers have come: while their number grows, whoever is there is slow and not gone.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Nothing more is sent on this connection: it has ended, or does not answer.
    pub(crate) async fn leave(&self, number: u64) {
        let mut open = self.open.lock().await;
        if open.number == number {
            open.sender = None;
        }
    }

    /// Roots as they lie there now, so that new ones count without a restart.
    async fn https(&self) -> Result<HttpsClient, ApiError> {
        let config = self.config.clone();
        let read = tokio::task::spawn_blocking(move || roots(&config)).await;
        let roots = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(HttpsClient::of_configured_server(roots, Arc::clone(&self.clock)))
    }
}

/// Reads the roots. Blocks.
pub(crate) fn roots(config: &ClusterConfig) -> Result<WebRoots, ApiError> {
    let refused = |cause: String| ApiError::Local { what: "roots", cause };
    let pem = read_bounded(&config.roots, MAX_ROOTS_BYTES).map_err(|error| refused(error.to_string()))?;
    WebRoots::configured(&pem).map_err(|error| refused(format!("{}: {error}", config.roots.display())))
}
