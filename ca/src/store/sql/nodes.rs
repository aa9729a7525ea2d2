//! Nodes and their standing.

use super::connection::{Connection, Row};
use identity::NodeName;
use pki::{SerialNumber, Sha256Digest, Timestamp, sha256};

use super::columns::{all, first, parsed, run, seconds, serial, time, unreadable};
use super::writer::Unit;
use super::{acknowledgements, agent_pods, certificates};
use crate::audit::{Action, Actor, AuditEvent, NodeKeyChange};
use crate::records::{AgentSvidRecord, NodeRecord, NodeState, SvidGrounds};
use crate::store::{Change, StoreError};

/// Puts the node on record with this key. The caller has checked that neither the name nor the key is banned, and that the key is
/// no other node's.
pub(in crate::store) fn register(
    unit: &mut Unit<'_>,
    node: &NodeName,
    node_key_spki: &[u8],
    now: Timestamp,
) -> Result<(NodeRecord, NodeKeyChange), StoreError> {
    let known = find(unit.connection(), node)?;
    let change = match known.as_ref().and_then(|record| record.node_key_spki.as_deref()) {
        None => NodeKeyChange::Registered,
        Some(known) if known == node_key_spki => NodeKeyChange::Kept,
        Some(former) => NodeKeyChange::Replaced { former: sha256(former) },
    };
    let mut record = NodeRecord {
        node: node.clone(),
        node_key_spki: Some(node_key_spki.to_vec()),
        state: NodeState::Attested,
        current: None,
        previous: None,
        attested_at: now,
    };
    // The SVIDs on record, and what was acknowledged, are those of the key on record: they stay with it, and go with it.
    if let (NodeKeyChange::Kept, Some(known)) = (&change, known) {
        (record.current, record.previous) = (known.current, known.previous);
    } else {
        acknowledgements::forget(unit, node)?;
    }
    write(unit, &record)?;
    Ok((record, change))
}

pub(in crate::store) fn set_svid(
    unit: &mut Unit<'_>,
    node: NodeName,
    svid: AgentSvidRecord,
    grounds: SvidGrounds,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut record =
        find(unit.connection(), &node)?.ok_or_else(|| StoreError::NotFound { what: "node", name: node.to_string() })?;
    match record.state {
        NodeState::Attested => {}
        NodeState::Banned => return Err(StoreError::Banned { node }),
    }
    let AgentSvidRecord { serial, not_after } = svid.clone();
    let action = match grounds {
        SvidGrounds::Attestation { node_key_spki } | SvidGrounds::Reattestation { node_key_spki }
            if record.node_key_spki.as_ref() != Some(&node_key_spki) =>
        {
            return Err(StoreError::Superseded { node });
        }
        SvidGrounds::Attestation { .. } => {
            record.previous = record.current.take();
            Action::NodeAttested { node: node.clone(), serial, not_after }
        }
        SvidGrounds::Reattestation { .. } => {
            record.previous = record.current.take();
            record.attested_at = now;
            Action::NodeReattested { node: node.clone(), serial, not_after }
        }
        SvidGrounds::Renewal { presented } => {
            let is = |svid: &Option<AgentSvidRecord>| svid.as_ref().is_some_and(|svid| svid.serial == presented);
            if is(&record.current) {
                record.previous = record.current.take();
            } else if !is(&record.previous) {
                return Err(StoreError::Superseded { node });
            }
            // Presented with the previous one, the current never arrived: it gives way, and the one in use stays.
            Action::AgentRenewed { node: node.clone(), serial, not_after, presented }
        }
    };
    record.current = Some(svid);
    write(unit, &record)?;
    unit.audit(&AuditEvent { actor: Actor::Agent(node), action }, now)
}

pub(in crate::store) fn evict(unit: &mut Unit<'_>, node: NodeName, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    let record = find(unit.connection(), &node)?.ok_or_else(|| StoreError::NotFound { what: "node", name: node.to_string() })?;
    match record.state {
        NodeState::Attested => {}
        NodeState::Banned => return Err(StoreError::Banned { node }),
    }
    forget(unit, &node)?;
    let node_key = key_name(&record);
    unit.audit(&AuditEvent { actor, action: Action::NodeEvicted { node, node_key } }, now)
}

pub(in crate::store) fn ban(unit: &mut Unit<'_>, node: NodeName, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    let record = match find(unit.connection(), &node)? {
        Some(record) => NodeRecord { state: NodeState::Banned, ..record },
        None => NodeRecord {
            node: node.clone(),
            node_key_spki: None,
            state: NodeState::Banned,
            current: None,
            previous: None,
            attested_at: now,
        },
    };
    forget_used_tokens(unit, &node)?;
    write(unit, &record)?;
    let node_key = key_name(&record);
    unit.audit(&AuditEvent { actor, action: Action::NodeBanned { node, node_key } }, now)
}

pub(in crate::store) fn unban(unit: &mut Unit<'_>, node: NodeName, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    let record = find(unit.connection(), &node)?
        .filter(|record| record.state == NodeState::Banned)
        .ok_or_else(|| StoreError::NotFound { what: "banned node", name: node.to_string() })?;
    forget(unit, &node)?;
    let node_key = key_name(&record);
    unit.audit(&AuditEvent { actor, action: Action::NodeUnbanned { node, node_key } }, now)
}

