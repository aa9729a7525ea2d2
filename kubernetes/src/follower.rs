//! Keeps up with objects of one kind: a list, then a watch from there on, and a list anew when the watch cannot go on. Pure: time and randomness are
//! arguments, and whoever holds the machine does what it says and tells it what came of it.
//!
//! It knows how things stood at a moment that it names ([`Follower::heard`]). While nobody says anything, nothing may have happened, or a
//! great deal. And what is told may be old: a watch begins with what happened before it, and a way that was blocked gives back all that it
//! held. So what a watch says counts as being of now only after a bookmark, which comes when all that was before has been told, and only while
//! no 5 s pass without a word.

use std::time::Duration;

use runtime::backoff::Backoff;

use crate::{ApiError, ObjectEvent, ObjectList, Resource};

/// The first pause after a list or a watch that did not go well, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(30));
/// For how long a watch may say nothing. A server says at least about once a minute how far it has come.
const SILENCE: Duration = Duration::from_secs(90);
/// For how long what a watch says may have been on its way, to count as being of now.
const DELAY: Duration = Duration::from_secs(5);

/// What is to be done now. All times are since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment.
    Rest {
        /// When to ask again.
        until: Duration,
    },
    /// List all of them, and tell [`Follower::listed`].
    List,
    /// Watch from this version on, and tell [`Follower::opened`].
    Watch {
        /// From where.
        version: String,
    },
    /// Tell what the watch says ([`Follower::told`], [`Follower::ended`]), and ask again at this moment at the latest.
    Hear {
        /// When its silence is too long.
        until: Duration,
    },
}

/// The moment of something, and the randomness that it is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since boot.
    pub now: Duration,
    /// Spreads pauses.
    pub random: u8,
}

/// What is known of objects of one kind, kept as whoever asks needs it.
pub trait Index: Default {
    /// The kind.
    type Object: Resource;

    /// These are all that there are.
    fn replace(&mut self, objects: Vec<Self::Object>);

    /// There is this one, or it has changed.
    fn apply(&mut self, object: Self::Object);

    /// This one is gone.
    fn remove(&mut self, object: &Self::Object);

    /// How many are kept.
    fn count(&self) -> usize;
}

/// The machine, with what it knows of.
#[derive(Debug)]
pub struct Follower<I> {
    state: State,
    backoff: Backoff,
    index: I,
    heard: Option<Duration>,
    /// When a list or a watch last said anything, whatever has become of it since.
    answered: Option<Duration>,
    fault: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// A list is due.
    ListAt(Duration),
    Listing,
    /// A watch from this version is due.
    WatchAt(Duration, String),
    Opening(String),
    /// The version that it has come to, when it last said anything, and whether it has told all that happened before it began.
    Watching(String, Duration, bool),
}

impl<I: Index> Default for Follower<I> {
    fn default() -> Self {
        let (first, longest) = PAUSES;
        let state = State::ListAt(Duration::ZERO);
        Self { state, backoff: Backoff::new(first, longest), index: I::default(), heard: None, answered: None, fault: None }
    }
}

impl<I: Index> Follower<I> {
    /// What is to be done. What is named is taken for begun.
    pub fn step(&mut self, at: Moment) -> Step {
        match &self.state {
            State::ListAt(due) if *due <= at.now => {
                self.state = State::Listing;
                Step::List
            }
            State::WatchAt(due, version) if *due <= at.now => {
                let version = version.clone();
                self.state = State::Opening(version.clone());
                Step::Watch { version }
            }
            State::Watching(_, last, _) if last.saturating_add(SILENCE) <= at.now => {
                self.list_anew(at, format!("the watch of {} has said nothing for {SILENCE:?}", I::Object::KIND), None);
                self.step(at)
            }
            State::ListAt(due) | State::WatchAt(due, _) => Step::Rest { until: *due },
            State::Watching(_, last, _) => Step::Hear { until: last.saturating_add(SILENCE) },
            // Whoever was told so before did not say what came of it: it begins from the beginning.
            State::Listing | State::Opening(_) => {
                self.list_anew(at, "a step was given up".to_owned(), None);
                self.step(at)
            }
        }
    }

