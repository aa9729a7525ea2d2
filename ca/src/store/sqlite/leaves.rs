//! Which CA signed what, and who has nothing better yet.
//!
//! Of each holder the newest certificate that is recorded as signed is remembered; whatever was intended before it for the same holder is
//! held no more. So both counts walk one range of one index, whatever else the ledger has.

use std::collections::HashMap;

use pki::{Sha256Digest, Timestamp, sha256};
use rusqlite::Connection;

use super::columns::{first, number, optional, run, seconds, time};
use crate::authority::lifecycle::gate::Leaves;
use crate::issuance::Intent;
use crate::records::Reason;
use crate::store::StoreError;

/// The issuer of what was recorded by builds that did not say which.
const UNKNOWN_ISSUER: &[u8] = &[];

/// Of a digest: enough that no two holders share them, and half the room.
const HOLDER_BYTES: usize = 16;

type Holder = [u8; HOLDER_BYTES];

/// What is to be known of an intent to sign a leaf; `None` for a CA certificate, and for what the CA itself shows.
#[derive(Clone, Copy)]
pub(super) struct LeafIntent {
    issuer_key: Sha256Digest,
    not_after: Timestamp,
    holder: Holder,
}

impl LeafIntent {
    pub(super) fn of(intent: &Intent) -> Option<Self> {
        let Intent { serial, subject, caller, reason, not_after, issuer_key, .. } = intent;
        let holder = match reason {
            Reason::Entry(entry) => holder(&["entry", entry.as_str(), caller, subject.as_str()]),
            Reason::Attestation | Reason::AgentRenewal => agent(subject.as_str()),
            Reason::Token { .. } | Reason::Renewal { .. } => certificate(&serial.to_string()),
            Reason::Serving | Reason::Authority => return None,
        };
        Some(Self { issuer_key: *issuer_key, not_after: *not_after, holder })
    }
}

/// Notes what was just recorded at this place of the ledger.
pub(super) fn intended(connection: &Connection, leaf: LeafIntent, position: i64) -> Result<(), StoreError> {
    let LeafIntent { issuer_key, not_after, holder } = leaf;
    run(
        connection,
        "INSERT INTO leaves (issuer_key, not_after, position, holder) VALUES (?1, ?2, ?3, ?4)",
        (issuer_key, seconds(not_after), position, holder),
    )?;
    Ok(())
}

/// Notes that what stands at this place of the ledger was signed: what its holder had before is held no more.
pub(super) fn signed(
    connection: &Connection,
    position: i64,
    subject: &str,
    caller: &str,
    reason: &str,
) -> Result<(), StoreError> {
    if let Some(holder) = replaced(subject, caller, reason) {
        run(
            connection,
            "INSERT INTO holders (holder, newest) VALUES (?1, ?2)
             ON CONFLICT (holder) DO UPDATE SET newest = max(newest, excluded.newest)",
            (holder, position),
        )?;
    }
    Ok(())
}

/// Whose former certificates a signed one takes the place of, by what the ledger says of it.
fn replaced(subject: &str, caller: &str, reason: &str) -> Option<Holder> {
    match reason.split_once(' ') {
        Some(("entry", entry)) => Some(holder(&["entry", entry, caller, subject])),
        Some(("renewal", presented)) => Some(certificate(presented)),
        None if matches!(reason, "attestation" | "agent_renewal") => Some(agent(subject)),
        Some(_) | None => None,
    }
}

/// An agent, for its own SVID.
fn agent(subject: &str) -> Holder {
    holder(&["agent", subject])
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

/// What each of these CAs signed that is good at `now`.
pub(super) fn count(
    connection: &Connection,
    issuer_keys: Vec<Sha256Digest>,
    now: Timestamp,
) -> Result<HashMap<Sha256Digest, Leaves>, StoreError> {
    let unknown = count_of(connection, UNKNOWN_ISSUER, now)?;
    let mut counted = HashMap::new();
    for key in issuer_keys {
        let Leaves { held, unexpired, last_end } = count_of(connection, &key, now)?;
        let leaves = Leaves {
            held: held.saturating_add(unknown.held),
            unexpired: unexpired.saturating_add(unknown.unexpired),
            last_end: last_end.max(unknown.last_end),
        };
        counted.insert(key, leaves);
    }
    Ok(counted)
}

pub(super) const COUNT: &str = "SELECT count(*) AS unexpired, max(not_after) AS last_end,
     count(*) FILTER (WHERE position >= coalesce((SELECT newest FROM holders WHERE holders.holder = leaves.holder), 0)) AS held
     FROM leaves WHERE issuer_key = ?1 AND not_after >= ?2";

fn count_of(connection: &Connection, issuer_key: &[u8], now: Timestamp) -> Result<Leaves, StoreError> {
    let found = first(connection, COUNT, (issuer_key, seconds(now)), |row| {
        Ok(Leaves {
            held: number(row, "held")?,
            unexpired: number(row, "unexpired")?,
            last_end: optional(row, "last_end", time)?,
        })
    })?;
    Ok(found.unwrap_or_default())
}
