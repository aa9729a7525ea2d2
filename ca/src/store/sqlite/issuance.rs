//! The ledger of certificates: what was to be signed, before it is signed, and what came of it.

use std::collections::HashMap;

use identity::SpiffeId;
use pki::{SerialNumber, Timestamp, sha256};
use rusqlite::Connection;

use super::columns::{first, number, parsed, run, seconds, time, unreadable};
use super::issuance_clock;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::issuance::Intent;
use crate::records::{EntryId, Held, IssuedRecord, Outstanding, Provenance, Reason, RenewalGrounds};
use crate::store::StoreError;
use crate::turns::ENDED_OF_LATE;

pub(super) fn intend(unit: &mut Unit<'_>, intent: Intent) -> Result<(), StoreError> {
    let Intent { serial, tbs_der, subject, caller, reason, provenance, not_after, now } = intent;
    if find(unit.connection(), &serial)?.is_some() {
        return Err(StoreError::Exists { what: "certificate", name: serial.to_string() });
    }
    issuance_clock::advance(unit, now)?;
    let reason = reason_text(&reason);
    let grounds = provenance.as_ref().map(|provenance| provenance.grounds.to_json()).transpose();
    let grounds = grounds.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let line_start = provenance.as_ref().map(|provenance| seconds(provenance.line_start));
    run(
        unit.connection(),
        "INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at, grounds, line_start)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        rusqlite::params![
            serial.as_bytes(),
            &tbs_der,
            subject.as_str(),
            &caller,
            &reason,
            seconds(not_after),
            seconds(now),
            &grounds,
            line_start
        ],
    )?;
    let tbs = sha256(&tbs_der);
    let action = Action::CertificateIntended { serial, subject, caller, reason, provenance, not_after, tbs };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}

pub(super) fn answer(
    unit: &mut Unit<'_>,
    serial: SerialNumber,
    certificate_der: Vec<u8>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match find(unit.connection(), &serial)? {
        None => return Err(StoreError::NotFound { what: "certificate", name: serial.to_string() }),
        Some(Some(known)) if known == certificate_der => return Ok(()),
        Some(Some(_)) => return Err(StoreError::Exists { what: "certificate", name: serial.to_string() }),
        Some(None) => {}
    }
    run(
        unit.connection(),
        "UPDATE issuance SET certificate_der = ?2, answered_at = ?3 WHERE serial = ?1",
        (serial.as_bytes(), &certificate_der, seconds(now)),
    )?;
    let action = Action::CertificateSigned { serial, certificate: sha256(&certificate_der) };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}

pub(super) fn count(connection: &Connection) -> Result<u64, StoreError> {
    // Two counts over small indexes, where counting the answered ones would read every row.
    let sql = "SELECT (SELECT count(*) FROM issuance) - (SELECT count(*) FROM issuance WHERE answered_at IS NULL) AS answered";
    Ok(first(connection, sql, [], |row| number(row, "answered"))?.unwrap_or(0))
}

/// What was issued for this entry and has not ended at `now`.
pub(super) fn outstanding(connection: &Connection, entry: &EntryId, now: Timestamp) -> Result<Option<Outstanding>, StoreError> {
    let reason = reason_text(&Reason::Entry(entry.clone()));
    let sql = "SELECT count(*) AS count, max(not_after) AS until FROM issuance WHERE reason = ?1 AND not_after >= ?2";
    let found = first(connection, sql, (&reason, seconds(now)), |row| {
        let count = number(row, "count")?;
        // Without rows there is no maximum.
        if count == 0 { Ok(None) } else { Ok(Some(Outstanding { count, until: time(row, "until")? })) }
    })?;
    Ok(found.flatten())
}

/// What this caller was given last for each of these entries. An intent without an answer may never have reached it.
pub(super) fn held(
    connection: &Connection,
    caller: &str,
    entries: Vec<EntryId>,
    now: Timestamp,
) -> Result<HashMap<EntryId, Held>, StoreError> {
    let since = Timestamp::from_unix_seconds(now.unix_seconds().saturating_sub(ENDED_OF_LATE.as_secs()));
    let sql = "SELECT intended_at, not_after FROM issuance
               WHERE reason = ?1 AND not_after >= ?2 AND caller = ?3 AND answered_at IS NOT NULL ORDER BY not_after DESC LIMIT 1";
    let mut found = HashMap::new();
    for entry in entries {
        let reason = reason_text(&Reason::Entry(entry.clone()));
        let held = first(connection, sql, (&reason, seconds(since), caller), |row| {
            Ok(Held { issued_at: time(row, "intended_at")?, not_after: time(row, "not_after")? })
        })?;
        found.extend(held.map(|held| (entry, held)));
    }
    Ok(found)
}

/// What is recorded of this serial, if anything is.
pub(super) fn record(connection: &Connection, serial: &SerialNumber) -> Result<Option<IssuedRecord>, StoreError> {
    let sql = "SELECT tbs_der, subject, reason, grounds, line_start FROM issuance WHERE serial = ?1";
    first(connection, sql, [serial.as_bytes()], |row| {
        let grounds: Option<String> = row.get("grounds")?;
        let provenance = match grounds {
            Some(grounds) => Some(Provenance {
                grounds: RenewalGrounds::from_json(&grounds).map_err(|error| unreadable("grounds", error))?,
                line_start: time(row, "line_start")?,
            }),
            None => None,
        };
        Ok(IssuedRecord {
            tbs_der: row.get("tbs_der")?,
            subject: parsed(row, "subject", SpiffeId::parse)?,
            reason: row.get("reason")?,
            provenance,
        })
    })
}

/// The certificate recorded for this serial, if one is, of an intent that is, if one is.
fn find(connection: &Connection, serial: &SerialNumber) -> Result<Option<Option<Vec<u8>>>, StoreError> {
    let sql = "SELECT certificate_der FROM issuance WHERE serial = ?1";
    first(connection, sql, [serial.as_bytes()], |row| Ok(row.get("certificate_der")?))
}

pub(super) fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::Entry(id) => format!("entry {id}"),
        Reason::Attestation => "attestation".to_owned(),
        Reason::AgentRenewal => "agent_renewal".to_owned(),
        Reason::Token { .. } => "token".to_owned(),
        Reason::Renewal { presented } => format!("renewal {presented}"),
        Reason::Serving => "serving".to_owned(),
        Reason::Authority => "authority".to_owned(),
    }
}
