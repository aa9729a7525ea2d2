//! Any order of events on incremental streams: what may never happen, and what always comes at last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::fixture::{Bench, owned, svid_of};
use super::random::{Reply, STATES, kind, reply};
use crate::SecretState;

const NAMES: [&str; 6] = ["default", "ROOTCA", "spiffe://example.org/web", "spiffe://example.org/api", "nobody", "ALL"];

#[derive(Clone, Debug)]
enum Action {
    Open(Vec<usize>),
    /// The connection breaks, and every stream comes back with what it holds.
    Reconnect,
    Close(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Update(usize),
    Take(usize),
    Answer(usize, Reply),
    Pass(u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => prop::collection::vec(0..NAMES.len(), 0..4).prop_map(Action::Open),
        1 => Just(Action::Reconnect),
        1 => (0..8_usize).prop_map(Action::Close),
        1 => (0..8_usize, 0..NAMES.len()).prop_map(|(stream, name)| Action::Subscribe(stream, name)),
        1 => (0..8_usize, 0..NAMES.len()).prop_map(|(stream, name)| Action::Unsubscribe(stream, name)),
        3 => (0..STATES.len() - 1).prop_map(Action::Update),
        6 => (0..8_usize).prop_map(Action::Take),
        5 => (0..8_usize, reply()).prop_map(|(stream, reply)| Action::Answer(stream, reply)),
        1 => (0..90_u64).prop_map(Action::Pass),
    ]
}

/// A stream as the peer sees it.
#[derive(Default)]
struct Side {
    names: BTreeSet<&'static str>,
    /// Name and version of what it accepted and was not told removed.
    holds: BTreeMap<String, String>,
    /// Names that it was told of, or brought, since it subscribed to them last.
    told: BTreeSet<String>,
    /// Names that it was last told are removed, whether it answered or not: they may come again as they were.
    gone: BTreeSet<String>,
    last: Option<Response>,
    answered: bool,
    /// It rejected something once: that comes again whatever it says of it later.
    rejected: bool,
    /// What it holds may be sent once more: since a NACK, a new state or a new subscription.
    excused: bool,
}

struct Peer {
    kind: ValidationContextKind,
    bench: Bench,
    held: Arc<SecretState>,
    sides: Vec<(StreamId, Side)>,
    nonces: BTreeSet<String>,
}

impl Peer {
    fn take(&mut self, number: usize) -> bool {
        let (stream, side) = &mut self.sides[number];
        let Some(response) = self.bench.machine.transmit(*stream, self.bench.now) else { return false };
        assert!(!(response.resources.is_empty() && response.removed.is_empty()), "an empty response");
        assert!(self.nonces.insert(response.nonce.clone()), "a nonce twice");
        self.bench.check_lists(&response, &self.held);
        let mut news = !response.removed.is_empty();
        for resource in &response.resources {
            assert!(side.names.contains(&&*resource.name), "{} was not asked for", resource.name);
            if let Some(svid) = svid_of(resource) {
                assert!(self.held.svids.iter().any(|own| own.id() == svid.id()), "{} is not the caller's", svid.id());
                let is_default = self.held.svids[0].id() == svid.id() && !self.held.default_revoked;
                assert!(&*resource.name != "default" || is_default, "another's default");
            }
            news |= side.holds.get(&*resource.name) != Some(&resource.version) || !side.answered;
            news |= side.gone.remove(&*resource.name);
            side.told.insert(resource.name.to_string());
        }
        assert!(news || side.excused || side.rejected, "what is held came again without a reason");
        for name in &response.removed {
            side.gone.insert(name.to_string());
            assert!(side.told.contains(&**name), "{name} is removed and was never there");
            let own = self.held.svids.iter().any(|svid| svid.id().as_str() == &**name);
            assert!(
                !own && (&**name == "nobody" || self.held.svids.is_empty() || name.starts_with("spiffe:")),
                "{name} is the caller's"
            );
        }
        (side.last, side.answered, side.excused) = (Some(response), false, false);
        true
    }

    fn answer(&mut self, number: usize, reply: Reply) {
        let (stream, side) = &mut self.sides[number];
        let Some(response) = &side.last else { return };
        match reply {
            Reply::Ack => {
                self.bench.ack_delta(*stream, response);
                if !side.answered {
                    let wanted = response.resources.iter().filter(|resource| side.names.contains(&&*resource.name));
                    side.holds.extend(wanted.map(|resource| (resource.name.to_string(), resource.version.clone())));
                    response.removed.iter().for_each(|name| drop(side.holds.remove(&**name)));
                }
                side.answered = true;
            }
            Reply::Nack if !side.answered => {
                self.bench.nack_delta(*stream, response);
                side.rejected = true;
                self.excuse();
            }
            Reply::Nack => {}
            Reply::StaleNack => {
                let stale = Response { version: String::new(), nonce: "0-0".into(), resources: Vec::new(), removed: Vec::new() };
                self.bench.nack_delta(*stream, &stale);
            }
        }
    }

    fn excuse(&mut self) {
        self.sides.iter_mut().for_each(|(_, side)| side.excused = true);
    }

