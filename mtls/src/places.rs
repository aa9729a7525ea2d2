//! How many connections one holder may have, and which one goes when there is one too many: never the newcomer. An agent that comes
//! back while its old connections linger half-dead must get in, and so must a good peer behind a crowd of idle ones.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// What is known of one connection that is open, from its accept on.
#[derive(Debug)]
pub struct Presence {
    /// Where what the peer said last stands among what all connections said.
    heard: AtomicU64,
    /// Things of the peer's that are worked on: its handshake, its calls.
    work: AtomicUsize,
    closed: AtomicBool,
    reader: AtomicWaker,
    order: Arc<Order>,
}

/// Counts what is heard of all connections, so that it has an order without a clock.
#[derive(Debug, Default)]
pub struct Order(AtomicU64);

impl Presence {
    /// Of a connection that begins, which counts as heard.
    #[must_use]
    pub fn new(order: &Arc<Order>) -> Arc<Self> {
        let presence = Self {
            heard: AtomicU64::new(0),
            work: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            order: Arc::clone(order),
        };
        presence.heard();
        Arc::new(presence)
    }

    /// The peer sent something.
    pub fn heard(&self) {
        self.heard.store(self.order.0.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Something of the peer's is worked on from now on.
    pub fn begin_work(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
    }

    /// What [`begin_work`](Self::begin_work) told of is done.
    pub fn end_work(&self) {
        self.work.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether something of the peer's is worked on.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.work.load(Ordering::Relaxed) > 0
    }

    /// Whether the connection has to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ready once the connection has to end.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// The lower, the sooner it goes: silent ones before those that are worked on, then by who was heard least lately.
    pub(crate) fn worth(&self) -> (bool, u64) {
        (self.is_busy(), self.heard.load(Ordering::Relaxed))
    }
}

/// What happens when every other connection of a holder is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// One of them goes all the same.
    Closed,
    /// All stay until the work on one has ended ([`Place::settle`]): replicas of a workload share an identity, and none is worth less.
    Spared,
}

/// How many.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// Of one holder; `None`: no limit.
    pub per_holder: Option<usize>,
    /// Of all holders; `None`: no limit.
    pub in_all: Option<usize>,
    /// Whether one that is worked on can be closed.
    pub busy: Busy,
}

/// How many connections were closed for a newcomer, and for which limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Of its own holder.
    pub per_holder: usize,
    /// Of the holder with the most.
    pub in_all: usize,
}

#[derive(Debug)]
struct State<H> {
    next: u64,
    count: usize,
    holders: HashMap<H, BTreeMap<u64, Arc<Presence>>>,
}

/// The places of one kind.
#[derive(Debug)]
pub struct Places<H> {
    limits: PlaceLimits,
    state: Mutex<State<H>>,
}

/// A place of one connection; the drop frees it.
#[derive(Debug)]
pub struct Place<H: Eq + Hash + Clone> {
    places: Arc<Places<H>>,
    holder: H,
    id: u64,
}

impl<H: Eq + Hash + Clone> Places<H> {
    /// All are free.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::new(State { next: 0, count: 0, holders: HashMap::new() }) })
    }

    /// Takes a place, and closes what is too much then.
    pub fn enter(self: &Arc<Self>, holder: H, presence: &Arc<Presence>) -> (Place<H>, Closed) {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.count += 1;
        state.holders.entry(holder.clone()).or_default().insert(id, Arc::clone(presence));
        let mut closed = Closed { per_holder: self.close_surplus(&mut state, &holder, Some(id)), in_all: 0 };
        while self.limits.in_all.is_some_and(|limit| state.count > limit) && self.close_one_of_the_most(&mut state, id) {
            closed.in_all += 1;
        }
        drop(state);
        (Place { places: Arc::clone(self), holder, id }, closed)
    }

    /// Closes until the holder has as many as it may, or only busy ones that are spared; `newcomer` stays.
    fn close_surplus(&self, state: &mut State<H>, holder: &H, newcomer: Option<u64>) -> usize {
        let mut closed = 0;
        loop {
            let Some(members) =
                state.holders.get(holder).filter(|members| self.limits.per_holder.is_some_and(|limit| members.len() > limit))
            else {
                return closed;
            };
            let spared = |presence: &Presence| self.limits.busy == Busy::Spared && presence.is_busy();
            let candidates = members.iter().filter(|(id, presence)| Some(**id) != newcomer && !spared(presence));
            let Some(id) = candidates.min_by_key(|(_, presence)| presence.worth()).map(|(id, _)| *id) else { return closed };
            state.close(holder, id);
            closed += 1;
        }
    }

    /// The holder with the most gives one up; between equals, the one heard least lately.
    fn close_one_of_the_most(&self, state: &mut State<H>, newcomer: u64) -> bool {
        let least = |members: &BTreeMap<u64, Arc<Presence>>| {
            let others = members.iter().filter(|(id, _)| **id != newcomer);
            others.min_by_key(|(_, presence)| presence.worth()).map(|(id, presence)| (*id, presence.worth()))
        };
        let most = state
            .holders
            .iter()
            .filter_map(|(holder, members)| least(members).map(|(id, worth)| (holder, members.len(), id, worth)))
            .max_by(|(_, count, _, worth), (_, other_count, _, other_worth)| count.cmp(other_count).then(other_worth.cmp(worth)))
            .map(|(holder, _, id, _)| (holder.clone(), id));
        let Some((holder, id)) = most else { return false };
        state.close(&holder, id);
        true
    }

    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Eq + Hash> State<H> {
    fn leave(&mut self, holder: &H, id: u64) -> Option<Arc<Presence>> {
        let members = self.holders.get_mut(holder)?;
        let presence = members.remove(&id)?;
        self.count -= 1;
        if members.is_empty() {
            self.holders.remove(holder);
        }
        Some(presence)
    }

    fn close(&mut self, holder: &H, id: u64) {
        if let Some(presence) = self.leave(holder, id) {
            presence.close();
        }
    }
}

