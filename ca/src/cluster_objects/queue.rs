//! Which objects are to be looked at, and when: each at most once at a time, those that failed after a growing pause, those that are well when
//! their certificate is due. Pure: time and randomness are arguments.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::Timestamp;
use runtime::backoff::Backoff;

/// The first pause of an object that failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));

/// What an object is called: for the Secret of an account its namespace and the account.
pub(crate) type Key = (String, String);

/// What became of an object that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well; to be looked at again at that time, if at any.
    Settled {
        /// By the wall clock.
        due: Option<Timestamp>,
    },
    /// To be looked at again after a pause, which is this long at least.
    Failed {
        /// What the server wants.
        after: Option<Duration>,
    },
    /// To be looked at again after a long pause: somebody else must act, and may not be heard.
    Stuck,
}

/// The moment of something: since boot, by the wall clock, and what spreads pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Time since boot.
    pub(crate) boot: Duration,
    /// By the wall clock.
    pub(crate) wall: Timestamp,
    /// Spreads pauses.
    pub(crate) random: u8,
}

/// Where objects wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueLengths {
    /// For room, without those of a sweep.
    pub(crate) waiting: usize,
    /// For nothing: they are looked at now.
    pub(crate) busy: usize,
    /// For their pause to end: they failed.
    pub(crate) paused: usize,
    /// To be let in.
    pub(crate) swept: usize,
}

/// The queue, which operators put things into too.
#[derive(Clone, Default)]
pub(crate) struct SharedQueue(Arc<Mutex<Queue>>);

impl SharedQueue {
    /// Nobody holds it for long.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: BTreeSet<(u64, Key)>,
    /// The place in `ready`.
    places: HashMap<Key, u64>,
    next_place: u64,
    /// Those that are looked at now, and whether they changed meanwhile.
    busy: HashMap<Key, bool>,
    later: BTreeSet<(Duration, Key)>,
    pauses: HashMap<Key, (Duration, Backoff)>,
    due: BTreeSet<(Timestamp, Key)>,
    dues: HashMap<Key, Timestamp>,
    /// Those of a sweep, which are let in by and by.
    swept: BTreeSet<Key>,
}

impl Queue {
    /// Something about it has changed: it is looked at as soon as there is room, but not while its pause lasts.
    pub(crate) fn changed(&mut self, key: &Key) {
        if let Some(changed) = self.busy.get_mut(key) {
            *changed = true;
        } else if !self.pauses.get(key).is_some_and(|(until, _)| self.later.contains(&(*until, key.clone()))) {
            self.enter(key);
        }
    }

    /// All of them are to be looked at, but no faster than [`Self::let_in`] says.
    pub(crate) fn sweep(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.swept.extend(keys);
    }

    /// Lets in so many of a sweep; one that is looked at already, or will be, is none.
    pub(crate) fn let_in(&mut self, mut count: usize) {
        while count > 0 {
            let Some(key) = self.swept.pop_first() else { return };
            if !self.places.contains_key(&key) {
                count -= 1;
            }
            self.changed(&key);
        }
    }

    /// The next to be looked at, which is taken for begun.
    pub(crate) fn next(&mut self, now: Now) -> Option<Key> {
        while let Some((at, key)) = self.later.first().filter(|(at, _)| *at <= now.boot).cloned() {
            self.later.remove(&(at, key.clone()));
            self.enter(&key);
        }
        while let Some((at, key)) = self.due.first().filter(|(at, _)| *at <= now.wall).cloned() {
            self.due.remove(&(at, key.clone()));
            self.dues.remove(&key);
            self.changed(&key);
        }
        let (_, key) = self.ready.pop_first()?;
        self.places.remove(&key);
        self.busy.insert(key.clone(), false);
        Some(key)
    }

