//! The seam to the crypto backend, which one feature chooses. No other module of this crate names it. Both features at once are refused by
//! `pki`, to which they are forwarded and which is built first.

use std::sync::{Arc, LazyLock};

#[cfg(all(feature = "aws-lc", not(feature = "ring")))]
use rustls::crypto::aws_lc_rs as backend;
#[cfg(feature = "ring")]
use rustls::crypto::ring as backend;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use rustls::{Error, NamedGroup};

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
compile_error!(
    "mtls needs a crypto backend, and none is enabled: build with the default features for ring, \
     or with `--no-default-features --features aws-lc`"
);

/// The key exchange that is insisted on with every client that offers it, wherever in its list: X25519 together with ML-KEM-768
/// (FIPS 203), so that what is recorded today is not read by a quantum computer later. ring does not have it.
#[cfg(all(feature = "aws-lc", not(feature = "ring")))]
const INSISTED_ON: Option<&'static dyn SupportedKxGroup> = Some(backend::kx_group::X25519MLKEM768);
#[cfg(feature = "ring")]
const INSISTED_ON: Option<&'static dyn SupportedKxGroup> = None;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let classical: [&dyn SupportedKxGroup; 3] =
        [backend::kx_group::X25519, backend::kx_group::SECP256R1, backend::kx_group::SECP384R1];
    with_groups(INSISTED_ON.into_iter().chain(classical).collect())
});

static INSISTING: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| with_groups(INSISTED_ON.into_iter().collect()));

fn with_groups(kx_groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups, ..backend::default_provider() })
}

/// Cipher suites, groups (the preferred one first) and signature algorithms of the backend. Passed on explicitly, never installed
/// for the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// The same for answering a client that offers these groups. rustls follows the client's order, so where the client offers the
/// group that is insisted on, it is left no other.
pub(crate) fn provider_answering(offered: &[NamedGroup]) -> Arc<CryptoProvider> {
    let insists = INSISTED_ON.is_some_and(|group| offered.contains(&group.name()));
    if insists { INSISTING.clone() } else { PROVIDER.clone() }
}

/// Loads a key for signing. From borrowed bytes, so that no unzeroized copy of them is made on the way.
pub(crate) fn signing_key(pkcs8: &[u8]) -> Result<Arc<dyn SigningKey>, Error> {
    any_signing_key(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))
}

/// Loads a key of any encoding that TLS can be served with.
pub(crate) fn any_signing_key(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    backend::sign::any_supported_type(key)
}
