//! The own bundle for other trust domains: a bundle endpoint (SPIFFE Federation section 5).

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mtls::https::{DocumentOutcome, DocumentServer, Publication, ServerPair};
use pki::{JwksContent, TrustBundle, X509Svid};
use runtime::clock::{Clock, Ticker};
use runtime::private_files::{read_bounded, read_private};
use runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::metrics::FederationMetrics;
use crate::config::{EndpointConfig, EndpointIdentity};
use crate::keystore::{Stamp, stamp};

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// The most bytes of each of the files.
const MAX_FILE_BYTES: usize = 256 * 1024;

/// Why the bundle endpoint is not there.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address.
    #[error("cannot listen at {address} (federation.endpoint.listen): {cause}; is it this machine's address, and free?")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The certificate or its key.
    #[error("the certificate of the bundle endpoint cannot be shown: {0}")]
    Pair(String),
}

/// A bound endpoint.
pub(crate) struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    config: EndpointConfig,
    shown: watch::Sender<Option<ServerPair>>,
    trouble: watch::Sender<Option<String>>,
    /// Of both files, when they were read last.
    read: Option<[Stamp; 2]>,
}

/// What it publishes.
struct OwnBundle {
    bundle: watch::Receiver<Arc<TrustBundle>>,
    refresh_hint: Duration,
    metrics: FederationMetrics,
}

impl Publication for OwnBundle {
    fn document(&self) -> Vec<u8> {
        self.bundle.borrow().to_jwks_hinting(JwksContent::All, self.refresh_hint).into_bytes()
    }

    fn ended(&self, outcome: DocumentOutcome) {
        self.metrics.connection(outcome);
    }
}

impl Endpoint {
    /// Binds, and reads the files of a certificate of the web.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub(crate) async fn bind(config: EndpointConfig, trouble: watch::Sender<Option<String>>) -> Result<Self, EndpointError> {
        let listen = |cause| EndpointError::Listen { address: config.listen, cause };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (mut shown, mut read) = (None, None);
        if let EndpointIdentity::Web { certificate, key } = &config.identity {
            read = Some([stamp(certificate), stamp(key)]);
            shown = Some(check_pair(certificate, key)?);
        }
        Ok(Self { listener, address, config, shown: watch::Sender::new(shown), trouble, read })
    }

    /// Where it listens; the port is the real one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the bundle of now until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(
        self,
        bundle: watch::Receiver<Arc<TrustBundle>>,
        serving: watch::Receiver<Option<Arc<X509Svid>>>,
        clock: Arc<dyn Clock>,
        metrics: FederationMetrics,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        let Self { listener, address: _, config, shown, trouble, read } = self;
        let publication = OwnBundle { bundle, refresh_hint: config.refresh_hint, metrics };
        let server = DocumentServer::new(listener, shown.subscribe(), Arc::new(publication), clock);
        let keeper = async {
            match config.identity {
                EndpointIdentity::Web { certificate, key } => Files { certificate, key, read }.keep(&shown, &trouble).await,
                EndpointIdentity::Spiffe => {
                    keep_svid(serving, &shown, &trouble).await;
                    std::future::pending().await
                }
            }
        };
        tokio::select! {
            // Either order is fine: the keeper ends only when there is no timer.
            () = server.run(shutdown) => Ok(()),
            ended = keeper => ended,
        }
    }
}

/// The files of a certificate of the web.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    read: Option<[Stamp; 2]>,
}

impl Files {
    /// Shows what the files hold whenever they hold a whole pair. One that is being replaced is read again at the next look.
    async fn keep(
        mut self,
        shown: &watch::Sender<Option<ServerPair>>,
        trouble: &watch::Sender<Option<String>>,
    ) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        loop {
            ticker.tick().await?;
            // Taken before the reading: a change meanwhile shows at the next look.
            let found = Some([stamp(&self.certificate), stamp(&self.key)]);
            if found == self.read {
                continue;
            }
            match check_pair(&self.certificate, &self.key) {
                Ok(pair) => {
                    self.read = found;
                    shown.send_replace(Some(pair));
                    trouble.send_replace(None);
                    tracing::info!("the bundle endpoint shows another certificate");
                }
                Err(error) => {
                    let why = error.to_string();
                    let news = trouble.send_if_modified(|before| {
                        let news = before.as_ref() != Some(&why);
                        *before = Some(why.clone());
                        news
                    });
                    if news {
                        tracing::warn!(why, "the bundle endpoint goes on with the certificate of before");
                    }
                }
            }
        }
    }
}

/// Shows the CA's own serving certificate, each new one at once.
async fn keep_svid(
    mut serving: watch::Receiver<Option<Arc<X509Svid>>>,
    shown: &watch::Sender<Option<ServerPair>>,
    trouble: &watch::Sender<Option<String>>,
) {
    loop {
        let svid = serving.borrow_and_update().clone();
        if let Some(svid) = svid {
            match ServerPair::of_svid(&svid) {
                Ok(pair) => {
                    shown.send_replace(Some(pair));
                    trouble.send_replace(None);
                }
                Err(error) => {
                    tracing::error!(%error, "the bundle endpoint cannot show the CA's certificate");
                    trouble.send_replace(Some(error.to_string()));
                }
            }
        }
        if serving.changed().await.is_err() {
            // Whoever makes certificates is gone, and so is the CA.
            return;
        }
    }
}

/// What the files hold, when that is a chain and its key.
///
/// # Errors
/// [`EndpointError::Pair`].
pub(crate) fn check_pair(certificate: &Path, key: &Path) -> Result<ServerPair, EndpointError> {
    let chain = read_bounded(certificate, MAX_FILE_BYTES).map_err(|error| EndpointError::Pair(error.to_string()))?;
    let pem = Zeroizing::new(read_private(key, MAX_FILE_BYTES).map_err(|error| EndpointError::Pair(error.to_string()))?);
    let named = |fault: mtls::PemFault| EndpointError::Pair(format!("{}, {}: {fault}", certificate.display(), key.display()));
    ServerPair::from_pem(&chain, &pem).map_err(named)
}
