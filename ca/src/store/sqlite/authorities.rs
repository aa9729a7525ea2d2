//! The lifecycle of the CA's own authorities: a row for each, replaced as a whole while nobody else has changed it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::NodeName;
use pki::{KeyId, Sha256Digest, Timestamp};
use rusqlite::{Connection, Row};

use super::columns::{all, digest, flag, integer, number, optional, parsed, run, seconds, time, unreadable};
use super::writer::Unit;
use super::{SqliteStore, acknowledgements, jwt, leaves, rotations};
use crate::audit::{Action, Actor, AuditEvent, AuthorityAction};
use crate::authority::lifecycle::gate::{Accepted, Leaves};
use crate::authority::lifecycle::rotation::{Outcome, Rotation};
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Lifecycle, Material, Slot};
use crate::store::{AuthorityStore, Settled, StoreError};

impl AuthorityStore for SqliteStore {
    fn lifecycle(&self) -> BoxFuture<'_, Result<Lifecycle, StoreError>> {
        Box::pin(self.readers.read(stored))
    }

    fn store_lifecycle(
        &self,
        before: Arc<Lifecycle>,
        after: Arc<Lifecycle>,
        accepted: Option<(AuthorityName, Accepted)>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| {
            replace(unit, &before, &after, &actor, now)?;
            match accepted {
                Some((name, accepted)) => {
                    let action = AuthorityAction::LossesAccepted { name, accepted };
                    unit.audit(&AuditEvent { actor, action: Action::Authority(action) }, now)
                }
                None => Ok(()),
            }
        }))
    }

    fn rotations(&self) -> BoxFuture<'_, Result<Vec<Rotation>, StoreError>> {
        Box::pin(self.readers.read(rotations::list))
    }

    fn put_rotation(&self, rotation: Rotation, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| rotations::put(unit, rotation, actor, now)))
    }

    fn end_rotation(
        &self,
        kind: AuthorityKind,
        outcome: Outcome,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| rotations::end(unit, kind, outcome, actor, now)))
    }

    fn leaves(
        &self,
        issuer_keys: Vec<Sha256Digest>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<HashMap<Sha256Digest, Leaves>, StoreError>> {
        Box::pin(self.readers.read(move |connection| leaves::count(connection, issuer_keys, now)))
    }

    fn tokens_until(&self, key_ids: Vec<KeyId>) -> BoxFuture<'_, Result<HashMap<KeyId, Timestamp>, StoreError>> {
        Box::pin(self.readers.read(move |connection| jwt::ends(connection, key_ids)))
    }

    fn acknowledge_bundle(&self, node: NodeName, sequence: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| acknowledgements::acknowledge(unit, &node, sequence)))
    }

    fn acknowledged(&self) -> BoxFuture<'_, Result<HashMap<NodeName, u64>, StoreError>> {
        Box::pin(self.readers.read(acknowledgements::acknowledged))
    }

    fn settle_bundle(&self, node: NodeName, settled: Settled) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| acknowledgements::settle(unit, &node, settled)))
    }

    fn settled(&self) -> BoxFuture<'_, Result<HashMap<NodeName, Settled>, StoreError>> {
        Box::pin(self.readers.read(acknowledgements::settled))
    }
}

pub(super) fn stored(connection: &Connection) -> Result<Lifecycle, StoreError> {
    let authorities = all(connection, "SELECT * FROM authorities", [], read)?;
    Lifecycle::restore(authorities)
        .map_err(|fault| StoreError::Unavailable(format!("the lifecycle of authorities in the store: {fault}")))
}

fn replace(unit: &mut Unit<'_>, before: &Lifecycle, after: &Lifecycle, actor: &Actor, now: Timestamp) -> Result<(), StoreError> {
    if stored(unit.connection())? != *before {
        return Err(StoreError::Changed { what: "lifecycle of the", name: "authorities".to_owned() });
    }
    check(before, after)?;
    for authority in after.authorities() {
        let known = before.get(authority.name);
        if known == Some(authority) {
            continue;
        }
        write(unit.connection(), authority)?;
        for action in actions(known, authority) {
            unit.audit(&AuditEvent { actor: actor.clone(), action: Action::Authority(action) }, now)?;
        }
    }
    Ok(())
}

