//! The ledger of certificates: what was to be signed, before it is signed, and what came of it.

use pki::{SerialNumber, Timestamp, sha256};
use rusqlite::Connection;

use super::columns::{first, number, seconds};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::issuance::Intent;
use crate::records::Reason;
use crate::store::StoreError;

pub(super) fn intend(unit: &mut Unit<'_>, intent: Intent) -> Result<(), StoreError> {
    let Intent { serial, tbs_der, subject, caller, reason, not_after, now } = intent;
    if find(unit.connection(), &serial)?.is_some() {
        return Err(StoreError::Exists { what: "certificate", name: serial.to_string() });
    }
    let reason = reason_text(&reason);
    unit.connection().execute(
        "INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (serial.as_bytes(), &tbs_der, subject.as_str(), &caller, &reason, seconds(not_after), seconds(now)),
    )?;
    let tbs = sha256(&tbs_der);
    let action = Action::CertificateIntended { serial, subject, caller, reason, not_after, tbs };
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
    unit.connection().execute(
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

/// The certificate recorded for this serial, if one is, of an intent that is, if one is.
fn find(connection: &Connection, serial: &SerialNumber) -> Result<Option<Option<Vec<u8>>>, StoreError> {
    let sql = "SELECT certificate_der FROM issuance WHERE serial = ?1";
    first(connection, sql, [serial.as_bytes()], |row| Ok(row.get("certificate_der")?))
}

fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::Entry(id) => format!("entry {id}"),
        Reason::Attestation => "attestation".to_owned(),
        Reason::AgentRenewal => "agent_renewal".to_owned(),
        Reason::Serving => "serving".to_owned(),
        Reason::Authority => "authority".to_owned(),
    }
}
