//! Any order of events: what may never happen, and what always comes at last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pki::AuthorityRole;
use proptest::prelude::*;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, id, lists, state, svid_of, whole_lists, with_lists};
use crate::{SecretState, StreamProgress};

/// States that a source may give, good and bad ones; the last one is good and never used before the end.
pub(super) static STATES: LazyLock<Vec<Arc<SecretState>>> = LazyLock::new(|| {
    let (authority, other) = (Authority::new(), Authority::new());
    let (one, both) = (bundle(&[&authority]), bundle(&[&authority, &other]));
    let web = [0, 1, 2].map(|_| authority.fresh("web"));
    let api = authority.fresh("api");
    let expired = authority.svid("web", 0, Duration::from_secs(2));
    let foreign = other.fresh("web");
    // To the end of everything; gone stale while the test runs; of one root only.
    let (lasting, ending) = (whole_lists(&authority, &[&api], 90 * 86_400), whole_lists(&authority, &[], 75));
    let two =
        [&authority, &other].map(|ca| [AuthorityRole::Root, AuthorityRole::Issuer].map(|role| ca.list(role, &[], 90 * 86_400)));
    let of_both = lists(&[&authority, &other], two.as_flattened(), true);
    let incomplete = lists(&[&authority], &[authority.list(AuthorityRole::Issuer, &[&web[0]], 120)], false);
    let for_leaves = Arc::new(pki::RevocationSet::clone(&incomplete).with_complete_for_leaves(true));
    vec![
        state(&[], &one),
        state(&[&web[0]], &one),
        state(&[&web[1]], &one),
        state(&[&web[0]], &both),
        state(&[&web[1], &api], &both),
        state(&[&api], &one),
        state(&[&expired], &one),
        state(&[&foreign], &one),
        state(&[&foreign, &api], &one),
        Arc::new(SecretState { known: true, svids: vec![Arc::clone(&web[0])], ..SecretState::default() }),
        with_lists(&state(&[&web[0]], &one), &lasting),
        with_lists(&state(&[&web[0]], &one), &ending),
        with_lists(&state(&[&web[1], &api], &both), &ending),
        with_lists(&state(&[&web[1], &api], &both), &of_both),
        with_lists(&state(&[&web[0], &api], &one), &incomplete),
        with_lists(&state(&[&web[0], &api], &one), &for_leaves),
        with_lists(&state(&[&expired], &one), &lasting),
        with_lists(&state(&[], &one), &ending),
        revoked(&state(&[&api], &one), &["web"], true),
        revoked(&with_lists(&state(&[&web[1]], &one), &lasting), &["api"], false),
        revoked(&state(&[], &one), &["web", "api"], true),
        with_lists(&state(&[&web[2], &api], &both), &of_both),
    ]
});

/// The same after these identities were revoked, the first of the caller among them or not.
fn revoked(state: &Arc<SecretState>, names: &[&str], default_revoked: bool) -> Arc<SecretState> {
    let revoked = names.iter().map(|name| id(name)).collect();
    Arc::new(SecretState { revoked, default_revoked, ..SecretState::clone(state) })
}

const NAMES: [&[&str]; 6] =
    [&["default"], &["ROOTCA"], &["spiffe://example.org/web", "nobody"], &["spiffe://example.org/api"], &["ALL", "default"], &[]];

#[derive(Clone, Debug)]
enum Action {
    Open(usize),
    Close(usize),
    Rename(usize, usize),
    Update(usize),
    Take(usize),
    Answer(usize, Reply),
    Pass(u64),
}

/// What a peer says of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Ack,
    Nack,
    StaleNack,
}

pub(super) fn kind() -> impl Strategy<Value = ValidationContextKind> {
    prop_oneof![Just(ValidationContextKind::SpiffeValidator), Just(ValidationContextKind::TrustedCa)]
}

pub(super) fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![3 => Just(Reply::Ack), 2 => Just(Reply::Nack), 1 => Just(Reply::StaleNack)]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => (0..NAMES.len()).prop_map(Action::Open),
        1 => (0..8_usize).prop_map(Action::Close),
        1 => (0..8_usize, 0..NAMES.len()).prop_map(|(stream, names)| Action::Rename(stream, names)),
        3 => (0..STATES.len() - 1).prop_map(Action::Update),
        6 => (0..8_usize).prop_map(Action::Take),
        5 => (0..8_usize, reply()).prop_map(|(stream, reply)| Action::Answer(stream, reply)),
        1 => (0..90_u64).prop_map(Action::Pass),
    ]
}

