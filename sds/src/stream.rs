//! SDS state of the world (`StreamSecrets`) as a state machine without I/O, clock or randomness.
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
//! * An SVID that was taken away is never sent again, not even as last good; SDS has no message that withdraws it from the peer.
//!
//! After a NACK the last good offer (accepted on all streams, else the one verified before) goes to every stream under new nonces, once.
//! Until all have accepted it the connection is *mending*: a stream that rejects even that is tried again when the others have
//! accepted, then after 1 to 60 s. A newer state waits for the end of mending, or for that time. A rejected content is not offered
//! again while the last good one verifies.

mod message;
mod offer;
mod recovery;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pki::Sha256Digest;

use message::printable;
pub use message::{
    Alarm, Event, MAX_CONNECTION_NAME_BYTES, MAX_NAME_BYTES, MAX_NAMES, MAX_STREAMS, Now, Request, RequestError, Resource,
    Response, SECRET_TYPE_URL, Secret, StreamId, TooManyStreams, UnansweredReason, ValidationContextKind,
};
use offer::{Fault, Offer, compose, why_unanswered};
use recovery::{Mending, Toward};

use crate::SecretState;

/// One peer connection with all its streams.
#[derive(Debug)]
pub struct Connection {
    validation: ValidationContextKind,
    state: Arc<SecretState>,
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
}

/// The last response of a stream.
#[derive(Debug)]
struct Sent {
    nonce: String,
    version: String,
    offer: Sha256Digest,
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

