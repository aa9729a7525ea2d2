//! The ledger of certificates: what was to be signed, before it is signed, and what came of it.

use std::collections::HashMap;

use super::connection::{Connection, Row};
use identity::{SpiffeId, SystemIdentity};
use pki::{SerialNumber, Sha256Digest, Timestamp, sha256};

use super::columns::{first, number, parsed, run, seconds, time, unreadable};
use super::issuance_clock;
use super::leaves::{self, LeafIntent};
use super::writer::Unit;
use super::{agent_pods, nodes, revocations};
use crate::audit::{Action, Actor, AuditEvent};
use crate::issuance::Intent;
use crate::records::{ConfirmedPod, EntryId, Held, IssuedRecord, LivePod, Provenance, Reason, RenewalGrounds};
use crate::store::{IssuanceResult, StoreError};
use crate::turns::ENDED_OF_LATE;

/// It fails before it changes anything, or never, as [`super::writer::Writer::write_checked`] wants it.
pub(in crate::store) fn intend(unit: &mut Unit<'_>, intent: Intent) -> Result<(), StoreError> {
    refuse_denied(unit.connection(), &intent.subject, &intent.caller)?;
    refuse_gone(unit, &intent.reason, &intent.subject, &intent.caller, intent.now)?;
    if let Reason::Downstream(child) = &intent.reason {
        refuse_denied(unit.connection(), child, &intent.caller)?;
    }
    refuse_taken_out(unit, intent.issuer_key)?;
    let leaf = LeafIntent::of(&intent);
    let Intent { serial, tbs_der, subject, caller, reason, provenance, not_after, issuer_key: _, now } = intent;
    issuance_clock::advance(unit, now)?;
    let reason = reason_text(&reason);
    let grounds = provenance.as_ref().map(|provenance| provenance.grounds.to_json()).transpose();
    let grounds = grounds.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let line_start = provenance.as_ref().map(|provenance| seconds(provenance.line_start));
    let made = unit.connection().insert_counted(
        "INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at, grounds, line_start)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (serial) DO NOTHING",
        &(
            serial.as_bytes(),
            &tbs_der,
            subject.as_str(),
            &caller,
            &reason,
            seconds(not_after),
            seconds(now),
            &grounds,
            line_start,
        ),
    )?;
    let Some(position) = made else {
        return Err(StoreError::Exists { what: "certificate", name: serial.to_string() });
    };
    let unanswered = (seconds(now), position);
    run(unit.connection(), "INSERT INTO issuance_unanswered (intended_at, position) VALUES (?1, ?2)", unanswered)?;
    if let Some(leaf) = leaf {
        leaves::intended(unit.connection(), leaf, position)?;
    }
    let tbs = sha256(&tbs_der);
    let action = Action::CertificateIntended { serial, subject, caller, reason, provenance, not_after, tbs };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}

/// Where other replicas write into the same database: nothing is signed by an issuing CA or JWT key that another one took out, however long this
/// one has not heard of it.
pub(in crate::store) fn refuse_taken_out(unit: &Unit<'_>, key: Sha256Digest) -> Result<(), StoreError> {
    if !unit.has_company() {
        return Ok(());
    }
    let sql = "SELECT kind, number FROM authorities WHERE key = ?1 AND slot = 'revoked'";
    let revoked =
        first(unit.connection(), sql, [key], |row| Ok(format!("{}-{}", row.get::<String>("kind")?, number(row, "number")?)))?;
    match revoked {
        Some(name) => Err(StoreError::Changed { what: "slot of the authority", name }),
        None => Ok(()),
    }
}

/// The last word on who may have what: whatever was revoked or banned before this transaction counts, however long ago it was admitted.
pub(in crate::store) fn refuse_denied(connection: Connection<'_>, subject: &SpiffeId, caller: &str) -> Result<(), StoreError> {
    if revocations::is_denied(connection, subject)? {
        return Err(StoreError::Denied { id: subject.clone() });
    }
    let node = SpiffeId::parse(caller).ok().and_then(|caller| caller.system_identity());
    if let Some(SystemIdentity::Agent(node)) = node
        && nodes::is_banned(connection, &node)?
    {
        return Err(StoreError::Banned { node });
    }
    Ok(())
}

