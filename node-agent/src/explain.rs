//! What a process would get by which entries, and what it would get by others. Pure; nothing is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity::{NodeName, Selector, TrustDomain};
use pki::Timestamp;
use proto::v1;

use crate::entry::{Entry, EntryError, EntryId};
use crate::workload::{match_entries, nearest_miss};

/// The entries of the node, as it holds them or as they might be.
pub(crate) type Entries = BTreeMap<EntryId, Arc<Entry>>;

/// Edits of one question: what an operator would have typed, not a fleet's whole document.
const MAX_EDITS: usize = 10_000;

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// Too many at once.
    #[error("there are {found} edits, at most {MAX_EDITS} are taken at once")]
    TooMany { found: usize },
    /// An edited entry is none.
    #[error("the edited entry {number} ({spiffe_id}) is refused: {error}")]
    Entry { number: usize, spiffe_id: String, error: EntryError },
    /// A selector is none.
    #[error(transparent)]
    Selector(#[from] identity::SelectorError),
    /// The node has no such entry.
    #[error("this node has no entry {0}; `signet entry list --node NAME` at the CA shows those that it has")]
    UnknownEntry(String),
    /// A selector is to be taken away that is not there.
    #[error("entry {entry} has no selector {selector} to remove")]
    AbsentSelector { entry: EntryId, selector: Selector },
    /// Every process would match.
    #[error("without these selectors entry {0} would have none, and such an entry cannot be made")]
    NoSelectorLeft(EntryId),
}

/// What these selectors match among these entries, in the agent's order.
pub(crate) fn outlook(entries: &Entries, selectors: &BTreeSet<Selector>, node: Option<&NodeName>, now: Timestamp) -> v1::Outlook {
    let mut all: Vec<_> = entries.values().map(Arc::as_ref).collect();
    all.sort_by(|a, b| a.order().cmp(&b.order()));
    let (ended, in_force): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| !entry.grants_at(now));
    let matched: Vec<_> = match_entries(in_force.iter().copied(), selectors).map(|entry| entry.to_wire(node)).collect();
    let nearest_miss = nearest_miss(in_force.iter().copied(), selectors).filter(|_| matched.is_empty()).map(|miss| {
        let missing = miss.missing.iter().map(ToString::to_string).collect();
        v1::NearestMiss { entry: Some(miss.entry.to_wire(node)), missing }
    });
    v1::Outlook {
        matched,
        nearest_miss,
        entries: u32::try_from(in_force.len()).unwrap_or(u32::MAX),
        ended: match_entries(ended.iter().copied(), selectors).map(|entry| entry.to_wire(node)).collect(),
    }
}

/// The entries as they would be with these edits, and what could not be taken as it was meant.
///
/// # Errors
/// [`EditError`] naming the first edit at fault.
pub(crate) fn edited(
    entries: &Entries,
    edits: Vec<v1::Entry>,
    selector_edits: Vec<v1::SelectorEdit>,
    trust_domain: &TrustDomain,
    node: &NodeName,
) -> Result<(Entries, Vec<String>), EditError> {
    let found = edits.len() + selector_edits.len();
    if found > MAX_EDITS {
        return Err(EditError::TooMany { found });
    }
    let (mut changed, mut notes) = (entries.clone(), Vec::new());
    for (number, edit) in (1..).zip(edits) {
        if !edit.parent_node.is_empty() && edit.parent_node != node.as_str() {
            notes.push(format!("{} is for node {} and changes nothing on {node}", edit.spiffe_id, edit.parent_node));
            continue;
        }
        let alias = &edit.parent_alias;
        let known = entries.values().any(|entry| entry.alias.as_ref().is_some_and(|known| known.as_str() == alias));
        if !alias.is_empty() && !known {
            notes.push(format!(
                "{}: whether {node} is a member of node alias {alias} only the CA knows; it is taken as one here",
                edit.spiffe_id
            ));
        }
        let entry = read(number, edit, entries, trust_domain, node)?;
        changed.insert(entry.id.clone(), Arc::new(entry));
    }
    for edit in selector_edits {
        let entry = with_selectors(&changed, edit)?;
        changed.insert(entry.id.clone(), Arc::new(entry));
    }
    Ok((changed, notes))
}

/// An edited entry under the ID that it takes the place of, or under one of its own.
fn read(
    number: usize,
    edit: v1::Entry,
    entries: &Entries,
    trust_domain: &TrustDomain,
    node: &NodeName,
) -> Result<Entry, EditError> {
    let spiffe_id = edit.spiffe_id.clone();
    let meant = match entries
        .values()
        .filter(|entry| entry.account.is_none() && entry.spiffe_id.as_str() == spiffe_id)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [only] => Some(Arc::clone(only)),
        [] | [_, _, ..] => None,
    };
    let id = match (&edit.id, &meant) {
        (id, _) if !id.is_empty() => id.clone(),
        (_, Some(meant)) => meant.id.to_string(),
        (_, None) => format!("new-{number}"),
    };
    // As old as the one it stands for: the order among entries does not change with their content.
    let created_at = entries.values().find(|entry| entry.id.as_str() == id).map(|entry| entry.created_at);
    let edit = v1::Entry { id, parent_node: node.to_string(), ..edit };
    let mut entry = Entry::from_wire(edit, trust_domain, node).map_err(|error| EditError::Entry { number, spiffe_id, error })?;
    entry.created_at = created_at.unwrap_or(Timestamp::from_unix_seconds(u64::MAX));
    Ok(entry)
}

fn with_selectors(entries: &Entries, edit: v1::SelectorEdit) -> Result<Entry, EditError> {
    let v1::SelectorEdit { entry_id, add, remove } = edit;
    let held = entries.values().find(|entry| entry.id.as_str() == entry_id);
    let mut entry = held.map(|entry| Entry::clone(entry)).ok_or_else(|| EditError::UnknownEntry(printable(&entry_id)))?;
    for text in &remove {
        let selector = Selector::parse(text)?;
        if !entry.selectors.remove(&selector) {
            return Err(EditError::AbsentSelector { entry: entry.id, selector });
        }
    }
    for text in &add {
        entry.selectors.insert(Selector::parse(text)?);
    }
    if entry.selectors.is_empty() { Err(EditError::NoSelectorLeft(entry.id)) } else { Ok(entry) }
}

/// The start of what a caller sent, for a message.
fn printable(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