    /// Opens a stream.
    ///
    /// # Errors
    /// [`TooManyStreams`] when [`MAX_STREAMS`] are open.
    pub fn open(&mut self) -> Result<StreamId, TooManyStreams> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(TooManyStreams);
        }
        self.streams_opened += 1;
        let id = StreamId(self.streams_opened);
        self.streams.insert(id, Stream::default());
        Ok(id)
    }

    /// Forgets a stream that ended, by whatever end.
    pub fn close(&mut self, id: StreamId, now: Now) {
        if self.streams.remove(&id).is_some() {
            self.mend(now);
        }
    }

    /// Takes a request of the peer.
    ///
    /// # Errors
    /// [`RequestError`]: the stream must end with INVALID_ARGUMENT.
    pub fn request(&mut self, id: StreamId, request: Request, now: Now) -> Result<(), RequestError> {
        let Request { type_url, names, version, nonce, rejection, validation } = request;
        let names = checked_names(&type_url, names)?;
        let others = self.streams.iter().filter(|(other, _)| **other != id).map(|(_, stream)| bytes_of(&stream.names));
        let found = others.sum::<usize>().saturating_add(bytes_of(&names));
        if found > MAX_CONNECTION_NAME_BYTES {
            return Err(RequestError::TotalNames { found });
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if let Some(last) = &stream.last
            && !nonce.is_empty()
            && nonce != last.nonce
        {
            self.events.push(Event::StaleNonce { stream: id });
            return Ok(());
        }
        stream.validation = validation.or(stream.validation);
        stream.unanswered.retain(|name| names.contains(name));
        stream.names = names;
        if let Some(last) = stream.last.as_mut().filter(|last| nonce == last.nonce) {
            match rejection {
                Some(why) if last.answer != Answer::Rejected => {
                    last.answer = Answer::Rejected;
                    let (version, offer) = (last.version.clone(), last.offer);
                    self.events.push(Event::Nacked { stream: id, version, why: printable(&why) });
                    self.rejected_by_peer(id, offer, now);
                }
                None if version == last.version && last.answer == Answer::Outstanding => {
                    last.answer = Answer::Accepted;
                    self.events.push(Event::Acked { stream: id, version });
                    self.mend(now);
                }
                Some(_) | None => {}
            }
        }
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.names.is_empty()) {
            // Nothing is wanted here any more: a rejection that nobody will take back must not hold up the others.
            *stream = Stream { validation: stream.validation, ..Stream::default() };
            self.mend(now);
        }
        self.note_unanswered(id);
        Ok(())
    }

    /// Takes the newest state of the caller. The same one again changes nothing.
    pub fn update(&mut self, state: Arc<SecretState>, now: Now) {
        if Arc::ptr_eq(&self.state, &state) {
            return;
        }
        self.state = state;
        for slot in [&mut self.newest, &mut self.target, &mut self.accepted, &mut self.previous] {
            *slot = slot.take().and_then(|offer| entitled(offer, &self.state));
        }
        self.recompose(now);
        self.woken = true;
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| self.note_unanswered(id));
    }

    /// What to send on a stream now, if anything: the offer is verified for this very moment before it leaves.
    pub fn transmit(&mut self, id: StreamId, now: Now) -> Option<Response> {
        self.advance(now);
        let (target, version) = self.due(id)?;
        let (target, version) = if self.verified(&target, now) {
            (target, version)
        } else {
            // Part of it may have expired: go on with what still verifies, if that is not the same again.
            self.recompose(now);
            let (other, version) = self.due(id)?;
            if other.content() == target.content() || !self.verified(&other, now) {
                return None;
            }
            (other, version)
        };
        self.nonces_made += 1;
        let nonce = format!("{id}-{}", self.nonces_made);
        let stream = self.streams.get_mut(&id)?;
        let resources = target.resources(&stream.names, stream.validation.unwrap_or(self.validation));
        stream.unanswered.retain(|name| !target.answers(name));
        stream.resend = Resend::No;
        stream.last =
            Some(Sent { nonce: nonce.clone(), version: version.clone(), offer: target.content(), answer: Answer::Outstanding });
        let certificates = resources.iter().filter(|resource| matches!(resource.secret, Secret::Certificate(_))).count();
        self.events.push(Event::Pushed {
            stream: id,
            version: version.clone(),
            certificates,
            validation_contexts: resources.len() - certificates,
        });
        Some(Response { version, nonce, resources })
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

    /// The offer and version that stream `id` should be sent and was not.
    fn due(&self, id: StreamId) -> Option<(Arc<Offer>, String)> {
        let stream = self.streams.get(&id)?;
        let target = self.target.as_ref()?;
        let version = target.version(&stream.names, stream.validation.unwrap_or(self.validation))?;
        let sent = stream.last.as_ref().is_some_and(|last| last.version == version);
        (!sent || stream.resend == Resend::Now).then(|| (Arc::clone(target), version))
    }

    /// Verifies the state anew and takes the outcome over. What does not verify leaves the last good in its place.
    fn recompose(&mut self, now: Now) {
        let last_good = self.accepted.as_ref().or(self.newest.as_ref());
        let composition = compose(&self.state, last_good.map(AsRef::as_ref), now.wall);
        for fault in composition.faults.iter().filter(|fault| !self.faults.iter().any(|known| known.same_svid(fault))) {
            self.events.push(held_back(fault));
        }
        self.faults = composition.faults;
        if let Some(offer) = composition.offer
            && self.newest.as_ref().is_none_or(|newest| newest.content() != offer.content())
        {
            self.newest = Some(Arc::new(offer));
        }
        self.choose(now);
        self.plan_recheck(now);
    }

    /// Decides which offer the streams get.
    fn choose(&mut self, now: Now) {
        let Some(newest) = self.newest.clone() else {
            self.target = None;
            self.mending = None;
            return;
        };
        if let Some(target) = &self.target {
            if target.content() == newest.content() {
                return;
            }
            let target_is_good = target.verify(now.wall).is_ok();
            if target_is_good && (self.mending.is_some() || self.rejected.contains(&newest.content())) {
                return;
            }
            if !self.rejected.contains(&target.content()) {
                self.previous = self.target.take();
            }
        }
        // Reached for a rejected content only when nothing else verifies any more: it is worth one more try.
        self.rejected.retain(|content| *content != newest.content());
        self.target = Some(newest);
        self.woken = true;
        if self.spoiled {
            self.spoiled = false;
            self.start_mending(Toward::Newest, now);
            // A stream whose part did not change was rejected for the other part's sake, and Envoy does not ask again.
            for stream in self.streams.values_mut() {
                if stream.last.as_ref().is_some_and(|last| last.answer == Answer::Rejected) {
                    stream.resend = Resend::AfterMend;
                }
            }
        }
    }

    fn verified(&mut self, offer: &Offer, now: Now) -> bool {
        let Err(fault) = offer.verify(now.wall) else { return true };
        if !self.faults.iter().any(|known| known.same_svid(&fault)) {
            self.events.push(held_back(&fault));
            self.faults.push(fault);
        }
        self.plan_recheck(now);
        false
    }

    /// What is held back, or rejected, is looked at again; at the latest when the last good offer, sent in its place, ends.
    fn plan_recheck(&mut self, now: Now) {
        let end = self.target.as_ref().filter(|_| self.target_is_not_newest()).map(|target| target.ends_in(now.wall));
        let soon = (!self.faults.is_empty() || end.is_some()).then_some(RECHECK_EVERY);
        self.recheck_at = soon.map(|soon| now.boot.saturating_add(end.map_or(soon, |end| end.min(soon))));
    }

    fn target_is_not_newest(&self) -> bool {
        let content = |offer: &Option<Arc<Offer>>| offer.as_ref().map(|offer| offer.content());
        content(&self.target) != content(&self.newest)
    }

    /// A newer offer is there and nobody rejected it.
    fn newest_waits(&self) -> bool {
        self.target_is_not_newest() && self.newest.as_ref().is_some_and(|newest| !self.rejected.contains(&newest.content()))
    }

    fn note_unanswered(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        for name in &stream.names {
            if self.target.as_ref().is_some_and(|target| target.answers(name)) || stream.unanswered.contains(name) {
                continue;
            }
            stream.unanswered.insert(Arc::clone(name));
            let reason = why_unanswered(name, &self.state, self.target.as_deref());
            self.events.push(Event::Unanswered { stream: id, name: printable(name), reason });
        }
    }
}

fn checked_names(type_url: &str, names: Vec<String>) -> Result<BTreeSet<Arc<str>>, RequestError> {
    if !type_url.is_empty() && type_url != SECRET_TYPE_URL {
        return Err(RequestError::TypeUrl { found: type_url.chars().take(128).collect() });
    }
    if names.len() > MAX_NAMES {
        return Err(RequestError::Names { found: names.len() });
    }
    match names.iter().map(String::len).find(|length| *length == 0 || *length > MAX_NAME_BYTES) {
        Some(found) => Err(RequestError::NameLength { found }),
        None => Ok(names.into_iter().map(Arc::from).collect()),
    }
}

fn bytes_of(names: &BTreeSet<Arc<str>>) -> usize {
    names.iter().map(|name| name.len()).sum()
}

fn entitled(offer: Arc<Offer>, state: &SecretState) -> Option<Arc<Offer>> {
    let kept = offer.still_entitled(state)?;
    Some(if kept.content() == offer.content() { offer } else { Arc::new(kept) })
}

fn held_back(fault: &Fault) -> Event {
    let Fault { id, serial, why } = fault.clone();
    Event::Alarm(Alarm::HeldBack { id, serial, why })
}

/// How soon a state that does not verify is looked at again: its notBefore may pass, the wall clock may be set right.
const RECHECK_EVERY: Duration = Duration::from_secs(10);
