//! How far each node was with the bundle when it was last heard. Kept with its record, and gone with it.

use std::collections::HashMap;

use super::connection::Connection;
use identity::NodeName;

use super::columns::{all, integer, number, parsed, run, seconds, time};
use super::writer::Unit;
use crate::store::{Settled, StoreError};

pub(in crate::store) fn acknowledge(unit: &mut Unit<'_>, node: &NodeName, sequence: u64) -> Result<(), StoreError> {
    run(
        unit.connection(),
        "INSERT INTO bundle_acknowledgements (node, sequence) SELECT node, ?2 FROM nodes WHERE node = ?1 AND state = 'attested'
         ON CONFLICT (node) DO UPDATE SET sequence = excluded.sequence WHERE excluded.sequence > bundle_acknowledgements.sequence",
        (node.as_str(), integer(sequence)?),
    )?;
    Ok(())
}

pub(in crate::store) fn settle(unit: &mut Unit<'_>, node: &NodeName, settled: Settled) -> Result<(), StoreError> {
    let Settled { sequence, at } = settled;
    // The time is that of the first word about a sequence: the hold of files counts from there.
    run(
        unit.connection(),
        "INSERT INTO bundle_acknowledgements (node, sequence, settled, settled_at)
         SELECT node, ?2, ?2, ?3 FROM nodes WHERE node = ?1 AND state = 'attested'
         ON CONFLICT (node) DO UPDATE SET settled = excluded.settled, settled_at = excluded.settled_at,
         sequence = CASE WHEN excluded.sequence > bundle_acknowledgements.sequence THEN excluded.sequence
                         ELSE bundle_acknowledgements.sequence END
         WHERE bundle_acknowledgements.settled IS NULL OR excluded.settled > bundle_acknowledgements.settled",
        (node.as_str(), integer(sequence)?, seconds(at)),
    )?;
    Ok(())
}

/// What is known of another key's agent says nothing of the one that has the name now.
pub(in crate::store) fn forget(unit: &Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    run(unit.connection(), "DELETE FROM bundle_acknowledgements WHERE node = ?1", [node.as_str()])?;
    Ok(())
}

pub(in crate::store) fn acknowledged(connection: Connection<'_>) -> Result<HashMap<NodeName, u64>, StoreError> {
    let rows = all(connection, "SELECT node, sequence FROM bundle_acknowledgements", (), |row| {
        Ok((parsed(row, "node", NodeName::parse)?, number(row, "sequence")?))
    })?;
    Ok(rows.into_iter().collect())
}

pub(in crate::store) fn settled(connection: Connection<'_>) -> Result<HashMap<NodeName, Settled>, StoreError> {
    let sql = "SELECT node, settled, settled_at FROM bundle_acknowledgements WHERE settled IS NOT NULL";
    let rows = all(connection, sql, (), |row| {
        Ok((parsed(row, "node", NodeName::parse)?, Settled { sequence: number(row, "settled")?, at: time(row, "settled_at")? }))
    })?;
    Ok(rows.into_iter().collect())
}
