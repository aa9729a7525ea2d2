//! The high-water mark of issuance: the latest time at which anything was recorded to be signed.

use super::connection::{Connection, DatabaseError};
use pki::Timestamp;

use super::columns::{first, seconds, time};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::issuance_clock::not_behind;
use crate::store::StoreError;

pub(in crate::store) fn latest(connection: Connection<'_>) -> Result<Timestamp, StoreError> {
    let latest = first(connection, "SELECT latest FROM issuance_clock", (), |row| time(row, "latest"))?;
    latest.ok_or_else(|| {
        StoreError::Unavailable("the time of the latest issuance is missing: the store was tampered with".to_owned())
    })
}

/// In the transaction of what is recorded at `now`: whatever looked at the clock before, this is what counts.
pub(in crate::store) fn advance(unit: &mut Unit<'_>, now: Timestamp) -> Result<(), StoreError> {
    let latest = unit.latest_issuance()?;
    not_behind(now, latest)?;
    if now > latest { unit.set_latest_issuance(now) } else { Ok(()) }
}

/// Writes the mark.
pub(in crate::store) fn set_latest(connection: Connection<'_>, latest: Timestamp) -> Result<(), DatabaseError> {
    connection.execute("UPDATE issuance_clock SET latest = ?1", &[seconds(latest)]).map(drop)
}

/// An operator says that the clock is right now; answers with the mark that stood.
pub(in crate::store) fn accept(unit: &mut Unit<'_>, actor: Actor, now: Timestamp) -> Result<Timestamp, StoreError> {
    let latest = unit.latest_issuance()?;
    unit.set_latest_issuance(now)?;
    unit.audit(&AuditEvent { actor, action: Action::ClockAccepted { latest } }, now)?;
    Ok(latest)
}
