//! Which CA signed what, and who has nothing better yet.
//!
//! Of each holder the newest certificate that is recorded as signed is remembered; whatever was intended before it for the same holder is
//! held no more. So both counts walk one range of one index, whatever else the ledger has.

use std::collections::HashMap;

use super::connection::Connection;
use identity::SpiffeId;
use pki::{Sha256Digest, Timestamp, sha256};

use super::columns::{all, first, number, optional, parsed, run, seconds, time};
use super::issuance::provenance;
use crate::authority::lifecycle::gate::{Leaves, earlier};
use crate::issuance::Intent;
use crate::records::{ConfirmedPod, EntryId, Held, Outstanding, Provenance, Reason, RenewalGrounds};
use crate::store::StoreError;

/// The issuer of what was recorded by builds that did not say which.
const UNKNOWN_ISSUER: &[u8] = &[];

/// Of a digest: enough that no two holders share them, and half the room.
const HOLDER_BYTES: usize = 16;

type Holder = [u8; HOLDER_BYTES];

/// What is to be known of an intent to sign a leaf; `None` for a CA certificate, and for what the CA itself shows.
pub(in crate::store) struct LeafIntent {
    issuer_key: Sha256Digest,
    not_after: Timestamp,
    holder: Holder,
    /// For which it is, if it is for one.
    entry: Option<EntryId>,
}

impl LeafIntent {
    pub(in crate::store) fn of(intent: &Intent) -> Option<Self> {
        let Intent { serial, subject, caller, reason, not_after, issuer_key, .. } = intent;
        let (holder, entry) = match reason {
            Reason::Entry(entry) => (of_entry(entry.as_str(), caller, subject.as_str()), Some(entry.clone())),
            Reason::LivePod(_) => (live_pod(caller, subject.as_str()), None),
            Reason::AccountSecret(_) => (account_secret(caller, subject.as_str()), None),
            Reason::Attestation | Reason::AgentRenewal => (agent(subject.as_str()), None),
            // What rests on the issuing CA of another CA is not known here: it is held to its end, whatever came after it.
            Reason::Token { .. }
            | Reason::ServiceAccount(_)
            | Reason::PodOfNode { .. }
            | Reason::Renewal { .. }
            | Reason::Downstream(_) => (certificate(&serial.to_string()), None),
            Reason::Serving | Reason::Authority => return None,
        };
        Some(Self { issuer_key: *issuer_key, not_after: *not_after, holder, entry })
    }
}

/// Notes what was just recorded at this place of the ledger.
pub(in crate::store) fn intended(connection: Connection<'_>, leaf: LeafIntent, position: i64) -> Result<(), StoreError> {
    let LeafIntent { issuer_key, not_after, holder, entry } = leaf;
    run(
        connection,
        "INSERT INTO leaves (issuer_key, not_after, position, holder, entry) VALUES (?1, ?2, ?3, ?4, ?5)",
        (issuer_key, seconds(not_after), position, holder, entry.as_ref().map(EntryId::as_str)),
    )?;
    Ok(())
}

/// Notes that what stands at this place of the ledger was signed: what its holder had before is held no more.
pub(in crate::store) fn signed(
    connection: Connection<'_>,
    position: i64,
    subject: &str,
    caller: &str,
    reason: &str,
) -> Result<(), StoreError> {
    if let Some(holder) = replaced(subject, caller, reason) {
        run(
            connection,
            "INSERT INTO holders (holder, newest) VALUES (?1, ?2)
             ON CONFLICT (holder) DO UPDATE SET newest = excluded.newest WHERE excluded.newest > holders.newest",
            (holder, position),
        )?;
    }
    Ok(())
}

/// Whose former certificates a signed one takes the place of, by what the ledger says of it.
fn replaced(subject: &str, caller: &str, reason: &str) -> Option<Holder> {
    match reason.split_once(' ') {
        Some(("entry", entry)) => Some(of_entry(entry, caller, subject)),
        Some(("renewal", presented)) => Some(certificate(presented)),
        Some(("live_pod", _)) => Some(live_pod(caller, subject)),
        Some(("account_secret", _)) => Some(account_secret(caller, subject)),
        None if matches!(reason, "attestation" | "agent_renewal") => Some(agent(subject)),
        Some(_) | None => None,
    }
}