impl<H: Eq + Hash + Clone> Place<H> {
    /// Work on a connection of this holder has ended: closes what was spared for it. Says how many.
    pub fn settle(&self) -> usize {
        self.places.close_surplus(&mut self.places.state(), &self.holder, None)
    }
}

impl<H: Eq + Hash + Clone> Drop for Place<H> {
    fn drop(&mut self) {
        drop(self.places.state().leave(&self.holder, self.id));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    fn is_open(presence: &Presence) -> bool {
        presence.poll_closed(&Context::from_waker(Waker::noop())).is_pending()
    }

    fn limits(per_holder: usize, in_all: Option<usize>, busy: Busy) -> PlaceLimits {
        PlaceLimits { per_holder: Some(per_holder), in_all, busy }
    }

    #[test]
    fn at_the_limit_all_stay_and_one_over_closes_who_was_heard_least_lately() {
        let (places, order) = (Places::new(limits(3, None, Busy::Closed)), Arc::default());
        let presences: Vec<_> = (0..5).map(|_| Presence::new(&order)).collect();
        let other = Presence::new(&order);
        let (_other, _) = places.enter("other", &other);
        let mut held = Vec::new();
        for presence in &presences[..3] {
            let (place, closed) = places.enter("one", presence);
            assert_eq!(closed, Closed::default());
            held.push(place);
        }
        presences[0].heard();
        let (fourth, closed) = places.enter("one", &presences[3]);
        assert_eq!(closed, Closed { per_holder: 1, in_all: 0 });
        let open: Vec<_> = presences.iter().map(|presence| is_open(presence)).collect();
        assert_eq!(open, [true, false, true, true, true], "the second was heard least lately");
        drop(fourth);
        let (_fifth, closed) = places.enter("one", &presences[4]);
        assert_eq!((closed, is_open(&other)), (Closed::default(), true), "a place that is free again is used");
        drop(held);
    }

    #[test]
    fn a_connection_that_is_worked_on_goes_last_or_waits_for_the_end_of_that() {
        for busy in [Busy::Closed, Busy::Spared] {
            let (places, order) = (Places::new(limits(2, None, busy)), Arc::default());
            let presences: Vec<_> = (0..4).map(|_| Presence::new(&order)).collect();
            presences[0].begin_work();
            let (first, _) = places.enter("one", &presences[0]);
            let (_second, _) = places.enter("one", &presences[1]);
            let (_third, closed) = places.enter("one", &presences[2]);
            assert_eq!((closed.per_holder, is_open(&presences[0]), is_open(&presences[1])), (1, true, false));
            presences[2].begin_work();
            let (_fourth, closed) = places.enter("one", &presences[3]);
            assert!(is_open(&presences[3]), "the newcomer is never the one");
            assert_eq!((closed.per_holder, is_open(&presences[0])), if busy == Busy::Closed { (1, false) } else { (0, true) });
            presences[0].end_work();
            assert_eq!(first.settle(), usize::from(busy == Busy::Spared));
            assert!(!is_open(&presences[0]));
        }
    }

    #[test]
    fn when_all_places_are_taken_the_holder_with_the_most_gives_one_up() {
        let (places, order) = (Places::new(limits(3, Some(4), Busy::Closed)), Arc::default());
        let presences: Vec<_> = (0..6).map(|_| Presence::new(&order)).collect();
        let holders = ["small", "big", "big", "big", "new", "newer"];
        let mut held = Vec::new();
        for (holder, presence) in holders.into_iter().zip(&presences) {
            held.push(places.enter(holder, presence));
        }
        let open: Vec<_> = presences.iter().map(|presence| is_open(presence)).collect();
        assert_eq!(open, [true, false, false, true, true, true]);
        assert_eq!(held.last().unwrap().1, Closed { per_holder: 0, in_all: 1 });
        let alone = Places::new(limits(1, Some(1), Busy::Closed));
        let (one, two) = (Presence::new(&order), Presence::new(&order));
        let (_one, _two) = (alone.enter("one", &one), alone.enter("two", &two));
        assert_eq!((is_open(&one), is_open(&two)), (false, true));
    }

    proptest! {
        /// The newcomer always stays, the limits always hold, and the count is that of those who are there.
        #[test]
        fn the_newcomer_stays_and_the_limits_hold(
            arrivals in prop::collection::vec((0_u8..5, any::<bool>(), any::<bool>()), 1..80),
            per_holder in 1_usize..5,
            in_all in 1_usize..12,
        ) {
            let (places, order) = (Places::new(limits(per_holder, Some(in_all), Busy::Closed)), Arc::default());
            let mut held: Vec<(Place<u8>, Arc<Presence>)> = Vec::new();
            for (holder, is_busy, one_leaves) in arrivals {
                let presence = Presence::new(&order);
                if is_busy {
                    presence.begin_work();
                }
                let (place, _) = places.enter(holder, &presence);
                prop_assert!(is_open(&presence));
                held.push((place, presence));
                if one_leaves {
                    held.remove(held.len() / 2);
                }
                let open = held.iter().filter(|(_, presence)| is_open(presence)).count();
                prop_assert_eq!(places.state().count, open);
                prop_assert!(open <= in_all);
                for holder in 0..5 {
                    let of = |(place, presence): &&(Place<u8>, Arc<Presence>)| place.holder == holder && is_open(presence);
                    prop_assert!(held.iter().filter(of).count() <= per_holder);
                }
            }
            drop(held);
            let state = places.state();
            prop_assert_eq!((state.count, state.holders.len()), (0, 0));
        }
    }
}
