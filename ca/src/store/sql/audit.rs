//! The chain in its table.

use super::connection::{Connection, DatabaseError, Row};

use pki::{Sha256Digest, Timestamp};

use super::columns::{all, digest, first, integer, number, run, seconds, time};
use crate::audit::{AuditEvent, AuditRecord, ChainHead};
use crate::store::StoreError;

/// The end of the chain, as remembered beside it.
pub(in crate::store) fn head(connection: Connection<'_>) -> Result<ChainHead, StoreError> {
    first(connection, "SELECT sequence, hash FROM audit_head", (), read_head)?
        .ok_or_else(|| StoreError::Unavailable("the head of the audit chain is missing: the store was tampered with".to_owned()))
}

/// Remembers where the chain ends.
pub(in crate::store) fn set_head(connection: Connection<'_>, head: ChainHead) -> Result<(), DatabaseError> {
    let sequence = i64::try_from(head.sequence).map_err(|error| DatabaseError::Undone(error.to_string()))?;
    connection.execute("UPDATE audit_head SET sequence = ?1, hash = ?2", &(sequence, head.hash)).map(drop)
}

/// The hash of an event, if it is there.
pub(in crate::store) fn hash_of(connection: Connection<'_>, sequence: u64) -> Result<Option<Sha256Digest>, StoreError> {
    first(connection, "SELECT hash FROM audit WHERE sequence = ?1", [integer(sequence)?], |row| digest(row, "hash"))
}

/// Appends an event after this head; answers with the new one, which is to be remembered.
pub(in crate::store) fn append(
    connection: Connection<'_>,
    head: ChainHead,
    event: &AuditEvent,
    now: Timestamp,
) -> Result<ChainHead, StoreError> {
    let AuditRecord { sequence, time, kind, body, previous, hash } = head.next(now, event.kind().to_owned(), event.body());
    run(
        connection,
        "INSERT INTO audit (sequence, time, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (integer(sequence)?, seconds(time), kind, body, previous, hash),
    )?;
    Ok(ChainHead { sequence, hash })
}

pub(in crate::store) fn after(connection: Connection<'_>, sequence: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    // A sequence beyond what the store can count has nothing after it.
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    let sql = "SELECT * FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
    all(connection, sql, (sequence, limit), read_record)
}

fn read_head(row: &Row<'_>) -> Result<ChainHead, StoreError> {
    Ok(ChainHead { sequence: number(row, "sequence")?, hash: digest(row, "hash")? })
}

fn read_record(row: &Row<'_>) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        sequence: number(row, "sequence")?,
        time: time(row, "time")?,
        kind: row.get("kind")?,
        body: row.get("body")?,
        previous: digest(row, "previous")?,
        hash: digest(row, "hash")?,
    })
}
