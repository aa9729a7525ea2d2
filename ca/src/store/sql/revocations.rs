//! What was called back: serials until their end, identities until they are restored.

use std::collections::HashSet;
use std::sync::Arc;

use super::connection::{Connection, Row};
use super::parameters::Parameter;
use futures_util::future::BoxFuture;
use identity::{NodeName, SpiffeId, SystemIdentity};
use pki::crl::RevocationReason;
use pki::{SerialNumber, Sha256Digest, Timestamp};
use tokio::sync::watch;

use super::columns::{all, digest, first, optional, parsed, run, seconds, serial, time, unreadable};
use super::readers::Engine;
use super::store::SqlStore;
use super::writer::Unit;
use super::{entries, leaves, nodes, revocation_lists};
use crate::audit::{Action, Actor, AuditEvent, RevocationAction};
use crate::records::{Entry, EntryId, NodeState};
use crate::revocation::{CLOCK_SKEW, DeniedIdentity, ListIntent, Outcome, Revocation, Revoked, StoredList, Target};
use crate::store::{Change, RevocationStore, RevokeError, StoreError};

/// What the ledger's reasons say of certificates that only the CA itself shows.
const OF_THE_CA: [&str; 2] = ["authority", "serving"];

impl<E: Engine> RevocationStore for SqlStore<E> {
    fn revoked(&self) -> watch::Receiver<Arc<Revoked>> {
        self.writer.revoked()
    }

    fn plan_revocation(
        &self,
        target: Target,
        reason: RevocationReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Outcome, RevokeError>> {
        Box::pin(async move { self.readers.read(move |connection| Ok(plan(connection, &target, reason, now))).await? })
    }

    fn revoke(
        &self,
        target: Target,
        reason: RevocationReason,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Outcome, RevokeError>> {
        Box::pin(self.writer.write(move |unit| revoke(unit, &target, reason, &actor, now)))
    }

    fn delete_and_revoke(
        &self,
        id: EntryId,
        reason: RevocationReason,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(Entry, Outcome), RevokeError>> {
        Box::pin(self.writer.write(move |unit| {
            let (entry, _) = entries::delete(unit, &id, actor.clone(), now)?;
            Ok((entry, revoke(unit, &Target::Entry(id), reason, &actor, now)?))
        }))
    }

    fn restore_identity(&self, id: SpiffeId, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.writer.write(move |unit| restore(unit, id, actor, now)))
    }

    fn denied_identities(&self) -> BoxFuture<'_, Result<Vec<DeniedIdentity>, StoreError>> {
        Box::pin(self.readers.read(denied))
    }

    fn revocations(&self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Revocation>, StoreError>> {
        Box::pin(self.readers.read(move |connection| listed(connection, now)))
    }

    fn purge_revocations(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.writer.write(move |unit| purge(unit, now)))
    }

    fn revocation_lists(&self) -> BoxFuture<'_, Result<Vec<StoredList>, StoreError>> {
        Box::pin(self.readers.read(revocation_lists::all_lists))
    }

    fn record_list(&self, list: ListIntent, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| revocation_lists::record(unit, list, now)))
    }

    fn keep_list(&self, issuer_key: Sha256Digest, number: u64, list_der: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| revocation_lists::keep(unit, issuer_key, number, &list_der)))
    }

    fn revocation_sequence(
        &self,
        content: Sha256Digest,
        lists: Vec<(Sha256Digest, Sha256Digest)>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.writer.write(move |unit| revocation_lists::sequence(unit, content, &lists, now)))
    }

    fn signers(&self, now: Timestamp) -> BoxFuture<'_, Result<Vec<(Sha256Digest, Timestamp)>, StoreError>> {
        Box::pin(self.readers.read(move |connection| revocation_lists::signers(connection, now)))
    }
}

/// What is revoked, as the file has it.
pub(in crate::store) fn snapshot(connection: Connection<'_>) -> Result<Revoked, StoreError> {
    let serials = all(connection, "SELECT serial FROM revocations", (), |row| {
        serial(row, "serial")?.ok_or_else(|| unreadable("serial", "nothing"))
    })?;
    let denied = all(connection, "SELECT spiffe_id FROM denied_identities", (), |row| parsed(row, "spiffe_id", SpiffeId::parse))?;
    Ok(Revoked { serials: serials.into_iter().collect(), denied: denied.into_iter().collect() })
}

/// Whether nothing may be recorded to be signed for this identity.
pub(in crate::store) fn is_denied(connection: Connection<'_>, id: &SpiffeId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM denied_identities WHERE spiffe_id = ?1";
    Ok(first(connection, sql, [id.as_str()], |_| Ok(()))?.is_some())
}

