//! One document by one request.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_ENCODING, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use runtime::clock::Clock;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{AddressRange, judge};
use super::error::{FetchError, FetchFault};
use super::url::UrlHost;
use super::{HttpsUrl, WebRoots};
use crate::backend;

/// The most bytes of a document.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// The time from the question to the resolver to the last byte of the document.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// The time for one of several addresses.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Fetches documents. Each by one GET on its own connection: nothing is followed, kept, cached or sent along.
///
/// TLS 1.3, or 1.2 for servers that are not that far; the certificate must stand under the given roots and name the host of the URL.
/// No proxy is asked: nothing is read from the environment.
#[derive(Clone)]
pub struct HttpsClient {
    roots: WebRoots,
    allowed: Vec<AddressRange>,
    clock: Arc<dyn Clock>,
    resolver: Resolver,
}

/// Who says which addresses a name has.
#[derive(Clone)]
enum Resolver {
    /// The system's.
    System,
    /// A test.
    #[cfg(test)]
    Fixed(Vec<IpAddr>),
}

/// Certificates are judged by the clock of the service.
struct ServiceTime(Arc<dyn Clock>);

impl HttpsClient {
    /// A client that trusts these roots, and connects to public addresses and to those of `allowed`.
    #[must_use]
    pub fn new(roots: WebRoots, allowed: Vec<AddressRange>, clock: Arc<dyn Clock>) -> Self {
        Self { roots, allowed, clock, resolver: Resolver::System }
    }

    #[cfg(test)]
    pub(crate) fn resolving_to(mut self, addresses: Vec<IpAddr>) -> Self {
        self.resolver = Resolver::Fixed(addresses);
        self
    }

    /// The document at `url`, at most [`MAX_DOCUMENT_BYTES`], within [`FETCH_DEADLINE`].
    ///
    /// # Errors
    /// [`FetchError`]. When an address is refused, no connection was made to any.
    pub async fn get(&self, url: &HttpsUrl) -> Result<Vec<u8>, FetchError> {
        let fetched = tokio::time::timeout(FETCH_DEADLINE, self.fetch(url)).await;
        fetched
            .unwrap_or(Err(FetchFault::Timeout { after: FETCH_DEADLINE }))
            .map_err(|why| FetchError { url: url.to_string(), why })
    }

    async fn fetch(&self, url: &HttpsUrl) -> Result<Vec<u8>, FetchFault> {
        let addresses = self.addresses(url).await?;
        let stream = connect(&addresses).await?;
        let stream = self.secure(url, stream).await?;
        exchange(url, stream).await
    }

    /// The addresses of the host, every one of them judged. They are connected to as they are: the name is not asked for again.
    async fn addresses(&self, url: &HttpsUrl) -> Result<Vec<SocketAddr>, FetchFault> {
        let found = match url.host() {
            UrlHost::Address(address) => vec![*address],
            UrlHost::Name(name) => {
                self.resolver.resolve(name.as_str()).await.map_err(|cause| FetchFault::Resolution { cause })?
            }
        };
        if found.is_empty() {
            let cause = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
            return Err(FetchFault::Resolution { cause });
        }
        // One bad address refuses all: an answer that mixes them is how a name is made to lead elsewhere at the second look.
        let judged = found.into_iter().map(|address| match judge(address, &self.allowed) {
            Ok(address) => Ok(SocketAddr::new(address, url.port())),
            Err(class) => Err(FetchFault::AddressRefused { address, class }),
        });
        judged.collect()
    }

    async fn secure(&self, url: &HttpsUrl, stream: TcpStream) -> Result<TlsStream<TcpStream>, FetchFault> {
        let tls = |cause| FetchFault::Tls { cause };
        let name = match url.host() {
            UrlHost::Name(name) => {
                ServerName::try_from(name.as_str().to_owned()).map_err(|error| tls(io::Error::other(error)))?
            }
            UrlHost::Address(address) => ServerName::IpAddress((*address).into()),
        };
        let config = self.tls_config().map_err(|error| tls(io::Error::other(error)))?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(tls)
    }

    fn tls_config(&self) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_details(backend::provider(), Arc::new(ServiceTime(self.clock.clone())))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(self.roots.0.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").field("roots", &self.roots).field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Resolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()),
            #[cfg(test)]
            Self::Fixed(addresses) => Ok(addresses.clone()),
        }
    }
}

impl fmt::Debug for ServiceTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceTime")
    }
}

impl TimeProvider for ServiceTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(std::time::SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, FetchFault> {
    let mut fault = None;
    for &address in addresses.iter().take(MAX_ADDRESSES) {
        let connected = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(cause) => fault = Some(FetchFault::Connect { address, cause }),
        }
    }
    Err(fault.unwrap_or_else(|| FetchFault::Resolution { cause: io::ErrorKind::NotFound.into() }))
}

async fn exchange(url: &HttpsUrl, stream: TlsStream<TcpStream>) -> Result<Vec<u8>, FetchFault> {
    let http = |cause| FetchFault::Http { cause };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let answer = async {
        let response = sender.send_request(request(url)).await.map_err(http)?;
        document(response).await
    };
    // However the connection ends, what it means is told by the answer.
    let connection = async {
        drop(connection.await);
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        // Any order: the answer moves only while the connection does, and the connection never ends the race.
        answer = answer => answer,
        never = connection => match never {},
    }
}

/// No word on what is accepted: a server that has the document in one form gives that.
fn request(url: &HttpsUrl) -> Request<Empty<Bytes>> {
    let request = Request::get(url.target()).header(HOST, url.authority()).header(CONNECTION, "close");
    request.body(Empty::new()).expect("the parts of a checked URL make a request")
}

async fn document(response: Response<Incoming>) -> Result<Vec<u8>, FetchFault> {
    let status = response.status();
    if status != StatusCode::OK {
        let code = status.as_u16();
        return Err(if status.is_redirection() {
            FetchFault::Redirected { status: code }
        } else {
            FetchFault::Status { status: code }
        });
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(FetchFault::Encoded);
    }
    let mut body = response.into_body();
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the document.
        let Ok(data) = frame.map_err(|cause| FetchFault::Http { cause })?.into_data() else { continue };
        if document.len() + data.len() > MAX_DOCUMENT_BYTES {
            return Err(FetchFault::TooLarge { max: MAX_DOCUMENT_BYTES });
        }
        document.extend_from_slice(&data);
    }
    Ok(document)
}
