//! Intents to sign for which no result was recorded.

use super::connection::Connection;
use identity::SpiffeId;
use pki::SerialNumber;
use serde_json::Value;

use super::columns::{all, number, parsed, seconds, serial, time, unreadable};
use crate::store::StoreError;
use crate::store::audit::{Orphan, OrphanCursor, OrphanKind, OrphanPage};

/// Orphans of one page.
const PAGE: u32 = 256;

/// Events looked at for one page: those of JWT-SVIDs lie anywhere among the others.
const SPAN: u64 = 10_000;

pub(in crate::store) fn page(connection: Connection<'_>, kind: OrphanKind, from: OrphanCursor) -> Result<OrphanPage, StoreError> {
    match kind {
        OrphanKind::X509 => certificates(connection, from),
        OrphanKind::Jwt => tokens(connection, from),
    }
}

/// Along the unanswered ones: those that were answered, nearly all, are not read.
fn certificates(connection: Connection<'_>, from: OrphanCursor) -> Result<OrphanPage, StoreError> {
    let sql = "SELECT issuance.* FROM issuance_unanswered AS unanswered CROSS JOIN issuance
               WHERE issuance.position = unanswered.position AND (unanswered.intended_at, unanswered.position) > (?1, ?2)
               ORDER BY unanswered.intended_at, unanswered.position LIMIT ?3";
    let position = i64::try_from(from.position).unwrap_or(i64::MAX);
    let rows = all(connection, sql, (seconds(from.since), position, PAGE), |row| {
        let serial: SerialNumber = serial(row, "serial")?.ok_or_else(|| unreadable("serial", "nothing"))?;
        let orphan = Orphan {
            kind: OrphanKind::X509,
            name: serial.to_string(),
            subject: parsed(row, "subject", SpiffeId::parse)?.to_string(),
            caller: row.get("caller")?,
            reason: row.get("reason")?,
            intended_at: time(row, "intended_at")?,
            not_after: time(row, "not_after")?,
        };
        Ok((number(row, "position")?, orphan))
    })?;
    let full = u32::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE);
    let next = rows.last().map(|(position, orphan)| OrphanCursor { since: orphan.intended_at, position: *position });
    Ok(OrphanPage { orphans: rows.into_iter().map(|(_, orphan)| orphan).collect(), next: next.filter(|_| full) })
}

/// Through the log, a span at a time.
fn tokens(connection: Connection<'_>, from: OrphanCursor) -> Result<OrphanPage, StoreError> {
    let through = from.position.saturating_add(SPAN);
    let bound = |sequence| i64::try_from(sequence).unwrap_or(i64::MAX);
    let sql = "SELECT time, body FROM audit
               WHERE sequence > ?1 AND sequence <= ?2 AND kind = 'jwt_svid_intended' AND time >= ?3 ORDER BY sequence";
    let orphans = all(connection, sql, (bound(from.position), bound(through), seconds(from.since)), |row| {
        let body: String = row.get("body")?;
        let body: Value = serde_json::from_str(&body).map_err(|error| unreadable("body", error))?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Orphan {
            kind: OrphanKind::Jwt,
            name: text("signing_input_sha256"),
            subject: text("subject"),
            caller: text("caller"),
            reason: text("reason"),
            intended_at: time(row, "time")?,
            not_after: text("expires_at").parse().map_err(|error| unreadable("body", error))?,
        })
    })?;
    let more = through < super::audit::head(connection)?.sequence;
    Ok(OrphanPage { orphans, next: more.then_some(OrphanCursor { position: through, ..from }) })
}
