//! The lifecycle of the CA's own authorities: a row for each, replaced as a whole while nobody else has changed it.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::{Connection, Row};
use futures_util::future::BoxFuture;
use identity::{NodeName, ReplicaName};
use pki::{KeyId, Sha256Digest, Timestamp};

use super::columns::{all, digest, flag, integer, number, optional, parsed, run, seconds, time, unreadable};
use super::readers::Engine;
use super::store::SqlStore;
use super::writer::Unit;
use super::{acknowledgements, jwt, leaves, replicas, rotations};
use crate::audit::{Action, Actor, AuditEvent, AuthorityAction};
use crate::authority::lifecycle::gate::{Accepted, Leaves};
use crate::authority::lifecycle::rotation::{Outcome, Rotation};
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Foreign, Lifecycle, Material, Slot};
use crate::store::{AuthorityStore, Change, Fence, Settled, StoreError};

impl<E: Engine> AuthorityStore for SqlStore<E> {
    fn lifecycle(&self) -> BoxFuture<'_, Result<Lifecycle, StoreError>> {
        let own = self.own.clone();
        Box::pin(self.readers.read(move |connection| stored(connection, own.as_ref())))
    }

    fn store_lifecycle(
        &self,
        fence: Fence,
        before: Arc<Lifecycle>,
        after: Arc<Lifecycle>,
        accepted: Option<(AuthorityName, Accepted)>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let own = self.own.clone();
        Box::pin(self.writer.write(move |unit| {
            replace(unit, (&fence, own.as_ref()), &before, &after, &actor, now)?;
            unit.changed(Change::Authorities);
            match accepted {
                Some((name, accepted)) => {
                    let action = AuthorityAction::LossesAccepted { name, accepted };
                    unit.audit(&AuditEvent { actor, action: Action::Authority(action) }, now)
                }
                None => Ok(()),
            }
        }))
    }

    fn note_authority(&self, action: AuthorityAction, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| unit.audit(&AuditEvent { actor, action: Action::Authority(action) }, now)))
    }

    fn rotations(&self) -> BoxFuture<'_, Result<Vec<Rotation>, StoreError>> {
        let own = self.own.clone();
        Box::pin(self.readers.read(move |connection| rotations::list(connection, own.as_ref())))
    }

    fn put_rotation(
        &self,
        fence: Fence,
        rotation: Rotation,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let own = self.own.clone();
        Box::pin(self.writer.write(move |unit| {
            replicas::check_may_rotate(unit.connection(), &fence, rotation.from.kind)?;
            unit.changed(Change::Authorities);
            rotations::put(unit, own.as_ref(), rotation, actor, now)
        }))
    }

    fn end_rotation(
        &self,
        fence: Fence,
        kind: AuthorityKind,
        outcome: Outcome,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let own = self.own.clone();
        Box::pin(self.writer.write(move |unit| {
            replicas::check_may_rotate(unit.connection(), &fence, kind)?;
            unit.changed(Change::Authorities);
            rotations::end(unit, own.as_ref(), kind, outcome, actor, now)
        }))
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

/// As it is for `own`; `None`: one replica has all of it.
pub(in crate::store) fn stored(connection: Connection<'_>, own: Option<&ReplicaName>) -> Result<Lifecycle, StoreError> {
    let rows = all(connection, "SELECT * FROM authorities", (), |row| {
        let replica = optional(row, "replica", |row, column| parsed(row, column, ReplicaName::parse))?;
        Ok((replica.filter(|replica| own.is_some_and(|own| own != replica)), read(row)?))
    })?;
    let (mut authorities, mut others) = (Vec::new(), Vec::new());
    for (other, authority) in rows {
        match other {
            Some(replica) => others.push(Foreign { replica, authority }),
            None => authorities.push(authority),
        }
    }
    Lifecycle::restore(authorities)
        .and_then(|lifecycle| lifecycle.beside(others))
        .map_err(|fault| StoreError::Unavailable(format!("the lifecycle of authorities in the store: {fault}")))
}

/// That these authorities are stored, and no others.
///
/// # Errors
/// [`StoreError::Changed`].
pub(in crate::store) fn require(
    connection: Connection<'_>,
    own: Option<&ReplicaName>,
    known: &Lifecycle,
) -> Result<(), StoreError> {
    if stored(connection, own)? == *known {
        Ok(())
    } else {
        Err(StoreError::Changed { what: "lifecycle of the", name: "authorities".to_owned() })
    }
}

fn replace(
    unit: &mut Unit<'_>,
    (fence, own): (&Fence, Option<&ReplicaName>),
    before: &Lifecycle,
    after: &Lifecycle,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    if after.moves_shared(before) {
        replicas::check_leads(unit.connection(), fence)?;
    } else {
        replicas::check(unit.connection(), fence)?;
    }
    require(unit.connection(), own, before)?;
    check(before, after)?;
    for authority in after.everything() {
        let known = before.everything().find(|known| known.name == authority.name);
        if known == Some(authority) {
            continue;
        }
        write(unit.connection(), authority, own)?;
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
    for known in before.everything() {
        let Some(next) = after.everything().find(|next| next.name == known.name) else {
            return Err(refused(format!("{} is gone", known.name)));
        };
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

/// A new one is `own`'s, unless it is a root; whose one is that is there stays as it is.
fn write(connection: Connection<'_>, authority: &Authority, own: Option<&ReplicaName>) -> Result<(), StoreError> {
    let Authority { name, parent, slot, since, material, published_in, tainted_at, taint_published_in, destroyed } = authority;
    let material = material.as_ref();
    let owner = own.filter(|_| name.kind != AuthorityKind::Root);
    run(
        connection,
        "INSERT INTO authorities
         (kind, number, parent, slot, since, key, public_der, not_before, not_after, published_in, tainted_at, taint_published_in, destroyed,
          replica)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (kind, number) DO UPDATE SET parent = ?3, slot = ?4, since = ?5, key = ?6, public_der = ?7, not_before = ?8,
         not_after = ?9, published_in = ?10, tainted_at = ?11, taint_published_in = ?12, destroyed = ?13",
        (
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
            destroyed,
            owner.map(ReplicaName::as_str),
        ),
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Authority, StoreError> {
    let kind = kind(row)?;
    let made = row.get::<Option<Vec<u8>>>("public_der")?;
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

pub(in crate::store) fn kind(row: &Row<'_>) -> Result<AuthorityKind, StoreError> {
    parsed(row, "kind", str::parse::<AuthorityKind>)
}

/// The number of an authority.
pub(in crate::store) fn small(row: &Row<'_>, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(number(row, column)?).map_err(|error| unreadable(column, error))
}

fn slot(text: &str) -> Result<Slot, String> {
    Slot::ALL.into_iter().find(|slot| slot.as_str() == text).ok_or_else(|| format!("the slot {text:?}"))
}
