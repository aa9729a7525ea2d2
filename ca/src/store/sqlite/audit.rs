//! The chain in its table.

use rusqlite::{Connection, Row};

use pki::Timestamp;

use super::columns::{all, digest, first, integer, number, run, seconds, time};
use crate::audit::{AuditEvent, AuditRecord, ChainHead};
use crate::store::StoreError;

/// The end of the chain, as remembered beside it.
pub(super) fn head(connection: &Connection) -> Result<ChainHead, StoreError> {
    first(connection, "SELECT sequence, hash FROM audit_head", [], read_head)?
        .ok_or_else(|| StoreError::Unavailable("the head of the audit chain is missing: the store was tampered with".to_owned()))
}

/// Remembers where the chain ends.
pub(super) fn set_head(connection: &Connection, head: ChainHead) -> rusqlite::Result<()> {
    let sequence = i64::try_from(head.sequence).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let sql = "UPDATE audit_head SET sequence = ?1, hash = ?2";
    connection.prepare_cached(sql)?.execute((sequence, head.hash)).map(drop)
}

/// Appends an event after this head; answers with the new one, which is to be remembered.
pub(super) fn append(
    connection: &Connection,
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

pub(super) fn after(connection: &Connection, sequence: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
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