    /// What came of [`Step::List`] that was begun at `asked`.
    pub fn listed(&mut self, outcome: Result<ObjectList<I::Object>, &ApiError>, asked: Duration, at: Moment) {
        match outcome {
            Ok(ObjectList { objects, version }) => {
                self.index.replace(objects);
                // What was written later may be in it or not.
                self.heard = Some(asked);
                self.answered = Some(at.now);
                self.state = State::WatchAt(at.now, version);
            }
            Err(error) => self.list_anew(at, error.to_string(), error.retry_after()),
        }
    }

    /// What came of [`Step::Watch`].
    pub fn opened(&mut self, outcome: Result<(), &ApiError>, at: Moment) {
        let State::Opening(version) = &self.state else { return };
        match outcome {
            Ok(()) => {
                self.state = State::Watching(version.clone(), at.now, false);
                self.fault = None;
            }
            Err(error) => self.go_on_or_list(Some(error), version.clone(), at),
        }
    }

    /// What a watch said.
    pub fn told(&mut self, event: ObjectEvent<I::Object>, at: Moment) {
        let State::Watching(version, last, has_caught_up) = &mut self.state else { return };
        // What comes after a silence may have been on its way all that time, with more behind it.
        let is_prompt = at.now.saturating_sub(*last) < DELAY;
        *has_caught_up &= is_prompt;
        match event {
            ObjectEvent::Applied(object) => {
                object.version().clone_into(version);
                *last = at.now;
                self.index.apply(object);
            }
            ObjectEvent::Deleted(object) => {
                object.version().clone_into(version);
                *last = at.now;
                self.index.remove(&object);
            }
            ObjectEvent::Bookmark(reached) => {
                *version = reached;
                // A server says so when it has told all that happened before.
                *has_caught_up |= is_prompt;
                *last = at.now;
            }
            ObjectEvent::Expired(message) => {
                return self.list_anew(at, format!("the watch of {} is out of date: {message}", I::Object::KIND), None);
            }
            ObjectEvent::Failed(message) => {
                return self.list_anew(at, format!("the watch of {} failed: {message}", I::Object::KIND), None);
            }
        }
        let is_of_now = *has_caught_up;
        if self.index.count() > I::Object::MOST {
            return self.list_anew(at, format!("there are more than {} {}", I::Object::MOST, I::Object::KIND), None);
        }
        if is_of_now {
            self.heard = Some(at.now);
        }
        self.answered = Some(at.now);
        self.backoff.reset();
    }

    /// A watch has ended: by the server, which does so in its time (`None`), or by a fault.
    pub fn ended(&mut self, fault: Option<&ApiError>, at: Moment) {
        let State::Watching(version, _, _) = &self.state else { return };
        self.go_on_or_list(fault, version.clone(), at);
    }

    /// A moment, in time since boot, whose state all that is known here is of, or of a later one; within 5 s. `None` while nothing is known.
    #[must_use]
    pub fn heard(&self) -> Option<Duration> {
        self.heard
    }

    /// When the API server last said anything here, in time since boot, also when nothing is known by it any more; `None` before it first did.
    #[must_use]
    pub fn answered(&self) -> Option<Duration> {
        self.answered
    }

    /// Why the watch does not go on; `None` when it does.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// What is known.
    #[must_use]
    pub fn index(&self) -> &I {
        &self.index
    }

    /// What is known, for whoever takes out of it what has changed.
    pub fn index_mut(&mut self) -> &mut I {
        &mut self.index
    }

    /// Where it ended well it goes on from there; after a fault it would have to catch up first, and a list is quicker.
    fn go_on_or_list(&mut self, fault: Option<&ApiError>, version: String, at: Moment) {
        match fault {
            // A server ends watches in their time.
            None => self.state = State::WatchAt(self.pause(at, None), version),
            Some(error) => self.list_anew(at, error.to_string(), error.retry_after()),
        }
    }

    /// What is known is not enough to go on from: nobody decides by it until there is a list.
    fn list_anew(&mut self, at: Moment, fault: String, after: Option<Duration>) {
        self.heard = None;
        self.fault = Some(fault);
        self.state = State::ListAt(self.pause(at, after));
    }

    fn pause(&mut self, at: Moment, after: Option<Duration>) -> Duration {
        let pause = self.backoff.next_delay(at.random);
        at.now.saturating_add(after.map_or(pause, |after| after.max(pause)))
    }
}

#[cfg(test)]
mod tests;
