//! One request on one connection: where to, under which certificates, and for how long.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use identity::SpiffeId;
use pki::{Certificate, PrivateKey, TrustBundle};
use runtime::clock::Clock;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as RawStream;

use super::address::{AddressRange, judge};
use super::error::{FetchError, FetchFault};
use super::exchange::{HttpsAnswer, HttpsBounds, HttpsRequest, exchange};
use super::url::UrlHost;
use super::{HttpsUrl, WebRoots};
use crate::credentials::Fixed;
use crate::{ClientTls, PeerMatcher, ServerTrust, TlsError, TlsStream, backend};

/// The most bytes of a document.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// The time from the question to the resolver to the last byte of the document.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// The time for one of several addresses.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Fetches documents, and asks servers that the configuration names. Each request goes on its own connection: nothing is followed, kept
/// or cached, and nothing is sent along but what the caller gives. [`HttpsClient::open`] gives a connection to whoever asks often.
///
/// TLS 1.3, or 1.2 for servers that are not that far; the certificate must stand under the given roots and name the host of the URL.
/// No proxy is asked: nothing is read from the environment.
#[derive(Clone)]
pub struct HttpsClient {
    trust: Trust,
    reach: Reach,
    /// Shown to servers that ask for a certificate.
    shown: Option<Arc<CertifiedKey>>,
    resolver: Resolver,
}

/// What makes a server trusted.
#[derive(Clone)]
enum Trust {
    /// These authorities, and the host's name.
    Web { roots: WebRoots, clock: Arc<dyn Clock> },
    /// A SPIFFE ID, whatever the host is called.
    Spiffe(ClientTls),
}

/// Which addresses are connected to.
#[derive(Clone, Debug)]
enum Reach {
    /// Public ones, and these.
    Public(Vec<AddressRange>),
    /// Whichever the name has.
    Any,
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
pub(super) struct ServiceTime(pub(super) Arc<dyn Clock>);

impl HttpsClient {
    /// A client that trusts these roots, and connects to public addresses and to those of `allowed`.
    #[must_use]
    pub fn new(roots: WebRoots, allowed: Vec<AddressRange>, clock: Arc<dyn Clock>) -> Self {
        Self { trust: Trust::Web { roots, clock }, reach: Reach::Public(allowed), shown: None, resolver: Resolver::System }
    }

    /// A client of servers that show an X.509-SVID: exactly `expect`, under `bundle` (TLS 1.3 alone), and are shown nothing. The host of the
    /// URL says where it is and not who.
    #[must_use]
    pub fn of_spiffe_server(
        bundle: Arc<TrustBundle>,
        expect: SpiffeId,
        allowed: Vec<AddressRange>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // Of one moment: whoever has a newer bundle makes a newer client.
        let (_, bundle) = watch::channel(bundle);
        let trust = ServerTrust::Bundle { bundle, expect: PeerMatcher::Exact(expect) };
        let trust = Trust::Spiffe(ClientTls::new(trust, None, &[b"http/1.1"], clock));
        Self { trust, reach: Reach::Public(allowed), shown: None, resolver: Resolver::System }
    }

    /// A client for the one server that the configuration names, wherever in the operator's network its address lies. `roots` are
    /// the operator's choice for that server, so that no other server which a name could be made to lead to is spoken to.
    #[must_use]
    pub fn of_configured_server(roots: WebRoots, clock: Arc<dyn Clock>) -> Self {
        Self { trust: Trust::Web { roots, clock }, reach: Reach::Any, shown: None, resolver: Resolver::System }
    }

    /// The same client, which shows this certificate (leaf first) to servers that ask for one.
    ///
    /// # Errors
    /// [`TlsError::Config`] when the key cannot be used.
    pub fn showing(mut self, chain: &[Certificate], key: &PrivateKey) -> Result<Self, TlsError> {
        let key = backend::signing_key(key.pkcs8_der()).map_err(|error| TlsError::Config { what: error.to_string() })?;
        let chain = chain.iter().map(|certificate| certificate.der().clone()).collect();
        self.shown = Some(Arc::new(CertifiedKey::new(chain, key)));
        Ok(self)
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
        self.get_up_to(url, MAX_DOCUMENT_BYTES).await
    }

    /// The same for documents of so many bytes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_up_to(&self, url: &HttpsUrl, max_bytes: usize) -> Result<Vec<u8>, FetchError> {
        let bounds = HttpsBounds { answer_bytes: max_bytes, deadline: FETCH_DEADLINE };
        let HttpsAnswer { status, retry_after: _, body } = self.send(&HttpsRequest::get(url), bounds).await?;
        if status != StatusCode::OK.as_u16() {
            return Err(FetchError { url: url.to_string(), why: FetchFault::Status { status } });
        }
        Ok(body.to_vec())
    }

