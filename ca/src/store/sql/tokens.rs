//! Join tokens: redeemed once, by one key.

use std::time::Duration;

use super::connection::{Connection, Row};
use identity::NodeName;
use pki::{Sha256Digest, Timestamp, sha256};

use super::columns::{all, digest, first, number, parsed, run, seconds, time};
use super::nodes;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, TokenRefusal, TokenUse};
use crate::records::{NodeRecord, NodeState, OpenToken, TokenId, TokenRecord};
use crate::store::{RedeemError, StoreError};

/// How long a token is remembered after its end, so that a late caller hears that it expired and not that it never was.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Refusals of one token that are audited. Whoever holds a spent token must not be able to fill the log with it.
const MAX_AUDITED_REFUSALS: u64 = 16;

struct KeptToken {
    token: TokenRecord,
    bound_key: Option<Vec<u8>>,
    refusals: u64,
}

impl KeptToken {
    fn opened(self) -> OpenToken {
        OpenToken { token: self.token, used: self.bound_key.is_some() }
    }
}

pub(in crate::store) fn create(unit: &mut Unit<'_>, token: TokenRecord, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    if nodes::find(unit.connection(), &token.node)?.is_some_and(|record| record.state == NodeState::Banned) {
        return Err(StoreError::Banned { node: token.node });
    }
    if find(unit, &token.hash)?.is_some() {
        return Err(StoreError::Exists { what: "join token", name: "with this hash".to_owned() });
    }
    run(unit.connection(), "DELETE FROM tokens WHERE expires_at < ?1", [seconds(now.minus(REMEMBERED))])?;
    run(
        unit.connection(),
        "INSERT INTO tokens (hash, node, expires_at) VALUES (?1, ?2, ?3)",
        (token.hash, token.node.as_str(), seconds(token.expires_at)),
    )?;
    unit.audit(&AuditEvent { actor, action: Action::TokenCreated(token) }, now)
}

/// Those that may be redeemed.
pub(in crate::store) fn open(connection: Connection<'_>, now: Timestamp) -> Result<Vec<OpenToken>, StoreError> {
    let sql = "SELECT * FROM tokens WHERE expires_at > ?1 ORDER BY expires_at, node, hash";
    all(connection, sql, [seconds(now)], |row| read(row).map(KeptToken::opened))
}

/// It stays on record as one that has ended: whoever comes with it is refused for that, and noted.
pub(in crate::store) fn revoke(unit: &mut Unit<'_>, id: TokenId, actor: Actor, now: Timestamp) -> Result<OpenToken, StoreError> {
    let sql = "SELECT * FROM tokens WHERE substr(hash, 1, 8) = ?1 AND expires_at > ?2";
    let found = first(unit.connection(), sql, (id.as_bytes(), seconds(now)), read)?.map(KeptToken::opened);
    let revoked = found.ok_or_else(|| StoreError::NotFound { what: "join token", name: id.to_string() })?;
    run(unit.connection(), "UPDATE tokens SET expires_at = ?2 WHERE hash = ?1", (revoked.token.hash, seconds(now)))?;
    unit.audit(&AuditEvent { actor, action: Action::TokenRevoked(revoked.clone()) }, now)?;
    Ok(revoked)
}

/// The outer error undoes the transaction; the inner one is a refusal, whose audit event stays.
pub(in crate::store) fn redeem(
    unit: &mut Unit<'_>,
    hash: &Sha256Digest,
    node_key_spki: &[u8],
    now: Timestamp,
) -> Result<Result<NodeRecord, RedeemError>, StoreError> {
    // Nothing is written for a token that does not exist: anyone may ask for those.
    let Some(KeptToken { token, bound_key, refusals }) = find(unit, hash)? else { return Ok(Err(RedeemError::Unknown)) };
    let node_key = sha256(node_key_spki);
    if let Some((why, refusal)) = refusal(unit, &token, bound_key.as_deref(), node_key_spki, now)? {
        if refusals < MAX_AUDITED_REFUSALS {
            run(unit.connection(), "UPDATE tokens SET refusals = refusals + 1 WHERE hash = ?1", [hash])?;
            let action = Action::TokenRefused { token, node_key, why };
            unit.audit(&AuditEvent { actor: Actor::System, action }, now)?;
        }
        return Ok(Err(refusal));
    }
    let used = if bound_key.is_some() { TokenUse::Retry } else { TokenUse::First };
    run(unit.connection(), "UPDATE tokens SET bound_key = ?2 WHERE hash = ?1", (hash, node_key_spki))?;
    // Tokens that a former key of this node used would let that key take the name back.
    run(
        unit.connection(),
        "DELETE FROM tokens WHERE node = ?1 AND bound_key IS NOT NULL AND bound_key <> ?2",
        (token.node.as_str(), node_key_spki),
    )?;
    let (record, change) = nodes::register(unit, &token.node, node_key_spki, now)?;
    let actor = Actor::Agent(token.node.clone());
    unit.audit(&AuditEvent { actor, action: Action::TokenRedeemed { token, node_key, used, change } }, now)?;
    Ok(Ok(record))
}

fn refusal(
    unit: &Unit<'_>,
    token: &TokenRecord,
    bound_key: Option<&[u8]>,
    node_key_spki: &[u8],
    now: Timestamp,
) -> Result<Option<(TokenRefusal, RedeemError)>, StoreError> {
    let by_name = nodes::find(unit.connection(), &token.node)?;
    let by_key = nodes::find_by_key(unit.connection(), node_key_spki)?;
    if [&by_name, &by_key].into_iter().flatten().any(|record| record.state == NodeState::Banned) {
        return Ok(Some((TokenRefusal::Banned, RedeemError::Banned)));
    }
    if now >= token.expires_at {
        return Ok(Some((TokenRefusal::Expired, RedeemError::Expired { expires_at: token.expires_at, now })));
    }
    if bound_key.is_some_and(|bound| bound != node_key_spki) {
        return Ok(Some((TokenRefusal::UsedByAnotherKey, RedeemError::UsedByAnotherKey)));
    }
    // One key, one name: a key finds its node when it re-attests.
    Ok(by_key
        .filter(|record| record.node != token.node)
        .map(|record| (TokenRefusal::KeyOfAnotherNode, RedeemError::KeyOfAnotherNode { node: record.node })))
}

fn find(unit: &Unit<'_>, hash: &Sha256Digest) -> Result<Option<KeptToken>, StoreError> {
    first(unit.connection(), "SELECT * FROM tokens WHERE hash = ?1", [hash], read)
}

fn read(row: &Row<'_>) -> Result<KeptToken, StoreError> {
    Ok(KeptToken {
        token: TokenRecord {
            hash: digest(row, "hash")?,
            node: parsed(row, "node", NodeName::parse)?,
            expires_at: time(row, "expires_at")?,
        },
        bound_key: row.get("bound_key")?,
        refusals: number(row, "refusals")?,
    })
}
