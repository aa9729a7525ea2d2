//! A peer on one connection, and the rules that it holds the state machine to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pki::Timestamp;
use prost::Message;
use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::envoy::google::rpc::Status;
use sds::SecretState;
use sds::stream::{
    Connection, DeltaRequest, MAX_STREAMS, Now, Request, Response, SECRET_TYPE_URL, Secret, StreamId, ValidationContextKind,
};

use super::states::STATES;
use crate::fixture::NOW;

/// Names that a request picks from, by the bits of a byte.
const NAMES: [&str; 8] = [
    "default",
    "ROOTCA",
    "spiffe://example.org/web",
    "spiffe://example.org/api",
    "ALL",
    "spiffe://example.org",
    "nobody",
    "file-cert:/a~/b",
];

/// How long all waits of an input may be together: the settled SVIDs live for a day.
const MAX_WAIT: Duration = Duration::from_secs(20 * 3600);

/// What a request says of the last response.
#[derive(Clone, Copy)]
pub(super) enum Reply {
    Ack,
    Nack,
    Stale,
    Nothing,
}

impl Reply {
    pub(super) fn of(byte: u8) -> Self {
        match byte % 4 {
            0 => Self::Ack,
            1 => Self::Nack,
            2 => Self::Stale,
            _ => Self::Nothing,
        }
    }
}

struct Stream {
    id: StreamId,
    delta: bool,
    /// As the machine must understand them by now.
    names: BTreeSet<String>,
    /// Whether a request brought metadata of a node, which may ask for another form.
    own_form: bool,
    /// Everything that any request on it named.
    asked: BTreeSet<String>,
    /// Version and nonce of the last response.
    last: Option<(String, String)>,
}

pub(super) struct Peer {
    machine: Connection,
    held: Arc<SecretState>,
    streams: Vec<Stream>,
    nonces: BTreeSet<String>,
    waited: Duration,
}

impl Peer {
    pub(super) fn new() -> Self {
        let held = Arc::clone(STATES.any.first().unwrap_or(&STATES.settled));
        let machine = Connection::new(ValidationContextKind::SpiffeValidator, Arc::clone(&held), at(Duration::ZERO));
        Self { machine, held, streams: Vec::new(), nonces: BTreeSet::new(), waited: Duration::ZERO }
    }

    fn now(&self) -> Now {
        at(self.waited)
    }

    fn index(&self, which: u8) -> Option<usize> {
        usize::from(which).checked_rem(self.streams.len())
    }

    pub(super) fn open(&mut self, delta: bool) {
        let opened = if delta { self.machine.open_delta() } else { self.machine.open() };
        assert_eq!(opened.is_ok(), self.streams.len() < MAX_STREAMS);
        if let Ok(id) = opened {
            let (names, asked) = Default::default();
            self.streams.push(Stream { id, delta, names, own_form: false, asked, last: None });
        }
    }

    pub(super) fn close(&mut self, which: u8) {
        if let Some(index) = self.index(which) {
            let now = self.now();
            self.machine.close(self.streams.remove(index).id, now);
        }
    }

    pub(super) fn given(&mut self, state: &Arc<SecretState>) {
        self.held = Arc::clone(state);
        self.machine.update(Arc::clone(state), self.now());
    }

    pub(super) fn waits(&mut self, seconds: u16) {
        self.waited = (self.waited + Duration::from_secs(seconds.into())).min(MAX_WAIT);
    }

    /// A request in good order, by way of its bytes.
    pub(super) fn asks(&mut self, which: u8, names: u8, reply: Reply) {
        let Some(index) = self.index(which) else { return };
        let wanted = NAMES.iter().enumerate().filter(|(bit, _)| names >> bit & 1 == 1).map(|(_, name)| (*name).to_owned());
        self.answers(index, wanted.collect(), reply);
    }

