//! Registration entries.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Connection, Row};
use identity::{AliasName, DnsName, NodeName, Selector, SpiffeId, TrustDomain};
use pki::Timestamp;

use super::agent_pods;
use super::aliases;
use super::columns::{all, first, integer, number, parsed, run, seconds, time, unreadable};
use super::leaves;
use super::replicas;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::entry_plan::{EntryChange, EntryPlan, Scope, Wanted, plan};
use crate::records::{ClusterObject, Entry, EntryEdit, EntryId, Hint, Memberships, NewEntry, NodeEntries, Outstanding, Parent};
use crate::store::{Apply, ApplyError, Change, EntryFilter, StoreError};

/// Expired entries forgotten in one transaction, so that the clearing of many does not hold up other writes.
const MAX_PURGED: u32 = 256;

pub(in crate::store) fn create(
    unit: &mut Unit<'_>,
    id: EntryId,
    mut spec: NewEntry,
    actor: Actor,
    now: Timestamp,
) -> Result<Entry, StoreError> {
    spec.sort_selectors();
    check_parent(unit.connection(), &spec.parent)?;
    make_room(unit, &spec, None, now)?;
    if first(unit.connection(), "SELECT id FROM entries WHERE id = ?1", [id.as_str()], |_| Ok(()))?.is_some() {
        return Err(StoreError::Exists { what: "entry", name: id.to_string() });
    }
    let ParentColumns { node, alias, cluster, object } = ParentColumns::of(&spec.parent)?;
    run(
        unit.connection(),
        "INSERT INTO entries
         (id, spiffe_id, selectors, parent_node, parent_alias, ttl_seconds, dns_names, hint, expires_at, created_at, federates_with,
          parent_cluster, parent_object, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1)",
        (
            id.as_str(),
            spec.spiffe_id.as_str(),
            json(&spec.selectors)?,
            node,
            alias,
            ttl_column(&spec)?,
            json(&spec.dns_names)?,
            spec.hint.as_str(),
            spec.expires_at.map(seconds),
            seconds(now),
            json(&spec.federates_with)?,
            cluster,
            object,
        ),
    )?;
    let entry = Entry { id, spec, created_at: now, revision: 1 };
    unit.audit(&AuditEvent { actor, action: Action::EntryCreated(entry.clone()) }, now)?;
    changed(unit, &entry.spec.parent)?;
    Ok(entry)
}

pub(in crate::store) fn update(
    unit: &mut Unit<'_>,
    id: &EntryId,
    expected_revision: Option<u64>,
    edit: EntryEdit,
    actor: Actor,
    now: Timestamp,
) -> Result<Entry, StoreError> {
    let before = find(unit.connection(), id)?;
    if expected_revision.is_some_and(|expected| expected != before.revision) {
        return Err(StoreError::Changed { what: "entry", name: id.to_string() });
    }
    if let Parent::Object(object) = before.spec.parent {
        // Whatever is changed by hand is what the object says in the next moment.
        return Err(StoreError::OfObject { entry: before.id, object });
    }
    let mut spec = edit.apply_to(&before.spec);
    spec.sort_selectors();
    if spec == before.spec {
        return Ok(before);
    }
    let after = Entry { spec, revision: before.revision + 1, ..before.clone() };
    replace(unit, before, after, actor, now)
}

/// SPIFFE ID and parent stay: another of those is another entry.
fn replace(unit: &mut Unit<'_>, before: Entry, after: Entry, actor: Actor, now: Timestamp) -> Result<Entry, StoreError> {
    make_room(unit, &after.spec, Some(&after.id), now)?;
    run(
        unit.connection(),
        "UPDATE entries SET selectors = ?2, ttl_seconds = ?3, dns_names = ?4, hint = ?5, expires_at = ?6, revision = ?7,
         federates_with = ?8 WHERE id = ?1",
        (
            after.id.as_str(),
            json(&after.spec.selectors)?,
            ttl_column(&after.spec)?,
            json(&after.spec.dns_names)?,
            after.spec.hint.as_str(),
            after.spec.expires_at.map(seconds),
            integer(after.revision)?,
            json(&after.spec.federates_with)?,
        ),
    )?;
    changed(unit, &after.spec.parent)?;
    unit.audit(&AuditEvent { actor, action: Action::EntryUpdated { before: Box::new(before), after: after.clone() } }, now)?;
    Ok(after)
}