/// Where others write into the same database, what is remembered here of entries and nodes may be behind theirs: the entry must be there,
/// must not have ended, and must belong to the caller, which must be on record. Whoever asks for a pod must still be the agent that its
/// cluster vouched for.
pub(in crate::store) fn refuse_gone(
    unit: &Unit<'_>,
    reason: &Reason,
    subject: &SpiffeId,
    caller: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let agent = || match SpiffeId::parse(caller).ok().and_then(|caller| caller.system_identity()) {
        Some(SystemIdentity::Agent(node)) => Ok(node),
        Some(_) | None => Err(StoreError::NotFound { what: "node", name: caller.to_owned() }),
    };
    if let Reason::LivePod(LivePod { cluster, .. }) = reason {
        let node = agent()?;
        let known = agent_pods::cluster_of(unit.connection(), &node)?.filter(|known| known == cluster);
        return known.map(drop).ok_or_else(|| StoreError::NotFound { what: "agent in a pod on node", name: node.to_string() });
    }
    let Reason::Entry(id) = reason else { return Ok(()) };
    if !unit.has_company() {
        return Ok(());
    }
    let node = agent()?;
    let sql = "SELECT 1 FROM entries CROSS JOIN nodes
               WHERE entries.id = ?1 AND entries.spiffe_id = ?2 AND (entries.expires_at IS NULL OR entries.expires_at > ?3)
               AND nodes.node = ?4 AND nodes.state = 'attested'
               AND (entries.parent_node = ?4 OR EXISTS (
                   SELECT 1 FROM alias_members WHERE alias_members.alias = entries.parent_alias AND alias_members.node = ?4
               ))";
    let known = first(unit.connection(), sql, (id.as_str(), subject.as_str(), seconds(now), node.as_str()), |_| Ok(()))?;
    known.ok_or_else(|| StoreError::NotFound { what: "entry", name: id.to_string() })
}

/// It fails before it changes anything, or never, as [`super::writer::Writer::write_checked`] wants it.
pub(in crate::store) fn answer(unit: &mut Unit<'_>, result: IssuanceResult) -> Result<(), StoreError> {
    let IssuanceResult { serial, certificate_der, now } = result;
    let sql = "SELECT position, intended_at, subject, caller, reason FROM issuance WHERE serial = ?1";
    let intent = first(unit.connection(), sql, [serial.as_bytes()], |row| {
        let of: (String, String, String) = (row.get("subject")?, row.get("caller")?, row.get("reason")?);
        Ok((row.get::<i64>("position")?, row.get::<i64>("intended_at")?, of))
    })?;
    let Some((position, intended_at, (subject, caller, reason))) = intent else {
        return Err(StoreError::NotFound { what: "certificate", name: serial.to_string() });
    };
    let unanswered = "DELETE FROM issuance_unanswered WHERE intended_at = ?1 AND position = ?2";
    if run(unit.connection(), unanswered, (intended_at, position))? == 0 {
        let sql = "SELECT certificate_der FROM issuance_results WHERE position = ?1";
        let known: Option<Vec<u8>> = first(unit.connection(), sql, [position], |row| row.get("certificate_der"))?;
        return if known.as_ref() == Some(&certificate_der) {
            Ok(())
        } else {
            Err(StoreError::Exists { what: "certificate", name: serial.to_string() })
        };
    }
    run(
        unit.connection(),
        "INSERT INTO issuance_results (position, certificate_der, answered_at) VALUES (?1, ?2, ?3)",
        (position, &certificate_der, seconds(now)),
    )?;
    leaves::signed(unit.connection(), position, &subject, &caller, &reason)?;
    let action = Action::CertificateSigned { serial, certificate: sha256(&certificate_der) };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}

