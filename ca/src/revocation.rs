//! Which certificates were called back before their end: asked wherever a certificate of ours opens something.

use pki::SerialNumber;

/// Knows which serials of this CA were revoked. The answer is of now, and costs no query.
pub trait RevocationSource: Send + Sync {
    /// Whether the certificate of this serial was revoked.
    fn is_revoked(&self, serial: &SerialNumber) -> bool;
}

/// A CA whose operators cannot revoke anything yet: certificates end by their dates alone.
#[derive(Clone, Copy, Debug)]
pub struct NothingRevoked;

impl RevocationSource for NothingRevoked {
    fn is_revoked(&self, _serial: &SerialNumber) -> bool {
        false
    }
}
