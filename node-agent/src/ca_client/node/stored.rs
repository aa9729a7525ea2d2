//! What is known of before the start. What does not hold any more is as none, and told.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{NodeName, TrustDomain};
use pki::checkpoint::SignedCheckpoint;
use pki::{RevocationSet, TrustBundle};

use super::super::checkpoints::RefusedCheckpoint;
use super::super::view::ForeignBundles;
use crate::entry::{Entry, EntryId};
use crate::state::{StateDir, StoredEntries};

/// The entries that the last sync left. A file that does not hold is as none: the next sync replaces it.
pub(super) fn stored_entries(
    state: &StateDir,
    trust_domain: &TrustDomain,
    node: &NodeName,
) -> Option<BTreeMap<EntryId, Arc<Entry>>> {
    match state.entries(trust_domain, node) {
        StoredEntries::Absent => None,
        StoredEntries::Present(entries) => {
            tracing::info!(entries = entries.len(), "the entries are known as the last sync left them");
            Some(entries)
        }
        StoredEntries::Damaged(why) => {
            tracing::warn!(why, "the stored entries cannot be used; nobody is told that it has no identity before the next sync");
            None
        }
    }
}

/// The revocation lists of before the start. What does not hold any more is as none: the next sync brings all.
pub(super) fn stored_revocation(
    state: &StateDir,
    trust_domain: &TrustDomain,
    bundle: &TrustBundle,
) -> Option<Arc<RevocationSet>> {
    match state.revocation(trust_domain, bundle) {
        Ok(lists) => lists.map(Arc::new),
        Err(why) => {
            tracing::warn!(
                why,
                "the stored revocation lists cannot be used; nothing is known to be revoked before the next sync"
            );
            None
        }
    }
}

pub(super) fn stored_foreign(state: &StateDir, trust_domain: &TrustDomain) -> ForeignBundles {
    state.foreign_bundles(trust_domain).unwrap_or_else(|why| {
        tracing::warn!(
            why,
            "the stored bundles of other trust domains cannot be used; nothing of those is accepted before the next sync"
        );
        ForeignBundles::new()
    })
}

/// What is kept of the CA's audit chain. A file that does not hold is told like a checkpoint that contradicts.
pub(super) fn stored_checkpoint(state: &StateDir) -> (Option<Arc<SignedCheckpoint>>, Option<Arc<RefusedCheckpoint>>) {
    let evidence = state.evidence().map(Arc::new);
    match state.checkpoint() {
        Ok(kept) => (kept.map(Arc::new), evidence),
        Err(why) => {
            tracing::error!(why, "the checkpoint of the CA's audit chain that was kept cannot be read");
            (None, evidence.or_else(|| Some(Arc::new(RefusedCheckpoint { checkpoint: None, why }))))
        }
    }
}
