//! Who waits, and who is next: urgent ones first, identities in turn, in bounded memory. Pure.
//!
//! Within a class of urgency, waiters are served in rounds, one of each identity in each round (fair queueing by start tags), so that
//! who asks for a hundred things waits for its second one until everybody else has had a first. One turn in [`FAIR`] goes to the
//! classes in rotation, so that an endless flow of urgent ones starves nobody either.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pki::Timestamp;

use super::urgency::Urgency;

/// Every so many turns the most urgent class is not preferred.
const FAIR: u64 = 4;
/// No identity may have more than this part of the places.
const SHARE: usize = 4;

/// Orders the waiters of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    round: u64,
    end: Timestamp,
    arrival: u64,
}

/// Names a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    class: usize,
    rank: Rank,
}

struct Waiter<T> {
    identity: Arc<str>,
    held: T,
}

struct Class<T> {
    waiting: BTreeMap<Rank, Waiter<T>>,
    /// The round that is being served.
    round: u64,
    /// The last round in which an identity has or had a place, as far as it is not over.
    last_rounds: HashMap<Arc<str>, u64>,
}

/// Why nobody more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken by others who go first.
    Queue {
        /// How many there are.
        places: usize,
    },
    /// This identity has its share of them.
    Share {
        /// How many those are.
        places: usize,
    },
}

/// A waiter was taken in.
pub(super) struct Entered<T> {
    pub(super) ticket: Ticket,
    /// Who had to leave for it.
    pub(super) displaced: Option<T>,
}

/// The queue. `T` is what is handed out when a waiter's turn comes.
pub(super) struct Queue<T> {
    places: usize,
    classes: [Class<T>; Urgency::CLASSES],
    /// How many wait, of each identity.
    counts: HashMap<Arc<str>, usize>,
    waiting: usize,
    arrivals: u64,
    turns: u64,
    rotation: usize,
}

impl<T> Default for Class<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), round: 0, last_rounds: HashMap::new() }
    }
}

impl<T> Queue<T> {
    /// Nobody waits, and at most so many ever do.
    pub(super) fn new(places: usize) -> Self {
        let classes = std::array::from_fn(|_| Class::default());
        Self { places, classes, counts: HashMap::new(), waiting: 0, arrivals: 0, turns: 0, rotation: 0 }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Takes in one more. When all places are taken, the last in order leaves, which may be the newcomer.
    ///
    /// # Errors
    /// [`Full`]: it is the newcomer.
    pub(super) fn enter(&mut self, identity: &Arc<str>, urgency: Urgency, held: T) -> Result<Entered<T>, Full> {
        let share = (self.places / SHARE).max(1);
        if self.counts.get(identity).is_some_and(|count| *count >= share) {
            return Err(Full::Share { places: share });
        }
        let class = urgency.class();
        let ticket = Ticket { class, rank: self.rank(class, identity, urgency.end()) };
        let displaced = if self.waiting >= self.places {
            let last = self.last().filter(|last| (last.class, last.rank) > (class, ticket.rank));
            Some(last.and_then(|last| self.leave(last)).ok_or(Full::Queue { places: self.places })?)
        } else {
            None
        };
        self.arrivals += 1;
        self.waiting += 1;
        *self.counts.entry(Arc::clone(identity)).or_default() += 1;
        if let Some(of) = self.classes.get_mut(class) {
            of.last_rounds.insert(Arc::clone(identity), ticket.rank.round);
            of.waiting.insert(ticket.rank, Waiter { identity: Arc::clone(identity), held });
        }
        Ok(Entered { ticket, displaced })
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let occupied = |class: &usize| self.classes.get(*class).is_some_and(|class| !class.waiting.is_empty());
        self.turns += 1;
        let class = if self.turns.is_multiple_of(FAIR) {
            self.rotation = (self.rotation + 1) % Urgency::CLASSES;
            (0..Urgency::CLASSES).map(|step| (self.rotation + step) % Urgency::CLASSES).find(occupied)?
        } else {
            (0..Urgency::CLASSES).find(occupied)?
        };
        let rank = *self.classes.get(class)?.waiting.first_key_value()?.0;
        if let Some(of) = self.classes.get_mut(class)
            && of.round < rank.round
        {
            of.round = rank.round;
            of.last_rounds.retain(|_, last| *last >= rank.round);
        }
        self.leave(Ticket { class, rank })
    }

    /// Gives up a place, if it is still held.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let of = self.classes.get_mut(ticket.class)?;
        let Waiter { identity, held } = of.waiting.remove(&ticket.rank)?;
        self.waiting -= 1;
        if let Some(count) = self.counts.get_mut(&identity) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&identity);
            }
        }
        if of.waiting.is_empty() {
            // Nobody is ahead of anybody any more.
            *of = Class::default();
        } else if of.last_rounds.len() > self.places.saturating_mul(2) {
            // Bounds the memory of who was served in this round and is gone: they lose nothing but their place behind the others.
            let counts = &self.counts;
            of.last_rounds.retain(|identity, _| counts.contains_key(identity));
        }
        Some(held)
    }

    fn rank(&self, class: usize, identity: &Arc<str>, end: Timestamp) -> Rank {
        let round = self.classes.get(class).map_or(0, |of| {
            let after_its_last = of.last_rounds.get(identity).map_or(0, |last| last + 1);
            after_its_last.max(of.round)
        });
        Rank { round, end, arrival: self.arrivals }
    }

    fn last(&self) -> Option<Ticket> {
        let last_of =
            |(class, of): (usize, &Class<T>)| of.waiting.last_key_value().map(|(rank, _)| Ticket { class, rank: *rank });
        self.classes.iter().enumerate().rev().find_map(last_of)
    }
}

#[cfg(test)]
mod tests;
