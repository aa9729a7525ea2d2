//! The rotations that are under way: at most one of each kind.

use std::collections::BTreeSet;

use super::connection::{Connection, Row};
use identity::{NodeName, ReplicaName};
use pki::Timestamp;

use super::authorities::{kind, small};
use super::columns::{all, first, flag, integer, number, parsed, run, seconds, time};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, AuthorityAction};
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName};
use crate::store::StoreError;

/// Of a root, and those of `own`.
pub(in crate::store) fn list(connection: Connection<'_>, own: Option<&ReplicaName>) -> Result<Vec<Rotation>, StoreError> {
    let sql = "SELECT * FROM rotations WHERE replica = '' OR replica = ?1";
    let mut rotations = all(connection, sql, [own.map_or("", ReplicaName::as_str)], read)?;
    rotations.sort_by_key(|rotation| rotation.from);
    Ok(rotations)
}

pub(in crate::store) fn put(
    unit: &mut Unit<'_>,
    own: Option<&ReplicaName>,
    rotation: Rotation,
    actor: Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let replica = owner(own, rotation.from.kind);
    let known = find(unit.connection(), replica, rotation.from.kind)?;
    if known.as_ref() == Some(&rotation) {
        return Ok(());
    }
    let Rotation { from, started_at, pace, aborting, accepted: Accepted { nodes, leaves, tokens, files } } = &rotation;
    let nodes: Vec<_> = nodes.iter().map(NodeName::as_str).collect();
    let nodes = serde_json::to_string(&nodes).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    run(
        unit.connection(),
        "INSERT INTO rotations
         (kind, replaced, started_at, pace, aborting, accepted_nodes, accepted_leaves, accepted_tokens, accepted_files,
          replica)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (kind, replica) DO UPDATE SET replaced = ?2, started_at = ?3, pace = ?4, aborting = ?5, accepted_nodes = ?6,
         accepted_leaves = ?7, accepted_tokens = ?8, accepted_files = ?9",
        (
            from.kind.as_str(),
            from.number,
            seconds(*started_at),
            pace_text(*pace),
            aborting,
            nodes,
            integer(*leaves)?,
            tokens,
            files,
            replica,
        ),
    )?;
    let is_same = known.is_some_and(|known| known.from == rotation.from && known.started_at == rotation.started_at);
    let action = if is_same { AuthorityAction::RotationChanged(rotation) } else { AuthorityAction::RotationStarted(rotation) };
    unit.audit(&AuditEvent { actor, action: Action::Authority(action) }, now)
}

pub(in crate::store) fn end(
    unit: &mut Unit<'_>,
    own: Option<&ReplicaName>,
    kind: AuthorityKind,
    outcome: Outcome,
    actor: Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(Rotation { from, .. }) = find(unit.connection(), owner(own, kind), kind)? else { return Ok(()) };
    run(unit.connection(), "DELETE FROM rotations WHERE kind = ?1 AND replica = ?2", [kind.as_str(), owner(own, kind)])?;
    unit.audit(&AuditEvent { actor, action: Action::Authority(AuthorityAction::RotationEnded { from, outcome }) }, now)
}

/// The text in the column for whoever a rotation belongs to.
fn owner(own: Option<&ReplicaName>, kind: AuthorityKind) -> &str {
    own.filter(|_| kind != AuthorityKind::Root).map_or("", ReplicaName::as_str)
}

fn find(connection: Connection<'_>, replica: &str, kind: AuthorityKind) -> Result<Option<Rotation>, StoreError> {
    first(connection, "SELECT * FROM rotations WHERE kind = ?1 AND replica = ?2", [kind.as_str(), replica], read)
}

fn read(row: &Row<'_>) -> Result<Rotation, StoreError> {
    Ok(Rotation {
        from: AuthorityName { kind: kind(row)?, number: small(row, "replaced")? },
        started_at: time(row, "started_at")?,
        pace: parsed(row, "pace", pace)?,
        aborting: flag(row, "aborting")?,
        accepted: Accepted {
            nodes: parsed(row, "accepted_nodes", nodes)?,
            leaves: number(row, "accepted_leaves")?,
            tokens: flag(row, "accepted_tokens")?,
            files: flag(row, "accepted_files")?,
        },
    })
}

fn nodes(json: &str) -> Result<BTreeSet<NodeName>, String> {
    let names: Vec<String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    names.iter().map(|name| NodeName::parse(name).map_err(|error| error.to_string())).collect()
}

fn pace_text(pace: Pace) -> &'static str {
    match pace {
        Pace::Natural => "natural",
        Pace::Taint => "taint",
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    [Pace::Natural, Pace::Taint].into_iter().find(|pace| pace_text(*pace) == text).ok_or_else(|| format!("the pace {text:?}"))
}
