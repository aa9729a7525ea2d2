//! What the node knows from the CA, and what an update changes in it. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{NodeName, TrustDomain};
use pki::{RevocationSet, TrustBundle};
use proto::v1;

use super::wire::{self, AnswerFault};
use crate::entry::{Entry, EntryError, EntryId};

/// The most entries that a node holds: a bound on memory, far above what a node runs.
const MAX_ENTRIES: usize = 20_000;

/// How well the entries of the node are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryKnowledge {
    /// Not at all: nobody can be told that it has no identity.
    #[default]
    None,
    /// From the disk: those that came last before the agent ended may be missing, so nothing is told removed by it.
    Stored,
    /// By a full sync of this run.
    Synced,
}

impl EntryKnowledge {
    /// Whether they are known by whatever means.
    pub fn is_any(self) -> bool {
        self != Self::None
    }
}

/// The node's name, its entries and the newest bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// The name that the operator gave the node; `None` before the first attestation.
    pub node: Option<NodeName>,
    /// How well `entries` are known.
    pub knowledge: EntryKnowledge,
    /// What the node may hold, by name.
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    /// The newest that was taken.
    pub bundle: Option<Arc<TrustBundle>>,
    /// The newest revocation lists that were taken, those of them that verify under `bundle`.
    pub revocation: Option<Arc<RevocationSet>>,
    /// The newest bundles of other trust domains that entries of the node federate with.
    pub foreign: Arc<ForeignBundles>,
    /// Whether processes in pods that match no entry of the CA have the identities of their service accounts.
    pub has_account_rule: bool,
}

/// Bundles of other trust domains, by name; never that of the own one.
pub type ForeignBundles = BTreeMap<TrustDomain, Arc<TrustBundle>>;

impl NodeView {
    /// Puts a bundle in the place of the one before. Lists of authorities that left with that are dropped: what they revoked verifies for
    /// nobody any more, and neither do they.
    pub(super) fn set_bundle(&mut self, bundle: Arc<TrustBundle>) {
        let kept = self.revocation.as_ref().map(|held| (held.lists().len(), held.under(&bundle)));
        if let Some((_, kept)) = kept.filter(|(before, kept)| kept.lists().len() < *before) {
            self.revocation = Some(Arc::new(kept));
        }
        self.bundle = Some(bundle);
    }
}

/// The view of now, whenever it changes.
pub type NodeViews = tokio::sync::watch::Receiver<Arc<NodeView>>;

/// The place in one stream of updates.
#[derive(Debug, Default)]
pub struct StreamPosition {
    /// The highest sequence applied; zero before the first.
    sequence: u64,
}

/// What an update did.
#[derive(Debug)]
pub struct Applied {
    /// What the node knows from here on.
    pub view: NodeView,
    /// What the CA is told.
    pub ack: v1::sync_request::Ack,
    /// Entries that were refused, with why: nobody gets an identity by them.
    pub refused: Vec<(String, EntryError)>,
    /// What became of the bundle in it.
    pub bundle: BundleChange,
    /// What became of the revocation lists in it.
    pub revocation: RevocationChange,
    /// Bundles of other trust domains that were refused, with why: nothing of those trust domains is accepted.
    pub foreign_refused: Vec<String>,
}

/// What an update said of the bundle.
#[derive(Debug, PartialEq, Eq)]
pub enum BundleChange {
    /// Nothing new.
    Same,
    /// A newer one, to be stored.
    Newer,
    /// One that was refused: older than ours, or other content under our sequence.
    Refused {
        /// Its sequence.
        found: u64,
        /// That of ours.
        held: u64,
    },
}

/// What an update said of revocation lists.
#[derive(Debug, PartialEq, Eq)]
pub enum RevocationChange {
    /// Nothing new.
    Same,
    /// Newer ones, to be stored.
    Newer,
    /// Some that were refused as a whole, with why: those held stay.
    Refused(String),
}

/// Why a stream of updates cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum UpdateFault {
    /// Sequences must count up.
    #[error("update {found} came after {last}")]
    Order {
        /// Its sequence.
        found: u64,
        /// The one before.
        last: u64,
    },
    /// The first on a stream carries everything.
    #[error("the first update on the stream does not carry the whole state")]
    Partial,
    /// Too many entries.
    #[error("the update leaves {found} entries, at most {MAX_ENTRIES} are held")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] AnswerFault),
}