    fn open(&mut self, names: BTreeSet<&'static str>, holds: BTreeMap<String, String>) {
        let asked: Vec<_> = names.iter().copied().collect();
        let held: Vec<_> = holds.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
        let stream = self.bench.open_delta(&asked, &held);
        let told = holds.keys().cloned().collect();
        self.sides.push((stream, Side { names, told, holds, answered: true, ..Side::default() }));
    }

    fn change(&mut self, number: usize, name: &'static str, wanted: bool) {
        let (stream, side) = &mut self.sides[number];
        let names = owned(&[name]);
        let request = if wanted {
            side.names.insert(name);
            DeltaRequest { subscribe: names, ..DeltaRequest::default() }
        } else {
            side.names.remove(name);
            DeltaRequest { unsubscribe: names, ..DeltaRequest::default() }
        };
        side.holds.remove(name);
        side.told.remove(name);
        side.excused = true;
        self.bench.ask_delta(*stream, request);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open(names) => self.open(names.iter().map(|name| NAMES[*name]).collect(), BTreeMap::new()),
            Action::Update(number) => {
                self.held = Arc::clone(&STATES[number]);
                self.bench.update(&STATES[number]);
                self.excuse();
            }
            Action::Pass(seconds) => self.bench.pass_awake(Duration::from_secs(seconds)),
            _ if self.sides.is_empty() => {}
            Action::Reconnect => {
                self.bench =
                    Bench { machine: Connection::new(self.kind, Arc::clone(&self.held), self.bench.now), now: self.bench.now };
                self.nonces.clear();
                for (_, side) in std::mem::take(&mut self.sides) {
                    self.open(side.names, side.holds);
                }
            }
            Action::Close(number) => {
                let (stream, _) = self.sides.remove(number % self.sides.len());
                self.bench.machine.close(stream, self.bench.now);
            }
            Action::Subscribe(number, name) => self.change(number % self.sides.len(), NAMES[name], true),
            Action::Unsubscribe(number, name) => self.change(number % self.sides.len(), NAMES[name], false),
            Action::Take(number) => drop(self.take(number % self.sides.len())),
            Action::Answer(number, reply) => self.answer(number % self.sides.len(), reply),
        }
    }
}

/// After these, and then one more state and a peer that accepts everything, it holds what a new one would get.
fn comes_to_the_newest(actions: Vec<Action>, kind: ValidationContextKind) -> Result<(), TestCaseError> {
    let held = Arc::clone(&STATES[1]);
    let mut peer = Peer { kind, bench: Bench::of(kind, Arc::clone(&held)), held, sides: Vec::new(), nonces: BTreeSet::new() };
    for action in actions {
        peer.act(action);
    }
    // From here the peer accepts everything, and the source gives something new.
    let newest = Arc::clone(STATES.last().unwrap());
    peer.held = Arc::clone(&newest);
    peer.bench.update(&newest);
    peer.excuse();
    for _ in 0..8 {
        for number in 0..peer.sides.len() {
            peer.take(number);
            peer.answer(number, Reply::Ack);
        }
        peer.bench.pass(Duration::from_secs(61));
    }
    for number in 0..peer.sides.len() {
        prop_assert!(!peer.take(number), "stream {} does not come to rest", number);
        let side = &peer.sides[number].1;
        let names: Vec<_> = side.names.iter().copied().collect();
        // What a connection that saw nothing but the newest state would get.
        let mut fresh = Bench::of(kind, Arc::clone(&newest));
        let stream = fresh.open_delta(&names, &[]);
        let resources = fresh.take(stream).map_or_else(Vec::new, |response| response.resources);
        let expected: BTreeMap<_, _> =
            resources.into_iter().map(|resource| (resource.name.to_string(), resource.version)).collect();
        prop_assert_eq!(&side.holds, &expected, "stream {} is behind", number);
    }
    Ok(())
}

/// The removal was never answered: the peer is told of the name again, though it may hold the same still.
#[test]
fn what_was_said_to_be_gone_comes_again() {
    let before = [Action::Open(vec![5, 3]), Action::Open(vec![0]), Action::Update(4), Action::Take(0)];
    let then =
        [Action::Answer(0, Reply::Ack), Action::Update(1), Action::Take(1), Action::Take(0), Action::Answer(1, Reply::Nack)];
    comes_to_the_newest(before.into_iter().chain(then).collect(), ValidationContextKind::SpiffeValidator).unwrap();
}

/// Both names were rejected together, the offer before has one of them alone, and the other is the same in the next.
#[test]
fn what_an_earlier_offer_leaves_out_comes_with_the_next() {
    let before = [Action::Open(vec![3]), Action::Subscribe(0, 5), Action::Update(3), Action::Update(4), Action::Take(0)];
    let then = [Action::Answer(0, Reply::Nack), Action::Subscribe(0, 4)];
    comes_to_the_newest(before.into_iter().chain(then).collect(), ValidationContextKind::SpiffeValidator).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_peer_holds_the_newest_of_each_name_at_last(
        actions in prop::collection::vec(action(), 1..60),
        kind in kind(),
    ) {
        comes_to_the_newest(actions, kind)?;
    }
}
