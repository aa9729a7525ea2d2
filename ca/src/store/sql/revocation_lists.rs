//! The lists of what was called back: their numbers, the newest of each CA, and who signed what is still good.

use super::connection::Connection;
use pki::{Sha256Digest, Timestamp, sha256};

use super::columns::{all, digest, first, integer, number, run, seconds, time};
use super::leaves;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, RevocationAction};
use crate::revocation::{ListIntent, StoredList};
use crate::store::{Change, StoreError};

pub(in crate::store) fn all_lists(connection: Connection<'_>) -> Result<Vec<StoredList>, StoreError> {
    all(connection, "SELECT * FROM revocation_lists", (), |row| {
        Ok(StoredList {
            issuer_key: digest(row, "issuer_key")?,
            issuer_der: row.get("issuer_der")?,
            number: number(row, "number")?,
            list_der: row.get("list_der")?,
        })
    })
}

pub(in crate::store) fn record(unit: &mut Unit<'_>, list: ListIntent, now: Timestamp) -> Result<(), StoreError> {
    let made = run(
        unit.connection(),
        "INSERT INTO revocation_lists (issuer_key, issuer_der, number) VALUES (?1, ?2, ?3)
         ON CONFLICT (issuer_key) DO UPDATE SET issuer_der = ?2, number = ?3 WHERE revocation_lists.number < ?3",
        (list.issuer_key, &list.issuer_der, integer(list.number)?),
    )?;
    if made == 0 {
        return Err(changed(list.issuer_key));
    }
    let action = Action::Revocation(RevocationAction::ListIntended(list));
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}

pub(in crate::store) fn keep(
    unit: &mut Unit<'_>,
    issuer_key: Sha256Digest,
    number: u64,
    list_der: &[u8],
) -> Result<(), StoreError> {
    let sql = "UPDATE revocation_lists SET list_der = ?3 WHERE issuer_key = ?1 AND number = ?2";
    match run(unit.connection(), sql, (issuer_key, integer(number)?, list_der))? {
        0 => Err(changed(issuer_key)),
        _ => {
            // Every replica gives it to its agents.
            if unit.has_company() {
                unit.changed(Change::Revocations);
            }
            Ok(())
        }
    }
}

fn changed(issuer_key: Sha256Digest) -> StoreError {
    StoreError::Changed { what: "revocation list of the CA", name: data_encoding::HEXLOWER.encode(&issuer_key) }
}

/// `lists`: by the keys of their CAs, SHA-256 of those that the content is made of.
pub(in crate::store) fn sequence(
    unit: &mut Unit<'_>,
    content: Sha256Digest,
    lists: &[(Sha256Digest, Sha256Digest)],
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Whoever has not read the list that another replica kept meanwhile must not number the one before it higher.
    for (issuer_key, digest) in lists {
        let sql = "SELECT list_der FROM revocation_lists WHERE issuer_key = ?1 AND list_der IS NOT NULL";
        let kept = first(unit.connection(), sql, [*issuer_key], |row| row.get::<Vec<u8>>("list_der"))?;
        if kept.is_some_and(|kept| sha256(&kept) != *digest) {
            return Err(changed(*issuer_key));
        }
    }
    let last = first(unit.connection(), "SELECT sequence, content FROM revocation_sequence", (), |row| {
        Ok((number(row, "sequence")?, digest(row, "content")?))
    })?;
    // Never below the time: a store that was restored from a backup has forgotten the sequences given since, which were lower.
    let sequence = match last {
        Some((sequence, published)) if published == content => return Ok(sequence),
        Some((sequence, _)) => sequence.saturating_add(1).max(now.unix_seconds()),
        None => now.unix_seconds().max(1),
    };
    run(
        unit.connection(),
        "INSERT INTO revocation_sequence (\"only\", sequence, content) VALUES (1, ?1, ?2)
         ON CONFLICT (\"only\") DO UPDATE SET sequence = ?1, content = ?2",
        (integer(sequence)?, content),
    )?;
    Ok(sequence)
}

pub(in crate::store) fn signers(
    connection: Connection<'_>,
    now: Timestamp,
) -> Result<Vec<(Sha256Digest, Timestamp)>, StoreError> {
    let mut found = Vec::new();
    for key in leaves::signer_keys(connection)? {
        let Ok(digest) = Sha256Digest::try_from(key.as_slice()) else { continue };
        let sql = "SELECT not_after FROM leaves WHERE issuer_key = ?1 AND not_after >= ?2 ORDER BY not_after DESC LIMIT 1";
        let last = first(connection, sql, (&key, seconds(now)), |row| time(row, "not_after"))?;
        found.extend(last.map(|last| (digest, last)));
    }
    Ok(found)
}
