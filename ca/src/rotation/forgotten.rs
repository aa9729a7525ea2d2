//! Keys that were in the memory of a process which has ended: what a start makes of the authorities whose keys they were.
//!
//! Upstream signs another issuing CA, another JWT key is made, and what signed before is tainted: it can sign nothing any more, neither a
//! successor's way back nor a revocation list, so that nothing should rest on it for longer than renewing takes. What it signed stays good
//! meanwhile, by the bundle.

use pki::{Certificate, Timestamp};

use super::adoption::AdoptionError;
use super::journal::Journal;
use super::materials::{MaterialError, Materials, certificate_of};
use crate::authority::lifecycle::gate::Gate;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Event, Lifecycle, MOST_IN_FORCE, Slot};
use crate::keystore::generations;
use crate::store::Actor;
use crate::upstream::desk::UpstreamDesk;

/// Drops what was prepared and lost its key, and has upstream sign the issuing CA that is needed: the first one, or one in place of that whose
/// key is gone. A start takes it over.
///
/// # Errors
/// [`AdoptionError`]: nothing would sign.
pub(crate) async fn enrol(journal: &mut Journal, materials: &Materials, now: Timestamp) -> Result<(), AdoptionError> {
    let Some(upstream) = materials.upstream() else { return Ok(()) };
    drop_prepared(journal, materials, now).await?;
    let state = journal.state().clone();
    let newest = generations(materials.generations()).map_err(MaterialError::from)?.pop_last().unwrap_or(0);
    let known = state.of(AuthorityKind::Issuer).map(|issuer| issuer.name.number).max().unwrap_or(0);
    let named = |number| AuthorityName { kind: AuthorityKind::Issuer, number };
    // What lies on disk and is newer is taken over, whatever signed before.
    let signs = if newest > known { Some(named(newest)) } else { state.active(AuthorityKind::Issuer).map(|issuer| issuer.name) };
    match signs {
        Some(name) if !materials.is_forgotten(name)? => return Ok(()),
        None if newest > 0 => return Ok(()),
        Some(_) | None => {}
    }
    let root = state.active(AuthorityKind::Root).map(certificate_of).transpose()?;
    match root {
        Some(root) if upstream.check_signs_under(&root).is_err() => {
            let next = root_that_signs(&state, upstream)?.ok_or_else(|| MaterialError::Upstream(lost_way(&root)))?;
            change_over(journal, materials, &next, now).await
        }
        root => Ok(materials.enrol_as(named(newest.max(known).saturating_add(1)), root.as_ref(), now).await?),
    }
}

/// The root that upstream signs under now, where it was prepared here: its certificates were pushed, so that whoever was there meanwhile has it.
fn root_that_signs(state: &Lifecycle, upstream: &UpstreamDesk) -> Result<Option<Authority>, MaterialError> {
    let published = |root: &&Authority| root.slot == Slot::Prepared && root.published_in.is_some();
    for root in state.of(AuthorityKind::Root).filter(published) {
        if upstream.check_signs_under(&certificate_of(root)?).is_ok() {
            return Ok(Some(root.clone()));
        }
    }
    Ok(None)
}

fn lost_way(root: &Certificate) -> String {
    format!(
        "upstream does not sign under \"{}\" any more, the keys of this CA were in memory, and its agents have no other root: upstream must \
         sign under that root once more (`signet drill root --abort` of an upstream that is a Signet CA). Otherwise take the state directory \
         away: the CA begins anew under the root of now, and its agents join again",
        root.subject()
    )
}

/// Goes over to a root that was prepared, although nobody knows whether everybody has it: under the former one nothing can be signed.
async fn change_over(
    journal: &mut Journal,
    materials: &Materials,
    root: &Authority,
    now: Timestamp,
) -> Result<(), AdoptionError> {
    tracing::warn!(root = %root.name, "upstream signs under the prepared root alone: this CA changes over to it");
    journal.happen(Event::Prepare(AuthorityKind::Root), Actor::System, now).await?;
    let state = journal.state().clone();
    let made = |issuer: &&Authority| issuer.slot == Slot::Making;
    let Some(issuer) = state.under(root.name).find(made).map(|issuer| issuer.name) else { return Ok(()) };
    let material = materials.make_issuer(issuer, root, now).await?;
    journal.happen(Event::Made { name: issuer, material }, Actor::System, now).await?;
    journal.happen(Event::Activate { name: root.name, gate: Gate::Open }, Actor::System, now).await?;
    Ok(())
}

/// What was to sign next and cannot: another one is prepared in its place.
async fn drop_prepared(journal: &mut Journal, materials: &Materials, now: Timestamp) -> Result<(), AdoptionError> {
    let state = journal.state().clone();
    for next in state.authorities().filter(|authority| matches!(authority.slot, Slot::Making | Slot::Prepared)) {
        if next.name.kind != AuthorityKind::Root && materials.is_forgotten(next.name)? {
            tracing::info!(name = %next.name, "it was prepared, and its key is gone with the process that made it: it is dropped");
            journal.happen(Event::Revoke { name: next.name, gate: Gate::Open }, Actor::System, now).await?;
        }
    }
    Ok(())
}

/// Has everything renewed that rests on what signed before and cannot any more. There is no way back to it then.
///
/// # Errors
/// [`AdoptionError`].
pub(super) async fn taint_former(
    journal: &mut Journal,
    materials: &Materials,
    kind: AuthorityKind,
    now: Timestamp,
) -> Result<(), AdoptionError> {
    let state = journal.state().clone();
    for old in state.of(kind).filter(|old| old.slot == Slot::Old && old.tainted_at.is_none()) {
        if materials.is_forgotten(old.name)? {
            tracing::warn!(former = %old.name, "its key is gone with the process that made it: what rests on it is renewed");
            journal.happen(Event::Taint(old.name), Actor::System, now).await?;
        }
    }
    // Of keys that verify tokens each is in the bundle, which has room for so many.
    let in_bundle: Vec<_> = state.of(kind).filter(|known| known.is_in_bundle()).collect();
    for old in in_bundle.iter().take(in_bundle.len().saturating_sub(MOST_IN_FORCE)) {
        if kind == AuthorityKind::Jwt && old.slot == Slot::Old && materials.is_forgotten(old.name)? {
            tracing::warn!(former = %old.name, "too many starts within the life of a token: tokens under the oldest key are refused from now on");
            journal.happen(Event::Revoke { name: old.name, gate: Gate::Open }, Actor::System, now).await?;
        }
    }
    Ok(())
}
