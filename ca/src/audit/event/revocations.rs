//! What was called back.

use identity::SpiffeId;
use pki::crl::RevocationReason;

use crate::revocation::{ListIntent, Revocation, Target};

/// What happened to a certificate or an identity, or to a list that says so.
#[derive(Clone, Debug)]
pub enum RevocationAction {
    /// A certificate was revoked.
    CertificateRevoked {
        /// Which, and why.
        revocation: Revocation,
        /// What the operator named.
        target: Target,
    },
    /// Nothing is issued for an identity any more.
    IdentityDenied {
        /// Which.
        id: SpiffeId,
        /// Why.
        reason: RevocationReason,
    },
    /// An identity is issued again.
    IdentityRestored {
        /// Which.
        id: SpiffeId,
    },
    /// A revocation list is about to be signed.
    ListIntended(ListIntent),
}

impl RevocationAction {
    /// See [`super::AuditEvent::kind`].
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::CertificateRevoked { .. } => "certificate_revoked",
            Self::IdentityDenied { .. } => "identity_denied",
            Self::IdentityRestored { .. } => "identity_restored",
            Self::ListIntended(_) => "revocation_list_intended",
        }
    }
}