    /// What became of one that was begun.
    pub(crate) fn done(&mut self, key: &Key, outcome: Outcome, now: Now) {
        let changed = self.busy.remove(key).unwrap_or_default();
        match outcome {
            Outcome::Settled { due } => {
                self.pauses.remove(key);
                self.set_due(key, due);
                if changed {
                    self.enter(key);
                }
            }
            Outcome::Failed { after } => {
                let (_, mut backoff) = self.pauses.remove(key).unwrap_or((Duration::ZERO, Backoff::new(PAUSES.0, PAUSES.1)));
                let pause = backoff.next_delay(now.random).max(after.unwrap_or_default());
                self.pause(key, pause, backoff, now);
            }
            Outcome::Stuck if changed => {
                self.pauses.remove(key);
                self.enter(key);
            }
            Outcome::Stuck => {
                // What is heard of it ends the pause: only those that failed are left alone.
                self.set_due(key, Some(now.wall.plus(PAUSES.1)));
            }
        }
    }

    /// How many there are.
    pub(crate) fn lengths(&self) -> QueueLengths {
        QueueLengths { waiting: self.ready.len(), busy: self.busy.len(), paused: self.later.len(), swept: self.swept.len() }
    }

    fn enter(&mut self, key: &Key) {
        if self.places.contains_key(key) {
            return;
        }
        if let Some((until, _)) = self.pauses.get(key) {
            self.later.remove(&(*until, key.clone()));
        }
        self.places.insert(key.clone(), self.next_place);
        self.ready.insert((self.next_place, key.clone()));
        self.next_place += 1;
    }

    fn pause(&mut self, key: &Key, pause: Duration, backoff: Backoff, now: Now) {
        let until = now.boot.saturating_add(pause);
        self.later.insert((until, key.clone()));
        self.pauses.insert(key.clone(), (until, backoff));
    }

    fn set_due(&mut self, key: &Key, due: Option<Timestamp>) {
        if let Some(before) = self.dues.remove(key) {
            self.due.remove(&(before, key.clone()));
        }
        if let Some(due) = due {
            self.due.insert((due, key.clone()));
            self.dues.insert(key.clone(), due);
        }
    }
}

/// What is let in of a sweep as time goes by: so many a second, and no more than a second's worth at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SweepRate {
    per_second: u32,
    since: Duration,
}

impl SweepRate {
    /// From this time since boot on.
    pub(crate) fn new(per_second: u32, now: Duration) -> Self {
        Self { per_second, since: now }
    }