/// Those that are refused, and why. One that changed something before it failed fails them all.
pub(in crate::store) fn answer_all(
    unit: &mut Unit<'_>,
    results: Vec<IssuanceResult>,
) -> Result<Vec<(SerialNumber, StoreError)>, StoreError> {
    let mut refused = Vec::new();
    for result in results {
        let (serial, rows_before) = (result.serial.clone(), unit.connection().changed_rows());
        if let Err(error) = answer(unit, result) {
            if unit.connection().changed_rows() != rows_before {
                return Err(error);
            }
            refused.push((serial, error));
        }
    }
    Ok(refused)
}

pub(in crate::store) fn count(connection: Connection<'_>) -> Result<u64, StoreError> {
    // Counting the answered ones would read every one of them.
    let sql = "SELECT (SELECT count(*) FROM issuance) - (SELECT count(*) FROM issuance_unanswered) AS answered";
    Ok(first(connection, sql, (), |row| number(row, "answered"))?.unwrap_or(0))
}

/// What this caller was given last for each of these entries, in its identity of now.
pub(in crate::store) fn held(
    connection: Connection<'_>,
    caller: &str,
    entries: Vec<(EntryId, SpiffeId)>,
    now: Timestamp,
) -> Result<HashMap<EntryId, Held>, StoreError> {
    let since = Timestamp::from_unix_seconds(now.unix_seconds().saturating_sub(ENDED_OF_LATE.as_secs()));
    let mut found = HashMap::new();
    for (entry, subject) in entries {
        let held = leaves::newest(connection, caller, &entry, &subject)?.filter(|held| held.not_after >= since);
        found.extend(held.map(|held| (entry, held)));
    }
    Ok(found)
}

/// The last certificate that this caller was given for an account on its node: neither ended nor revoked.
pub(in crate::store) fn confirmed(
    connection: Connection<'_>,
    caller: &str,
    subject: &SpiffeId,
    now: Timestamp,
) -> Result<Option<ConfirmedPod>, StoreError> {
    let found = leaves::newest_of_account(connection, caller, subject)?;
    Ok(found.filter(|found| now <= found.held.not_after))
}

/// What is recorded of this serial, if anything is.
pub(in crate::store) fn record(connection: Connection<'_>, serial: &SerialNumber) -> Result<Option<IssuedRecord>, StoreError> {
    let sql = "SELECT tbs_der, subject, reason, grounds, line_start FROM issuance WHERE serial = ?1";
    first(connection, sql, [serial.as_bytes()], |row| {
        Ok(IssuedRecord {
            tbs_der: row.get("tbs_der")?,
            subject: parsed(row, "subject", SpiffeId::parse)?,
            reason: row.get("reason")?,
            provenance: provenance(row)?,
        })
    })
}

/// By the columns `grounds` and `line_start`.
pub(super) fn provenance(row: &Row<'_>) -> Result<Option<Provenance>, StoreError> {
    let Some(grounds) = row.get::<Option<String>>("grounds")? else { return Ok(None) };
    let grounds = RenewalGrounds::from_json(&grounds).map_err(|error| unreadable("grounds", error))?;
    Ok(Some(Provenance { grounds, line_start: time(row, "line_start")? }))
}

pub(in crate::store) fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::Entry(id) => format!("entry {id}"),
        Reason::Attestation => "attestation".to_owned(),
        Reason::AgentRenewal => "agent_renewal".to_owned(),
        Reason::Token { .. } => "token".to_owned(),
        Reason::ServiceAccount(account) => format!("service_account {account}"),
        Reason::PodOfNode { by, pod } => format!("pod_of_node {pod} by {by}"),
        Reason::LivePod(LivePod { cluster, node: _, pod }) => format!("live_pod {pod} of {cluster}"),
        Reason::AccountSecret(account) => format!("account_secret {account}"),
        Reason::Renewal { presented } => format!("renewal {presented}"),
        Reason::Serving => "serving".to_owned(),
        Reason::Authority => "authority".to_owned(),
        Reason::Downstream(_) => "downstream".to_owned(),
    }
}
