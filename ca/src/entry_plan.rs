//! What it takes to make the entries of a scope those of a document. Pure: the stored and the wanted come in, the changes go out.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use pki::{Timestamp, sha256};

use crate::records::{Entry, EntryId, NewEntry, Outstanding, Parent};

/// How many characters of the digest name a version: 128 bits.
const VERSION_CHARS: usize = 32;

/// Which entries a document speaks for: those for which all that is set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The parent, exactly.
    pub parent: Option<Parent>,
    /// The path of the SPIFFE ID, or what it lies below; begins with a slash and ends without one.
    pub path_prefix: Option<String>,
    /// The cluster whose objects ask for them. Those are in no scope that does not say so: no document of an operator speaks for them.
    pub cluster: Option<String>,
}

/// An entry as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The entry meant, if it is named.
    pub id: Option<EntryId>,
    /// What it shall say; its selectors are sorted and without repeats.
    pub spec: NewEntry,
}

/// Names the state of a scope: which entries it has, at which revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeVersion(String);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// A new entry.
    Create {
        /// What it says.
        spec: NewEntry,
        /// The entry, once it is made.
        made: Option<Entry>,
    },
    /// Another content under the same ID.
    Update {
        /// As it was.
        before: Entry,
        /// As it is then.
        after: Entry,
    },
    /// It goes.
    Delete {
        /// As it was.
        entry: Entry,
        /// What was issued for it and lives on.
        outstanding: Option<Outstanding>,
    },
    /// In the scope and not wanted, but nobody said that it may go.
    Keep(Entry),
}

/// All changes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPlan {
    /// Deletions first, so that what is made after them finds its place free.
    pub changes: Vec<EntryChange>,
    /// How many entries are already as they are wanted.
    pub unchanged: usize,
    /// How many are not made, because their end is over.
    pub ended: usize,
    /// Of the scope before the changes.
    pub version: ScopeVersion,
}

/// Why a document cannot be applied. Entries are counted from 1, in the order of the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The document speaks for less than it names.
    #[error("entry {number} ({spiffe_id}, {parent}) lies outside the scope of the document")]
    OutsideScope {
        /// Which.
        number: usize,
        /// Its identity.
        spiffe_id: String,
        /// Its parent.
        parent: Parent,
    },
    /// Two mean the same.
    #[error("entries {first} and {second} mean the same: the SPIFFE ID, parent and selectors, or the id, are the same")]
    Twice {
        /// The one that comes first.
        first: usize,
        /// The other.
        second: usize,
    },
    /// Another entry says the same now.
    #[error("entry {number} would say what entry {id} says now; delete or change that one first")]
    Taken {
        /// Which.
        number: usize,
        /// The other.
        id: EntryId,
    },
    /// No entry of the scope has this ID.
    #[error("entry {number} names id {id}, which no entry of the scope has; leave the id out to make a new entry")]
    UnknownId {
        /// Which.
        number: usize,
        /// What it names.
        id: EntryId,
    },
    /// The entry with this ID is another identity's or parent's.
    #[error("entry {number} names id {id}, which is {spiffe_id} on {parent}: an entry keeps its SPIFFE ID and parent")]
    AnotherEntry {
        /// Which.
        number: usize,
        /// What it names.
        id: EntryId,
        /// The identity of that.
        spiffe_id: String,
        /// The parent of that.
        parent: Parent,
    },
}

impl Scope {
    /// Whether an entry that says this is in it.
    #[must_use]
    pub fn covers(&self, spec: &NewEntry) -> bool {
        let below = |prefix: &String| {
            spec.spiffe_id.path().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let cluster = match &spec.parent {
            Parent::Object(object) => Some(&object.cluster),
            Parent::Node(_) | Parent::Alias(_) => None,
        };
        self.cluster.as_ref() == cluster
            && self.parent.as_ref().is_none_or(|parent| *parent == spec.parent)
            && self.path_prefix.as_ref().is_none_or(below)
    }
}

impl ScopeVersion {
    /// That of these entries, in whichever order.
    #[must_use]
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let sorted: BTreeSet<_> = entries.into_iter().map(|entry| format!("{} {}\n", entry.id, entry.revision)).collect();
        let text: String = sorted.into_iter().collect();
        let mut digest = HEXLOWER.encode(&sha256(text.as_bytes()));
        digest.truncate(VERSION_CHARS);
        Self(digest)
    }

    /// A version as somebody else names it; one that was never given out equals none.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.chars().take(2 * VERSION_CHARS).collect())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes two entries the same thing.
type Meaning<'a> = (&'a str, &'a Parent, &'a [identity::Selector]);

fn meaning(spec: &NewEntry) -> Meaning<'_> {
    (spec.spiffe_id.as_str(), &spec.parent, &spec.selectors)
}

