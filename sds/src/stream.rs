//! SDS, state of the world (`StreamSecrets`) and incremental (`DeltaSecrets`), as a state machine without I/O, clock or randomness.
//!
//! Its unit is one peer connection with all its streams, because that is what Envoy makes of it: one stream per name, all into one
//! TLS context, where a rejected secret stays and spoils later updates of the others. What is sent is therefore an *offer*, SVIDs
//! and bundle verified together, and a NACK on any stream is a fault of the whole offer.
//!
//! The host feeds [`Connection`] with requests, states and the time, and asks each stream what to send with
//! [`Connection::transmit`]. Nothing is queued: whoever asks gets the newest, so nothing is lost between pushes and nothing old is
//! sent after something new. Decisions where the protocol leaves a choice:
//!
//! * A state that arrives while an answer is unacknowledged is sent at once; the answer to the older response then is stale.
//! * The first request of a stream is always answered, whatever version it names: a peer that comes back after a broken connection
//!   may hold a rejected secret under an accepted version, and only a new response heals it.
//! * After that a stream is sent a content once. A request with an empty nonce is answered only when the content differs.
//! * A request without `error_detail` whose version is not that of the last response neither accepts nor rejects it; its names count.
//! * An SVID that was taken away is never sent again, not even as last good; the state of the world has no message that withdraws it
//!   from the peer, the incremental protocol says that it is removed.
//! * Revocation lists are part of a validation context's content, and come and go by the clock (`lists`).
//!
//! An incremental stream goes the same way; only what a response carries differs. What it adds to these rules stands in `delta`.
//!
//! After a NACK the last good offer (accepted on all streams, else the one verified before) goes to every stream under new nonces, once.
//! Until all have accepted it the connection is *mending*: a stream that rejects even that is tried again when the others have
//! accepted, then after 1 to 60 s. A newer state waits for the end of mending, or for that time. A rejected content is not offered
//! again while the last good one verifies.

mod choice;
mod delta;
mod due;
mod fetch;
mod lists;
mod message;
mod offer;
mod progress;
mod recovery;
mod request;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pki::Sha256Digest;

use delta::Told;
use due::Due;
pub use fetch::FetchError;
pub use message::{
    Alarm, DeltaRequest, Event, MAX_CONNECTION_NAME_BYTES, MAX_NAME_BYTES, MAX_NAMES, MAX_STREAMS, Now, Request, RequestError,
    Resource, Response, SECRET_TYPE_URL, Secret, StreamId, TooManyStreams, UnansweredReason, ValidationContextKind,
};
use offer::{Fault, Offer};
use recovery::Mending;

use crate::{FileSecrets, SecretState};

/// One peer connection with all its streams.
#[derive(Debug)]
pub struct Connection {
    validation: ValidationContextKind,
    state: Arc<SecretState>,
    /// `None` while secrets from files are not given.
    files: Option<Arc<FileSecrets>>,
    /// The newest that verified.
    newest: Option<Arc<Offer>>,
    /// What streams get now: the newest, or a last good one.
    target: Option<Arc<Offer>>,
    /// The last one that all streams accepted.
    accepted: Option<Arc<Offer>>,
    /// The verified one before the target.
    previous: Option<Arc<Offer>>,
    /// Contents that the peer rejected, oldest first, bounded.
    rejected: VecDeque<Sha256Digest>,
    /// The peer may hold a rejected secret, and nothing good could be sent since.
    spoiled: bool,
    mending: Option<Mending>,
    recheck_at: Option<Duration>,
    faults: Vec<Fault>,
    streams: BTreeMap<StreamId, Stream>,
    streams_opened: u64,
    nonces_made: u64,
    woken: bool,
    events: Vec<Event>,
}

#[derive(Debug, Default)]
struct Stream {
    names: BTreeSet<Arc<str>>,
    validation: Option<ValidationContextKind>,
    last: Option<Sent>,
    resend: Resend,
    unanswered: BTreeSet<Arc<str>>,
    /// What the peer was told of each name; only on an incremental stream.
    told: Option<Told>,
}

/// The last response of a stream.
#[derive(Debug)]
struct Sent {
    nonce: String,
    version: String,
    /// `None` when it carried removed names alone.
    offer: Option<Sha256Digest>,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Outstanding,
    Accepted,
    Rejected,
}

/// Whether a stream gets a content that it was sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Resend {
    #[default]
    No,
    AfterMend,
    Now,
}