pub(in crate::store) fn delete(
    unit: &mut Unit<'_>,
    id: &EntryId,
    actor: Actor,
    now: Timestamp,
) -> Result<(Entry, Option<Outstanding>), StoreError> {
    let outstanding = leaves::outstanding(unit.connection(), [id], now)?.remove(id);
    Ok((forget(unit, id, actor, now)?, outstanding))
}

/// Deletes without the question what was issued for it.
pub(in crate::store) fn forget(unit: &mut Unit<'_>, id: &EntryId, actor: Actor, now: Timestamp) -> Result<Entry, StoreError> {
    let entry = find(unit.connection(), id)?;
    changed(unit, &entry.spec.parent)?;
    remove(unit, &entry, AuditEvent { actor, action: Action::EntryDeleted(entry.clone()) }, now)?;
    Ok(entry)
}

fn remove(unit: &mut Unit<'_>, entry: &Entry, event: AuditEvent, now: Timestamp) -> Result<(), StoreError> {
    run(unit.connection(), "DELETE FROM entries WHERE id = ?1", [entry.id.as_str()])?;
    unit.audit(&event, now)
}

/// Forgets entries that ended at `ended_by` or before; they granted nothing since, so nobody is told.
pub(in crate::store) fn purge(unit: &mut Unit<'_>, ended_by: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
    let sql = format!("SELECT * FROM entries WHERE expires_at <= ?1 ORDER BY expires_at LIMIT {MAX_PURGED}");
    let ended = all(unit.connection(), &sql, [seconds(ended_by)], read)?;
    for entry in &ended {
        expire(unit, entry, now)?;
    }
    Ok(ended.len())
}

fn expire(unit: &mut Unit<'_>, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
    remove(unit, entry, AuditEvent { actor: Actor::System, action: Action::EntryExpired(entry.clone()) }, now)
}

/// Says what a document would change.
pub(in crate::store) fn dry_run(
    connection: Connection<'_>,
    scope: &Scope,
    wanted: Vec<Wanted>,
    prune: bool,
    now: Timestamp,
) -> Result<EntryPlan, ApplyError> {
    let mut plan = plan(list(connection, &filter_of(scope))?, scope, wanted, prune, now)?;
    let mut left = outstanding(connection, &plan.changes, now)?;
    for change in &mut plan.changes {
        match change {
            EntryChange::Create { spec, .. } => check_parent(connection, &spec.parent)?,
            EntryChange::Delete { entry, outstanding } => *outstanding = left.remove(&entry.id),
            EntryChange::Update { .. } | EntryChange::Keep(_) => {}
        }
    }
    Ok(plan)
}

/// What was issued for the entries that a plan deletes.
fn outstanding(
    connection: Connection<'_>,
    changes: &[EntryChange],
    now: Timestamp,
) -> Result<HashMap<EntryId, Outstanding>, StoreError> {
    let deleted = changes.iter().filter_map(|change| match change {
        EntryChange::Delete { entry, outstanding: _ } => Some(&entry.id),
        EntryChange::Create { .. } | EntryChange::Update { .. } | EntryChange::Keep(_) => None,
    });
    leaves::outstanding(connection, deleted, now)
}