/// The peer and the rules that it holds the machine to.
struct Peer {
    kind: ValidationContextKind,
    bench: Bench,
    held: Arc<SecretState>,
    streams: Vec<(StreamId, usize)>,
    last: BTreeMap<StreamId, Response>,
    nonces: BTreeSet<String>,
    /// Streams on which the same version may come once more: since a NACK or a change of names.
    excused: BTreeSet<StreamId>,
    /// What the peer said of the last response of a stream, once it said something.
    accepted: BTreeMap<StreamId, bool>,
}

impl Peer {
    fn stream(&self, number: usize) -> Option<(StreamId, &'static [&'static str])> {
        let (stream, names) = self.streams.get(number % self.streams.len().max(1))?;
        Some((*stream, NAMES[*names]))
    }

    fn take(&mut self, stream: StreamId, names: &[&str]) -> bool {
        let Some(response) = self.bench.take(stream) else { return false };
        assert!(!response.resources.is_empty(), "a response without a resource");
        assert!(self.nonces.insert(response.nonce.clone()), "a nonce twice");
        for resource in &response.resources {
            assert!(names.contains(&&*resource.name), "{} was not asked for", resource.name);
            if let Some(svid) = svid_of(resource) {
                assert!(self.held.svids.iter().any(|own| own.id() == svid.id()), "{} is not the caller's", svid.id());
                assert!(*resource.name == *svid.id().as_str() || &*resource.name == "default");
                let is_default = self.held.svids[0].id() == svid.id() && !self.held.default_revoked;
                assert!(&*resource.name != "default" || is_default, "another's default");
            }
        }
        self.bench.check_lists(&response, &self.held);
        let repeated = self.last.get(&stream).is_some_and(|last| last.version == response.version);
        assert!(!repeated || self.excused.contains(&stream), "the same content twice without a reason");
        self.excused.remove(&stream);
        self.accepted.remove(&stream);
        self.last.insert(stream, response);
        true
    }

    fn answer(&mut self, stream: StreamId, names: &[&str], reply: Reply) {
        let Some(response) = self.last.get(&stream) else { return };
        match reply {
            Reply::Ack => {
                self.bench.ack(stream, names, response);
                self.accepted.entry(stream).or_insert(true);
            }
            Reply::Nack => {
                self.accepted.insert(stream, false);
                self.bench.nack(stream, names, response);
                self.excused.extend(self.streams.iter().map(|(stream, _)| *stream));
            }
            Reply::StaleNack => {
                let stale =
                    Response { version: String::new(), nonce: "0-0".to_owned(), resources: Vec::new(), removed: Vec::new() };
                self.bench.nack(stream, names, &stale);
            }
        }
    }

    /// Whether the last response of a stream was accepted and is what a connection of now would begin with.
    fn has_taken_the_newest(&self, stream: StreamId, names: &[&str]) -> bool {
        let mut fresh =
            Bench { machine: Connection::new(self.kind, Arc::clone(&self.held), self.bench.now), now: self.bench.now };
        let opened = fresh.open(names);
        let Some(expected) = fresh.take(opened) else { return true };
        let last = self.last.get(&stream).map(|response| &response.version);
        self.accepted.get(&stream) == Some(&true) && last == Some(&expected.version)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open(names) => {
                let stream = self.bench.open(NAMES[names]);
                self.streams.push((stream, names));
            }
            Action::Close(number) if !self.streams.is_empty() => {
                let (stream, _) = self.streams.remove(number % self.streams.len());
                self.bench.machine.close(stream, self.bench.now);
            }
            Action::Rename(number, names) if !self.streams.is_empty() => {
                let index = number % self.streams.len();
                self.streams[index].1 = names;
                let stream = self.streams[index].0;
                self.bench.ask(stream, NAMES[names]);
                self.excused.insert(stream);
                if NAMES[names].is_empty() {
                    self.accepted.remove(&stream);
                }
            }
            Action::Close(_) | Action::Rename(..) => {}
            Action::Update(number) => {
                self.held = Arc::clone(&STATES[number]);
                self.bench.update(&STATES[number]);
                // What was taken away and given back may be sent again.
                self.excused.extend(self.streams.iter().map(|(stream, _)| *stream));
            }
            Action::Take(number) => {
                if let Some((stream, names)) = self.stream(number) {
                    self.take(stream, names);
                }
            }
            Action::Answer(number, reply) => {
                if let Some((stream, names)) = self.stream(number) {
                    self.answer(stream, names, reply);
                }
            }
            Action::Pass(seconds) => self.bench.pass_awake(Duration::from_secs(seconds)),
        }
    }
}

