//! What a list says, and when the next one is due. Pure.

use std::time::Duration;

use pki::crl::RevokedSerial;
use pki::{RevocationList, Sha256Digest, Timestamp};

use super::{CLOCK_SKEW, Revocation};

/// From when to when a list is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updates {
    /// Back-dated, for verifiers whose clock is behind.
    pub this_update: Timestamp,
    /// From here on it is stale.
    pub next_update: Timestamp,
}

/// How long the lists of a CA live whose leaves live for `longest_leaf` at most: as configured, and so long that at half of it, when the next
/// one is due, the list outlives each leaf. What a CA signed last stays good after its key is gone.
#[must_use]
pub fn life_of_lists(configured: Duration, longest_leaf: Duration) -> Duration {
    configured.max(longest_leaf.saturating_add(CLOCK_SKEW).saturating_mul(2))
}

/// The dates of a list that is signed at `now`.
#[must_use]
pub fn updates(now: Timestamp, life: Duration) -> Updates {
    Updates { this_update: now.minus(CLOCK_SKEW), next_update: now.plus(life) }
}

/// The certificates that stand on the list of the CA with this key at `now`, by serial: each that was revoked and may still be accepted.
/// One whose CA is not known stands on the list of each.
#[must_use]
pub fn entries_of(issuer_key: &Sha256Digest, revocations: &[Revocation], now: Timestamp) -> Vec<RevokedSerial> {
    let mut entries: Vec<_> = revocations
        .iter()
        .filter(|revocation| revocation.is_listed(now) && revocation.issuer_key.is_none_or(|key| key == *issuer_key))
        .map(|revocation| RevokedSerial {
            serial: revocation.serial.clone(),
            revoked_at: revocation.revoked_at,
            reason: revocation.reason,
        })
        .collect();
    entries.sort_unstable();
    entries.dedup_by(|a, b| a.serial == b.serial);
    entries
}

/// Why a list is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// There is none.
    First,
    /// Something is revoked that it does not name.
    Entries,
    /// Half of its life is over.
    Age,
}

/// Whether the next list is due. What has left since does not make it so: to name what has ended does no harm.
#[must_use]
pub fn due(list: Option<&RevocationList>, entries: &[RevokedSerial], now: Timestamp) -> Option<Due> {
    let Some(list) = list else { return Some(Due::First) };
    if !entries.iter().all(|entry| list.contains(&entry.serial)) {
        return Some(Due::Entries);
    }
    let life = list.next_update().since(list.this_update());
    // By a clock that was set back it is not begun: the next one is.
    if now < list.this_update() || list.this_update().plus(life / 2) <= now { Some(Due::Age) } else { None }
}

/// From when on an operator is told that a list that is made elsewhere ends: a third of its life before.
#[must_use]
pub fn alarm_at(list: &RevocationList) -> Timestamp {
    let life = list.next_update().since(list.this_update());
    list.next_update().minus(life / 3)
}

#[cfg(test)]
mod tests;