pub(in crate::store) fn apply(
    unit: &mut Unit<'_>,
    document: Apply,
    actor: &Actor,
    now: Timestamp,
) -> Result<EntryPlan, ApplyError> {
    let Apply { scope, wanted, prune, expected_version, fence, new_ids } = document;
    if let Some(fence) = fence {
        replicas::check_leads(unit.connection(), &fence)?;
    }
    let stored = list(unit.connection(), &filter_of(&scope))?;
    let EntryPlan { changes, unchanged, ended, version } = plan(stored, &scope, wanted, prune, now)?;
    if expected_version.is_some_and(|expected| expected != version) {
        return Err(StoreError::Changed { what: "scope", name: version.as_str().to_owned() }.into());
    }
    let mut left = outstanding(unit.connection(), &changes, now)?;
    let mut new_ids = new_ids.into_iter();
    let mut done = Vec::with_capacity(changes.len());
    for change in changes {
        done.push(match change {
            EntryChange::Create { spec, made: _ } => {
                let id = new_ids.next().ok_or_else(|| StoreError::Unavailable("too few ids for new entries".to_owned()))?;
                let made = create(unit, id, spec.clone(), actor.clone(), now)?;
                EntryChange::Create { spec, made: Some(made) }
            }
            EntryChange::Update { before, after } => {
                let after = replace(unit, before.clone(), after, actor.clone(), now)?;
                EntryChange::Update { before, after }
            }
            EntryChange::Delete { entry, outstanding: _ } => {
                let outstanding = left.remove(&entry.id);
                EntryChange::Delete { entry: forget(unit, &entry.id, actor.clone(), now)?, outstanding }
            }
            EntryChange::Keep(entry) => EntryChange::Keep(entry),
        });
    }
    Ok(EntryPlan { changes: done, unchanged, ended, version })
}

/// No fewer entries than the scope has.
fn filter_of(scope: &Scope) -> EntryFilter {
    scope.cluster.clone().map_or(EntryFilter::All, EntryFilter::Cluster)
}

pub(in crate::store) fn find(connection: Connection<'_>, id: &EntryId) -> Result<Entry, StoreError> {
    first(connection, "SELECT * FROM entries WHERE id = ?1", [id.as_str()], read)?
        .ok_or_else(|| StoreError::NotFound { what: "entry", name: id.to_string() })
}

pub(in crate::store) fn list(connection: Connection<'_>, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
    match filter {
        EntryFilter::All => all(connection, "SELECT * FROM entries ORDER BY position", (), read),
        EntryFilter::Node(node) => all(
            connection,
            "SELECT * FROM entries WHERE parent_node = ?1
             OR parent_alias IN (SELECT alias FROM alias_members WHERE node = ?1) OR parent_cluster = ?2 ORDER BY position",
            (node.as_str(), agent_pods::cluster_of(connection, node)?),
            read,
        ),
        EntryFilter::Alias(alias) => {
            all(connection, "SELECT * FROM entries WHERE parent_alias = ?1 ORDER BY position", [alias.as_str()], read)
        }
        EntryFilter::Cluster(cluster) => {
            all(connection, "SELECT * FROM entries WHERE parent_cluster = ?1 ORDER BY position", [cluster.as_str()], read)
        }
    }
}

pub(in crate::store) fn of_node(connection: Connection<'_>, node: &NodeName) -> Result<NodeEntries, StoreError> {
    let memberships =
        Memberships { aliases: aliases::of_node(connection, node)?, cluster: agent_pods::cluster_of(connection, node)? };
    Ok(NodeEntries::new(memberships, list(connection, &EntryFilter::Node(node.clone()))?))
}

/// Whom a change of an entry with this parent concerns.
fn changed(unit: &mut Unit<'_>, parent: &Parent) -> Result<(), StoreError> {
    let nodes: BTreeSet<NodeName> = match parent {
        Parent::Node(node) => BTreeSet::from([node.clone()]),
        Parent::Alias(alias) => aliases::members(unit.connection(), alias)?,
        Parent::Object(_) => {
            unit.changed(Change::EntriesOfClusters);
            return Ok(());
        }
    };
    unit.changed(Change::Entries(nodes.into_iter().collect::<Arc<[_]>>()));
    Ok(())
}

fn check_parent(connection: Connection<'_>, parent: &Parent) -> Result<(), StoreError> {
    match parent {
        Parent::Node(_) | Parent::Object(_) => Ok(()),
        Parent::Alias(alias) => aliases::check(connection, alias),
    }
}

