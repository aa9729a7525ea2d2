//! The rotations that are under way: at most one of each kind.

use std::collections::BTreeSet;

use identity::NodeName;
use pki::Timestamp;
use rusqlite::{Connection, Row};

use super::authorities::{kind, small};
use super::columns::{all, first, flag, integer, number, parsed, run, seconds, time};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, AuthorityAction};
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName};
use crate::store::StoreError;

pub(super) fn list(connection: &Connection) -> Result<Vec<Rotation>, StoreError> {
    let mut rotations = all(connection, "SELECT * FROM rotations", [], read)?;
    rotations.sort_by_key(|rotation| rotation.from);
    Ok(rotations)
}

pub(super) fn put(unit: &mut Unit<'_>, rotation: Rotation, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    let known = find(unit.connection(), rotation.from.kind)?;
    if known.as_ref() == Some(&rotation) {
        return Ok(());
    }
    let Rotation { from, started_at, pace, aborting, accepted: Accepted { nodes, leaves, tokens, files } } = &rotation;
    let nodes: Vec<_> = nodes.iter().map(NodeName::as_str).collect();
    let nodes = serde_json::to_string(&nodes).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    run(
        unit.connection(),
        "INSERT OR REPLACE INTO rotations
         (kind, replaced, started_at, pace, aborting, accepted_nodes, accepted_leaves, accepted_tokens, accepted_files)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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
        ),
    )?;
    let is_same = known.is_some_and(|known| known.from == rotation.from && known.started_at == rotation.started_at);
    let action = if is_same { AuthorityAction::RotationChanged(rotation) } else { AuthorityAction::RotationStarted(rotation) };
    unit.audit(&AuditEvent { actor, action: Action::Authority(action) }, now)
}

pub(super) fn end(
    unit: &mut Unit<'_>,
    kind: AuthorityKind,
    outcome: Outcome,
    actor: Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(Rotation { from, .. }) = find(unit.connection(), kind)? else { return Ok(()) };
    run(unit.connection(), "DELETE FROM rotations WHERE kind = ?1", [kind.as_str()])?;
    unit.audit(&AuditEvent { actor, action: Action::Authority(AuthorityAction::RotationEnded { from, outcome }) }, now)
}

fn find(connection: &Connection, kind: AuthorityKind) -> Result<Option<Rotation>, StoreError> {
    first(connection, "SELECT * FROM rotations WHERE kind = ?1", [kind.as_str()], read)
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
