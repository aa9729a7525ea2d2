//! Requests of the peer: their bounds, their names, and whether they accept or reject what was sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::message::{
    DeltaRequest, Event, MAX_CONNECTION_NAME_BYTES, MAX_NAME_BYTES, MAX_NAMES, Now, Request, RequestError, SECRET_TYPE_URL,
    StreamId, UnansweredReason, printable,
};
use super::offer::why_unanswered;
use super::{Answer, Connection, Stream};
use crate::file_secret::{MAX_FILE_NAMES, is_file_name};

/// What a request says about the response that it names.
enum Verdict {
    Accepts,
    Rejects(String),
    Nothing,
}

impl Connection {
    /// Takes a request on a stream of the state of the world.
    ///
    /// # Errors
    /// [`RequestError`]: the stream must end with INVALID_ARGUMENT.
    pub fn request(&mut self, id: StreamId, request: Request, now: Now) -> Result<(), RequestError> {
        let Request { type_url, names, version, nonce, rejection, validation } = request;
        check_type(&type_url)?;
        let names = checked_names(names)?;
        self.check_total(id, &names)?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.is_stale(&nonce) {
            self.events.push(Event::StaleNonce { stream: id });
            return Ok(());
        }
        stream.validation = validation.or(stream.validation);
        stream.unanswered.retain(|name| names.contains(name));
        stream.names = names;
        let verdict = match (rejection, &stream.last) {
            (Some(why), _) => Verdict::Rejects(why),
            (None, Some(last)) if last.version == version => Verdict::Accepts,
            (None, _) => Verdict::Nothing,
        };
        self.answered(id, &nonce, verdict, now);
        self.settle(id, now);
        Ok(())
    }

    /// Takes a request on an incremental stream.
    ///
    /// # Errors
    /// [`RequestError`]: the stream must end with INVALID_ARGUMENT.
    pub fn request_delta(&mut self, id: StreamId, request: DeltaRequest, now: Now) -> Result<(), RequestError> {
        let DeltaRequest { type_url, subscribe, unsubscribe, initial_versions, nonce, rejection, validation } = request;
        check_type(&type_url)?;
        if subscribe.iter().any(|name| name == "*") {
            return Err(RequestError::Wildcard);
        }
        let subscribe = checked_names(subscribe)?;
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        let unwanted: BTreeSet<&str> = unsubscribe.iter().map(String::as_str).collect();
        let names: BTreeSet<_> = stream.names.union(&subscribe).filter(|name| !unwanted.contains(&***name)).cloned().collect();
        if names.len() > MAX_NAMES {
            return Err(RequestError::Names { found: names.len() });
        }
        self.check_total(id, &names)?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.validation = validation.or(stream.validation);
        stream.unanswered.retain(|name| names.contains(name));
        stream.names = names;
        let told = stream.told.get_or_insert_default();
        told.keep(&stream.names);
        subscribe.iter().for_each(|name| told.forget(name));
        if told.begin() {
            for (name, version) in initial_versions {
                if let Some(name) = stream.names.get(name.as_str()) {
                    // A longer one is none of ours: its beginning differs from every version as well.
                    told.holds(name, version.chars().take(MAX_FOREIGN_VERSION).collect());
                }
            }
        }
        if stream.is_stale(&nonce) {
            self.events.push(Event::StaleNonce { stream: id });
        } else {
            let verdict = rejection.map_or(Verdict::Accepts, Verdict::Rejects);
            self.answered(id, &nonce, verdict, now);
        }
        self.settle(id, now);
        Ok(())
    }

