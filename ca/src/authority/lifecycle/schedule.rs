//! When an authority is replaced by itself.

use std::time::Duration;

use pki::{LeafProfile, Timestamp, covers_default_ttl};

use super::{Authority, AuthorityKind, Lifecycle, Slot};

/// How authorities are replaced without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a JWT key signs.
    pub jwt_key_life: Duration,
    /// Issuing CAs are signed by somebody else, who may be away for long: their successors are asked for before half of their life is over.
    pub is_issuer_foreign: bool,
}

/// When the active authority of a kind should have a successor. An issuing CA: at half life, or at two fifths of it where somebody else
/// signs it; a root: at a third left; a JWT key: when
/// it has signed for long enough. `None` before it was made.
#[must_use]
pub fn due_at(active: &Authority, policy: Policy) -> Option<Timestamp> {
    let material = active.material.as_ref()?;
    if let (AuthorityKind::Issuer, true, Some(not_after)) = (active.name.kind, policy.is_issuer_foreign, material.not_after) {
        // Since it signs: its certificate may be back-dated by whoever made it.
        return Some(active.since.plus(not_after.since(active.since) / 5 * 2));
    }
    let after = match (active.name.kind, material.not_after) {
        (AuthorityKind::Issuer, Some(not_after)) => not_after.since(material.not_before) / 2,
        (AuthorityKind::Root, Some(not_after)) => not_after.since(material.not_before) / 3 * 2,
        (AuthorityKind::Jwt, _) => policy.jwt_key_life,
        (AuthorityKind::Root | AuthorityKind::Issuer, None) => return None,
    };
    Some(material.not_before.plus(after))
}

/// Whether the active authority of a kind should have a successor by now.
#[must_use]
pub fn is_due(active: &Authority, policy: Policy, now: Timestamp) -> bool {
    due_at(active, policy).is_some_and(|due| due <= now)
}

/// The kinds of which a successor is due, the most urgent first: an issuing CA's end hurts first, and a root gives it its life.
pub fn due(state: &Lifecycle, policy: Policy, now: Timestamp) -> impl Iterator<Item = AuthorityKind> {
    let kinds = [AuthorityKind::Issuer, AuthorityKind::Root, AuthorityKind::Jwt];
    kinds.into_iter().filter(move |kind| state.active(*kind).is_some_and(|active| is_due(active, policy, now)))
}

/// Whether the active issuing CA cannot wait: soon it could not give whole leaves. A successor under the same root then signs at
/// once, whatever else is under way.
#[must_use]
pub fn is_issuer_urgent(state: &Lifecycle, profile: &LeafProfile, certificate: &pki::Certificate, now: Timestamp) -> bool {
    let later = now.plus(profile.default_ttl().saturating_mul(2));
    let active = state.active(AuthorityKind::Issuer).is_some_and(|issuer| issuer.slot == Slot::Active);
    active && !covers_default_ttl(profile, later, certificate)
}
