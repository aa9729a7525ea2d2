//! The chain in its table.

use rusqlite::{Connection, Row};

use pki::Timestamp;

use super::columns::{all, digest, integer, number, seconds, time};
use crate::audit::{AuditEvent, AuditRecord, AuditVerdict, ChainHead, ChainWalk};
use crate::store::StoreError;

/// The end of the chain, as remembered beside it.
pub(super) fn head(connection: &Connection) -> Result<ChainHead, StoreError> {
    connection.prepare("SELECT sequence, hash FROM audit_head")?.query_and_then([], read_head)?.next().unwrap_or_else(|| {
        Err(StoreError::Unavailable("the head of the audit chain is missing: the store was tampered with".to_owned()))
    })
}

/// Appends an event after the remembered head and moves the head; answers with its sequence.
pub(super) fn append(connection: &Connection, event: &AuditEvent, now: Timestamp) -> Result<u64, StoreError> {
    let AuditRecord { sequence, time, kind, body, previous, hash } =
        head(connection)?.next(now, event.kind().to_owned(), event.body());
    connection.execute(
        "INSERT INTO audit (sequence, time, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (integer(sequence)?, seconds(time), kind, body, previous, hash),
    )?;
    connection.execute("UPDATE audit_head SET sequence = ?1, hash = ?2", (integer(sequence)?, hash))?;
    Ok(sequence)
}

pub(super) fn after(connection: &Connection, sequence: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    // A sequence beyond what the store can count has nothing after it.
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    let sql = "SELECT * FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
    all(connection, sql, (sequence, limit), read_record)
}

pub(super) fn verify(connection: &Connection) -> Result<AuditVerdict, StoreError> {
    let head = head(connection)?;
    let mut walk = ChainWalk::new(head);
    let mut events = 0;
    let mut statement = connection.prepare("SELECT * FROM audit ORDER BY sequence")?;
    for record in statement.query_and_then([], read_record)? {
        events += 1;
        if let Err(fault) = walk.step(&record?) {
            return Ok(AuditVerdict { events, head, fault: Some(fault) });
        }
    }
    Ok(AuditVerdict { events, head, fault: walk.finish().err() })
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
