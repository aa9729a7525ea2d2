//! What this end shows, taken anew per handshake.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pki::{Certificate, TrustBundle, X509Svid};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::{TlsError, backend};

/// The SVID of now, in the form rustls wants. The form is kept for as long as SVID and bundle stay the same objects.
pub(crate) struct Credentials {
    svid: watch::Receiver<Arc<X509Svid>>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    svid: Arc<X509Svid>,
    root_from: Option<Arc<TrustBundle>>,
    key: Arc<CertifiedKey>,
}

impl Credentials {
    pub(crate) fn new(svid: watch::Receiver<Arc<X509Svid>>) -> Arc<Self> {
        Arc::new(Self { svid, kept: Mutex::new(None) })
    }

    /// The SVID of now.
    pub(crate) fn svid(&self) -> Arc<X509Svid> {
        self.svid.borrow().clone()
    }

    /// The credentials of now. With `root_from`, the authority of that bundle which issued the top of the chain is sent too.
    pub(crate) fn snapshot(&self, root_from: Option<&Arc<TrustBundle>>) -> Result<Fixed, TlsError> {
        let svid = self.svid();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_of(&svid, root_from)) {
            return Ok(Fixed(kept.key.clone()));
        }
        let key = Arc::new(load(&svid, root_from)?);
        *kept = Some(Kept { svid, root_from: root_from.cloned(), key: key.clone() });
        Ok(Fixed(key))
    }
}

impl Kept {
    fn is_of(&self, svid: &Arc<X509Svid>, root_from: Option<&Arc<TrustBundle>>) -> bool {
        // The kept ones are alive, so an equal address means the same object.
        let same_bundle = match (&self.root_from, root_from) {
            (Some(kept), Some(asked)) => Arc::ptr_eq(kept, asked),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_bundle && Arc::ptr_eq(&self.svid, svid)
    }
}

pub(crate) fn load(svid: &X509Svid, root_from: Option<&Arc<TrustBundle>>) -> Result<CertifiedKey, TlsError> {
    let key = backend::signing_key(svid.key().pkcs8_der()).map_err(|error| TlsError::Config { what: error.to_string() })?;
    let mut chain: Vec<_> = svid.chain().iter().map(|certificate| certificate.der().clone()).collect();
    if let Some(bundle) = root_from {
        match svid.chain().last().and_then(|top| issuer_of(top, bundle)) {
            Some(root) => chain.push(root.der().clone()),
            None => tracing::warn!(
                id = %svid.id(),
                "no authority of the bundle issued this certificate chain; clients that pin the root will refuse it"
            ),
        }
    }
    Ok(CertifiedKey::new(chain, key))
}

fn issuer_of<'a>(top: &Certificate, bundle: &'a TrustBundle) -> Option<&'a Certificate> {
    bundle
        .authorities()
        .iter()
        .find(|authority| authority.subject_der() == top.issuer_der() && top.verify_signed_by(authority.public_key()).is_ok())
}

/// One certificate and key, whatever the peer asks for.
pub(crate) struct Fixed(pub(crate) Arc<CertifiedKey>);

/// rustls asks for it; shows no key.
impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
