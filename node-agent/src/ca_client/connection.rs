//! One connection to the CA: TCP, verified TLS, HTTP/2.
//!
//! The handshake is done here and the finished stream is handed to the channel, so that its faults keep their type and its
//! exporter is known before anything is sent. Such a channel never reconnects by itself: a lost connection is reported, and
//! the next one is verified anew with the credentials of then.

use identity::HostPort;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use mtls::{ClientTls, EXPORTER_BYTES, PeerMatcher, ServerTrust, TlsError, TlsStream};
use pki::{TrustBundle, X509Svid};
use runtime::clock::Clock;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use super::told::{TellingStream, Told};

/// From the first packet to a finished handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How often the connection is probed, and how long an answer may take: a dead CA is noticed within the sum.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The deadline of every call.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(30);
pub(super) const HTTP2: &[u8] = b"h2";

/// A live connection to a CA that was verified in this handshake.
pub(crate) struct CaConnection {
    /// Carries the calls.
    pub(crate) channel: Channel,
    /// Keying material of this connection, which proofs of the node key are bound to.
    pub(crate) exporter: [u8; EXPORTER_BYTES],
    /// How the CA refused what was shown in the handshake, if it did.
    pub(crate) told: Told,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectFault {
    /// No TCP connection.
    #[error("cannot reach the CA at {address}: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// Nothing came of it in time.
    #[error("the CA at {address} did not finish the handshake within {CONNECT_DEADLINE:?}")]
    Timeout {
        /// Where.
        address: String,
    },
    /// The handshake failed: this end refused the CA, or the CA refused this end.
    #[error("TLS with the CA at {address} failed: {cause}")]
    Tls {
        /// Where.
        address: String,
        /// What failed.
        cause: TlsError,
    },
    /// It is verified, but does not speak the protocol.
    #[error("the CA at {address} does not speak HTTP/2")]
    Protocol {
        /// Where.
        address: String,
    },
}

/// Client TLS that accepts as the server only a CA of this trust domain under the bundle, and shows `svid` when there is one.
pub(crate) fn tls_under_bundle(bundle: &Arc<TrustBundle>, svid: Option<&Arc<X509Svid>>, clock: &Arc<dyn Clock>) -> ClientTls {
    let expect = PeerMatcher::SignetCa(bundle.trust_domain().clone());
    let trust = ServerTrust::Bundle { bundle: watch::channel(Arc::clone(bundle)).1, expect };
    let svid = svid.map(|svid| watch::channel(Arc::clone(svid)).1);
    ClientTls::new(trust, svid, &[HTTP2], Arc::clone(clock))
}

/// Client TLS that accepts as the server only a CA under the one root with this fingerprint, and shows nothing.
pub(crate) fn tls_under_pin(
    sha256: pki::Sha256Digest,
    trust_domain: &identity::TrustDomain,
    clock: &Arc<dyn Clock>,
) -> ClientTls {
    let expect = PeerMatcher::SignetCa(trust_domain.clone());
    let trust = ServerTrust::PinnedRoot { sha256, trust_domain: trust_domain.clone(), expect };
    ClientTls::new(trust, None, &[HTTP2], Arc::clone(clock))
}

impl CaConnection {
    /// Connects and verifies the CA. Nothing of ours but the handshake has been sent when this returns.
    ///
    /// # Errors
    /// [`ConnectFault`].
    pub(crate) async fn open(address: &HostPort, tls: &ClientTls) -> Result<Self, ConnectFault> {
        let endpoint = Endpoint::from_static(AUTHORITY)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        Self::open_as(address, tls, endpoint).await
    }

    /// The same for a connection that carries one call to a CA of somebody else: HTTP/2 names it as it was addressed, and no
    /// pings are sent, as such servers count them as an attack.
    ///
    /// # Errors
    /// [`ConnectFault`].
    pub(super) async fn open_for_one_call(address: &HostPort, tls: &ClientTls) -> Result<Self, ConnectFault> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|_| ConnectFault::Protocol { address: address.to_string() })?;
        Self::open_as(address, tls, endpoint).await
    }

    async fn open_as(address: &HostPort, tls: &ClientTls, endpoint: Endpoint) -> Result<Self, ConnectFault> {
        let stream = tokio::time::timeout(CONNECT_DEADLINE, handshake(address, tls))
            .await
            .map_err(|_| ConnectFault::Timeout { address: address.to_string() })??;
        let tls_fault = |cause| ConnectFault::Tls { address: address.to_string(), cause };
        let exporter = stream.exporter(pki::proof::ATTESTATION_EXPORTER_LABEL).map_err(tls_fault)?;
        if stream.alpn() != Some(HTTP2) {
            return Err(ConnectFault::Protocol { address: address.to_string() });
        }
        let told = Told::default();
        let mut once = Some(TokioIo::new(TellingStream::new(stream, told.clone())));
        let connector = Once(move || once.take());
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|_| ConnectFault::Protocol { address: address.to_string() })?;
        Ok(Self { channel, exporter, told })
    }
}

async fn handshake(address: &HostPort, tls: &ClientTls) -> Result<TlsStream<TcpStream>, ConnectFault> {
    let unreachable = |cause| ConnectFault::Unreachable { address: address.to_string(), cause };
    let tcp = TcpStream::connect(address.as_str()).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    tls.connect(tcp).await.map_err(|cause| ConnectFault::Tls { address: address.to_string(), cause })
}

/// A connector that gives away one finished stream, and refuses ever after.
struct Once<F>(F);

impl<T, F: FnMut() -> Option<T>> tower_service::Service<Uri> for Once<F> {
    type Response = T;
    type Error = io::Error;
    type Future = std::future::Ready<Result<T, io::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(
            (self.0)().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection to the CA is lost")),
        )
    }
}

/// What HTTP/2 calls the CA. It is decoration: who the server is was settled by its SPIFFE ID.
const AUTHORITY: &str = "http://signet-ca";