    /// Sends one request and gives the answer, whatever its status, unless it is a redirect.
    ///
    /// # Errors
    /// [`FetchError`]. When an address is refused, no connection was made to any.
    pub async fn send(&self, request: &HttpsRequest<'_>, bounds: HttpsBounds) -> Result<HttpsAnswer, FetchError> {
        let answer = tokio::time::timeout(bounds.deadline, self.connect_and_send(request, bounds.answer_bytes)).await;
        answer
            .unwrap_or(Err(FetchFault::Timeout { after: bounds.deadline }))
            .map_err(|why| FetchError { url: request.url.to_string(), why })
    }

    /// A connection that stays, for a protocol that the caller speaks on it: exactly `protocol` is offered by ALPN (RFC 7301), and nothing is
    /// sent before the server took it. `deadline` is from the question to the resolver to the end of the handshake.
    ///
    /// # Errors
    /// [`FetchError`]. When an address is refused, no connection was made to any.
    pub async fn open(
        &self,
        url: &HttpsUrl,
        protocol: &'static [u8],
        deadline: Duration,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let opened = tokio::time::timeout(deadline, self.connect_for(url, protocol)).await;
        opened.unwrap_or(Err(FetchFault::Timeout { after: deadline })).map_err(|why| FetchError { url: url.to_string(), why })
    }

    async fn connect_for(&self, url: &HttpsUrl, protocol: &'static [u8]) -> Result<TlsStream<TcpStream>, FetchFault> {
        let stream = connect(&self.addresses(url).await?).await?;
        // What is written in pieces, as frames are, must not wait for the other side to confirm the piece before. Without it: slower.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%url, %error, "the system delays small writes");
        }
        let stream = match &self.trust {
            Trust::Web { roots, clock } => {
                let config = self.tls_config(roots, clock, protocol);
                TlsStream::new(secure(url, stream, config).await?.into(), None)
            }
            Trust::Spiffe(tls) => {
                tls.connect(stream).await.map_err(|error| FetchFault::Tls { cause: io::Error::other(error) })?
            }
        };
        if stream.alpn() != Some(protocol) {
            return Err(FetchFault::Protocol { wanted: String::from_utf8_lossy(protocol).into_owned() });
        }
        Ok(stream)
    }

    async fn connect_and_send(&self, request: &HttpsRequest<'_>, most: usize) -> Result<HttpsAnswer, FetchFault> {
        let addresses = self.addresses(request.url).await?;
        let stream = connect(&addresses).await?;
        match &self.trust {
            Trust::Web { roots, clock } => {
                let config = self.tls_config(roots, clock, b"http/1.1");
                exchange(request, secure(request.url, stream, config).await?, most).await
            }
            Trust::Spiffe(tls) => {
                let stream = tls.connect(stream).await.map_err(|error| FetchFault::Tls { cause: io::Error::other(error) })?;
                exchange(request, stream, most).await
            }
        }
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
        let judged = found.into_iter().map(|address| match &self.reach {
            Reach::Any => Ok(address),
            Reach::Public(allowed) => judge(address, allowed).map_err(|class| FetchFault::AddressRefused { address, class }),
        });
        judged.map(|address| Ok(SocketAddr::new(address?, url.port()))).collect()
    }

    fn tls_config(&self, roots: &WebRoots, clock: &Arc<dyn Clock>, protocol: &[u8]) -> Result<ClientConfig, rustls::Error> {
        let config = ClientConfig::builder_with_details(backend::provider(), Arc::new(ServiceTime(Arc::clone(clock))))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots.0.clone());
        let mut config = match &self.shown {
            None => config.with_no_client_auth(),
            Some(shown) => config.with_client_cert_resolver(Arc::new(Fixed(Arc::clone(shown)))),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

async fn secure(
    url: &HttpsUrl,
    stream: TcpStream,
    config: Result<ClientConfig, rustls::Error>,
) -> Result<RawStream<TcpStream>, FetchFault> {
    let tls = |cause| FetchFault::Tls { cause };
    let name = match url.host() {
        UrlHost::Name(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|error| tls(io::Error::other(error)))?,
        UrlHost::Address(address) => ServerName::IpAddress((*address).into()),
    };
    let config = config.map_err(|error| tls(io::Error::other(error)))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(tls)
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web { roots, clock: _ } => roots.fmt(f),
            Self::Spiffe(_) => f.write_str("an X.509-SVID"),
        }
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").field("trust", &self.trust).field("reach", &self.reach).finish_non_exhaustive()
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
