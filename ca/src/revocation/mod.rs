//! What was called back before its end: asked wherever a certificate of ours opens something, or one is asked for; and the lists that say
//! so to everybody else.

mod authorities;
mod check;
mod import;
mod keeper;
pub mod lists;
mod metrics;
mod pages;
mod published;
mod publishing;
mod records;
mod signing;

use std::sync::Arc;

use identity::SpiffeId;
use pki::SerialNumber;
use tokio::sync::watch;

pub(crate) use check::without_lists;
pub(crate) use keeper::{Keeper, KeeperParts, Lists};
pub(crate) use metrics::RevocationMetrics;
pub(crate) use pages::Pages;
pub(crate) use published::Published;
pub use records::{CLOCK_SKEW, DeniedIdentity, ListIntent, Outcome, Revocation, Revoked, StoredList, Target};

/// Knows which serials of this CA were revoked, and which identities are denied. The answer is of now, and costs no query.
pub trait RevocationSource: Send + Sync {
    /// Whether the certificate of this serial was revoked.
    fn is_revoked(&self, serial: &SerialNumber) -> bool;

    /// Whether nothing is issued for this identity.
    fn is_denied(&self, id: &SpiffeId) -> bool;
}

/// As the store says it: from the commit of a revocation on.
#[derive(Clone, Debug)]
pub struct StoredRevocations(pub watch::Receiver<Arc<Revoked>>);

impl RevocationSource for StoredRevocations {
    fn is_revoked(&self, serial: &SerialNumber) -> bool {
        self.0.borrow().serials.contains(serial)
    }

    fn is_denied(&self, id: &SpiffeId) -> bool {
        self.0.borrow().denied.contains(id)
    }
}
