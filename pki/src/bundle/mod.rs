//! Trust bundles: the authorities of one trust domain.

mod admission;
mod anchor;
mod jwks;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use identity::TrustDomain;

pub use admission::AnchorLapse;
pub(crate) use admission::TrustAnchors;
pub use anchor::AnchorError;
pub(crate) use anchor::{check_anchor, claims_no_revocation, foreign_uri_san};
pub use jwks::{BundleDocument, BundleDocumentError, BundleKeyFault, JwksContent};

use crate::pem::certificate_blocks;
use crate::{Certificate, CertificateError, JwtAuthority, KeyId, Sha256Digest, Timestamp, certificates_to_pem};

/// The most authorities of one kind in a bundle. Path building tries each one whose name fits, so the number must be bounded.
pub const MAX_AUTHORITIES: usize = 64;

/// The most tainted keys that are read with a bundle: issuing CAs, and authorities that have left it, are among them.
pub const MAX_TAINTED_KEYS: usize = 16 * MAX_AUTHORITIES;

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The text is no PEM of certificates.
    #[error(transparent)]
    Pem(CertificateError),
    /// A certificate is not one that is read, such as one of version 1, with the serial zero, or with a weak key or signature.
    #[error("certificate {number} of the trust bundle is refused: {source}; have it issued anew, or take it out")]
    Unreadable {
        /// Its place, from 1.
        number: usize,
        /// Why.
        source: CertificateError,
    },
    /// No authority, or more than [`MAX_AUTHORITIES`].
    #[error("a trust bundle holds 1 to {MAX_AUTHORITIES} authorities, found {found}")]
    Count {
        /// How many it holds.
        found: usize,
    },
    /// A certificate stands in it twice.
    #[error("the authority \"{subject}\" (SHA-256 {sha256}) stands in the trust bundle twice")]
    Duplicate {
        /// Its subject.
        subject: String,
        /// SHA-256 of its DER, in hex.
        sha256: String,
    },
    /// A certificate that must not be an authority.
    #[error("the certificate \"{subject}\" (SHA-256 {sha256}) cannot be a trust anchor: {source}")]
    Anchor {
        /// Its subject.
        subject: String,
        /// SHA-256 of its DER, in hex.
        sha256: String,
        /// Why.
        source: AnchorError,
    },
    /// More than [`MAX_AUTHORITIES`] JWT authorities.
    #[error("a trust bundle holds at most {MAX_AUTHORITIES} JWT authorities, found {found}")]
    JwtCount {
        /// How many it holds.
        found: usize,
    },
    /// Two JWT authorities of one name: nobody could tell which a token means.
    #[error("the trust bundle holds two JWT authorities with the kid {kid:?}", kid = kid.as_str())]
    JwtDuplicate {
        /// Their name.
        kid: KeyId,
    },
}

/// The authorities of one trust domain, each X.509 authority admitted as a trust anchor when the bundle is made (see
/// [`AnchorError`]), and the keys behind its JWT-SVIDs; in the order given. `Clone` is cheap.
///
/// An authority outside its dates may stand in a bundle, so that one that lapses does not break the others: it vouches for nothing,
/// and [`Self::lapsed_at`] names it for whoever loads the bundle to warn of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    authorities: TrustAnchors,
    jwt_authorities: Arc<[JwtAuthority]>,
    tainted_keys: Arc<BTreeSet<Sha256Digest>>,
    sequence: u64,
}

impl TrustBundle {
    /// A bundle of 1 to [`MAX_AUTHORITIES`] authorities without duplicates, and no JWT authorities. `sequence` grows with each
    /// change of the bundle.
    ///
    /// # Errors
    /// [`BundleError`]; one bad authority refuses the whole.
    pub fn new(trust_domain: TrustDomain, authorities: Vec<Certificate>, sequence: u64) -> Result<Self, BundleError> {
        if authorities.is_empty() {
            return Err(BundleError::Count { found: 0 });
        }
        Self::admit(trust_domain, authorities, sequence)
    }

    /// As [`Self::new`], of any number up to the bound: a document may say that nothing is valid any more.
    fn admit(trust_domain: TrustDomain, authorities: Vec<Certificate>, sequence: u64) -> Result<Self, BundleError> {
        let authorities = TrustAnchors::admit(authorities, Some(&trust_domain))?;
        Ok(Self { trust_domain, authorities, jwt_authorities: Arc::new([]), tainted_keys: Arc::default(), sequence })
    }