fn plan(connection: Connection<'_>, target: &Target, reason: RevocationReason, now: Timestamp) -> Result<Outcome, RevokeError> {
    let mut meant = meant(connection, target, reason, now)?;
    let before = meant.len();
    let known: HashSet<SerialNumber> = snapshot(connection)?.serials;
    meant.retain(|revocation| !known.contains(&revocation.serial));
    meant.sort_by(|a, b| (b.not_after, &a.serial).cmp(&(a.not_after, &b.serial)));
    let (identity_denied, node_banned) = match target {
        Target::Identity(id) => (!is_denied(connection, id)?, false),
        Target::Node(node) => {
            let is_banned = nodes::find(connection, node)?.is_some_and(|record| record.state == NodeState::Banned);
            (false, !is_banned)
        }
        Target::Serial(_) | Target::Entry(_) => (false, false),
    };
    let revoked_before = u64::try_from(before - meant.len()).unwrap_or(u64::MAX);
    Ok(Outcome { revoked: meant, revoked_before, identity_denied, node_banned })
}

/// Revokes within the transaction of `unit`.
pub(in crate::store) fn revoke(
    unit: &mut Unit<'_>,
    target: &Target,
    reason: RevocationReason,
    actor: &Actor,
    now: Timestamp,
) -> Result<Outcome, RevokeError> {
    let outcome = plan(unit.connection(), target, reason, now)?;
    let audit =
        |unit: &mut Unit<'_>, action| unit.audit(&AuditEvent { actor: actor.clone(), action: Action::Revocation(action) }, now);
    if let (true, Target::Identity(id)) = (outcome.identity_denied, target) {
        let sql = "INSERT INTO denied_identities (spiffe_id, denied_at, reason) VALUES (?1, ?2, ?3)";
        run(unit.connection(), sql, (id.as_str(), seconds(now), reason.as_str()))?;
        audit(unit, RevocationAction::IdentityDenied { id: id.clone(), reason })?;
    }
    if let (true, Target::Node(node)) = (outcome.node_banned, target) {
        nodes::ban(unit, node.clone(), actor.clone(), now)?;
    }
    for revocation in &outcome.revoked {
        let Revocation { serial, issuer_key, subject, caller, not_after, revoked_at, reason } = revocation;
        run(
            unit.connection(),
            "INSERT INTO revocations (serial, issuer_key, subject, caller, not_after, revoked_at, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (serial.as_bytes(), issuer_key, subject.as_str(), caller, seconds(*not_after), seconds(*revoked_at), reason.as_str()),
        )?;
        nodes::forget_svid(unit, serial)?;
        audit(unit, RevocationAction::CertificateRevoked { revocation: revocation.clone(), target: target.clone() })?;
    }
    if !outcome.revoked.is_empty() || outcome.identity_denied {
        unit.changed(Change::Revocations);
    }
    Ok(outcome)
}

/// Each certificate that is meant and may still be accepted by somebody, whether it was revoked before or not.
fn meant(
    connection: Connection<'_>,
    target: &Target,
    reason: RevocationReason,
    now: Timestamp,
) -> Result<Vec<Revocation>, RevokeError> {
    let signers = leaves::signer_keys(connection)?;
    let since = seconds(now.minus(CLOCK_SKEW));
    let read = |row: &Row<'_>| {
        let (position, end): (i64, i64) = (row.get("position")?, row.get("not_after")?);
        Ok(Revocation {
            serial: serial(row, "serial")?.ok_or_else(|| unreadable("serial", "nothing"))?,
            issuer_key: signer_of(connection, &signers, end, position)?,
            subject: parsed(row, "subject", SpiffeId::parse)?,
            caller: row.get("caller")?,
            not_after: time(row, "not_after")?,
            revoked_at: now,
            reason,
        })
    };
    // What rests on a CA is found by the index of leaves, so that recording one costs no further index.
    let among_leaves = |condition: &str, of: &[&str]| -> Result<Vec<Revocation>, StoreError> {
        let sql = format!(
            "SELECT issuance.* FROM leaves JOIN issuance ON issuance.position = leaves.position
             WHERE leaves.issuer_key = ?1 AND leaves.not_after >= ?2 AND ({condition})"
        );
        let mut found = Vec::new();
        for key in &signers {
            let mut parameters: Vec<&dyn Parameter> = vec![key, &since];
            for text in of {
                parameters.push(text);
            }
            found.extend(all(connection, &sql, parameters.as_slice(), read)?);
        }
        Ok(found)
    };
    Ok(match target {
        Target::Serial(wanted) => vec![one(connection, wanted, now, read)?],
        Target::Identity(id) if id.is_reserved() || id.path().is_empty() => {
            return Err(RevokeError::NotAWorkload { id: id.clone() });
        }
        Target::Identity(id) => among_leaves("issuance.subject = ?3", &[id.as_str()])?,
        Target::Node(node) => {
            let (agent, itself) = node_callers(connection, node)?;
            among_leaves("issuance.caller IN (?3, ?4) OR issuance.subject = ?3", &[&agent, &itself])?
        }
        Target::Entry(entry) => among_leaves("leaves.entry = ?3", &[entry.as_str()])?,
    })
}