    /// How many may be let in at this time since boot.
    pub(crate) fn take(&mut self, now: Duration) -> usize {
        let span = now.saturating_sub(self.since).min(Duration::from_secs(1));
        let count = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_mul(self.per_second.into()) / 1000;
        if count > 0 {
            self.since = now;
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64) -> Now {
        Now { boot: Duration::from_millis(boot), wall: Timestamp::from_unix_seconds(1000 + boot / 1000), random: 127 }
    }

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    const SETTLED: Outcome = Outcome::Settled { due: None };

    #[test]
    fn each_is_looked_at_once_at_a_time_in_the_order_in_which_it_came() {
        let mut queue = Queue::default();
        for name in ["b", "a", "b"] {
            queue.changed(&key(name));
        }
        assert_eq!(queue.next(at(0)), Some(key("b")));
        queue.changed(&key("b"));
        assert_eq!(queue.next(at(0)), Some(key("a")));
        assert_eq!((queue.next(at(0)), queue.lengths().busy), (None, 2), "b is looked at already");
        queue.done(&key("b"), SETTLED, at(0));
        assert_eq!(queue.next(at(0)), Some(key("b")), "it changed meanwhile");
        queue.done(&key("b"), SETTLED, at(0));
        queue.done(&key("a"), SETTLED, at(0));
        assert_eq!((queue.next(at(1_000_000)), queue.lengths().waiting, queue.lengths().busy), (None, 0, 0));
    }

    #[test]
    fn one_that_failed_pauses_longer_each_time_whatever_is_heard_of_it() {
        let mut queue = Queue::default();
        queue.changed(&key("a"));
        assert_eq!(queue.next(at(0)), Some(key("a")));
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..14 {
            queue.done(&key("a"), Outcome::Failed { after: None }, at(now));
            let failed = now;
            while queue.next(at(now)).is_none() {
                queue.changed(&key("a"));
                now += 100;
                assert!(now - failed < 600_000, "it is never tried again");
            }
            pauses.push(now - failed);
        }
        assert!(pauses[0] <= 700 && pauses.last().is_some_and(|last| (200_000..400_000).contains(last)), "{pauses:?}");
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
    }

    #[test]
    fn what_the_server_asks_for_is_waited_and_a_success_forgets_the_failures() {
        let mut queue = Queue::default();
        queue.changed(&key("a"));
        queue.next(at(0)).unwrap();
        queue.done(&key("a"), Outcome::Failed { after: Some(Duration::from_secs(20)) }, at(0));
        assert_eq!((queue.next(at(19_900)), queue.lengths().paused), (None, 1));
        queue.next(at(20_000)).unwrap();
        queue.done(&key("a"), SETTLED, at(20_000));
        assert_eq!(queue.lengths().paused, 0);
        queue.changed(&key("a"));
        queue.next(at(20_000)).unwrap();
        queue.done(&key("a"), Outcome::Failed { after: None }, at(20_000));
        assert!(queue.next(at(20_700)).is_some(), "it begins with the shortest pause again");
    }

    #[test]
    fn one_that_is_well_is_looked_at_when_it_is_due_by_the_wall_clock_and_the_last_word_counts() {
        let mut queue = Queue::default();
        let settle = |queue: &mut Queue, due: u64| {
            queue.changed(&key("a"));
            queue.next(at(0)).unwrap();
            queue.done(&key("a"), Outcome::Settled { due: Some(Timestamp::from_unix_seconds(1000 + due)) }, at(0));
        };
        settle(&mut queue, 50);
        settle(&mut queue, 100);
        assert_eq!(queue.next(at(60_000)), None, "a former word");
        assert_eq!(queue.next(at(100_000)), Some(key("a")));
    }

    #[test]
    fn one_that_is_stuck_is_looked_at_when_it_changes_and_after_a_while() {
        let mut queue = Queue::default();
        queue.changed(&key("a"));
        queue.next(at(0)).unwrap();
        queue.done(&key("a"), Outcome::Stuck, at(0));
        assert_eq!(queue.next(at(299_000)), None);
        queue.changed(&key("a"));
        assert_eq!(queue.next(at(299_000)), Some(key("a")));
        queue.done(&key("a"), Outcome::Stuck, at(299_000));
        assert_eq!(queue.next(at(600_000)), Some(key("a")));
    }

    #[test]
    fn a_sweep_is_let_in_at_its_rate_and_a_change_goes_before_it() {
        let mut queue = Queue::default();
        queue.sweep(["a", "b", "c", "d"].map(key));
        assert_eq!((queue.next(at(0)), queue.lengths().swept), (None, 4));
        queue.changed(&key("d"));
        queue.let_in(1);
        assert_eq!((queue.next(at(0)), queue.next(at(0))), (Some(key("d")), Some(key("a"))));
        queue.let_in(10);
        assert_eq!(queue.lengths().swept, 0);
        assert_eq!((queue.next(at(0)), queue.next(at(0)), queue.next(at(0))), (Some(key("b")), Some(key("c")), None));
        queue.done(&key("d"), SETTLED, at(0));
        assert_eq!(queue.next(at(0)), Some(key("d")), "the sweep came while it was looked at");
        let mut rate = SweepRate::new(50, Duration::ZERO);
        let ms = Duration::from_millis;
        assert_eq!([ms(10), ms(20), ms(120), ms(60_000)].map(|now| rate.take(now)), [0, 1, 5, 50]);
    }
}