/// Makes sure that no entry but `own` says the same already. One that has ended gives way.
fn make_room(unit: &mut Unit<'_>, spec: &NewEntry, own: Option<&EntryId>, now: Timestamp) -> Result<(), StoreError> {
    let ParentColumns { node, alias, cluster, object } = ParentColumns::of(&spec.parent)?;
    let twin = first(
        unit.connection(),
        "SELECT * FROM entries WHERE spiffe_id = ?1 AND selectors = ?2 AND parent_node IS NOT DISTINCT FROM ?3
         AND parent_alias IS NOT DISTINCT FROM ?4 AND parent_cluster IS NOT DISTINCT FROM ?5
         AND parent_object IS NOT DISTINCT FROM ?6",
        (spec.spiffe_id.as_str(), json(&spec.selectors)?, node, alias, cluster, object),
        read,
    )?;
    match twin {
        Some(twin) if Some(&twin.id) == own => Ok(()),
        Some(twin) if twin.is_expired(now) => expire(unit, &twin, now),
        Some(twin) => Err(StoreError::Exists { what: "entry", name: twin.id.to_string() }),
        None => Ok(()),
    }
}

/// A parent as its columns have it.
#[derive(Default)]
struct ParentColumns<'a> {
    node: Option<&'a str>,
    alias: Option<&'a str>,
    cluster: Option<&'a str>,
    /// A JSON array of namespace, name and UID.
    object: Option<String>,
}

impl<'a> ParentColumns<'a> {
    fn of(parent: &'a Parent) -> Result<Self, StoreError> {
        Ok(match parent {
            Parent::Node(node) => Self { node: Some(node.as_str()), ..Self::default() },
            Parent::Alias(alias) => Self { alias: Some(alias.as_str()), ..Self::default() },
            Parent::Object(object) => {
                let ClusterObject { cluster, namespace, name, uid } = &**object;
                Self { cluster: Some(cluster), object: Some(json(&[namespace, name, uid])?), ..Self::default() }
            }
        })
    }
}

fn read_parent(row: &Row<'_>) -> Result<Parent, StoreError> {
    if row.get::<Option<String>>("parent_alias")?.is_some() {
        return Ok(Parent::Alias(parsed(row, "parent_alias", AliasName::parse)?));
    }
    let Some(cluster) = row.get::<Option<String>>("parent_cluster")? else {
        return Ok(Parent::Node(parsed(row, "parent_node", NodeName::parse)?));
    };
    let [namespace, name, uid] = parsed(row, "parent_object", |text| serde_json::from_str::<[String; 3]>(text))?;
    Ok(Parent::Object(Box::new(ClusterObject { cluster, namespace, name, uid })))
}

fn ttl_column(spec: &NewEntry) -> Result<Option<i64>, StoreError> {
    spec.ttl.map(|ttl| integer(ttl.as_secs())).transpose()
}

pub(in crate::store) fn read(row: &Row<'_>) -> Result<Entry, StoreError> {
    let ttl: Option<i64> = row.get("ttl_seconds")?;
    let ttl = ttl.map(|ttl| u64::try_from(ttl).map_err(|error| unreadable("ttl_seconds", error))).transpose()?;
    let parent = read_parent(row)?;
    let ends = row.get::<Option<i64>>("expires_at")?.is_some();
    Ok(Entry {
        id: parsed(row, "id", EntryId::parse)?,
        spec: NewEntry {
            spiffe_id: parsed(row, "spiffe_id", SpiffeId::parse)?,
            selectors: parsed(row, "selectors", |text| serde_json::from_str::<Vec<Selector>>(text))?,
            parent,
            ttl: ttl.map(Duration::from_secs),
            dns_names: parsed(row, "dns_names", |text| serde_json::from_str::<Vec<DnsName>>(text))?,
            hint: parsed(row, "hint", Hint::parse)?,
            expires_at: if ends { Some(time(row, "expires_at")?) } else { None },
            federates_with: parsed(row, "federates_with", |text| serde_json::from_str::<BTreeSet<TrustDomain>>(text))?,
        },
        created_at: time(row, "created_at")?,
        revision: number(row, "revision")?,
    })
}

fn json(list: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(|error| StoreError::Unavailable(format!("a list cannot be written: {error}")))
}