/// How the ledger names a node as a caller: its agent, and the node before it had one.
fn node_callers(connection: Connection<'_>, node: &NodeName) -> Result<(String, String), StoreError> {
    let sql = "SELECT trust_domain FROM bundles LIMIT 1";
    let trust_domain = first(connection, sql, (), |row| parsed(row, "trust_domain", identity::TrustDomain::parse))?;
    let agent = trust_domain.map(|trust_domain| SystemIdentity::Agent(node.clone()).id(&trust_domain).to_string());
    // Without a bundle nothing was ever issued.
    Ok((agent.unwrap_or_default(), format!("node {node}")))
}

fn one(
    connection: Connection<'_>,
    wanted: &SerialNumber,
    now: Timestamp,
    mut read: impl FnMut(&Row<'_>) -> Result<Revocation, StoreError>,
) -> Result<Revocation, RevokeError> {
    let sql = "SELECT * FROM issuance WHERE serial = ?1";
    let found = first(connection, sql, [wanted.as_bytes()], |row| Ok((row.get::<String>("reason")?, read(row)?)))?;
    let name = wanted.to_string();
    match found {
        None => Err(RevokeError::Unknown { serial: name }),
        Some((reason, _)) if OF_THE_CA.contains(&reason.as_str()) => Err(RevokeError::OfTheCa { serial: name, reason }),
        Some((_, revocation)) if !revocation.is_listed(now) => {
            Err(RevokeError::Ended { serial: name, not_after: revocation.not_after })
        }
        Some((_, revocation)) => Ok(revocation),
    }
}

/// Which of the CAs was to sign what stands at this place of the ledger.
fn signer_of(
    connection: Connection<'_>,
    signers: &[Vec<u8>],
    not_after: i64,
    position: i64,
) -> Result<Option<Sha256Digest>, StoreError> {
    let sql = "SELECT 1 FROM leaves WHERE issuer_key = ?1 AND not_after = ?2 AND position = ?3";
    for key in signers {
        if let Ok(digest) = Sha256Digest::try_from(key.as_slice())
            && first(connection, sql, (key, not_after, position), |_| Ok(()))?.is_some()
        {
            return Ok(Some(digest));
        }
    }
    Ok(None)
}

fn restore(unit: &mut Unit<'_>, id: SpiffeId, actor: Actor, now: Timestamp) -> Result<bool, StoreError> {
    if run(unit.connection(), "DELETE FROM denied_identities WHERE spiffe_id = ?1", [id.as_str()])? == 0 {
        return Ok(false);
    }
    unit.changed(Change::Revocations);
    unit.audit(&AuditEvent { actor, action: Action::Revocation(RevocationAction::IdentityRestored { id }) }, now)?;
    Ok(true)
}

fn denied(connection: Connection<'_>) -> Result<Vec<DeniedIdentity>, StoreError> {
    all(connection, "SELECT * FROM denied_identities ORDER BY spiffe_id", (), |row| {
        Ok(DeniedIdentity {
            id: parsed(row, "spiffe_id", SpiffeId::parse)?,
            denied_at: time(row, "denied_at")?,
            reason: parsed(row, "reason", str::parse::<RevocationReason>)?,
        })
    })
}

fn listed(connection: Connection<'_>, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
    let sql = "SELECT * FROM revocations WHERE not_after >= ?1 ORDER BY revoked_at DESC, serial";
    all(connection, sql, [seconds(now.minus(CLOCK_SKEW))], |row| {
        Ok(Revocation {
            serial: serial(row, "serial")?.ok_or_else(|| unreadable("serial", "nothing"))?,
            issuer_key: optional(row, "issuer_key", digest)?,
            subject: parsed(row, "subject", SpiffeId::parse)?,
            caller: row.get("caller")?,
            not_after: time(row, "not_after")?,
            revoked_at: time(row, "revoked_at")?,
            reason: parsed(row, "reason", str::parse::<RevocationReason>)?,
        })
    })
}

fn purge(unit: &mut Unit<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let gone = run(unit.connection(), "DELETE FROM revocations WHERE not_after < ?1", [seconds(now.minus(CLOCK_SKEW))])?;
    if gone > 0 {
        unit.changed(Change::Revocations);
    }
    Ok(gone)
}
