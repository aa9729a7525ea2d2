//! The authorities that a web server's certificate must stand under.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Trust anchors of the web (not SPIFFE authorities: these vouch for DNS names and addresses).
#[derive(Clone)]
pub struct WebRoots(pub(super) Arc<RootCertStore>);

/// Why a PEM text gives no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebRootsError {
    /// It is not PEM.
    #[error("the text is not PEM: {what}")]
    Pem {
        /// What is wrong.
        what: String,
    },
    /// A certificate cannot be an anchor.
    #[error("the certificate number {number} cannot be an authority of the web: {what}")]
    Certificate {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong.
        what: String,
    },
    /// There is none.
    #[error("the text holds no usable certificate")]
    Empty,
}

impl WebRoots {
    /// Those that somebody chose: every certificate of the text must be usable.
    ///
    /// # Errors
    /// [`WebRootsError`].
    pub fn configured(pem: &[u8]) -> Result<Self, WebRootsError> {
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates(pem)?.into_iter().enumerate() {
            let add = store.add(certificate);
            add.map_err(|error| WebRootsError::Certificate { number: index + 1, what: error.to_string() })?;
        }
        Self::of(store)
    }

    /// Those of the system: what rustls cannot use is left out, since nobody here chose it.
    ///
    /// # Errors
    /// [`WebRootsError`] when nothing is left.
    pub fn of_system(pem: &[u8]) -> Result<Self, WebRootsError> {
        let mut store = RootCertStore::empty();
        let (_, left_out) = store.add_parsable_certificates(certificates(pem)?);
        if left_out > 0 {
            tracing::debug!(left_out, "certificates of the system's bundle cannot be used as authorities");
        }
        Self::of(store)
    }

    fn of(store: RootCertStore) -> Result<Self, WebRootsError> {
        if store.is_empty() { Err(WebRootsError::Empty) } else { Ok(Self(Arc::new(store))) }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, WebRootsError> {
    let certificates: Result<_, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.map_err(|error| WebRootsError::Pem { what: error.to_string() })
}

impl fmt::Debug for WebRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebRoots({})", self.0.len())
    }
}
