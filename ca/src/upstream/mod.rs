//! Whoever stands above this CA and signs the certificates of its issuing CAs: another Signet CA, or another product.
//!
//! An implementation of [`UpstreamAuthority`] only asks, and hands over what it was given. Nothing of an answer is believed before it was
//! verified whole, and the private key never leaves where it was made.

pub(crate) mod answer;
pub(crate) mod desk;
pub(crate) mod metrics;
pub(crate) mod parent;
pub(crate) mod signet;
pub(crate) mod step;
pub(crate) mod vault;

use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use identity::TrustDomain;
use pki::Sha256Digest;

/// What an upstream authority is asked for: the certificate of an issuing CA for a key that was made here.
#[derive(Clone, Debug)]
pub(crate) struct IssuerRequest {
    /// PKCS #10 (RFC 2986), DER, signed by the new key.
    pub(crate) csr_der: Vec<u8>,
    /// The trust domain that the CA is to sign for, and no other.
    pub(crate) trust_domain: TrustDomain,
    /// How long the certificate should be good for; upstream may give less.
    pub(crate) ttl: Duration,
    /// How many CAs may stand beneath it (RFC 5280 section 4.2.1.9): 0.
    pub(crate) path_len: u8,
}

/// What it gave, before anything of it was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamAnswer {
    /// DER: the issuing CA first, each signed by the next, without the root.
    pub(crate) chain: Vec<Vec<u8>>,
    /// DER: the roots that it names.
    pub(crate) roots: Vec<Vec<u8>>,
}

/// Which roots it vouches by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamRoots {
    /// DER.
    pub(crate) roots: Vec<Vec<u8>>,
    /// SHA-256 of the DER of the one under which it signs now; `None` when it does not say.
    pub(crate) signing: Option<Sha256Digest>,
}

/// Why there is no answer. The texts say what, why, and what to do, and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// It was not reached, or did not answer in time: later it may.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// What proves this CA to it is missing, has ended, or is not accepted.
    #[error("does not accept this CA: {0}")]
    Credential(String),
    /// It answered, and will not sign this.
    #[error("refuses: {0}")]
    Refused(String),
    /// What it answered cannot be read, or is larger than any answer.
    #[error("its answer cannot be used: {0}")]
    Malformed(String),
}

/// An authority that signs issuing CAs. Each call is bounded in time and bytes by the implementation.
pub(crate) trait UpstreamAuthority: Send + Sync {
    /// What stands in logs, metrics and status: the kind, such as `signet` or `vault`.
    fn name(&self) -> &str;

    /// Asks once; whoever calls decides when to ask again.
    ///
    /// # Errors
    /// [`UpstreamError`].
    fn sign_issuer(&self, request: IssuerRequest) -> BoxFuture<'_, Result<UpstreamAnswer, UpstreamError>>;

    /// Its roots of now; `None` when it tells of roots by its answers alone.
    ///
    /// # Errors
    /// [`UpstreamError`].
    fn roots(&self) -> BoxFuture<'_, Result<Option<UpstreamRoots>, UpstreamError>> {
        Box::pin(future::ready(Ok(None)))
    }
}
