//! Node aliases: named sets of nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::connection::{Connection, Row};
use identity::{AliasName, NodeName};
use pki::Timestamp;

use super::columns::{all, first, number, parsed, run, seconds, time};
use super::entries;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::records::{Entry, NodeAlias};
use crate::store::{Change, EntryFilter, StoreError};

const COUNTED: &str = "SELECT name, created_at, (SELECT count(*) FROM entries WHERE parent_alias = name) AS entries FROM aliases";

pub(in crate::store) fn create(
    unit: &mut Unit<'_>,
    name: AliasName,
    nodes: BTreeSet<NodeName>,
    actor: Actor,
    now: Timestamp,
) -> Result<NodeAlias, StoreError> {
    if check(unit.connection(), &name).is_ok() {
        return Err(StoreError::Exists { what: "node alias", name: name.to_string() });
    }
    run(unit.connection(), "INSERT INTO aliases (name, created_at) VALUES (?1, ?2)", (name.as_str(), seconds(now)))?;
    for node in &nodes {
        add(unit, &name, node)?;
    }
    // No entry hangs on it yet, so no node has anything to learn.
    let alias = NodeAlias { name, nodes, created_at: now, entries: 0 };
    unit.audit(&AuditEvent { actor, action: Action::AliasCreated(alias.clone()) }, now)?;
    Ok(alias)
}

pub(in crate::store) fn change(
    unit: &mut Unit<'_>,
    name: &AliasName,
    add_nodes: BTreeSet<NodeName>,
    remove_nodes: BTreeSet<NodeName>,
    actor: Actor,
    now: Timestamp,
) -> Result<NodeAlias, StoreError> {
    let before = find(unit.connection(), name)?;
    let added: BTreeSet<_> = add_nodes.difference(&before.nodes).cloned().collect();
    let removed: BTreeSet<_> = remove_nodes.intersection(&before.nodes).cloned().collect();
    for node in &added {
        add(unit, name, node)?;
    }
    for node in &removed {
        run(unit.connection(), "DELETE FROM alias_members WHERE alias = ?1 AND node = ?2", (name.as_str(), node.as_str()))?;
    }
    if !added.is_empty() || !removed.is_empty() {
        unit.changed(Change::Entries(added.union(&removed).cloned().collect::<Arc<[_]>>()));
        unit.audit(&AuditEvent { actor, action: Action::AliasChanged { alias: name.clone(), added, removed } }, now)?;
    }
    find(unit.connection(), name)
}

/// The entries that hung on it and went with it.
pub(in crate::store) fn delete(
    unit: &mut Unit<'_>,
    name: &AliasName,
    with_entries: bool,
    actor: Actor,
    now: Timestamp,
) -> Result<Vec<Entry>, StoreError> {
    let alias = find(unit.connection(), name)?;
    let entries = entries::list(unit.connection(), &EntryFilter::Alias(name.clone()))?;
    if !entries.is_empty() && !with_entries {
        return Err(StoreError::InUse { alias: name.clone(), entries: entries.len() });
    }
    for entry in &entries {
        entries::forget(unit, &entry.id, actor.clone(), now)?;
    }
    run(unit.connection(), "DELETE FROM alias_members WHERE alias = ?1", [name.as_str()])?;
    run(unit.connection(), "DELETE FROM aliases WHERE name = ?1", [name.as_str()])?;
    unit.audit(&AuditEvent { actor, action: Action::AliasDeleted(alias) }, now)?;
    Ok(entries)
}

pub(in crate::store) fn list(connection: Connection<'_>) -> Result<Vec<NodeAlias>, StoreError> {
    all(connection, &format!("{COUNTED} ORDER BY name"), (), |row| read(connection, row))
}

pub(in crate::store) fn find(connection: Connection<'_>, name: &AliasName) -> Result<NodeAlias, StoreError> {
    first(connection, &format!("{COUNTED} WHERE name = ?1"), [name.as_str()], |row| read(connection, row))?
        .ok_or_else(|| not_found(name))
}

/// That there is such an alias.
pub(in crate::store) fn check(connection: Connection<'_>, name: &AliasName) -> Result<(), StoreError> {
    first(connection, "SELECT name FROM aliases WHERE name = ?1", [name.as_str()], |_| Ok(()))?.ok_or_else(|| not_found(name))
}

pub(in crate::store) fn members(connection: Connection<'_>, name: &AliasName) -> Result<BTreeSet<NodeName>, StoreError> {
    let nodes = all(connection, "SELECT node FROM alias_members WHERE alias = ?1", [name.as_str()], |row| {
        parsed(row, "node", NodeName::parse)
    })?;
    Ok(nodes.into_iter().collect())
}

pub(in crate::store) fn of_node(connection: Connection<'_>, node: &NodeName) -> Result<BTreeSet<AliasName>, StoreError> {
    let aliases = all(connection, "SELECT alias FROM alias_members WHERE node = ?1", [node.as_str()], |row| {
        parsed(row, "alias", AliasName::parse)
    })?;
    Ok(aliases.into_iter().collect())
}

fn add(unit: &Unit<'_>, name: &AliasName, node: &NodeName) -> Result<(), StoreError> {
    run(unit.connection(), "INSERT INTO alias_members (alias, node) VALUES (?1, ?2)", (name.as_str(), node.as_str()))?;
    Ok(())
}

fn read(connection: Connection<'_>, row: &Row<'_>) -> Result<NodeAlias, StoreError> {
    let name = parsed(row, "name", AliasName::parse)?;
    let nodes = members(connection, &name)?;
    Ok(NodeAlias { name, nodes, created_at: time(row, "created_at")?, entries: number(row, "entries")? })
}

fn not_found(name: &AliasName) -> StoreError {
    StoreError::NotFound { what: "node alias", name: name.to_string() }
}
