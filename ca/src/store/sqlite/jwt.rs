//! JWT-SVIDs in the audit chain: what was to be signed, before it is signed. They have no table of their own: none is ever looked up or
//! taken back, and all of what is known of one is in its event.

use super::issuance::reason_text;
use super::issuance_clock;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent};
use crate::jwt::issuance::JwtIntent;
use crate::store::StoreError;

pub(super) fn intend(unit: &mut Unit<'_>, intent: JwtIntent) -> Result<(), StoreError> {
    let JwtIntent { subject, audiences, key_id, expires_at, signing_input, caller, reason, now } = intent;
    issuance_clock::advance(unit, now)?;
    let reason = reason_text(&reason);
    let action = Action::JwtSvidIntended { subject, audiences, key_id, expires_at, signing_input, caller, reason };
    unit.audit(&AuditEvent { actor: Actor::System, action }, now)
}