/// An agent, for an entry and the identity that it stands for.
fn of_entry(entry: &str, caller: &str, subject: &str) -> Holder {
    holder(&["entry", entry, caller, subject])
}

/// An agent, for its own SVID.
fn agent(subject: &str) -> Holder {
    holder(&["agent", subject])
}

/// An agent, for the service account of a pod on its node.
fn live_pod(caller: &str, subject: &str) -> Holder {
    holder(&["live_pod", caller, subject])
}

/// The Secret of an account in a cluster, which the caller names.
fn account_secret(caller: &str, subject: &str) -> Holder {
    holder(&["account_secret", caller, subject])
}

/// Whoever has one certificate: callers that share a name are told apart by nothing else.
fn certificate(serial: &str) -> Holder {
    holder(&["certificate", serial])
}

fn holder(parts: &[&str]) -> Holder {
    // None of the parts has a line break, so no two lists are one text.
    let digest = sha256(parts.join("\n").as_bytes());
    std::array::from_fn(|place| digest[place])
}

/// What this caller was given last for this entry, in its present identity. An intent without an answer may never have reached it.
pub(in crate::store) fn newest(
    connection: Connection<'_>,
    caller: &str,
    entry: &EntryId,
    subject: &SpiffeId,
) -> Result<Option<Held>, StoreError> {
    let sql = "SELECT intended_at, not_after FROM holders CROSS JOIN issuance
               WHERE holder = ?1 AND issuance.position = holders.newest";
    first(connection, sql, [of_entry(entry.as_str(), caller, subject.as_str())], |row| {
        Ok(Held { issued_at: time(row, "intended_at")?, not_after: time(row, "not_after")? })
    })
}

/// What this caller was given last for a service account on its node, unless that is revoked.
pub(in crate::store) fn newest_of_account(
    connection: Connection<'_>,
    caller: &str,
    subject: &SpiffeId,
) -> Result<Option<ConfirmedPod>, StoreError> {
    let sql = "SELECT intended_at, not_after, grounds, line_start FROM holders CROSS JOIN issuance
               WHERE holder = ?1 AND issuance.position = holders.newest
               AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.serial = issuance.serial)";
    let found = first(connection, sql, [live_pod(caller, subject.as_str())], |row| {
        let held = Held { issued_at: time(row, "intended_at")?, not_after: time(row, "not_after")? };
        Ok((held, provenance(row)?))
    })?;
    Ok(found.and_then(|(held, provenance)| match provenance {
        Some(Provenance { grounds: RenewalGrounds::LivePod(pod), line_start }) => {
            Some(ConfirmedPod { held, pod, confirmed_at: line_start })
        }
        Some(Provenance { grounds: RenewalGrounds::Token(_), .. }) | None => None,
    }))
}

/// What was to be signed for these entries, has not ended at `now` and is not revoked: along all that has not ended.
pub(in crate::store) fn outstanding<'e>(
    connection: Connection<'_>,
    entries: impl IntoIterator<Item = &'e EntryId>,
    now: Timestamp,
) -> Result<HashMap<EntryId, Outstanding>, StoreError> {
    let entries: Vec<_> = entries.into_iter().map(EntryId::as_str).collect();
    if entries.is_empty() {
        return Ok(HashMap::new());
    }
    let entries = serde_json::to_string(&entries).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let mut outstanding = HashMap::<_, Outstanding>::new();
    for key in signer_keys(connection)? {
        let found = all(
            connection,
            connection.in_words_of(OUTSTANDING, OUTSTANDING_OF_A_SERVER),
            (key, seconds(now), &entries),
            |row| {
                let outstanding = Outstanding { count: number(row, "count")?, until: time(row, "until")? };
                Ok((parsed(row, "entry", EntryId::parse)?, outstanding))
            },
        )?;
        for (entry, Outstanding { count, until }) in found {
            let whole = outstanding.entry(entry).or_insert(Outstanding { count: 0, until });
            *whole = Outstanding { count: whole.count.saturating_add(count), until: whole.until.max(until) };
        }
    }
    Ok(outstanding)
}

