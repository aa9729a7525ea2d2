//! Checkpoints of the audit chain in their tables.

use super::connection::{Connection, Row};
use data_encoding::HEXLOWER;
use identity::{NodeName, TrustDomain};
use pki::Timestamp;
use pki::checkpoint::{Checkpoint, SignedCheckpoint};

use super::columns::{all, digest, first, integer, number, parsed, run, seconds, time, unreadable};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, StoredCheckpoint};
use crate::store::StoreError;
use crate::store::audit::{Fork, Forks, MAX_FORKS};

pub(in crate::store) fn between(
    connection: Connection<'_>,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<StoredCheckpoint>, StoreError> {
    let sql = "SELECT * FROM audit_checkpoints WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence LIMIT ?3";
    let bound = |sequence| i64::try_from(sequence).unwrap_or(i64::MAX);
    all(connection, sql, (bound(after), bound(through), limit), read)
}

pub(in crate::store) fn last(connection: Connection<'_>) -> Result<Option<StoredCheckpoint>, StoreError> {
    first(connection, "SELECT * FROM audit_checkpoints ORDER BY sequence DESC LIMIT 1", (), read)
}

pub(in crate::store) fn record(unit: &mut Unit<'_>, signed: &SignedCheckpoint) -> Result<(), StoreError> {
    let Checkpoint { trust_domain, sequence, head, time, previous } = signed.checkpoint();
    if let Some(StoredCheckpoint { sequence: last, .. }) = last(unit.connection())?
        && last >= *sequence
    {
        return Err(StoreError::Exists { what: "checkpoint", name: last.to_string() });
    }
    run(
        unit.connection(),
        "INSERT INTO audit_checkpoints (sequence, trust_domain, head, time, previous, public_key, signature)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            integer(*sequence)?,
            trust_domain.as_str(),
            head,
            seconds(*time),
            previous,
            signed.public_key().spki_der(),
            signed.signature(),
        ),
    )?;
    Ok(())
}

pub(in crate::store) fn record_fork(
    unit: &mut Unit<'_>,
    node: NodeName,
    signed: &SignedCheckpoint,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let connection = unit.connection();
    let known = first(connection, "SELECT 1 FROM audit_forks WHERE digest = ?1", [signed.digest()], |_| Ok(()))?;
    let kept = first(connection, "SELECT count(*) AS kept FROM audit_forks WHERE acknowledged_at IS NULL", (), |row| {
        number(row, "kept")
    })?;
    if known.is_some() || kept.unwrap_or(0) >= MAX_FORKS {
        return Ok(false);
    }
    run(
        connection,
        "INSERT INTO audit_forks (digest, node, checkpoint, found_at) VALUES (?1, ?2, ?3, ?4)",
        (signed.digest(), node.as_str(), signed.to_json(), seconds(now)),
    )?;
    let Checkpoint { sequence, head, time, .. } = *signed.checkpoint();
    let action = Action::ForkFound { node: node.clone(), sequence, head, made_at: time };
    unit.audit(&AuditEvent { actor: Actor::Agent(node), action }, now)?;
    Ok(true)
}

pub(in crate::store) fn forks(connection: Connection<'_>) -> Result<Forks, StoreError> {
    let open = all(connection, "SELECT * FROM audit_forks WHERE acknowledged_at IS NULL ORDER BY found_at, digest", (), |row| {
        let checkpoint = parsed(row, "checkpoint", |text| SignedCheckpoint::from_json(text.as_bytes()))?;
        Ok(Fork { node: parsed(row, "node", NodeName::parse)?, checkpoint, found_at: time(row, "found_at")? })
    })?;
    let sql = "SELECT digest FROM audit_forks WHERE acknowledged_at IS NOT NULL";
    Ok(Forks { open, acknowledged: all(connection, sql, (), |row| digest(row, "digest"))? })
}

pub(in crate::store) fn acknowledge_forks(unit: &mut Unit<'_>, actor: Actor, now: Timestamp) -> Result<u32, StoreError> {
    let Forks { open, acknowledged: _ } = forks(unit.connection())?;
    let names: Vec<_> = open.iter().map(|fork| HEXLOWER.encode(fork.checkpoint.digest())).collect();
    let acknowledged = u32::try_from(names.len()).unwrap_or(u32::MAX);
    if acknowledged == 0 {
        return Err(StoreError::NotFound { what: "checkpoint of another history", name: "to acknowledge".to_owned() });
    }
    run(unit.connection(), "UPDATE audit_forks SET acknowledged_at = ?1 WHERE acknowledged_at IS NULL", [seconds(now)])?;
    unit.audit(&AuditEvent { actor, action: Action::ForkAcknowledged { checkpoints: names } }, now)?;
    Ok(acknowledged)
}

/// What a row holds is an answer, also when it holds nothing good: anybody may have written it.
fn read(row: &Row<'_>) -> Result<StoredCheckpoint, StoreError> {
    let sequence = number(row, "sequence")?;
    Ok(StoredCheckpoint { sequence, content: signed(row, sequence).map_err(|error| error.to_string()) })
}

fn signed(row: &Row<'_>, sequence: u64) -> Result<SignedCheckpoint, StoreError> {
    let checkpoint = Checkpoint {
        trust_domain: parsed(row, "trust_domain", TrustDomain::parse)?,
        sequence,
        head: digest(row, "head")?,
        time: time(row, "time")?,
        previous: digest(row, "previous")?,
    };
    let public_key: Vec<u8> = row.get("public_key")?;
    SignedCheckpoint::verified(checkpoint, &public_key, row.get("signature")?).map_err(|error| unreadable("signature", error))
}