/// What no event does: take an authority away, or give one another key.
fn check(before: &Lifecycle, after: &Lifecycle) -> Result<(), StoreError> {
    let refused = |why: String| StoreError::Unavailable(format!("a lifecycle of authorities is not stored: {why}"));
    after.check().map_err(|fault| refused(fault.to_string()))?;
    for known in before.authorities() {
        let Some(next) = after.get(known.name) else { return Err(refused(format!("{} is gone", known.name))) };
        if known.parent != next.parent || (known.material.is_some() && known.material != next.material) {
            return Err(refused(format!("{} is another one", known.name)));
        }
    }
    Ok(())
}

/// What happened to one authority, in the order in which it matters to readers of the log.
fn actions(before: Option<&Authority>, after: &Authority) -> Vec<AuthorityAction> {
    let Authority { name, parent, slot, material, published_in, tainted_at, taint_published_in, destroyed, since: _ } = after;
    let (name, key) = (*name, material.as_ref().map(|material| material.key));
    let mut actions = Vec::new();
    let from = before.map(|before| before.slot);
    if from != Some(*slot) {
        let not_after = material.as_ref().and_then(|material| material.not_after);
        actions.push(AuthorityAction::Moved { name, parent: *parent, from, to: *slot, key, not_after });
    }
    if tainted_at.is_some() && before.is_none_or(|before| before.tainted_at.is_none()) {
        actions.push(AuthorityAction::Tainted { name, key });
    }
    if let Some(sequence) = published_in.filter(|_| before.is_none_or(|before| before.published_in != *published_in)) {
        actions.push(AuthorityAction::Published { name, sequence });
    }
    let taint_told = |before: &Authority| before.taint_published_in == *taint_published_in;
    if let Some(sequence) = taint_published_in.filter(|_| !before.is_some_and(taint_told)) {
        actions.push(AuthorityAction::TaintPublished { name, sequence });
    }
    if *destroyed && before.is_none_or(|before| !before.destroyed) {
        actions.push(AuthorityAction::KeyDestroyed { name, key });
    }
    actions
}

fn write(connection: &Connection, authority: &Authority) -> Result<(), StoreError> {
    let Authority { name, parent, slot, since, material, published_in, tainted_at, taint_published_in, destroyed } = authority;
    let material = material.as_ref();
    run(
        connection,
        "INSERT OR REPLACE INTO authorities
         (kind, number, parent, slot, since, key, public_der, not_before, not_after, published_in, tainted_at, taint_published_in, destroyed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        rusqlite::params![
            name.kind.as_str(),
            name.number,
            parent.map(|parent| parent.number),
            slot.as_str(),
            seconds(*since),
            material.map(|material| material.key),
            material.map(|material| &material.public_der),
            material.map(|material| seconds(material.not_before)),
            material.and_then(|material| material.not_after).map(seconds),
            published_in.map(integer).transpose()?,
            tainted_at.map(seconds),
            taint_published_in.map(integer).transpose()?,
            destroyed
        ],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Authority, StoreError> {
    let kind = kind(row)?;
    let made = row.get::<_, Option<Vec<u8>>>("public_der")?;
    let material = made.map(|public_der| {
        let not_after = optional(row, "not_after", time)?;
        Ok(Material { key: digest(row, "key")?, public_der, not_before: time(row, "not_before")?, not_after })
    });
    Ok(Authority {
        name: AuthorityName { kind, number: small(row, "number")? },
        parent: optional(row, "parent", small)?.map(|number| AuthorityName { kind: AuthorityKind::Root, number }),
        slot: parsed(row, "slot", slot)?,
        since: time(row, "since")?,
        material: material.transpose().map_err(|error: StoreError| error)?,
        published_in: optional(row, "published_in", number)?,
        tainted_at: optional(row, "tainted_at", time)?,
        taint_published_in: optional(row, "taint_published_in", number)?,
        destroyed: flag(row, "destroyed")?,
    })
}

pub(super) fn kind(row: &Row<'_>) -> Result<AuthorityKind, StoreError> {
    parsed(row, "kind", str::parse::<AuthorityKind>)
}

/// The number of an authority.
pub(super) fn small(row: &Row<'_>, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(number(row, column)?).map_err(|error| unreadable(column, error))
}

fn slot(text: &str) -> Result<Slot, String> {
    Slot::ALL.into_iter().find(|slot| slot.as_str() == text).ok_or_else(|| format!("the slot {text:?}"))
}