/// After these, and then one more state and a peer that accepts everything, each stream has taken what a new one would get.
fn comes_to_the_newest(actions: Vec<Action>, kind: ValidationContextKind) -> Result<(), TestCaseError> {
    let held = Arc::clone(&STATES[1]);
    let bench = Bench::of(kind, Arc::clone(&held));
    let (last, nonces, excused, accepted) = Default::default();
    let mut peer = Peer { kind, bench, held, streams: Vec::new(), last, nonces, excused, accepted };
    for action in actions {
        peer.act(action);
    }
    let lagging = peer.streams.iter().filter(|(stream, names)| !peer.has_taken_the_newest(*stream, NAMES[*names])).count();
    let behind = peer.bench.machine.progress().behind;
    prop_assert!(behind >= lagging, "{} of the streams are behind, and {} are told", lagging, behind);
    // From here the peer accepts everything, and the source gives something new.
    let newest = Arc::clone(STATES.last().unwrap());
    peer.held = Arc::clone(&newest);
    peer.bench.update(&newest);
    peer.excused.extend(peer.streams.iter().map(|(stream, _)| *stream));
    for _ in 0..8 {
        for number in 0..peer.streams.len() {
            let (stream, names) = peer.stream(number).unwrap();
            peer.take(stream, names);
            peer.answer(stream, names, Reply::Ack);
        }
        peer.bench.pass(Duration::from_secs(61));
    }
    prop_assert_eq!(peer.bench.machine.progress(), StreamProgress { streams: peer.streams.len(), behind: 0 });
    for (stream, names) in peer.streams.clone() {
        prop_assert!(!peer.take(stream, NAMES[names]), "stream {} does not come to rest", stream);
        // What a connection that saw nothing but the newest state would get.
        let mut fresh = Bench::of(kind, Arc::clone(&newest));
        let expected = fresh.open(NAMES[names]);
        if let Some(expected) = fresh.take(expected) {
            let version = peer.last.get(&stream).map(|response| &response.version);
            prop_assert_eq!(version, Some(&expected.version), "stream {} is behind", stream);
        }
    }
    Ok(())
}

/// The peer holds what it rejected while nothing could be sent, and what comes then is the same for its stream.
#[test]
fn what_was_rejected_is_mended_when_there_is_something_to_send_again() {
    let before = [Action::Update(5), Action::Open(3), Action::Open(0), Action::Take(0), Action::Answer(2, Reply::Nack)];
    comes_to_the_newest(
        before.into_iter().chain([Action::Update(1), Action::Update(0)]).collect(),
        ValidationContextKind::SpiffeValidator,
    )
    .unwrap();
}

/// Rejected twice, the second time with nothing good left: what comes then has the same part for this stream.
#[test]
fn what_was_rejected_while_it_was_mended_is_mended_by_the_next_content() {
    let rejected = |state| [Action::Update(state), Action::Take(0), Action::Update(1), Action::Answer(0, Reply::Nack)];
    let before = [Action::Update(4), Action::Update(1), Action::Open(1), Action::Take(0), Action::Answer(0, Reply::Nack)];
    comes_to_the_newest(
        before.into_iter().chain([Action::Pass(1)]).chain(rejected(4)).collect(),
        ValidationContextKind::SpiffeValidator,
    )
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold_and_the_newest_state_arrives_at_last(
        actions in prop::collection::vec(action(), 1..60),
        kind in kind(),
    ) {
        comes_to_the_newest(actions, kind)?;
    }
}
