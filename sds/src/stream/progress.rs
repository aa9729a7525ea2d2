//! How far the peer is with what its caller has: which streams have accepted the newest of it.

use std::sync::Arc;

use super::{Answer, Connection, Stream};
use crate::file_secret::is_file_name;
use crate::{SecretState, StreamProgress};

impl Connection {
    /// Open streams, and those of them that have not accepted what the newest state has for their names. A stream that asks for files
    /// alone, or for nothing, has nothing to accept.
    #[must_use]
    pub fn progress(&self) -> StreamProgress {
        let streams = self.streams.values();
        StreamProgress { streams: streams.len(), behind: streams.filter(|stream| self.is_behind(stream)).count() }
    }

    /// The same, when the newest state is another than this machine was fed with.
    #[must_use]
    pub fn progress_before_update(&self) -> StreamProgress {
        let streams = self.streams.values();
        StreamProgress { streams: streams.len(), behind: streams.filter(|stream| stream.asks_for_identities()).count() }
    }

    /// Whether this is the state that it was fed with last.
    #[must_use]
    pub fn has(&self, state: &Arc<SecretState>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    fn is_behind(&self, stream: &Stream) -> bool {
        if !stream.asks_for_identities() {
            return false;
        }
        // What does not verify is in use elsewhere, and the peer has another in its place.
        let unanswered = stream.last.as_ref().is_some_and(|last| last.answer != Answer::Accepted);
        if unanswered || !self.faults.is_empty() {
            return true;
        }
        let Some(newest) = &self.newest else { return false };
        let kind = stream.validation.unwrap_or(self.validation);
        match &stream.told {
            None => newest
                .version(&stream.names, kind)
                .is_some_and(|version| stream.last.as_ref().is_none_or(|last| last.version != version)),
            Some(told) => stream.names.iter().any(|name| {
                let version = newest.version_of(name, kind);
                version.is_some() && (told.differs(name, version.as_deref()) || !told.is_confirmed(name))
            }),
        }
    }
}

impl Stream {
    fn asks_for_identities(&self) -> bool {
        self.names.iter().any(|name| !is_file_name(name))
    }
}