    /// The same bundle with these JWT authorities, at most [`MAX_AUTHORITIES`] and no two of one name.
    ///
    /// # Errors
    /// [`BundleError::JwtCount`], [`BundleError::JwtDuplicate`].
    pub fn with_jwt_authorities(self, jwt_authorities: Vec<JwtAuthority>) -> Result<Self, BundleError> {
        if jwt_authorities.len() > MAX_AUTHORITIES {
            return Err(BundleError::JwtCount { found: jwt_authorities.len() });
        }
        for (index, authority) in jwt_authorities.iter().enumerate() {
            if jwt_authorities.iter().take(index).any(|earlier| earlier.key_id() == authority.key_id()) {
                return Err(BundleError::JwtDuplicate { kid: authority.key_id().clone() });
            }
        }
        Ok(Self { jwt_authorities: jwt_authorities.into(), ..self })
    }

    /// The same bundle, of which nothing should rest on these keys any more: SHA-256 of the SubjectPublicKeyInfo of roots, of issuing CAs
    /// under them, and of JWT keys. They are as valid as before.
    #[must_use]
    pub fn with_tainted_keys(self, tainted_keys: BTreeSet<Sha256Digest>) -> Self {
        Self { tainted_keys: tainted_keys.into(), ..self }
    }

    /// Keys on which nothing should rest any more; see [`Self::with_tainted_keys`].
    #[must_use]
    pub fn tainted_keys(&self) -> &BTreeSet<Sha256Digest> {
        &self.tainted_keys
    }

    /// A bundle from the certificates of a PEM text.
    ///
    /// # Errors
    /// [`BundleError`]; see [`crate::certificates_from_pem`] and [`Self::new`].
    pub fn from_pem(trust_domain: TrustDomain, pem: &[u8], sequence: u64) -> Result<Self, BundleError> {
        Self::new(trust_domain, bundle_from_pem(pem)?, sequence)
    }

    /// The trust domain that its authorities speak for.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// All X.509 authorities, in the order given, whatever their dates.
    #[must_use]
    pub fn authorities(&self) -> &[Certificate] {
        self.authorities.certificates()
    }

    /// Them as what they were admitted as.
    pub(crate) fn anchors(&self) -> &TrustAnchors {
        &self.authorities
    }

    /// The keys that JWT-SVIDs of the trust domain are verified with, in the order given; may be none.
    #[must_use]
    pub fn jwt_authorities(&self) -> &[JwtAuthority] {
        &self.jwt_authorities
    }

    /// Its number in the order of changes.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// All X.509 authorities as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        certificates_to_pem(self.authorities())
    }

    /// Whether both trust the same: one trust domain, the same authorities of both kinds in any order. Neither the sequence nor the
    /// tainted keys count.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        // Neither holds duplicates, so equal numbers and one inclusion suffice.
        self.trust_domain == other.trust_domain
            && self.authorities().len() == other.authorities().len()
            && self.authorities().iter().all(|authority| other.authorities().contains(authority))
            && self.jwt_authorities.len() == other.jwt_authorities.len()
            && self.jwt_authorities.iter().all(|authority| other.jwt_authorities.contains(authority))
    }

    /// The authorities valid at `now`. Path building itself does not look at the dates of anchors.
    pub fn valid_at(&self, now: Timestamp) -> impl Iterator<Item = &Certificate> {
        self.authorities().iter().filter(move |authority| authority.is_valid_at(now))
    }

    /// The authorities outside their dates at `now`, which vouch for nothing: to be warned of where a bundle is loaded.
    #[must_use]
    pub fn lapsed_at(&self, now: Timestamp) -> Vec<AnchorLapse> {
        self.authorities.lapsed_at(now)
    }
}

/// The certificates of a bundle's PEM text; a fault names the one that has it.
pub(crate) fn bundle_from_pem(pem: &[u8]) -> Result<Vec<Certificate>, BundleError> {
    certificate_blocks(pem)
        .map_err(BundleError::Pem)?
        .iter()
        .enumerate()
        .map(|(index, der)| Certificate::from_der(der).map_err(|source| BundleError::Unreadable { number: index + 1, source }))
        .collect()
}
