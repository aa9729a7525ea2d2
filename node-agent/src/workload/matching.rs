//! Which entries a set of selectors matches. Pure.

use std::collections::BTreeSet;

use identity::Selector;

use crate::entry::Entry;

/// The entry that a process came closest to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestMiss<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// Its selectors that the process does not have; at least one.
    pub missing: Vec<&'a Selector>,
}

/// The entries whose selectors are all among `selectors`, in the order given; those that the node made itself only where there is none of the
/// CA. An entry without selectors matches nobody: empty means none, never any.
pub fn match_entries<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    selectors: &BTreeSet<Selector>,
) -> impl Iterator<Item = &'a Entry> {
    let matches = |entry: &&'a Entry| !entry.selectors.is_empty() && entry.selectors.is_subset(selectors);
    let matched: Vec<_> = entries.into_iter().filter(matches).collect();
    let of_ca = matched.iter().any(|entry| entry.account.is_none());
    matched.into_iter().filter(move |entry| !of_ca || entry.account.is_none())
}

/// The entry that lacks the fewest selectors, and of those the oldest (then by ID). `None` when there is no entry that lacks any.
#[must_use]
pub fn nearest_miss<'a>(entries: impl IntoIterator<Item = &'a Entry>, selectors: &BTreeSet<Selector>) -> Option<NearestMiss<'a>> {
    let missing = |entry: &'a Entry| entry.selectors.iter().filter(|selector| !selectors.contains(*selector)).collect::<Vec<_>>();
    entries
        .into_iter()
        .map(|entry| NearestMiss { entry, missing: missing(entry) })
        .filter(|miss| !miss.missing.is_empty())
        .min_by_key(|miss| (miss.missing.len(), miss.entry.created_at, miss.entry.id.clone()))
}
