//! Sequences of trust bundles.

use identity::TrustDomain;
use pki::{Sha256Digest, Timestamp};

use super::columns::{digest, first, integer, number, run, seconds};
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::store::StoreError;

pub(in crate::store) fn sequence(
    unit: &mut Unit<'_>,
    trust_domain: TrustDomain,
    content: Sha256Digest,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Never below the time: a store that was restored from a backup has forgotten the sequences given since, which were lower.
    let sql = "SELECT sequence, content FROM bundles WHERE trust_domain = ?1";
    let last =
        first(unit.connection(), sql, [trust_domain.as_str()], |row| Ok((number(row, "sequence")?, digest(row, "content")?)))?;
    let sequence = match last {
        Some((sequence, published)) if published == content => return Ok(sequence),
        Some((sequence, _)) => sequence.saturating_add(1).max(now.unix_seconds()),
        None => now.unix_seconds().max(1),
    };
    run(
        unit.connection(),
        "INSERT INTO bundles (trust_domain, sequence, content, published_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (trust_domain) DO UPDATE SET sequence = ?2, content = ?3, published_at = ?4",
        (trust_domain.as_str(), integer(sequence)?, content, seconds(now)),
    )?;
    let action = Action::BundlePublished { trust_domain, sequence, content };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)?;
    Ok(sequence)
}
