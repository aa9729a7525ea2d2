//! The connecting side.

use std::sync::Arc;

use identity::{Host, TrustDomain};
use pki::{Sha256Digest, TrustBundle, TrustedRoots, X509Svid};
use runtime::clock::Clock;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, version::TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::credentials::Credentials;
use crate::verify::{Anchors, Verifier};
use crate::{PeerMatcher, TlsError, TlsStream, backend};

/// What makes a server trusted.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// A chain to the newest bundle, and a peer that matches.
    Bundle {
        /// The bundle; the value at the start of a handshake counts.
        bundle: watch::Receiver<Arc<TrustBundle>>,
        /// Who the server must be.
        expect: PeerMatcher,
    },
    /// Bootstrap: the last certificate sent must hash to this; everything is verified under it alone.
    PinnedRoot {
        /// SHA-256 of the root's DER.
        sha256: Sha256Digest,
        /// The trust domain that the server must belong to.
        trust_domain: TrustDomain,
        /// Who the server must be.
        expect: PeerMatcher,
    },
    /// A server outside of SPIFFE, by the name that it was connected to (RFC 9525): it leaves no [`crate::VerifiedPeer`].
    ServerName {
        /// Name or address; a name is also sent as SNI.
        name: Host,
        /// The only roots that count.
        roots: TrustedRoots,
    },
}

/// Client TLS; credentials and trust are read anew for each handshake. No session is ever resumed.
#[derive(Clone)]
pub struct ClientTls {
    trust: ServerTrust,
    credentials: Option<Arc<Credentials>>,
    alpn: Vec<Vec<u8>>,
    clock: Arc<dyn Clock>,
}

impl ClientTls {
    /// `svid`: what to show; `None` shows nothing. `alpn`: protocols to offer, the preferred one first.
    #[must_use]
    pub fn new(trust: ServerTrust, svid: Option<watch::Receiver<Arc<X509Svid>>>, alpn: &[&[u8]], clock: Arc<dyn Clock>) -> Self {
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self { trust, credentials: svid.map(Credentials::new), alpn, clock }
    }

    /// Handshake over `io`. The caller sets a deadline.
    ///
    /// TLS 1.3 lets a client finish before the server has looked at the client's certificate: a refusal then comes as an
    /// error of the first read, with the alert in its text.
    ///
    /// # Errors
    /// [`TlsError`]; a server that is refused is told by an alert, and nothing was sent to it but the handshake.
    pub async fn connect<T: AsyncRead + AsyncWrite + Unpin + Send>(&self, io: T) -> Result<TlsStream<T>, TlsError> {
        // rustls wants a name; for SPIFFE it is neither sent nor compared.
        let unnamed = || wire_name(&"spiffe.invalid");
        let (anchors, expect, name) = match &self.trust {
            ServerTrust::Bundle { bundle, expect } => {
                let read = self.credentials.as_ref().map(|own| own.svid());
                (Anchors::Bundle { bundle: bundle.borrow().clone(), read }, Some(expect), unnamed()?)
            }
            ServerTrust::PinnedRoot { sha256, trust_domain, expect } => {
                (Anchors::PinnedRoot { sha256: *sha256, trust_domain: trust_domain.clone() }, Some(expect), unnamed()?)
            }
            ServerTrust::ServerName { name, roots } => {
                (Anchors::Roots { roots: roots.clone(), name: name.clone() }, None, wire_name(name)?)
            }
        };
        let verifier = Verifier::of_server(anchors, expect.cloned(), self.clock.clone());
        let mut config = self.config(&verifier)?;
        config.enable_sni = matches!(&self.trust, ServerTrust::ServerName { .. });
        match TlsConnector::from(Arc::new(config)).connect(name, io).await {
            Ok(stream) => Ok(TlsStream::new(stream.into(), verifier.verified())),
            Err(error) => Err(TlsError::from_handshake(error, verifier.rejection())),
        }
    }

    fn config(&self, verifier: &Arc<Verifier>) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(backend::provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Config { what: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &self.credentials {
            Some(credentials) => builder.with_client_cert_resolver(Arc::new(credentials.snapshot(None)?)),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        // Each handshake has its own configuration, so there would be nothing to resume from; this says that it is meant.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn wire_name(name: &impl ToString) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_string()).map_err(|error| TlsError::Config { what: error.to_string() })
}
