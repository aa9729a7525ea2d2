//! A server of one document, to whoever asks: GET over https at `/`, bounded in every way.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pki::X509Svid;
use runtime::accept::pause_after;
use runtime::clock::Clock;
use runtime::shutdown::Shutdown;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::client::ServiceTime;
use crate::credentials::{self, Fixed};
use crate::pem_files::load_pair;
use crate::{AddressGroup, PemFault, TlsError, backend};

/// Connections at a time: all, and those of one [`AddressGroup`]. Further ones of an address are closed, further ones of all wait.
const MAX_CONNECTIONS: usize = 256;
const MAX_CONNECTIONS_PER_ADDRESS: usize = 32;
/// From accept to the last byte.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// A chain and its key, to be shown by a server. `Clone` is cheap.
#[derive(Clone)]
pub struct ServerPair(Arc<CertifiedKey>);

/// What is published, and who counts how often.
pub trait Publication: Send + Sync + 'static {
    /// The document of now, as `application/json`. It must not wait.
    fn document(&self) -> Vec<u8>;

    /// A connection ended so. It must not wait.
    fn ended(&self, outcome: DocumentOutcome);
}

/// How a connection ended: a closed set, for a counter's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentOutcome {
    /// The document was answered with.
    Served,
    /// Something else was asked for.
    NotThere,
    /// No TLS, no HTTP, or not in time.
    Failed,
    /// Its address has too many connections.
    Refused,
}

/// A bound server of one document.
pub struct DocumentServer {
    listener: TcpListener,
    shown: watch::Receiver<Option<ServerPair>>,
    publication: Arc<dyn Publication>,
    clock: Arc<dyn Clock>,
}

impl ServerPair {
    /// A chain and the private key of its first certificate, PEM.
    ///
    /// # Errors
    /// [`PemFault`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PemFault> {
        load_pair(chain, key).map(|pair| Self(Arc::new(pair)))
    }

    /// An X.509-SVID: leaf and intermediates, no root.
    ///
    /// # Errors
    /// [`TlsError::Config`] when TLS cannot be served with its key.
    pub fn of_svid(svid: &X509Svid) -> Result<Self, TlsError> {
        credentials::load(svid, None).map(|pair| Self(Arc::new(pair)))
    }
}

/// Shows no key.
impl fmt::Debug for ServerPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerPair")
    }
}

impl DocumentServer {
    /// Serves by TLS 1.3 and 1.2 with what `shown` holds at each handshake; while that is nothing, connections are closed. No client is
    /// asked for a certificate, no session is resumed.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        shown: watch::Receiver<Option<ServerPair>>,
        publication: Arc<dyn Publication>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { listener, shown, publication, clock }
    }

    /// Serves until shutdown; then connections are cut, as none has anything to lose.
    pub async fn run(self, shutdown: Shutdown) {
        let mut connections: JoinSet<AddressGroup> = JoinSet::new();
        let mut places: BTreeMap<AddressGroup, usize> = BTreeMap::new();
        let end = shutdown.fired();
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                Some(ended) = connections.join_next() => match ended {
                    Ok(address) => leave(&mut places, address),
                    Err(error) => {
                        // Whose place it was is not known any more: nobody is kept out for it.
                        tracing::error!(%error, "a connection of the document server panicked");
                        places.clear();
                    }
                },
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, remote)) => self.begin(&mut connections, &mut places, stream, remote),
                    Err(error) => if let Some(pause) = pause_after(&error) {
                        tokio::time::sleep(pause).await;
                    },
                },
            }
        }
    }

    fn begin(
        &self,
        connections: &mut JoinSet<AddressGroup>,
        places: &mut BTreeMap<AddressGroup, usize>,
        stream: TcpStream,
        remote: SocketAddr,
    ) {
        let address = AddressGroup::from(remote.ip());
        let taken = places.entry(address).or_default();
        if *taken >= MAX_CONNECTIONS_PER_ADDRESS {
            tracing::debug!(%remote, "a connection too many from this address is closed");
            self.publication.ended(DocumentOutcome::Refused);
            return;
        }
        *taken += 1;
        let (shown, clock, publication) = (self.shown.borrow().clone(), Arc::clone(&self.clock), Arc::clone(&self.publication));
        connections.spawn(async move {
            let outcome = match tokio::time::timeout(CONNECTION_DEADLINE, serve(stream, shown, clock, &publication)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => {
                    tracing::debug!(%remote, %error, "a connection of the document server failed");
                    DocumentOutcome::Failed
                }
                Err(_) => DocumentOutcome::Failed,
            };
            publication.ended(outcome);
            address
        });
    }
}

fn leave(places: &mut BTreeMap<AddressGroup, usize>, address: AddressGroup) {
    if let Some(taken) = places.get_mut(&address) {
        *taken = taken.saturating_sub(1);
        if *taken == 0 {
            places.remove(&address);
        }
    }
}

async fn serve(
    stream: TcpStream,
    shown: Option<ServerPair>,
    clock: Arc<dyn Clock>,
    publication: &Arc<dyn Publication>,
) -> io::Result<DocumentOutcome> {
    let shown = shown.ok_or_else(|| io::Error::other("there is no certificate to show"))?;
    let config = tls_config(&shown, clock).map_err(io::Error::other)?;
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    // A client may end its connection before it asks.
    let outcome = std::sync::Mutex::new(DocumentOutcome::Failed);
    let service = service_fn(|request: Request<Incoming>| {
        let (response, answered) = respond(request.method(), request.uri().path(), publication.as_ref());
        *outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = answered;
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)?;
    Ok(outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn tls_config(shown: &ServerPair, clock: Arc<dyn Clock>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(backend::provider(), Arc::new(ServiceTime(clock)))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Fixed(Arc::clone(&shown.0))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn respond(method: &Method, path: &str, publication: &dyn Publication) -> (Response<Full<Bytes>>, DocumentOutcome) {
    let answer = |status, content_type, body: Vec<u8>| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    };
    if method != Method::GET && method != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, b"only GET\n".to_vec());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return (response, DocumentOutcome::NotThere);
    }
    if path != "/" {
        return (answer(StatusCode::NOT_FOUND, TEXT, b"there is / alone\n".to_vec()), DocumentOutcome::NotThere);
    }
    (answer(StatusCode::OK, "application/json", publication.document()), DocumentOutcome::Served)
}

const TEXT: &str = "text/plain; charset=utf-8";