    fn answered(&mut self, id: StreamId, nonce: &str, verdict: Verdict, now: Now) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(last) = stream.last.as_mut().filter(|last| nonce == last.nonce) else { return };
        let version = last.version.clone();
        match (verdict, last.offer) {
            (Verdict::Rejects(why), Some(offer)) if last.answer != Answer::Rejected => {
                last.answer = Answer::Rejected;
                self.events.push(Event::Nacked { stream: id, version, why: printable(&why) });
                self.rejected_by_peer(id, offer, now);
            }
            (Verdict::Rejects(why), None) if last.answer == Answer::Outstanding => {
                // Removed names alone: no secret is at fault and nothing better can be said.
                self.events.push(Event::Nacked { stream: id, version, why: printable(&why) });
                stream.accept(nonce);
                self.mend(now);
            }
            (Verdict::Accepts, _) if last.answer == Answer::Outstanding => {
                stream.accept(nonce);
                self.events.push(Event::Acked { stream: id, version });
                self.mend(now);
            }
            (Verdict::Accepts | Verdict::Rejects(_) | Verdict::Nothing, _) => {}
        }
    }

    /// After a request: its names may be fewer, or have no answer.
    fn settle(&mut self, id: StreamId, now: Now) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.names.is_empty()) {
            // Nothing is wanted here any more: a rejection that nobody will take back must not hold up the others.
            *stream = Stream { validation: stream.validation, told: stream.told.take(), ..Stream::default() };
            self.mend(now);
        }
        self.note_unanswered(id);
    }

    fn check_total(&self, id: StreamId, names: &BTreeSet<Arc<str>>) -> Result<(), RequestError> {
        let others = self.streams.iter().filter(|(other, _)| **other != id).map(|(_, stream)| bytes_of(&stream.names));
        let found = others.sum::<usize>().saturating_add(bytes_of(names));
        if found > MAX_CONNECTION_NAME_BYTES {
            return Err(RequestError::TotalNames { found });
        }
        let others = self.streams.iter().filter(|(other, _)| **other != id).flat_map(|(_, stream)| &stream.names);
        let found = others.chain(names).filter(|name| is_file_name(name)).collect::<BTreeSet<_>>().len();
        if found > MAX_FILE_NAMES { Err(RequestError::FileNames { found }) } else { Ok(()) }
    }

    /// The names of files that are asked for on any stream.
    #[must_use]
    pub fn file_names(&self) -> BTreeSet<Arc<str>> {
        self.streams.values().flat_map(|stream| &stream.names).filter(|name| is_file_name(name)).cloned().collect()
    }

    pub(super) fn why_unanswered(&self, name: &str) -> UnansweredReason {
        why_unanswered(name, &self.state, self.files.as_deref())
    }

    pub(super) fn note_unanswered(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let files = self.files.as_deref();
        for name in &stream.names {
            if self.target.as_ref().is_some_and(|target| target.answers(name)) || stream.unanswered.contains(name) {
                continue;
            }
            let reason = why_unanswered(name, &self.state, files);
            if reason == UnansweredReason::NotYet && is_file_name(name) {
                // The host is about to look.
                continue;
            }
            stream.unanswered.insert(Arc::clone(name));
            self.events.push(Event::Unanswered { stream: id, name: printable(name), reason });
        }
    }
}

impl Stream {
    fn is_stale(&self, nonce: &str) -> bool {
        self.last.as_ref().is_some_and(|last| !nonce.is_empty() && nonce != last.nonce)
    }

    fn accept(&mut self, nonce: &str) {
        if let Some(last) = &mut self.last {
            last.answer = Answer::Accepted;
        }
        if let Some(told) = &mut self.told {
            told.accepted(nonce);
        }
    }

    /// Whether the peer may hold a secret that this stream brought.
    pub(super) fn holds_something(&self) -> bool {
        self.last.is_some() || self.told.as_ref().is_some_and(super::delta::Told::holds_something)
    }
}

pub(super) fn check_type(type_url: &str) -> Result<(), RequestError> {
    if type_url.is_empty() || type_url == SECRET_TYPE_URL {
        Ok(())
    } else {
        Err(RequestError::TypeUrl { found: type_url.chars().take(128).collect() })
    }
}

pub(super) fn checked_names(names: Vec<String>) -> Result<BTreeSet<Arc<str>>, RequestError> {
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

/// Characters kept of a version that the peer brings from elsewhere: more than ours have.
const MAX_FOREIGN_VERSION: usize = 64;
