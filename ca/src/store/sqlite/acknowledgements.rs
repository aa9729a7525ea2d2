//! How far each node was with the bundle when it was last heard. Kept with its record, and gone with it.

use std::collections::HashMap;

use identity::NodeName;
use rusqlite::Connection;

use super::columns::{all, integer, number, parsed, run, seconds, time};
use super::writer::Unit;
use crate::store::{Settled, StoreError};

pub(super) fn acknowledge(unit: &mut Unit<'_>, node: &NodeName, sequence: u64) -> Result<(), StoreError> {
    run(
        unit.connection(),
        "INSERT INTO bundle_acknowledgements (node, sequence) SELECT node, ?2 FROM nodes WHERE node = ?1 AND state = 'attested'
         ON CONFLICT (node) DO UPDATE SET sequence = excluded.sequence WHERE excluded.sequence > sequence",
        (node.as_str(), integer(sequence)?),
    )?;
    Ok(())
}

pub(super) fn settle(unit: &mut Unit<'_>, node: &NodeName, settled: Settled) -> Result<(), StoreError> {
    let Settled { sequence, at } = settled;
    // The time is that of the first word about a sequence: the hold of files counts from there.
    run(
        unit.connection(),
        "INSERT INTO bundle_acknowledgements (node, sequence, settled, settled_at)
         SELECT node, ?2, ?2, ?3 FROM nodes WHERE node = ?1 AND state = 'attested'
         ON CONFLICT (node) DO UPDATE SET sequence = max(sequence, excluded.sequence), settled = excluded.settled,
         settled_at = excluded.settled_at WHERE settled IS NULL OR excluded.settled > settled",
        (node.as_str(), integer(sequence)?, seconds(at)),
    )?;
    Ok(())
}

/// What is known of another key's agent says nothing of the one that has the name now.
pub(super) fn forget(unit: &Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    run(unit.connection(), "DELETE FROM bundle_acknowledgements WHERE node = ?1", [node.as_str()])?;
    Ok(())
}

pub(super) fn acknowledged(connection: &Connection) -> Result<HashMap<NodeName, u64>, StoreError> {
    let rows = all(connection, "SELECT node, sequence FROM bundle_acknowledgements", [], |row| {
        Ok((parsed(row, "node", NodeName::parse)?, number(row, "sequence")?))
    })?;
    Ok(rows.into_iter().collect())
}

pub(super) fn settled(connection: &Connection) -> Result<HashMap<NodeName, Settled>, StoreError> {
    let sql = "SELECT node, settled, settled_at FROM bundle_acknowledgements WHERE settled IS NOT NULL";
    let rows = all(connection, sql, [], |row| {
        Ok((parsed(row, "node", NodeName::parse)?, Settled { sequence: number(row, "settled")?, at: time(row, "settled_at")? }))
    })?;
    Ok(rows.into_iter().collect())
}
