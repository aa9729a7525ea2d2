//! The high-water mark of issuance: the latest time at which anything was recorded to be signed.

use pki::Timestamp;
use rusqlite::Connection;

use super::columns::{first, seconds, time};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::issuance_clock::not_behind;
use crate::store::StoreError;

pub(super) fn latest(connection: &Connection) -> Result<Timestamp, StoreError> {
    let latest = first(connection, "SELECT latest FROM issuance_clock", [], |row| time(row, "latest"))?;
    latest.ok_or_else(|| {
        StoreError::Unavailable("the time of the latest issuance is missing: the store was tampered with".to_owned())
    })
}

/// In the transaction of what is recorded at `now`: whatever looked at the clock before, this is what counts.
pub(super) fn advance(unit: &mut Unit<'_>, now: Timestamp) -> Result<(), StoreError> {
    let latest = unit.latest_issuance()?;
    not_behind(now, latest)?;
    if now > latest { unit.set_latest_issuance(now) } else { Ok(()) }
}

/// Writes the mark.
pub(super) fn set_latest(connection: &Connection, latest: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE issuance_clock SET latest = ?1")?.execute([seconds(latest)]).map(drop)
}

/// An operator says that the clock is right now; answers with the mark that stood.
pub(super) fn accept(unit: &mut Unit<'_>, actor: Actor, now: Timestamp) -> Result<Timestamp, StoreError> {
    let latest = unit.latest_issuance()?;
    unit.set_latest_issuance(now)?;
    unit.audit(&AuditEvent { actor, action: Action::ClockAccepted { latest } }, now)?;
    Ok(latest)
}
