//! Registration entries.

use std::time::Duration;

use identity::{DnsName, NodeName, Selector, SpiffeId};
use pki::Timestamp;
use rusqlite::{Connection, Row};

use super::columns::{all, first, integer, parsed, seconds, time, unreadable};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::records::{Entry, EntryId, NewEntry};
use crate::store::{Change, StoreError};

pub(super) fn create(
    unit: &mut Unit<'_>,
    id: EntryId,
    mut spec: NewEntry,
    actor: Actor,
    now: Timestamp,
) -> Result<Entry, StoreError> {
    // Sets of selectors are compared as text.
    spec.selectors.sort();
    spec.selectors.dedup();
    let selectors = json(&spec.selectors)?;
    let twin = first(
        unit.connection(),
        "SELECT id FROM entries WHERE (spiffe_id = ?1 AND selectors = ?2 AND parent = ?3) OR id = ?4",
        (spec.spiffe_id.as_str(), &selectors, spec.parent.as_str(), id.as_str()),
        |row| Ok(row.get::<_, String>("id")?),
    )?;
    if let Some(name) = twin {
        return Err(StoreError::Exists { what: "entry", name });
    }
    unit.connection().execute(
        "INSERT INTO entries (id, spiffe_id, selectors, parent, ttl_seconds, dns_names, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            id.as_str(),
            spec.spiffe_id.as_str(),
            &selectors,
            spec.parent.as_str(),
            spec.ttl.map(|ttl| integer(ttl.as_secs())).transpose()?,
            json(&spec.dns_names)?,
            seconds(now),
        ),
    )?;
    let entry = Entry { id, spec, created_at: now };
    unit.audit(&AuditEvent { actor, action: Action::EntryCreated(entry.clone()) }, now)?;
    unit.changed(Change::Entries(entry.spec.parent.clone()));
    Ok(entry)
}

pub(super) fn delete(unit: &mut Unit<'_>, id: &EntryId, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    let entry = find(unit.connection(), id)?;
    unit.connection().execute("DELETE FROM entries WHERE id = ?1", [id.as_str()])?;
    unit.changed(Change::Entries(entry.spec.parent.clone()));
    unit.audit(&AuditEvent { actor, action: Action::EntryDeleted(entry) }, now)
}

pub(super) fn find(connection: &Connection, id: &EntryId) -> Result<Entry, StoreError> {
    first(connection, "SELECT * FROM entries WHERE id = ?1", [id.as_str()], read)?
        .ok_or_else(|| StoreError::NotFound { what: "entry", name: id.to_string() })
}

pub(super) fn list(connection: &Connection, parent: Option<&NodeName>) -> Result<Vec<Entry>, StoreError> {
    match parent {
        Some(parent) => all(connection, "SELECT * FROM entries WHERE parent = ?1 ORDER BY position", [parent.as_str()], read),
        None => all(connection, "SELECT * FROM entries ORDER BY position", [], read),
    }
}

fn read(row: &Row<'_>) -> Result<Entry, StoreError> {
    let ttl: Option<i64> = row.get("ttl_seconds")?;
    let ttl = ttl.map(|ttl| u64::try_from(ttl).map_err(|error| unreadable("ttl_seconds", error))).transpose()?;
    Ok(Entry {
        id: parsed(row, "id", EntryId::parse)?,
        spec: NewEntry {
            spiffe_id: parsed(row, "spiffe_id", SpiffeId::parse)?,
            selectors: parsed(row, "selectors", |text| serde_json::from_str::<Vec<Selector>>(text))?,
            parent: parsed(row, "parent", NodeName::parse)?,
            ttl: ttl.map(Duration::from_secs),
            dns_names: parsed(row, "dns_names", |text| serde_json::from_str::<Vec<DnsName>>(text))?,
        },
        created_at: time(row, "created_at")?,
    })
}

fn json<T: serde::Serialize>(list: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(|error| StoreError::Unavailable(format!("a list cannot be written: {error}")))
}
