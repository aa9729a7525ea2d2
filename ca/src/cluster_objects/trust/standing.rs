//! How far the objects are: for a rotation, which waits for them, for metrics, and for people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::{Sha256Digest, Timestamp, TrustBundle};

use super::distribution::TrustObjects;
use super::names::{LISTS_MAP, MapKind, ROOTS_MAP, Target};
use super::plan::is_behind;
use crate::authority::lifecycle::gate::ObjectFacts;
use crate::cluster_objects::queue::Key;
use crate::cluster_objects::shown::{Shown, Wanted};
use crate::rotation::facts::ClusterReceivers;

/// The most names of objects that are told.
const NAMES_TOLD: usize = 3;
/// How many files of lists are remembered: with each revocation comes another one.
const MOST_LISTS: usize = 64;
/// How those who wait for them call all of them.
const WHAT: &str = "ConfigMaps and webhook configurations";

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Option<(Arc<TrustBundle>, Wanted)>,
    /// What the file of revocation lists was to hold since the roots are what they are, the newest last; `None`: nothing. Any of them has lists of all CAs
    /// of the bundle, or none at all.
    lists: VecDeque<Option<Sha256Digest>>,
    shown: Shown,
    facts: Option<ObjectFacts>,
}

/// One object, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustRow {
    /// What it is, and of which namespace or name.
    pub(crate) key: Key,
    /// How it is.
    pub(crate) state: TrustState,
    /// Why it is not as it should be, where that is known.
    pub(crate) trouble: Option<String>,
}

/// How an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrustState {
    /// It shows what it should.
    Current,
    /// It shows something else, or is not there yet.
    Behind,
    /// Ours, in a namespace that is not chosen any more: nobody keeps it.
    Left,
    /// There is none of this name.
    Absent,
}

