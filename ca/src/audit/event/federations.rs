//! Relationships with other trust domains.

use identity::TrustDomain;
use pki::Sha256Digest;

use crate::federation::Federation;

/// What happened to a relationship with another trust domain.
#[derive(Clone, Debug)]
pub enum FederationAction {
    /// It was added.
    Added(Federation),
    /// It was removed; this is what it was.
    Removed(Federation),
    /// A newer bundle of the trust domain was taken.
    BundleTaken {
        /// Whose.
        trust_domain: TrustDomain,
        /// Its sequence.
        sequence: u64,
        /// SHA-256 of the document.
        content: Sha256Digest,
    },
}

impl FederationAction {
    /// See [`super::AuditEvent::kind`].
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Added(_) => "federation_added",
            Self::Removed(_) => "federation_removed",
            Self::BundleTaken { .. } => "foreign_bundle_taken",
        }
    }
}