impl StreamPosition {
    /// Applies an update to a view, giving the new view whole.
    ///
    /// An entry that does not parse is refused alone: it must neither widen access nor take away the identities of others.
    /// Under an ID that it shares with an older entry, the older one goes: the CA no longer means that.
    ///
    /// # Errors
    /// [`UpdateFault`]: nothing of the update was taken and the stream must be opened anew.
    pub fn apply(
        &mut self,
        view: &NodeView,
        trust_domain: &TrustDomain,
        node: &NodeName,
        update: v1::SyncUpdate,
    ) -> Result<Applied, UpdateFault> {
        let v1::SyncUpdate { sequence, replaces_entries, upserted, removed, bundle, revocation, foreign_bundles } = update;
        if sequence <= self.sequence {
            return Err(UpdateFault::Order { found: sequence, last: self.sequence });
        }
        if self.sequence == 0 && (!replaces_entries || bundle.is_none()) {
            return Err(UpdateFault::Partial);
        }
        let mut view = NodeView { node: Some(node.clone()), knowledge: EntryKnowledge::Synced, ..view.clone() };
        if replaces_entries {
            view.entries.clear();
        }
        let mut refused = Vec::new();
        for entry in upserted {
            let id = entry.id.clone();
            match Entry::from_wire(entry, trust_domain, node) {
                Ok(entry) => {
                    view.entries.insert(entry.id.clone(), Arc::new(entry));
                }
                Err(error) => {
                    remove(&mut view, &id);
                    refused.push((id, error));
                }
            }
        }
        for id in &removed {
            remove(&mut view, id);
        }
        if view.entries.len() > MAX_ENTRIES {
            return Err(UpdateFault::TooMany { found: view.entries.len() });
        }
        let bundle = match bundle {
            Some(bundle) => take_bundle(&mut view, wire::bundle(bundle, trust_domain)?),
            None => BundleChange::Same,
        };
        // After the bundle: they stand under it.
        let revocation = match revocation {
            Some(lists) => take_revocation(&mut view, lists, trust_domain),
            None => RevocationChange::Same,
        };
        let foreign = foreign_bundles.map(|foreign| take_foreign(&mut view, foreign, trust_domain)).unwrap_or_default();
        self.sequence = sequence;
        let bundle_sequence = view.bundle.as_ref().map_or(0, |bundle| bundle.sequence());
        Ok(Applied {
            view,
            ack: v1::sync_request::Ack { sequence, bundle_sequence },
            refused,
            bundle,
            revocation,
            foreign_refused: foreign,
        })
    }
}

/// An ID that does not parse was never held.
fn remove(view: &mut NodeView, id: &str) {
    if let Ok(id) = EntryId::parse(id) {
        view.entries.remove(&id);
    }
}

/// What a bundle that came is to one that is held. A sequence never goes back, and one sequence never means two contents. Under one
/// sequence keys may only become tainted: an agent from before taints kept none with its bundle.
pub(super) fn compare(held: &TrustBundle, came: &TrustBundle) -> BundleChange {
    let refused = BundleChange::Refused { found: came.sequence(), held: held.sequence() };
    match came.sequence().cmp(&held.sequence()) {
        Ordering::Less => refused,
        Ordering::Equal if !came.same_content(held) || !came.tainted_keys().is_superset(held.tainted_keys()) => refused,
        Ordering::Equal if came.tainted_keys() == held.tainted_keys() => BundleChange::Same,
        Ordering::Equal | Ordering::Greater => BundleChange::Newer,
    }
}

fn take_bundle(view: &mut NodeView, bundle: TrustBundle) -> BundleChange {
    let change = view.bundle.as_ref().map_or(BundleChange::Newer, |held| compare(held, &bundle));
    if change == BundleChange::Newer {
        view.set_bundle(Arc::new(bundle));
    }
    change
}

/// They take the place of all that were held. Which is the newest of a trust domain is for the CA to say, which follows its sequence: an
/// operator may begin a relationship anew.
fn take_foreign(view: &mut NodeView, foreign: v1::ForeignBundles, ours: &TrustDomain) -> Vec<String> {
    let (foreign, refused) = wire::foreign_bundles(foreign, ours);
    if *view.foreign != foreign {
        view.foreign = Arc::new(foreign);
    }
    refused
}

/// A sequence never goes back, and one sequence never means two contents. Lists that do not hold leave those held in their place: what
/// they name is revoked all the same.
fn take_revocation(view: &mut NodeView, lists: v1::RevocationLists, trust_domain: &TrustDomain) -> RevocationChange {
    let Some(bundle) = &view.bundle else { return RevocationChange::Refused("no trust bundle is held to check them".to_owned()) };
    let came = match wire::revocation(lists, trust_domain, bundle) {
        Ok(came) => came,
        Err(fault) => return RevocationChange::Refused(fault.to_string()),
    };
    match view.revocation.as_ref().map(|held| (came.sequence().cmp(&held.sequence()), came == **held)) {
        Some((Ordering::Equal, true)) => RevocationChange::Same,
        Some((Ordering::Less | Ordering::Equal, _)) => {
            let held = view.revocation.as_ref().map_or(0, |held| held.sequence());
            RevocationChange::Refused(format!("their sequence is {}, and {held} with other content is held", came.sequence()))
        }
        Some((Ordering::Greater, _)) | None => {
            view.revocation = Some(Arc::new(came));
            RevocationChange::Newer
        }
    }
}

#[cfg(test)]
mod tests;
