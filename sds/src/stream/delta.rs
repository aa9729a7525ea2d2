//! What an incremental stream adds: the memory of what its peer was told of each name. Decisions where the protocol leaves a choice:
//!
//! * After a broken connection only what differs from the versions that the peer names is sent. They are content hashes, so they mean
//!   the same to an agent that was restarted.
//! * A name is said to be removed when the peer was told of a secret under it, or says that it holds one, and the secret is not the
//!   caller's any more. Not while the caller's entries are not known, nor while a secret is held back or comes soon.
//! * A name that never had a secret is left unanswered: Envoy takes a removal for the end of its waiting and would open its ports
//!   without a certificate.
//! * `*` is refused, and a first request without names asks for nothing: a private key goes only where it was asked for.
//! * A subscription counts whatever the nonce of its request says; a name that is subscribed to again is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::message::Resource;

/// What the peer was told of each name, on the stream or before it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whether there was a request.
    begun: bool,
    names: BTreeMap<Arc<str>, Telling>,
}

#[derive(Debug)]
struct Telling {
    /// `None`: that it is removed.
    version: Option<String>,
    /// The nonce of the response that said so; empty for what the peer held from before.
    nonce: String,
    confirmed: bool,
}

impl Told {
    /// That the first request came; whether it is this one.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// The peer holds this version from an earlier stream.
    pub(super) fn holds(&mut self, name: &Arc<str>, version: String) {
        let telling = Telling { version: Some(version), nonce: String::new(), confirmed: true };
        self.names.insert(Arc::clone(name), telling);
    }

    /// The peer wants to hear of this name as if it had never been told.
    pub(super) fn forget(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Forgets all but these names.
    pub(super) fn keep(&mut self, names: &BTreeSet<Arc<str>>) {
        self.names.retain(|name, _| names.contains(name));
    }

    pub(super) fn sent(&mut self, resources: &[Resource], removed: &[Arc<str>], nonce: &str) {
        let sent = resources.iter().map(|resource| (&resource.name, Some(resource.version.clone())));
        for (name, version) in sent.chain(removed.iter().map(|name| (name, None))) {
            self.names.insert(Arc::clone(name), Telling { version, nonce: nonce.to_owned(), confirmed: false });
        }
    }

    /// The peer accepted the response with this nonce.
    pub(super) fn accepted(&mut self, nonce: &str) {
        for telling in self.names.values_mut().filter(|telling| telling.nonce == nonce) {
            telling.confirmed = true;
        }
    }

    /// Whether the peer was told anything about `name`, if only that it is removed.
    pub(super) fn was_told_of(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether `version`, or `None` for a removed name, is something else than the peer was told last.
    pub(super) fn differs(&self, name: &str, version: Option<&str>) -> bool {
        self.names.get(name).is_none_or(|telling| telling.version.as_deref() != version)
    }

    /// Whether the peer never accepted what it was told of `name`, and the response `last`, the newest, did not say it again: it went
    /// back to an offer without it, so nothing that is under way tells the peer.
    pub(super) fn was_left_out(&self, name: &str, last: Option<&str>) -> bool {
        self.names.get(name).is_some_and(|telling| !telling.confirmed && Some(telling.nonce.as_str()) != last)
    }

    pub(super) fn is_confirmed(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|telling| telling.confirmed)
    }

    /// Whether the peer may hold a secret of ours.
    pub(super) fn holds_something(&self) -> bool {
        self.names.values().any(|telling| telling.version.is_some())
    }
}
