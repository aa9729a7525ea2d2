//! What is revoked, as the store keeps it.

use std::collections::HashSet;
use std::time::Duration;

use identity::{NodeName, SpiffeId};
use pki::crl::RevocationReason;
use pki::{SerialNumber, Sha256Digest, Timestamp};

use crate::records::EntryId;

/// How far the clocks of verifiers may be from the CA's: for so long after its end a certificate stays on its list, and by so much a list
/// is back-dated.
pub const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One certificate.
    Serial(SerialNumber),
    /// Each certificate of an identity, which is denied from then on.
    Identity(SpiffeId),
    /// Each certificate that was issued to a node, its own among them; the node is banned.
    Node(NodeName),
    /// Each certificate that was issued for an entry, there or deleted.
    Entry(EntryId),
}

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub serial: SerialNumber,
    /// SHA-256 of the SubjectPublicKeyInfo of the CA that was to sign it; `None` where the ledger does not say, so that it stands on the
    /// list of each CA.
    pub issuer_key: Option<Sha256Digest>,
    /// Its identity.
    pub subject: SpiffeId,
    /// Whom it was issued to, as the ledger has it.
    pub caller: String,
    /// Its last second.
    pub not_after: Timestamp,
    /// Since when.
    pub revoked_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

impl Revocation {
    /// Whether its list must name it at `now`.
    #[must_use]
    pub fn is_listed(&self, now: Timestamp) -> bool {
        now <= self.not_after.plus(CLOCK_SKEW)
    }
}

/// An identity that nothing is issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedIdentity {
    /// Which.
    pub id: SpiffeId,
    /// Since when.
    pub denied_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// What revoking did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was not revoked before, the one that ends last first.
    pub revoked: Vec<Revocation>,
    /// How many of those meant were revoked before.
    pub revoked_before: u64,
    /// The identity was not denied before.
    pub identity_denied: bool,
    /// The node was not banned before.
    pub node_banned: bool,
}

/// The newest list of a CA, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredList {
    /// SHA-256 of the SubjectPublicKeyInfo of the CA.
    pub issuer_key: Sha256Digest,
    /// The certificate of the CA.
    pub issuer_der: Vec<u8>,
    /// The highest number that was to be signed.
    pub number: u64,
    /// The list that was signed last; its number may be lower.
    pub list_der: Option<Vec<u8>>,
}

/// A list that is about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListIntent {
    /// SHA-256 of the SubjectPublicKeyInfo of the CA.
    pub issuer_key: Sha256Digest,
    /// The certificate of the CA.
    pub issuer_der: Vec<u8>,
    /// Its number.
    pub number: u64,
    /// When it is stale.
    pub next_update: Timestamp,
    /// How many certificates it names.
    pub entries: u64,
    /// SHA-256 of the bytes that will be signed.
    pub tbs: Sha256Digest,
}

/// What is revoked now: published with the commit that makes it so, before whoever asked for it hears that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Serials of certificates.
    pub serials: HashSet<SerialNumber>,
    /// Identities that are denied.
    pub denied: HashSet<SpiffeId>,
}
