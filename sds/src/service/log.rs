//! What the log says of a connection's streams. No secret is in an event.

use crate::stream::{Alarm, Event};

pub(super) fn tell_left_out(lines: u64) {
    if lines > 0 {
        tracing::warn!(lines, "lines about this connection were left out: it causes too many");
    }
}

pub(super) fn event(event: &Event) {
    match event {
        Event::Pushed { stream, version, certificates, validation_contexts, removed } => {
            tracing::info!(%stream, version, certificates, validation_contexts, removed, "secrets sent");
        }
        Event::Fetched { version, certificates, validation_contexts } => {
            tracing::info!(version, certificates, validation_contexts, "secrets fetched");
        }
        Event::Acked { stream, version } => tracing::debug!(%stream, version, "secrets accepted"),
        Event::Nacked { stream, version, why } => tracing::warn!(%stream, version, why, "secrets rejected by the peer"),
        Event::StaleNonce { stream } => tracing::debug!(%stream, "request for an overtaken response ignored"),
        Event::Unanswered { stream, name, reason } => tracing::warn!(%stream, name, ?reason, "name left unanswered"),
        Event::Alarm(Alarm::HeldBack { id, serial, why }) => {
            tracing::error!(%id, serial, %why, "SVID does not verify with the bundle: held back, the last good pair stays");
        }
        Event::Alarm(Alarm::Rejected) => tracing::error!("peer rejected a pair: the last good one is sent again"),
        Event::Alarm(Alarm::RejectedFirst) => {
            tracing::error!("peer rejected its first pair: nothing is sent until the content changes");
        }
        Event::Alarm(Alarm::RejectedAgain { retry_in }) => {
            tracing::error!(?retry_in, "peer rejects the last good pair too: trying again later");
        }
    }
}
