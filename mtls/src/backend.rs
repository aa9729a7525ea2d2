//! The seam to the crypto backend (ring in this build). No other module of this crate names it.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;

#[cfg(not(feature = "ring"))]
compile_error!("mtls needs a crypto backend: enable its feature \"ring\"");

/// Cipher suites, groups and signature algorithms of the backend. Passed on explicitly, never installed for the process.
#[cfg(feature = "ring")]
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// Loads a key for signing. From borrowed bytes, so that no unzeroized copy of them is made on the way.
#[cfg(feature = "ring")]
pub(crate) fn signing_key(pkcs8: &[u8]) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    rustls::crypto::ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))
}

/// Loads a key of any encoding that TLS can be served with.
#[cfg(feature = "ring")]
pub(crate) fn any_signing_key(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    rustls::crypto::ring::sign::any_supported_type(key)
}
