//! The accepting side.

use std::sync::Arc;

use pki::{TrustBundle, X509Svid};
use runtime::clock::Clock;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{ServerConfig, version::TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::credentials::Credentials;
use crate::verify::{Anchors, Verifier};
use crate::{TlsError, TlsStream, backend};

/// Whether a client must show a certificate. One that is shown is always verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Must.
    Required,
    /// May.
    Optional,
}

/// Server TLS; credentials and bundle are read anew for each handshake. No ticket is sent and no session is kept.
#[derive(Clone)]
pub struct ServerTls {
    credentials: Arc<Credentials>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    clients: ClientAuthentication,
    alpn: Vec<Vec<u8>>,
    clock: Arc<dyn Clock>,
    root: SendRoot,
}

#[derive(Clone, Copy)]
enum SendRoot {
    No,
    Yes,
}

impl ServerTls {
    /// `svid`: what to show. `bundle`: the authorities of the one trust domain whose clients are accepted. `alpn`: protocols
    /// to speak, the preferred one first; a client that offers others only is refused.
    #[must_use]
    pub fn new(
        svid: watch::Receiver<Arc<X509Svid>>,
        bundle: watch::Receiver<Arc<TrustBundle>>,
        clients: ClientAuthentication,
        alpn: &[&[u8]],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self { credentials: Credentials::new(svid), bundle, clients, alpn, clock, root: SendRoot::No }
    }

    /// Sends the bundle authority that issued the chain as the last certificate too, for clients that pin it
    /// ([`crate::ServerTrust::PinnedRoot`]). RFC 8446 section 4.4.2 lets a server leave the root out, or not.
    #[must_use]
    pub fn sending_root(mut self) -> Self {
        self.root = SendRoot::Yes;
        self
    }

    /// Handshake over `io`. The caller sets a deadline.
    ///
    /// # Errors
    /// [`TlsError`]; a client that is refused is told by an alert.
    pub async fn accept<T: AsyncRead + AsyncWrite + Unpin + Send>(&self, io: T) -> Result<TlsStream<T>, TlsError> {
        let hello = self.client_hello(io).await?;
        self.answer(hello).await
    }

    /// Waits for the whole client hello; costs no cryptography.
    pub(crate) async fn client_hello<T>(&self, io: T) -> Result<StartHandshake<T>, TlsError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(|error| TlsError::from_handshake(error, None))
    }

    /// Does the rest, with the credentials and the bundle of now.
    pub(crate) async fn answer<T>(&self, hello: StartHandshake<T>) -> Result<TlsStream<T>, TlsError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let bundle = self.bundle.borrow().clone();
        let certified = self.credentials.snapshot(match self.root {
            SendRoot::Yes => Some(&bundle),
            SendRoot::No => None,
        })?;
        // Clients and this server have their certificates of the same issuing CA, as a rule.
        let anchors = Anchors::Bundle { bundle, read: Some(self.credentials.svid()) };
        let verifier = Verifier::of_client(anchors, self.clients, self.clock.clone());
        let offered = hello.client_hello().named_groups().unwrap_or_default();
        let mut config = ServerConfig::builder_with_provider(backend::provider_answering(offered))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Config { what: error.to_string() })?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(Arc::new(certified));
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        match hello.into_stream(Arc::new(config)).await {
            Ok(stream) => Ok(TlsStream::new(stream.into(), verifier.verified())),
            Err(error) => Err(TlsError::from_handshake(error, verifier.rejection())),
        }
    }
}
