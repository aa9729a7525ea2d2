//! What happened to the CA's own authorities.

use pki::{Sha256Digest, Timestamp};

use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::{Outcome, Rotation};
use crate::authority::lifecycle::{AuthorityName, Slot};
use crate::upstream::metrics::UpstreamKind;

/// What happened to an authority, or to the rotation of a kind. Keys are named by the SHA-256 of their SubjectPublicKeyInfo; `None`
/// before there is one.
#[derive(Clone, Debug)]
pub enum AuthorityAction {
    /// It stands in another slot, or is new.
    Moved {
        /// Which.
        name: AuthorityName,
        /// The root over an issuing CA.
        parent: Option<AuthorityName>,
        /// Where it stood; `None`: nowhere.
        from: Option<Slot>,
        /// Where it stands.
        to: Slot,
        /// Its key.
        key: Option<Sha256Digest>,
        /// The last second of its certificate.
        not_after: Option<Timestamp>,
    },
    /// What rests on it is to be renewed at once.
    Tainted {
        /// Which.
        name: AuthorityName,
        /// Its key.
        key: Option<Sha256Digest>,
    },
    /// A bundle with it went out.
    Published {
        /// Which.
        name: AuthorityName,
        /// The sequence of the first such bundle.
        sequence: u64,
    },
    /// A bundle that tells of its taint went out.
    TaintPublished {
        /// Which.
        name: AuthorityName,
        /// The sequence of the first such bundle.
        sequence: u64,
    },
    /// Its private key is gone from this CA.
    KeyDestroyed {
        /// Which.
        name: AuthorityName,
        /// Its key.
        key: Option<Sha256Digest>,
    },
    /// A single step was taken although somebody loses by it: an operator accepted that.
    LossesAccepted {
        /// Which authority the step was about.
        name: AuthorityName,
        /// What was accepted.
        accepted: Accepted,
    },
    /// An issuing CA that came from elsewhere signs from now on.
    UpstreamTaken {
        /// Where it came from.
        upstream: UpstreamKind,
        /// Its key.
        key: Sha256Digest,
        /// The roots that came with it: SHA-256 of their DER.
        roots: Vec<Sha256Digest>,
        /// Its last second.
        not_after: Timestamp,
    },
    /// What came from elsewhere is not used.
    UpstreamRefused {
        /// Where it came from.
        upstream: UpstreamKind,
        /// Why, with the way out.
        why: String,
    },
    /// A rotation was begun.
    RotationStarted(Rotation),
    /// A rotation that is under way is to go on otherwise: it is undone, or more is accepted to be lost.
    RotationChanged(Rotation),
    /// A rotation is over.
    RotationEnded {
        /// What it was to replace.
        from: AuthorityName,
        /// How it ended.
        outcome: Outcome,
    },
}

impl AuthorityAction {
    /// See [`super::AuditEvent::kind`].
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Moved { .. } => "authority_moved",
            Self::Tainted { .. } => "authority_tainted",
            Self::Published { .. } => "authority_published",
            Self::TaintPublished { .. } => "authority_taint_published",
            Self::KeyDestroyed { .. } => "authority_key_destroyed",
            Self::LossesAccepted { .. } => "authority_losses_accepted",
            Self::UpstreamTaken { .. } => "upstream_authority_taken",
            Self::UpstreamRefused { .. } => "upstream_authority_refused",
            Self::RotationStarted(_) => "rotation_started",
            Self::RotationChanged(_) => "rotation_changed",
            Self::RotationEnded { .. } => "rotation_ended",
        }
    }
}