impl Connection {
    /// A connection without streams, whose peer is entitled to `state`. `validation` counts where node metadata do not say.
    #[must_use]
    pub fn new(validation: ValidationContextKind, state: Arc<SecretState>, now: Now) -> Self {
        let mut connection = Self {
            validation,
            state,
            files: None,
            newest: None,
            target: None,
            accepted: None,
            previous: None,
            rejected: VecDeque::new(),
            spoiled: false,
            mending: None,
            recheck_at: None,
            faults: Vec::new(),
            streams: BTreeMap::new(),
            streams_opened: 0,
            nonces_made: 0,
            woken: false,
            events: Vec::new(),
        };
        connection.recompose(now);
        connection
    }

    /// Opens a stream of the state of the world.
    ///
    /// # Errors
    /// [`TooManyStreams`] when [`MAX_STREAMS`] are open.
    pub fn open(&mut self) -> Result<StreamId, TooManyStreams> {
        self.add(Stream::default())
    }

    /// Opens an incremental stream.
    ///
    /// # Errors
    /// [`TooManyStreams`] when [`MAX_STREAMS`] are open, of both kinds together.
    pub fn open_delta(&mut self) -> Result<StreamId, TooManyStreams> {
        self.add(Stream { told: Some(Told::default()), ..Stream::default() })
    }

    fn add(&mut self, stream: Stream) -> Result<StreamId, TooManyStreams> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(TooManyStreams);
        }
        self.streams_opened += 1;
        let id = StreamId(self.streams_opened);
        self.streams.insert(id, stream);
        Ok(id)
    }

    /// Forgets a stream that ended, by whatever end.
    pub fn close(&mut self, id: StreamId, now: Now) {
        if self.streams.remove(&id).is_some() {
            self.mend(now);
        }
    }

    /// Takes the newest state of the caller. The same one again changes nothing.
    pub fn update(&mut self, state: Arc<SecretState>, now: Now) {
        if Arc::ptr_eq(&self.state, &state) {
            return;
        }
        self.state = state;
        self.changed(now);
    }

    /// Takes what the files hold that [`Self::file_names`] ask for. The same again changes nothing.
    pub fn update_files(&mut self, files: Arc<FileSecrets>, now: Now) {
        if self.files.as_ref().is_some_and(|held| Arc::ptr_eq(held, &files)) {
            return;
        }
        self.files = Some(files);
        self.changed(now);
    }

    fn changed(&mut self, now: Now) {
        for slot in [&mut self.newest, &mut self.target, &mut self.accepted, &mut self.previous] {
            *slot = slot.take().and_then(|offer| entitled(offer, &self.state, self.files.as_deref()));
        }
        self.recompose(now);
        self.woken = true;
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| self.note_unanswered(id));
    }

    /// What to send on a stream now, if anything: the offer is verified for this very moment before it leaves.
    pub fn transmit(&mut self, id: StreamId, now: Now) -> Option<Response> {
        self.advance(now);
        let mut due = self.due(id)?;
        if let Some(offer) = due.offer.clone()
            && !self.verified(&offer, now)
        {
            // Part of it may have expired: go on with what still verifies.
            self.recompose(now);
            due = self.due(id)?;
            if let Some(other) = due.offer.clone()
                && !self.verified(&other, now)
            {
                return None;
            }
        }
        self.nonces_made += 1;
        let nonce = format!("{id}-{}", self.nonces_made);
        let stream = self.streams.get_mut(&id)?;
        let kind = stream.validation.unwrap_or(self.validation);
        let Due { offer, names, removed, version } = due;
        let resources = offer.as_ref().map_or_else(Vec::new, |offer| offer.resources(&names, kind));
        stream.unanswered.retain(|name| !names.contains(name));
        stream.resend = Resend::No;
        if let Some(told) = &mut stream.told {
            told.sent(&resources, &removed, &nonce);
        }
        let offer = offer.map(|offer| offer.content());
        stream.last = Some(Sent { nonce: nonce.clone(), version: version.clone(), offer, answer: Answer::Outstanding });
        self.events.push(Event::pushed(id, &version, &resources, removed.len()));
        Some(Response { version, nonce, resources, removed })
    }

    /// The time since boot at which [`Self::transmit`] may have something without a new request or state.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Duration> {
        let waits = self.newest_waits() || self.streams.values().any(|stream| stream.resend == Resend::AfterMend);
        let retry = self.mending.as_ref().filter(|_| waits).map(|mending| mending.retry_at);
        retry.into_iter().chain(self.recheck_at).min()
    }

    /// Whether, since this was asked last, a stream may have got something to send: all streams should ask [`Self::transmit`].
    pub fn take_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
    }

    /// What happened since this was asked last.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

fn entitled(offer: Arc<Offer>, state: &SecretState, files: Option<&FileSecrets>) -> Option<Arc<Offer>> {
    let kept = offer.still_entitled(state, files.unwrap_or(&FileSecrets::default()))?;
    Some(if kept.content() == offer.content() { offer } else { Arc::new(kept) })
}