/// Works out the changes at `now`. `stored` may hold more than the scope.
///
/// A wanted entry without an ID means the stored one of the same SPIFFE ID, parent and selectors; failing that, the stored one of the
/// same SPIFFE ID and parent, when exactly one is left on either side; failing that, a new one.
///
/// # Errors
/// [`PlanError`] naming the first entry at fault: nothing of the document is done then.
pub fn plan(stored: Vec<Entry>, scope: &Scope, wanted: Vec<Wanted>, prune: bool, now: Timestamp) -> Result<EntryPlan, PlanError> {
    let stored: Vec<_> = stored.into_iter().filter(|entry| scope.covers(&entry.spec)).collect();
    let version = ScopeVersion::of(&stored);
    check(&stored, scope, &wanted)?;
    let targets = match_up(&stored, &wanted);
    check_places(&stored, &wanted, &targets, prune)?;
    let taken: BTreeSet<_> = targets.iter().flatten().copied().collect();
    let mut changes: Vec<_> = stored
        .iter()
        .enumerate()
        .filter(|(at, _)| !taken.contains(at))
        .map(|(_, entry)| {
            if prune { EntryChange::Delete { entry: entry.clone(), outstanding: None } } else { EntryChange::Keep(entry.clone()) }
        })
        .collect();
    let (mut unchanged, mut ended) = (0, 0);
    for (Wanted { id: _, spec }, target) in wanted.into_iter().zip(targets) {
        match target.and_then(|at| stored.get(at)) {
            // A document that is kept for long outlives ends that it names.
            None if spec.expires_at.is_some_and(|end| now >= end) => ended += 1,
            None => changes.push(EntryChange::Create { spec, made: None }),
            Some(entry) if entry.spec == spec => unchanged += 1,
            Some(before) => {
                let after = Entry { spec, revision: before.revision + 1, ..before.clone() };
                changes.push(EntryChange::Update { before: before.clone(), after });
            }
        }
    }
    Ok(EntryPlan { changes, unchanged, ended, version })
}

fn check(stored: &[Entry], scope: &Scope, wanted: &[Wanted]) -> Result<(), PlanError> {
    let by_id: BTreeMap<_, _> = stored.iter().map(|entry| (&entry.id, &entry.spec)).collect();
    let (mut meanings, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (number, Wanted { id, spec }) in (1..).zip(wanted) {
        if !scope.covers(spec) {
            let (spiffe_id, parent) = (spec.spiffe_id.to_string(), spec.parent.clone());
            return Err(PlanError::OutsideScope { number, spiffe_id, parent });
        }
        if let Some(first) = meanings.insert(meaning(spec), number) {
            return Err(PlanError::Twice { first, second: number });
        }
        let Some(id) = id else { continue };
        if let Some(first) = ids.insert(id, number) {
            return Err(PlanError::Twice { first, second: number });
        }
        match by_id.get(id) {
            None => return Err(PlanError::UnknownId { number, id: id.clone() }),
            Some(known) if known.spiffe_id != spec.spiffe_id || known.parent != spec.parent => {
                let (spiffe_id, parent) = (known.spiffe_id.to_string(), known.parent.clone());
                return Err(PlanError::AnotherEntry { number, id: id.clone(), spiffe_id, parent });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// That nobody else says what an entry shall say: neither one that stays, nor one that will say something else.
fn check_places(stored: &[Entry], wanted: &[Wanted], targets: &[Option<usize>], prune: bool) -> Result<(), PlanError> {
    let by_meaning: BTreeMap<_, _> = stored.iter().enumerate().map(|(at, entry)| (meaning(&entry.spec), at)).collect();
    let meant: BTreeSet<_> = targets.iter().flatten().copied().collect();
    for ((number, wanted), target) in (1..).zip(wanted).zip(targets) {
        let holder = by_meaning.get(&meaning(&wanted.spec)).copied().filter(|at| Some(*at) != *target);
        // What is deleted makes room before.
        let holder = holder.filter(|at| !prune || meant.contains(at)).and_then(|at| stored.get(at));
        if let Some(entry) = holder {
            return Err(PlanError::Taken { number, id: entry.id.clone() });
        }
    }
    Ok(())
}

/// For each wanted entry the place of the stored one that it means.
fn match_up(stored: &[Entry], wanted: &[Wanted]) -> Vec<Option<usize>> {
    let by_id: BTreeMap<_, _> = stored.iter().enumerate().map(|(at, entry)| (&entry.id, at)).collect();
    let by_meaning: BTreeMap<_, _> = stored.iter().enumerate().map(|(at, entry)| (meaning(&entry.spec), at)).collect();
    let mut targets: Vec<_> = wanted.iter().map(|wanted| wanted.id.as_ref().and_then(|id| by_id.get(id).copied())).collect();
    let mut taken: BTreeSet<_> = targets.iter().flatten().copied().collect();
    for (target, wanted) in targets.iter_mut().zip(wanted).filter(|(target, _)| target.is_none()) {
        *target = by_meaning.get(&meaning(&wanted.spec)).copied().filter(|at| taken.insert(*at));
    }
    let mut left: BTreeMap<_, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (at, entry) in stored.iter().enumerate().filter(|(at, _)| !taken.contains(at)) {
        left.entry((&entry.spec.spiffe_id, &entry.spec.parent)).or_default().0.push(at);
    }
    for (place, wanted) in wanted.iter().enumerate().filter(|(place, _)| targets.get(*place) == Some(&None)) {
        left.entry((&wanted.spec.spiffe_id, &wanted.spec.parent)).or_default().1.push(place);
    }
    for (ours, theirs) in left.values() {
        if let ([at], [place]) = (ours.as_slice(), theirs.as_slice())
            && let Some(target) = targets.get_mut(*place)
        {
            *target = Some(*at);
        }
    }
    targets
}

#[cfg(test)]
mod tests;
