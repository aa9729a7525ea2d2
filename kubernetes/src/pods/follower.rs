//! Keeps up with pods: a list, then a watch from there on, and a list anew when the watch cannot go on. Pure: time and randomness are
//! arguments, and whoever holds the machine does what it says and tells it what came of it.
//!
//! It knows how things stood at a moment that it names ([`PodFollower::heard`]). While nobody says anything, nothing may have happened, or a
//! great deal. And what is told may be old: a watch begins with what happened before it, and a way that was blocked gives back all that it
//! held. So what a watch says counts as being of now only after a bookmark, which comes when all that was before has been told, and only while
//! no 5 s pass without a word.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use runtime::backoff::Backoff;

use super::{Pod, PodEvent, PodList};
use crate::ApiError;
use crate::pod_calls::MAX_PODS;

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
    /// List all pods, and tell [`PodFollower::listed`].
    List,
    /// Watch from this version on, and tell [`PodFollower::opened`].
    Watch {
        /// From where.
        version: String,
    },
    /// Tell what the watch says ([`PodFollower::told`], [`PodFollower::ended`]), and ask again at this moment at the latest.
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

/// The machine, with the pods that it knows of.
#[derive(Debug)]
pub struct PodFollower {
    state: State,
    backoff: Backoff,
    pods: Pods,
    heard: Option<Duration>,
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

/// Pods that are bound to a node, by it, and where each is.
#[derive(Debug, Default)]
struct Pods {
    of_nodes: HashMap<String, BTreeMap<Key, Pod>>,
    places: HashMap<Key, String>,
}

/// Namespace and name.
type Key = (String, String);

impl Default for PodFollower {
    fn default() -> Self {
        let (first, longest) = PAUSES;
        let state = State::ListAt(Duration::ZERO);
        Self { state, backoff: Backoff::new(first, longest), pods: Pods::default(), heard: None, fault: None }
    }
}

impl PodFollower {
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
                self.list_anew(at, format!("the watch of pods has said nothing for {SILENCE:?}"), None);
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
    pub fn listed(&mut self, outcome: Result<PodList, &ApiError>, asked: Duration, at: Moment) {
        match outcome {
            Ok(PodList { pods, version }) => {
                self.pods = Pods::default();
                pods.into_iter().for_each(|pod| self.pods.apply(pod));
                // What was written later may be in it or not.
                self.heard = Some(asked);
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
    pub fn told(&mut self, event: PodEvent, at: Moment) {
        let State::Watching(version, last, has_caught_up) = &mut self.state else { return };
        // What comes after a silence may have been on its way all that time, with more behind it.
        let is_prompt = at.now.saturating_sub(*last) < DELAY;
        *has_caught_up &= is_prompt;
        match event {
            PodEvent::Applied(pod) => {
                version.clone_from(&pod.version);
                *last = at.now;
                self.pods.apply(pod);
            }
            PodEvent::Deleted(pod) => {
                version.clone_from(&pod.version);
                *last = at.now;
                self.pods.remove(&(pod.namespace, pod.name));
            }
            PodEvent::Bookmark(reached) => {
                *version = reached;
                // A server says so when it has told all that happened before.
                *has_caught_up |= is_prompt;
                *last = at.now;
            }
            PodEvent::Expired(message) => {
                return self.list_anew(at, format!("the watch of pods is out of date: {message}"), None);
            }
            PodEvent::Failed(message) => return self.list_anew(at, format!("the watch of pods failed: {message}"), None),
        }
        let is_of_now = *has_caught_up;
        if self.pods.places.len() > MAX_PODS {
            return self.list_anew(at, format!("there are more than {MAX_PODS} pods"), None);
        }
        if is_of_now {
            self.heard = Some(at.now);
        }
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

    /// Why the watch does not go on; `None` when it does.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The pods that are bound to a node, as far as they are known.
    pub fn pods_of(&self, node: &str) -> impl Iterator<Item = &Pod> {
        self.pods.of_nodes.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// How many pods are known that are bound to a node.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pods.places.len()
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

impl Pods {
    fn apply(&mut self, pod: Pod) {
        let key = (pod.namespace.clone(), pod.name.clone());
        self.remove(&key);
        if let Some(node) = pod.node.clone() {
            self.places.insert(key.clone(), node.clone());
            self.of_nodes.entry(node).or_default().insert(key, pod);
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(node) = self.places.remove(key) else { return };
        if let Some(pods) = self.of_nodes.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.of_nodes.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests;
