//! What became of each object, once the store has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::judgement::Refusal;
use crate::cluster_objects::queue::Key;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    of: BTreeMap<Key, Verdict>,
    changed: BTreeSet<Key>,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Which object of its name.
    pub(super) uid: String,
    /// What it asked for then.
    pub(super) generation: u64,
    /// The identity that it has, or why it has none.
    pub(super) outcome: Result<String, Refusal>,
}

impl Verdicts {
    /// These are all of them now.
    pub(super) fn replace(&self, verdicts: BTreeMap<Key, Verdict>) {
        let mut state = self.state();
        let news: Vec<_> =
            verdicts.iter().filter(|(key, now)| state.of.get(*key) != Some(now)).map(|(key, _)| key.clone()).collect();
        state.changed.extend(news);
        state.of = verdicts;
    }

    /// That of an object.
    pub(super) fn of(&self, key: &Key) -> Option<Verdict> {
        self.state().of.get(key).cloned()
    }

    /// Those that have changed since this was last called.
    pub(super) fn take_changes(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.state().changed)
    }

    /// How many have an entry, and how many have none.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        let accepted = state.of.values().filter(|verdict| verdict.outcome.is_ok()).count();
        (accepted, state.of.len() - accepted)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