impl Standing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrustObjects {
    /// Looks at all of them, as the watches know them.
    pub(super) fn observe(&self) {
        let bundle = Arc::clone(&self.bundle.borrow());
        let now: Timestamp = self.clock.now().into();
        let mut state = self.standing.state();
        if !state.wanted.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, &bundle)) {
            let wanted = Wanted::of(&bundle);
            if state.wanted.as_ref().is_none_or(|(_, before)| before.roots != wanted.roots) {
                state.lists.clear();
            }
            state.wanted = Some((Arc::clone(&bundle), wanted));
        }
        let Some((_, wanted)) = state.wanted.clone() else { return };
        if self.world.has(MapKind::Lists) && self.lists_are_known() {
            let lists = self.wanted(MapKind::Lists).map(|content| content.digest);
            if state.lists.back() != Some(&lists) {
                state.lists.push_back(lists);
                if state.lists.len() > MOST_LISTS {
                    state.lists.pop_front();
                }
            }
        }
        let (of, behind) = self.count(&wanted, &state.lists);
        let written_at = state.shown.observe(&wanted, behind.len(), now);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.metrics.objects(count(of.saturating_sub(behind.len())), count(behind.len()));
        let first = behind.iter().take(NAMES_TOLD).cloned().collect();
        let (of, behind) = (count(of), count(behind.len()));
        state.facts = Some(ObjectFacts { what: WHAT, sequence: bundle.sequence(), of, behind, first, written_at });
    }

    /// How many objects count, and which of them do not show what they should. What is not known is behind.
    fn count(&self, wanted: &Wanted, lists: &VecDeque<Option<Sha256Digest>>) -> (usize, Vec<String>) {
        let mut behind: Vec<String> = self.world.faults().into_iter().map(|(what, fault)| format!("{what} ({fault})")).collect();
        let mut of = 0;
        match self.world.chosen() {
            Some(chosen) => {
                if self.world.has(MapKind::Lists) {
                    of += chosen.len();
                    let mut files: BTreeMap<_, _> = chosen.iter().map(|namespace| (namespace.clone(), None)).collect();
                    self.world.each_map(MapKind::Lists, |namespace, seen| {
                        files.entry(namespace.to_owned()).and_modify(|file| *file = seen.file);
                    });
                    let is_behind = |(_, file): &(String, _)| !lists.contains(file);
                    behind
                        .extend(files.into_iter().filter(is_behind).map(|(namespace, _)| format!("{LISTS_MAP} in {namespace}")));
                }
                of += chosen.len();
                let mut missing = chosen;
                self.world.each_map(MapKind::Roots, |namespace, seen| {
                    if seen.file == Some(wanted.roots) {
                        missing.remove(namespace);
                    }
                });
                behind.extend(missing.into_iter().map(|namespace| format!("{ROOTS_MAP} in {namespace}")));
            }
            None if behind.is_empty() => behind.push("namespaces (not listed yet)".to_owned()),
            None => {}
        }
        for name in self.world.webhook_names() {
            let told = || Target::Webhook(name.clone()).key().1;
            match self.world.webhooks(name) {
                // Nobody is verified by what is not there.
                Some(None) => {}
                Some(Some(seen)) => {
                    of += 1;
                    behind.extend(is_behind(&seen, &wanted.roots).then(told));
                }
                None => {
                    of += 1;
                    behind.push(told());
                }
            }
        }
        (of.max(behind.len()), behind)
    }

    /// Each object, for people: first what is not as it should be.
    pub(crate) fn rows(&self) -> Vec<TrustRow> {
        let chosen = self.world.chosen().unwrap_or_default();
        let mut rows = Vec::new();
        let mut add = |target: Target, state| {
            let key = target.key();
            rows.push(TrustRow { trouble: self.troubles.of(&key), key, state });
        };
        for kind in [MapKind::Roots, MapKind::Lists].into_iter().filter(|kind| self.world.has(*kind)) {
            let wanted = self.wanted(kind).map(|content| content.digest);
            let mut missing = chosen.clone();
            self.world.each_map(kind, |namespace, seen| {
                let is_chosen = missing.remove(namespace);
                let state = match (is_chosen, seen.file == wanted) {
                    (true, true) => TrustState::Current,
                    (true, false) => TrustState::Behind,
                    (false, _) if seen.is_ours && seen.file.is_some() => TrustState::Left,
                    (false, _) => return,
                };
                add(Target::Map(kind, namespace.to_owned()), state);
            });
            for namespace in missing {
                let state = if wanted.is_some() { TrustState::Behind } else { TrustState::Absent };
                add(Target::Map(kind, namespace), state);
            }
        }
        let bundle = Arc::clone(&self.bundle.borrow());
        let roots = self.contents.roots(&bundle).digest;
        for name in self.world.webhook_names() {
            let state = match self.world.webhooks(name) {
                Some(None) => TrustState::Absent,
                Some(Some(seen)) if !is_behind(&seen, &roots) => TrustState::Current,
                Some(Some(_)) | None => TrustState::Behind,
            };
            add(Target::Webhook(name.clone()), state);
        }
        rows.sort_by(|one, other| {
            (one.state == TrustState::Current, &one.key).cmp(&(other.state == TrustState::Current, &other.key))
        });
        rows
    }

    /// Whether this replica does the work.
    pub(crate) fn leads(&self) -> bool {
        self.tenure.fence().lead.is_some()
    }

    /// What operators should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let faults = self.world.faults().into_iter().map(|(what, fault)| {
            format!("objects that show whom to trust are not kept up with ({what}): {fault} (docs/kubernetes.md, ClusterRole signet-trust)")
        });
        let mut lines: Vec<String> = faults.chain(self.troubles.warnings()).collect();
        for name in self.world.webhook_names() {
            if self.world.webhooks(name) == Some(None) {
                lines.push(format!("kubernetes.trust.webhooks names {}, and the cluster has none of that name", name.name));
            }
        }
        let chosen = self.world.chosen().unwrap_or_default();
        let mut left = Vec::new();
        if !chosen.is_empty() {
            self.world.each_map(MapKind::Roots, |namespace, seen| {
                if seen.is_ours && seen.file.is_some() && !seen.is_terminating && !chosen.contains(namespace) {
                    left.push(namespace.to_owned());
                }
            });
        }
        if let Some(first) = left.first() {
            lines.push(format!(
                "{} ConfigMaps {ROOTS_MAP} are left in namespaces that are not chosen, and follow no rotation: the first is in {first}; delete them,                  or choose the namespaces",
                left.len()
            ));
        }
        lines
    }
}

impl ClusterReceivers for TrustObjects {
    fn standing(&self) -> ObjectFacts {
        // Before the first look nothing is known.
        self.standing.state().facts.clone().unwrap_or_else(|| ObjectFacts::unknown(WHAT))
    }
}
