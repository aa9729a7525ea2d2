//! `/metrics`, `/livez`, `/readyz` on loopback or a Unix socket, and what the service adds.
//!
//! Plaintext and without authentication, therefore never on an address that another machine reaches. What a peer can hold is
//! bounded: connections, header bytes, time; one request per connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::accept::pause_after_error;
use crate::readiness::Readiness;
use crate::shutdown::Shutdown;
use crate::unix_socket::{BoundSocket, SocketError};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Must be loopback.
    Loopback(SocketAddr),
    /// An absolute path; the socket gets mode 0600.
    Unix(PathBuf),
}

/// Why a text is no address for the admin listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminAddressError {
    /// Neither `address:port` nor `unix:/path`.
    #[error("{found:?} is neither \"127.0.0.1:PORT\", \"[::1]:PORT\" nor \"unix:/absolute/path\"")]
    Malformed {
        /// The text met.
        found: String,
    },
    /// Another machine could reach it.
    #[error(
        "{found} is not a loopback address, and metrics are served in the clear to whoever connects; use 127.0.0.1, [::1] or unix:"
    )]
    NotLoopback {
        /// The address met.
        found: SocketAddr,
    },
}

/// Parses `127.0.0.1:9000`, `[::1]:0` or `unix:/abs/path`; other addresses are refused.
impl FromStr for AdminAddress {
    type Err = AdminAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || AdminAddressError::Malformed { found: text.to_owned() };
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(malformed()),
            None => match text.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_loopback() => Ok(Self::Loopback(address)),
                Ok(found) => Err(AdminAddressError::NotLoopback { found }),
                Err(_) => Err(malformed()),
            },
        }
    }
}

/// Why the listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum AdminBindError {
    /// Another machine could reach the address.
    #[error(transparent)]
    Address(#[from] AdminAddressError),
    /// The TCP address cannot be had.
    #[error("cannot listen at {address}: {source}")]
    Tcp {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The Unix socket cannot be had.
    #[error(transparent)]
    Unix(#[from] SocketError),
}

/// What a service serves beside its numbers. Public: whoever connects may read it.
pub trait Documents: Send + Sync + 'static {
    /// What is at this path of the URL, if anything is. It must not wait.
    fn document(&self, path: &str) -> Option<Document>;

    /// The paths, for whoever asks for another one.
    fn names(&self) -> &'static str;
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its media type.
    pub content_type: &'static str,
    /// All of it.
    pub body: Vec<u8>,
}

/// A bound listener.
pub struct AdminHttp {
    listener: Listener,
    documents: Option<Arc<dyn Documents>>,
}

impl std::fmt::Debug for AdminHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminHttp").field("listener", &self.listener).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Listener {
    Tcp { listener: TcpListener, address: SocketAddr },
    Unix(BoundSocket),
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AdminHttp {
    /// Binds; nothing is served yet.
    ///
    /// # Errors
    /// [`AdminBindError`]; an address that is not loopback is refused here too, however it was made.
    pub async fn bind(address: &AdminAddress) -> Result<Self, AdminBindError> {
        match address {
            AdminAddress::Loopback(address) => {
                if !address.ip().is_loopback() {
                    return Err(AdminAddressError::NotLoopback { found: *address }.into());
                }
                let tcp = |source| AdminBindError::Tcp { address: *address, source };
                let listener = TcpListener::bind(address).await.map_err(tcp)?;
                let address = listener.local_addr().map_err(tcp)?;
                Ok(Self { listener: Listener::Tcp { listener, address }, documents: None })
            }
            AdminAddress::Unix(path) => Ok(Self { listener: Listener::Unix(BoundSocket::bind(path, 0o600)?), documents: None }),
        }
    }

    /// Serves these too.
    #[must_use]
    pub fn with_documents(self, documents: Arc<dyn Documents>) -> Self {
        Self { documents: Some(documents), ..self }
    }

    /// The TCP address bound, if TCP.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp { address, .. } => Some(*address),
            Listener::Unix(_) => None,
        }
    }

    /// The address bound as [`AdminAddress`] reads it.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.listener {
            Listener::Tcp { address, .. } => address.to_string(),
            Listener::Unix(socket) => format!("unix:{}", socket.path().display()),
        }
    }

    /// Serves until shutdown; then connections are cut, as none has anything to lose.
    ///
    /// # Errors
    /// None today: errors of the listener are waited out.
    pub async fn run(self, registry: Arc<Registry>, readiness: Readiness, shutdown: Shutdown) -> io::Result<()> {
        let mut connections = JoinSet::new();
        let served = Arc::new(Served { registry, readiness, documents: self.documents.clone() });
        let end = shutdown.fired();
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                // The queue of the listener holds newcomers while all places are taken.
                accepted = self.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok(connection) => {
                        connections.spawn(serve(connection, Arc::clone(&served)));
                    }
                    Err(error) => pause_after_error(&error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn accept(&self) -> io::Result<Connection> {
        match &self.listener {
            Listener::Tcp { listener, .. } => listener.accept().await.map(|(stream, _)| Connection::Tcp(stream)),
            Listener::Unix(socket) => socket.accept().await.map(Connection::Unix),
        }
    }
}

/// What is served.
struct Served {
    registry: Arc<Registry>,
    readiness: Readiness,
    documents: Option<Arc<dyn Documents>>,
}

async fn serve(connection: Connection, served: Arc<Served>) {
    match connection {
        Connection::Tcp(stream) => serve_stream(stream, served).await,
        Connection::Unix(stream) => serve_stream(stream, served).await,
    }
}

async fn serve_stream<S>(stream: S, served: Arc<Served>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &served);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed"),
        Err(_) => tracing::debug!("an admin connection took too long"),
    }
}

fn respond(method: &Method, path: &str, served: &Served) -> Response<Full<Bytes>> {
    if method != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => readyz(&served.readiness),
        "/metrics" => metrics(&served.registry),
        other => document(other, served.documents.as_deref()),
    }
}

fn document(path: &str, documents: Option<&dyn Documents>) -> Response<Full<Bytes>> {
    let more = documents.map_or(String::new(), |documents| format!(", {}", documents.names()));
    match documents.and_then(|documents| documents.document(path)) {
        Some(Document { content_type, body }) => {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        None => text(StatusCode::NOT_FOUND, format!("there are /metrics, /livez and /readyz{more}\n")),
    }
}

/// What does not hold, or `ready`; then what the service warns of, which costs no readiness.
fn readyz(readiness: &Readiness) -> Response<Full<Bytes>> {
    let failing = readiness.failing();
    let (status, mut lines) =
        if failing.is_empty() { (StatusCode::OK, vec!["ready".to_owned()]) } else { (StatusCode::SERVICE_UNAVAILABLE, failing) };
    lines.extend(readiness.warnings().iter().map(|warning| format!("warning: {warning}")));
    text(status, lines.join("\n") + "\n")
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match prometheus_client::encoding::text::encode(&mut body, registry) {
        Ok(()) => {
            let mut response = text(StatusCode::OK, body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
            response
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be encoded");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n".to_owned())
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const MAX_CONNECTIONS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