    fn answers(&mut self, index: usize, wanted: BTreeSet<String>, reply: Reply) {
        let Some(stream) = self.streams.get(index) else { return };
        let last = stream.last.clone();
        let (version, nonce) = match reply {
            Reply::Ack | Reply::Nack => last.unwrap_or_default(),
            Reply::Stale => (String::new(), "0-0".to_owned()),
            Reply::Nothing => Default::default(),
        };
        let rejection =
            Status { code: 13, message: "Failed to load certificate chain from <inline>".to_owned(), details: Vec::new() };
        let error_detail = matches!(reply, Reply::Nack).then_some(rejection);
        let bytes = if stream.delta {
            let gone = stream.names.difference(&wanted).cloned().collect();
            let new = wanted.difference(&stream.names).cloned().collect();
            let request = DeltaDiscoveryRequest {
                type_url: SECRET_TYPE_URL.to_owned(),
                resource_names_subscribe: new,
                resource_names_unsubscribe: gone,
                response_nonce: nonce,
                error_detail,
                ..Default::default()
            };
            request.encode_to_vec()
        } else {
            let version_info = if error_detail.is_none() { version } else { String::new() };
            let (type_url, resource_names) = (SECRET_TYPE_URL.to_owned(), wanted.into_iter().collect());
            let request = DiscoveryRequest {
                version_info,
                resource_names,
                type_url,
                response_nonce: nonce,
                error_detail,
                ..Default::default()
            };
            request.encode_to_vec()
        };
        self.hears(index, &bytes);
    }

    /// Whatever these bytes mean.
    pub(super) fn says(&mut self, which: u8, bytes: &[u8]) {
        if let Some(index) = self.index(which) {
            self.hears(index, bytes);
        }
    }

    fn hears(&mut self, index: usize, bytes: &[u8]) {
        let now = self.now();
        let Some(stream) = self.streams.get_mut(index) else { return };
        let taken = if stream.delta {
            let Ok(message) = DeltaDiscoveryRequest::decode(bytes) else { return };
            stream.own_form |= message.node.is_some();
            stream.asked.extend(message.resource_names_subscribe.iter().cloned());
            stream.names.extend(message.resource_names_subscribe.iter().cloned());
            stream.names.retain(|name| !message.resource_names_unsubscribe.contains(name));
            self.machine.request_delta(stream.id, DeltaRequest::from(message), now)
        } else {
            let Ok(message) = DiscoveryRequest::decode(bytes) else { return };
            let answers_older = stream.last.as_ref().is_some_and(|(_, nonce)| *nonce != message.response_nonce);
            if message.response_nonce.is_empty() || !answers_older {
                stream.own_form |= message.node.is_some();
                stream.names = message.resource_names.iter().cloned().collect();
            }
            stream.asked.extend(message.resource_names.iter().cloned());
            self.machine.request(stream.id, Request::from(message), now)
        };
        if taken.is_err() {
            // As the service does: the stream ends.
            self.machine.close(self.streams.remove(index).id, now);
        } else if stream.names.is_empty() {
            // The machine forgets what it sent on a stream that wants nothing any more.
            stream.last = None;
        }
    }

    pub(super) fn fetches(&mut self, names: u8) {
        let wanted: Vec<_> = NAMES.iter().enumerate().filter(|(bit, _)| names >> bit & 1 == 1).map(|(_, name)| *name).collect();
        let names = wanted.iter().map(|name| (*name).to_owned()).collect();
        let answer = self.machine.fetch(Request { names, ..Request::default() }, self.now());
        if let Ok(response) = answer {
            assert_eq!(response.resources.len(), wanted.len(), "a fetch is answered whole or not at all");
            let asked = wanted.into_iter().map(ToOwned::to_owned).collect();
            self.judge(&response, &asked);
        }
    }

    pub(super) fn takes(&mut self, which: u8) {
        if let Some(index) = self.index(which) {
            _ = self.take(index);
        }
    }