/// Of one CA.
pub(in crate::store) const OUTSTANDING: &str = "SELECT entry, count(*) AS count, max(not_after) AS until FROM leaves
     WHERE issuer_key = ?1 AND not_after >= ?2 AND entry IN (SELECT value FROM json_each(?3)) AND NOT EXISTS (
         SELECT 1 FROM issuance CROSS JOIN revocations
         WHERE issuance.position = leaves.position AND revocations.serial = issuance.serial
     ) GROUP BY entry";

/// The same, where the list is taken apart by other words.
const OUTSTANDING_OF_A_SERVER: &str = "SELECT entry, count(*) AS count, max(not_after) AS until FROM leaves
     WHERE issuer_key = ?1 AND not_after >= ?2 AND entry IN (SELECT jsonb_array_elements_text(?3::jsonb)) AND NOT EXISTS (
         SELECT 1 FROM issuance CROSS JOIN revocations
         WHERE issuance.position = leaves.position AND revocations.serial = issuance.serial
     ) GROUP BY entry";

/// The keys of all CAs that were ever to sign a leaf, each by one step through the index however many leaves it has; empty where it is not
/// known.
pub(in crate::store) fn signer_keys(connection: Connection<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
    let sql = "WITH RECURSIVE signers (key) AS (
                   SELECT (SELECT issuer_key FROM leaves ORDER BY issuer_key LIMIT 1)
                   UNION ALL
                   SELECT (SELECT issuer_key FROM leaves WHERE issuer_key > key ORDER BY issuer_key LIMIT 1) FROM signers WHERE key IS NOT NULL
               )
               SELECT key FROM signers WHERE key IS NOT NULL";
    all(connection, sql, (), |row| row.get("key"))
}

/// What each of these CAs signed that is good at `now`.
pub(in crate::store) fn count(
    connection: Connection<'_>,
    issuer_keys: Vec<Sha256Digest>,
    now: Timestamp,
) -> Result<HashMap<Sha256Digest, Leaves>, StoreError> {
    let unknown = count_of(connection, UNKNOWN_ISSUER, now)?;
    let mut counted = HashMap::new();
    for key in issuer_keys {
        let Leaves { held, unexpired, last_end, first_workload_end } = count_of(connection, &key, now)?;
        let leaves = Leaves {
            held: held.saturating_add(unknown.held),
            unexpired: unexpired.saturating_add(unknown.unexpired),
            last_end: last_end.max(unknown.last_end),
            first_workload_end: earlier(first_workload_end, unknown.first_workload_end),
        };
        counted.insert(key, leaves);
    }
    Ok(counted)
}

pub(in crate::store) const COUNT: &str = "SELECT count(*) AS unexpired, max(not_after) AS last_end,
     count(*) FILTER (WHERE position >= coalesce((SELECT newest FROM holders WHERE holders.holder = leaves.holder), 0)) AS held
     FROM leaves WHERE issuer_key = ?1 AND not_after >= ?2";

/// In the order of their ends, until one is found: those of agents, of entries that are gone, and what has a successor, are passed over.
pub(in crate::store) const FIRST_WORKLOAD_END: &str = "SELECT not_after AS first_end FROM leaves
     WHERE issuer_key = ?1 AND not_after >= ?2 AND EXISTS (SELECT 1 FROM entries WHERE entries.id = leaves.entry)
     AND position >= coalesce((SELECT newest FROM holders WHERE holders.holder = leaves.holder), 0)
     ORDER BY not_after LIMIT 1";

fn count_of(connection: Connection<'_>, issuer_key: &[u8], now: Timestamp) -> Result<Leaves, StoreError> {
    let first_end = first(connection, FIRST_WORKLOAD_END, (issuer_key, seconds(now)), |row| time(row, "first_end"))?;
    let found = first(connection, COUNT, (issuer_key, seconds(now)), |row| {
        Ok(Leaves {
            held: number(row, "held")?,
            unexpired: number(row, "unexpired")?,
            last_end: optional(row, "last_end", time)?,
            first_workload_end: first_end,
        })
    })?;
    Ok(found.unwrap_or_default())
}
