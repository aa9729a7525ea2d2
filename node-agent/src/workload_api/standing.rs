//! What a caller is told that gets nothing: whether it is entitled to nothing, or the agent cannot say, or has nothing yet.
//!
//! Clients act on the code: some give up for good on PERMISSION_DENIED, others withdraw what they hold. So it is said only when
//! it is certain; everything that may pass is UNAVAILABLE (SPIFFE Workload Endpoint section 6).

use identity::SpiffeId;
use tonic::Status;

use crate::identities::{HeldIdentity, IdentityState};
use crate::secrets::CallerState;
use crate::workload::Caller;

/// The identities of a caller, at least one.
///
/// # Errors
/// UNAVAILABLE while it is not certain what the caller is entitled to; PERMISSION_DENIED when it is entitled to nothing, or to nothing but
/// what is revoked.
pub(super) fn entitlements<'a>(state: &'a CallerState, caller: &Caller) -> Result<&'a [HeldIdentity], Status> {
    if !state.knowledge.is_any() {
        return Err(Status::unavailable(
            "the agent does not know this node's entries yet: it has not been in step with its CA since it was installed; try \
             again, or see on this node what keeps it: signet agent status",
        ));
    }
    if !state.identities.is_empty() {
        return Ok(&state.identities);
    }
    if let Some(identity) = state.revoked.first() {
        return Err(revoked(&identity.entry.spiffe_id));
    }
    if let Some(why) = &state.undecided {
        return Err(Status::unavailable(short(format!(
            "it is open whether an entry matches process {pid}: {why}; try again, on a new connection",
            pid = caller.pid
        ))));
    }
    Err(Status::permission_denied(format!(
        "no entry of this node matches process {pid} (uid {uid}, gid {gid}), so it has no identity; see on this node what it lacks: \
         signet entry explain --pid {pid}",
        pid = caller.pid,
        uid = caller.uid,
        gid = caller.gid,
    )))
}

/// The refusal of an identity that is revoked.
pub(super) fn revoked(id: &SpiffeId) -> Status {
    Status::permission_denied(short(format!(
        "{id} is revoked: nothing is given for it, and what was given is to be used no more, until an operator restores it at the CA: \
         signet unrevoke --spiffe-id {id}"
    )))
}

/// The refusal of an identity that the caller is not entitled to.
pub(super) fn not_granted(asked: &SpiffeId, caller: &Caller) -> Status {
    Status::permission_denied(short(format!(
        "no entry of this node grants {asked} to process {pid} (uid {uid}, gid {gid}); see on this node what it may have: signet \
         entry explain --pid {pid}",
        pid = caller.pid,
        uid = caller.uid,
        gid = caller.gid,
    )))
}

/// Why none of the identities that a caller is entitled to is there.
pub(super) fn none_held(identities: &[HeldIdentity]) -> Status {
    let mut text = "the identities of this process are granted and not there yet".to_owned();
    for identity in identities.iter().take(NAMED) {
        let why = match (&identity.last_error, &identity.state) {
            (Some(error), _) | (None, IdentityState::Unavailable(error)) => error.as_str(),
            (None, IdentityState::Initializing | IdentityState::Available(_) | IdentityState::Revoked) => "asked for",
        };
        text.push_str(&format!("; {}: {why}", identity.entry.spiffe_id));
    }
    text = short(text);
    text.push_str("; the agent keeps trying, and so may you: signet agent status");
    Status::unavailable(text)
}

/// The bundle is not there.
pub(super) fn no_bundle() -> Status {
    Status::unavailable("the agent has no trust bundle yet; try again, or see on this node what keeps it: signet agent status")
}

/// A status travels as a header: its text must stay far below what clients take.
pub(super) fn short(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// How many identities a refusal names.
const NAMED: usize = 3;

const MAX_TEXT_BYTES: usize = 700;
