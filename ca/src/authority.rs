//! The signing authority: a CA certificate with its key, the path to its root, and the proof that they belong together.
//!
//! Pure: files come as bytes with their names, time as an argument. A set is verified whole before any of it is used;
//! what is wrong with it is told by file and reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustDomain;
use pki::{Certificate, KeyProtection, LeafProfile, Signer, Timestamp, covers_default_ttl};
use zeroize::Zeroizing;

mod error;
pub mod lifecycle;
mod verify;

pub use error::{AuthorityError, NotReady};

/// The content of one file of a set.
#[derive(Debug)]
pub struct AuthorityFile<T> {
    /// Its path, for errors.
    pub path: PathBuf,
    /// What it holds; `None` when there is no such file.
    pub content: Option<T>,
}

/// A set of files as found, before anything in them is believed.
#[derive(Debug)]
pub struct AuthorityFiles {
    /// The CA certificate first; certificates after it are intermediates.
    pub certificate: AuthorityFile<Vec<u8>>,
    /// Its private key.
    pub key: AuthorityFile<KeyContent>,
    /// Intermediates; `None` when the layout has no such file.
    pub chain: Option<AuthorityFile<Vec<u8>>>,
    /// The roots, at least one.
    pub roots: AuthorityFile<Vec<u8>>,
    /// How a key that lies in the file must be protected.
    pub protection: KeyProtection,
}

/// What the key file of a set gives.
#[derive(Debug)]
pub enum KeyContent {
    /// The key itself.
    Pem(PrivatePem),
    /// A key that lies elsewhere, which the file names.
    Held(Arc<dyn Signer>),
}

/// The bytes of a private key file. `Debug` shows none of them.
pub struct PrivatePem(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivatePem(..)")
    }
}

/// A verified authority. Only [`SigningAuthority::verify`] makes one; its key leaves only through `ca::issuance`.
pub struct SigningAuthority {
    trust_domain: TrustDomain,
    key: Arc<dyn Signer>,
    /// From the CA certificate upwards, without the root.
    path: Vec<Certificate>,
    certificate: Certificate,
    root: Certificate,
    roots: Vec<Certificate>,
}

impl std::fmt::Debug for SigningAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningAuthority")
            .field("subject", &self.certificate.subject())
            .field("not_after", &self.certificate.not_after())
            .finish_non_exhaustive()
    }
}

impl SigningAuthority {
    /// Verifies a set of files whole, at `now`.
    ///
    /// The path runs from the CA certificate to a root of the set; every certificate on it is a CA's, may sign certificates, is valid
    /// at `now` and does not outlive its issuer. Every root is self-signed and fit for a trust bundle of `trust_domain`. The key is the
    /// certificate's and signs. A trial leaf, which is never signed, names the CA byte for byte and passes the lints.
    ///
    /// # Errors
    /// [`AuthorityError`], naming the file and the reason.
    pub async fn verify(files: AuthorityFiles, trust_domain: &TrustDomain, now: Timestamp) -> Result<Self, AuthorityError> {
        verify::verify(files, trust_domain, now).await
    }

    /// The CA certificate that signs leaves.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What follows the leaf in a chain: the CA certificate and intermediates, without the root. Empty when the root itself signs.
    #[must_use]
    pub fn path(&self) -> &[Certificate] {
        &self.path
    }

    /// The root that the path leads to: what agents pin, and the last certificate of a handshake that they have not pinned yet.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        &self.root
    }

    /// Every root of the set, for the trust bundle.
    #[must_use]
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// The trust domain that it signs for.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The moment from which on status, readiness and metrics warn: half the CA certificate's life.
    #[must_use]
    pub fn half_life(&self) -> Timestamp {
        let life = self.certificate.not_after().since(self.certificate.not_before());
        self.certificate.not_before().plus(life / 2)
    }

    /// Whether half of the CA certificate's life has passed.
    #[must_use]
    pub fn is_past_half_life(&self, now: Timestamp) -> bool {
        self.half_life() <= now
    }

    /// Ready: a whole leaf of the default TTL can be made now, and will be for 2 x TTL.
    ///
    /// # Errors
    /// [`NotReady`], naming the dates.
    pub fn check_ready(&self, profile: &LeafProfile, now: Timestamp) -> Result<(), NotReady> {
        let later = now.plus(profile.default_ttl().saturating_mul(2));
        if covers_default_ttl(profile, now, &self.certificate) && covers_default_ttl(profile, later, &self.certificate) {
            return Ok(());
        }
        Err(NotReady {
            issuer_not_after: self.certificate.not_after(),
            default_ttl: profile.default_ttl(),
            covered_until: self.certificate.not_after().plus(Duration::from_secs(1)).minus(profile.default_ttl()),
        })
    }

    /// The key. Only `ca::issuance` uses it.
    pub(crate) fn key(&self) -> &dyn Signer {
        &self.key
    }
}

#[cfg(test)]
mod tests;
