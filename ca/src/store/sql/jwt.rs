//! JWT-SVIDs in the audit chain: what was to be signed, before it is signed. They have no table of their own: none is ever looked up or
//! taken back, and all of what is known of one is in its event. Of each key it is known when the last of them ends.

use std::collections::HashMap;

use super::connection::Connection;
use pki::{KeyId, Timestamp};

use super::columns::{first, run, seconds, time};
use super::issuance::{reason_text, refuse_denied, refuse_gone, refuse_taken_out};
use super::issuance_clock;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::jwt::issuance::JwtIntent;
use crate::store::StoreError;

/// It fails before it changes anything, or never, as [`super::writer::Writer::write_checked`] wants it.
pub(in crate::store) fn intend(unit: &mut Unit<'_>, intent: JwtIntent) -> Result<(), StoreError> {
    let JwtIntent { subject, audiences, key_id, key, expires_at, signing_input, caller, reason, now } = intent;
    refuse_denied(unit.connection(), &subject, &caller)?;
    refuse_gone(unit, &reason, &subject, &caller, now)?;
    refuse_taken_out(unit, key)?;
    issuance_clock::advance(unit, now)?;
    run(
        unit.connection(),
        "INSERT INTO jwt_ends (key_id, latest) VALUES (?1, ?2)
         ON CONFLICT (key_id) DO UPDATE SET latest = excluded.latest WHERE excluded.latest > jwt_ends.latest",
        (key_id.as_str(), seconds(expires_at)),
    )?;
    let reason = reason_text(&reason);
    let action = Action::JwtSvidIntended { subject, audiences, key_id, expires_at, signing_input, caller, reason };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}

/// When the last JWT-SVID ends of each of these keys; those that never signed are missing.
pub(in crate::store) fn ends(connection: Connection<'_>, key_ids: Vec<KeyId>) -> Result<HashMap<KeyId, Timestamp>, StoreError> {
    let mut found = HashMap::new();
    for key_id in key_ids {
        let sql = "SELECT latest FROM jwt_ends WHERE key_id = ?1";
        if let Some(latest) = first(connection, sql, [key_id.as_str()], |row| time(row, "latest"))? {
            found.insert(key_id, latest);
        }
    }
    Ok(found)
}