pub(in crate::store) fn find(connection: Connection<'_>, node: &NodeName) -> Result<Option<NodeRecord>, StoreError> {
    first(connection, "SELECT * FROM nodes WHERE node = ?1", [node.as_str()], read)
}

pub(in crate::store) fn is_banned(connection: Connection<'_>, node: &NodeName) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM nodes WHERE node = ?1 AND state = ?2";
    Ok(first(connection, sql, (node.as_str(), state_text(NodeState::Banned)), |_| Ok(()))?.is_some())
}

/// Takes an agent SVID off the record that has it, if one does: it opens no session from then on, and its node has to prove its key.
pub(in crate::store) fn forget_svid(unit: &mut Unit<'_>, serial: &SerialNumber) -> Result<(), StoreError> {
    let sql = "SELECT * FROM nodes WHERE current_serial = ?1 OR previous_serial = ?1";
    let Some(mut record) = first(unit.connection(), sql, [serial.as_bytes()], read)? else { return Ok(()) };
    let keep = |svid: Option<AgentSvidRecord>| svid.filter(|svid| svid.serial != *serial);
    (record.current, record.previous) = (keep(record.current), keep(record.previous));
    write(unit, &record)
}

pub(in crate::store) fn find_by_key(connection: Connection<'_>, node_key_spki: &[u8]) -> Result<Option<NodeRecord>, StoreError> {
    first(connection, "SELECT * FROM nodes WHERE node_key = ?1", [node_key_spki], read)
}

pub(in crate::store) fn list(connection: Connection<'_>) -> Result<Vec<NodeRecord>, StoreError> {
    all(connection, "SELECT * FROM nodes ORDER BY node", (), read)
}

/// A used token, certificate or pod lets the key that used it attest again, which it must not once its node is evicted or banned.
fn forget_used_tokens(unit: &Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    run(unit.connection(), "DELETE FROM tokens WHERE node = ?1 AND bound_key IS NOT NULL", [node.as_str()])?;
    certificates::spend(unit, node)?;
    agent_pods::spend(unit, node)
}

fn forget(unit: &mut Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    forget_used_tokens(unit, node)?;
    run(unit.connection(), "DELETE FROM nodes WHERE node = ?1", [node.as_str()])?;
    unit.changed(Change::Node(node.clone()));
    Ok(())
}

fn write(unit: &mut Unit<'_>, record: &NodeRecord) -> Result<(), StoreError> {
    let NodeRecord { node, node_key_spki, state, current, previous, attested_at } = record;
    run(
        unit.connection(), // A conflict on the key is an error: one node never pushes another, or a ban, off the record.
        "INSERT INTO nodes
         (node, node_key, state, attested_at, current_serial, current_not_after, previous_serial, previous_not_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (node) DO UPDATE SET node_key = ?2, state = ?3, attested_at = ?4, current_serial = ?5,
         current_not_after = ?6, previous_serial = ?7, previous_not_after = ?8",
        (
            node.as_str(),
            node_key_spki,
            state_text(*state),
            seconds(*attested_at),
            current.as_ref().map(|svid| svid.serial.as_bytes()),
            current.as_ref().map(|svid| seconds(svid.not_after)),
            previous.as_ref().map(|svid| svid.serial.as_bytes()),
            previous.as_ref().map(|svid| seconds(svid.not_after)),
        ),
    )?;
    unit.changed(Change::Node(node.clone()));
    Ok(())
}

fn read(row: &Row<'_>) -> Result<NodeRecord, StoreError> {
    Ok(NodeRecord {
        node: parsed(row, "node", NodeName::parse)?,
        node_key_spki: row.get("node_key")?,
        state: parsed(row, "state", state_from_text)?,
        current: svid(row, "current_serial", "current_not_after")?,
        previous: svid(row, "previous_serial", "previous_not_after")?,
        attested_at: time(row, "attested_at")?,
    })
}

fn svid(row: &Row<'_>, of_serial: &'static str, of_end: &'static str) -> Result<Option<AgentSvidRecord>, StoreError> {
    match serial(row, of_serial)? {
        Some(serial) => Ok(Some(AgentSvidRecord { serial, not_after: time(row, of_end)? })),
        None if row.get::<Option<i64>>(of_end)?.is_none() => Ok(None),
        None => Err(unreadable(of_serial, "an end without a serial")),
    }
}

fn key_name(record: &NodeRecord) -> Option<Sha256Digest> {
    record.node_key_spki.as_deref().map(sha256)
}

fn state_text(state: NodeState) -> &'static str {
    match state {
        NodeState::Attested => "attested",
        NodeState::Banned => "banned",
    }
}

fn state_from_text(text: &str) -> Result<NodeState, String> {
    match text {
        "attested" => Ok(NodeState::Attested),
        "banned" => Ok(NodeState::Banned),
        other => Err(format!("the state {other:?}")),
    }
}
