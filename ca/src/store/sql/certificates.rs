//! Provisioning certificates: each attests one node, with one node key, once.

use std::time::Duration;

use super::connection::Row;
use identity::NodeName;
use pki::{Timestamp, sha256};

use super::columns::{first, number, parsed, run, seconds};
use super::nodes;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, CertificateRefusal, TokenUse};
use crate::records::{NodeRecord, NodeState, ProvisioningCertificate};
use crate::store::{CertificateUseError, StoreError};

/// For how long the key that used a certificate may do so again: its first answer may have been lost.
const RETRY: Duration = Duration::from_secs(10 * 60);

/// How long a certificate is remembered after its end, whatever the clocks of others say.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Refusals of one certificate that are audited. Whoever holds a spent one must not be able to fill the log with it.
const MAX_AUDITED_REFUSALS: u64 = 16;

struct Kept {
    node: NodeName,
    bound_key: Option<Vec<u8>>,
    used_at: Option<Timestamp>,
    spent: bool,
    refusals: u64,
}

/// The outer error undoes the transaction; the inner one is a refusal, whose audit event stays.
pub(in crate::store) fn redeem(
    unit: &mut Unit<'_>,
    certificate: ProvisioningCertificate,
    node_key_spki: &[u8],
    now: Timestamp,
) -> Result<Result<NodeRecord, CertificateUseError>, StoreError> {
    let forgotten = seconds(now.minus(REMEMBERED));
    run(unit.connection(), "DELETE FROM provisioning_certificates WHERE not_after < ?1", [forgotten])?;
    let kept = find(unit, &certificate)?;
    let node_key = sha256(node_key_spki);
    if let Some((why, refusal)) = refusal(unit, &certificate, kept.as_ref(), node_key_spki, now)? {
        // Only certificates of a provisioning authority come here, so there are as many rows as it has issued.
        if kept.is_none_or(|kept| kept.refusals < MAX_AUDITED_REFUSALS) {
            note_refusal(unit, &certificate)?;
            let action = Action::CertificateRefused { certificate, node_key, why };
            unit.audit(&AuditEvent { actor: Actor::System, action }, now)?;
        }
        return Ok(Err(refusal));
    }
    let used = if kept.is_some_and(|kept| kept.bound_key.is_some()) { TokenUse::Retry } else { TokenUse::First };
    run(unit.connection(), "INSERT INTO provisioning_certificates (issuer, serial, node, not_after, bound_key, used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (issuer, serial) DO UPDATE SET node = ?3, bound_key = ?5, used_at = coalesce(provisioning_certificates.used_at, ?6)",
        (
            certificate.issuer,
            certificate.serial.as_bytes(),
            certificate.node.as_str(),
            seconds(certificate.not_after),
            node_key_spki,
            seconds(now),
        ),
    )?;
    let (record, change) = nodes::register(unit, &certificate.node, node_key_spki, now)?;
    let actor = Actor::Agent(certificate.node.clone());
    unit.audit(&AuditEvent { actor, action: Action::CertificateRedeemed { certificate, node_key, used, change } }, now)?;
    Ok(Ok(record))
}

fn refusal(
    unit: &Unit<'_>,
    certificate: &ProvisioningCertificate,
    kept: Option<&Kept>,
    node_key_spki: &[u8],
    now: Timestamp,
) -> Result<Option<(CertificateRefusal, CertificateUseError)>, StoreError> {
    let node = &certificate.node;
    let by_name = nodes::find(unit.connection(), node)?;
    let by_key = nodes::find_by_key(unit.connection(), node_key_spki)?;
    if [&by_name, &by_key].into_iter().flatten().any(|record| record.state == NodeState::Banned) {
        return Ok(Some((CertificateRefusal::Banned, CertificateUseError::Banned)));
    }
    if let Some(Kept { node: earlier, bound_key: Some(bound_key), used_at, spent, refusals: _ }) = kept {
        let in_time = used_at.is_some_and(|used_at| now <= used_at.plus(RETRY));
        if bound_key != node_key_spki || *spent || !in_time {
            return Ok(Some((CertificateRefusal::Used, CertificateUseError::Used)));
        }
        if earlier != node {
            return Ok(Some((CertificateRefusal::OtherName, CertificateUseError::OtherName { node: earlier.clone() })));
        }
    }
    if by_name.and_then(|record| record.node_key_spki).is_some_and(|known| known != node_key_spki) {
        let error = CertificateUseError::NodeOfAnotherKey { node: node.clone() };
        return Ok(Some((CertificateRefusal::NodeOfAnotherKey, error)));
    }
    Ok(by_key
        .filter(|record| record.node != *node)
        .map(|record| (CertificateRefusal::KeyOfAnotherNode, CertificateUseError::KeyOfAnotherNode { node: record.node })))
}

fn note_refusal(unit: &Unit<'_>, certificate: &ProvisioningCertificate) -> Result<(), StoreError> {
    run(
        unit.connection(),
        "INSERT INTO provisioning_certificates (issuer, serial, node, not_after, refusals) VALUES (?1, ?2, ?3, ?4, 1)
         ON CONFLICT (issuer, serial) DO UPDATE SET refusals = provisioning_certificates.refusals + 1",
        (certificate.issuer, certificate.serial.as_bytes(), certificate.node.as_str(), seconds(certificate.not_after)),
    )?;
    Ok(())
}

/// What was used for a node that is evicted or banned stays used, whoever comes with it.
pub(in crate::store) fn spend(unit: &Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    let sql = "UPDATE provisioning_certificates SET spent = 1 WHERE node = ?1 AND bound_key IS NOT NULL";
    run(unit.connection(), sql, [node.as_str()])?;
    Ok(())
}

fn find(unit: &Unit<'_>, certificate: &ProvisioningCertificate) -> Result<Option<Kept>, StoreError> {
    let sql = "SELECT * FROM provisioning_certificates WHERE issuer = ?1 AND serial = ?2";
    first(unit.connection(), sql, (certificate.issuer, certificate.serial.as_bytes()), read)
}

fn read(row: &Row<'_>) -> Result<Kept, StoreError> {
    let used_at = match row.get::<Option<i64>>("used_at")? {
        Some(_) => Some(super::columns::time(row, "used_at")?),
        None => None,
    };
    Ok(Kept {
        node: parsed(row, "node", NodeName::parse)?,
        bound_key: row.get("bound_key")?,
        used_at,
        spent: number(row, "spent")? != 0,
        refusals: number(row, "refusals")?,
    })
}