    /// Whether there was something to take.
    fn take(&mut self, index: usize) -> bool {
        let now = self.now();
        let Some(stream) = self.streams.get(index) else { return false };
        let Some(response) = self.machine.transmit(stream.id, now) else { return false };
        assert!(stream.delta || response.removed.is_empty(), "the state of the world says nothing of what is gone");
        assert!(response.removed.iter().all(|name| stream.asked.contains(&**name)));
        assert!(!(response.resources.is_empty() && response.removed.is_empty()), "an empty response");
        assert!(self.nonces.insert(response.nonce.clone()), "a nonce twice");
        self.judge(&response, &stream.asked);
        if let Some(stream) = self.streams.get_mut(index) {
            stream.last = Some((response.version, response.nonce));
        }
        true
    }

    fn judge(&self, response: &Response, asked: &BTreeSet<String>) {
        let now = self.now().wall;
        for resource in &response.resources {
            assert!(asked.contains(&*resource.name), "{} was never asked for", resource.name);
            match &resource.secret {
                Secret::Certificate(svid) => {
                    assert!(self.held.svids.iter().any(|own| own.id() == svid.id()), "{} is not the caller's", svid.id());
                    let first = self.held.svids.first().map(|svid| svid.id());
                    let is_default = &*resource.name == "default" && first == Some(svid.id());
                    assert!(is_default || *resource.name == *svid.id().as_str(), "{} under {}", svid.id(), resource.name);
                    let verifies = STATES.sound.contains(svid.leaf()) && svid.leaf().is_valid_at(now);
                    assert!(verifies, "what does not verify now was sent");
                }
                Secret::ValidationContext { bundle, .. } => {
                    assert!(STATES.bundles.contains(bundle) && !self.held.svids.is_empty(), "half a pair was sent");
                }
                Secret::File(_) => unreachable!("no files are given here"),
            }
        }
    }

    fn accepts(&mut self, index: usize) {
        let Some(stream) = self.streams.get(index) else { return };
        let names = stream.names.clone();
        self.answers(index, names, Reply::Ack);
    }

    /// From here on the peer accepts everything: it ends up with what a connection that saw nothing else would have.
    pub(super) fn settles(&mut self, state: &Arc<SecretState>) {
        self.given(state);
        for _ in 0..8 {
            let mut sent = false;
            for index in (0..self.streams.len()).rev() {
                if self.take(index) {
                    self.accepts(index);
                    sent = true;
                }
            }
            self.waited += Duration::from_secs(61);
            if !sent && self.machine.next_wakeup().is_none() {
                break;
            }
        }
        for index in 0..self.streams.len() {
            assert!(!self.take(index), "a stream does not come to rest");
        }
        for (index, stream) in self.streams.iter().enumerate().filter(|(_, stream)| !stream.delta && !stream.own_form) {
            let mut fresh = Peer::new();
            fresh.waited = self.waited;
            fresh.given(state);
            fresh.open(false);
            fresh.answers(0, stream.names.clone(), Reply::Nothing);
            if fresh.take(0) {
                let version = |peer: &Self, index: usize| peer.streams.get(index).and_then(|stream| Some(stream.last.clone()?.0));
                assert_eq!(version(self, index), version(&fresh, 0), "a stream is behind");
            }
        }
    }

    /// All streams have accepted a good content. A newer one that is rejected brings that content back.
    pub(super) fn keeps_the_last_good(&mut self, newer: &Arc<SecretState>) {
        let held: Vec<_> = self.streams.iter().map(|stream| stream.last.clone()).collect();
        self.given(newer);
        for (index, before) in held.into_iter().enumerate() {
            let Some((good, _)) = before else { continue };
            let whole = self.streams.get(index).is_some_and(|stream| !stream.delta && !stream.names.is_empty());
            if !whole || !self.take(index) {
                continue;
            }
            let names = self.streams.get(index).map(|stream| stream.names.clone()).unwrap_or_default();
            self.answers(index, names, Reply::Nack);
            assert!(self.take(index), "nothing is sent after a rejection, though there was something good");
            let now_held = self.streams.get(index).and_then(|stream| Some(stream.last.clone()?.0));
            assert_eq!(now_held, Some(good), "the last good content was lost");
            return;
        }
    }
}

fn at(waited: Duration) -> Now {
    Now { wall: Timestamp::from_unix_seconds(NOW + 60).plus(waited), boot: Duration::from_secs(1000) + waited }
}
