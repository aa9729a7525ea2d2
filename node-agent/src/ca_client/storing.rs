//! What survives a restart goes to disk before it is used; a disk that refuses does not stop the node, and is asked again.

use std::sync::Arc;
use std::time::Duration;

use pki::checkpoint::SignedCheckpoint;
use pki::{RevocationSet, TrustBundle, X509Svid};

use super::checkpoints::RefusedCheckpoint;
use super::lifecycle::Validity;
use super::node::NodeClient;
use super::view::{ForeignBundles, NodeView};
use crate::identities::must_go;
use crate::metrics::Alarm;
use crate::state::StateError;

/// Between tries to store what could not be stored.
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// How long entries that came wait to be stored: many that come one by one become one file.
const STORE_ENTRIES_AFTER: Duration = Duration::from_secs(1);

/// What an update changed about the entries, as far as the disk is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryChange {
    Same,
    /// Some came.
    Wider,
    /// Some went or became others, or none were known before.
    Narrower,
}

impl EntryChange {
    pub(super) fn between(before: &NodeView, after: &NodeView) -> Self {
        let kept = |(id, entry)| after.entries.get(id).is_some_and(|now| now == entry);
        if !before.knowledge.is_any() || !before.entries.iter().all(kept) {
            Self::Narrower
        } else if before.entries.len() == after.entries.len() {
            Self::Same
        } else {
            Self::Wider
        }
    }
}

impl NodeClient {
    /// Stores the entries: at once when one is gone, since an agent that restarts must not know it any more.
    pub(super) async fn note_entries(&mut self, change: EntryChange) {
        match change {
            EntryChange::Same => {}
            EntryChange::Wider => {
                let now = self.boot();
                self.entries_unstored_since.get_or_insert(now);
            }
            EntryChange::Narrower => self.store_entries().await,
        }
    }

    pub(super) async fn store_entries(&mut self) {
        let view = Arc::clone(&self.view.borrow());
        let (Some(node), true) = (view.node.clone(), view.knowledge.is_any()) else { return };
        self.entries_unstored_since = None;
        let state = Arc::clone(&self.state);
        self.persist("list of entries", move || state.store_entries(&node, &view.entries)).await;
    }

    /// Persists an SVID, then uses it.
    pub(super) async fn hold(&mut self, svid: Arc<X509Svid>) {
        self.store_svid(Arc::clone(&svid)).await;
        let (now, boot, random) = (self.now(), self.boot(), self.random());
        self.svid = Some(Arc::clone(&svid));
        self.note_taint();
        self.lifecycle.attested(Validity::of(&svid), now, boot, random);
        self.status.send_modify(|status| {
            status.svid = Some(svid);
            status.trouble = None;
        });
        self.publish_health();
    }

    /// Whether the agent SVID rests on a key that the bundle of now names as tainted, or is on a revocation list.
    pub(super) fn note_taint(&mut self) {
        let view = Arc::clone(&self.view.borrow());
        let must_go = |svid| must_go(svid, view.bundle.as_ref(), view.revocation.as_ref());
        let tainted = self.svid.as_ref().is_some_and(|svid| must_go(svid));
        if tainted && !self.lifecycle.is_tainted() {
            tracing::warn!("the agent SVID rests on a tainted key, or is revoked: it is renewed at once");
        }
        self.lifecycle.taint(tainted);
    }

    async fn store_svid(&mut self, svid: Arc<X509Svid>) {
        let state = Arc::clone(&self.state);
        self.persist("agent SVID", move || state.store_svid(&svid)).await;
    }

    pub(super) async fn store_bundle(&mut self, bundle: Arc<TrustBundle>) {
        let state = Arc::clone(&self.state);
        self.persist("trust bundle", move || state.store_bundle(&bundle)).await;
    }

    pub(super) async fn store_revocation(&mut self, lists: Arc<RevocationSet>) {
        let (state, trust_domain) = (Arc::clone(&self.state), self.settings.trust_domain.clone());
        self.persist("revocation lists", move || state.store_revocation(&lists, &trust_domain)).await;
    }

    /// Those of a CA that is not trusted any more.
    pub(super) async fn forget_revocation(&mut self) {
        let state = Arc::clone(&self.state);
        let removed = tokio::task::spawn_blocking(move || state.forget_revocation()).await;
        if let Err(error) = removed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            tracing::warn!(%error, "the revocation lists of before stay on disk until the next ones come");
        }
    }

    pub(super) async fn store_foreign(&mut self, bundles: Arc<ForeignBundles>) {
        let state = Arc::clone(&self.state);
        self.persist("bundles of other trust domains", move || state.store_foreign_bundles(&bundles)).await;
    }

    /// Keeps a checkpoint of the CA's audit chain, on disk first. One that could not be stored is used: it is the newer evidence.
    pub(super) async fn store_checkpoint(&mut self, checkpoint: Arc<SignedCheckpoint>) {
        let (state, stored) = (Arc::clone(&self.state), Arc::clone(&checkpoint));
        self.persist("checkpoint of the CA's audit chain", move || state.store_checkpoint(&stored)).await;
        self.status.send_modify(|status| status.checkpoint = Some(checkpoint));
    }

    /// Keeps a checkpoint that contradicts the one kept: the first one, until an operator takes it away.
    pub(super) async fn keep_evidence(&mut self, refused: Arc<RefusedCheckpoint>) {
        let (state, evidence) = (Arc::clone(&self.state), Arc::clone(&refused));
        self.persist("refused checkpoint of the CA's audit chain", move || state.store_evidence(&evidence)).await;
        self.status.send_modify(|status| {
            status.refused_checkpoint.get_or_insert(refused);
        });
    }

    /// Stores what waits for it, and all of it again when some of it could not be stored and the time has come.
    pub(super) async fn store_again(&mut self) {
        if self.entries_unstored_since.is_some_and(|since| self.boot().saturating_sub(since) >= STORE_ENTRIES_AFTER) {
            self.store_entries().await;
        }
        if self.store_again_at.is_none_or(|at| self.boot() < at) {
            return;
        }
        self.store_again_at = None;
        // The bundle first, as ever: a stored SVID then has one to be used under.
        let bundle = self.view.borrow().bundle.clone();
        if let Some(bundle) = bundle {
            self.store_bundle(bundle).await;
        }
        if let Some(svid) = self.svid.clone() {
            self.store_svid(svid).await;
        }
        let revocation = self.view.borrow().revocation.clone();
        if let Some(lists) = revocation {
            self.store_revocation(lists).await;
        }
        let foreign = Arc::clone(&self.view.borrow().foreign);
        self.store_foreign(foreign).await;
        self.store_entries().await;
        let (kept, refused) = {
            let status = self.status.borrow();
            (status.checkpoint.clone(), status.refused_checkpoint.clone())
        };
        if let Some(kept) = kept {
            self.store_checkpoint(kept).await;
        }
        if let Some(refused) = refused {
            self.keep_evidence(refused).await;
        }
        if self.store_again_at.is_none() {
            tracing::info!("the state of the node is on disk again");
            self.status.send_modify(|status| status.unstored = None);
        }
    }

    /// A disk that refuses does not stop the node: what it holds in memory is good. A restart would then have the old files.
    async fn persist(&mut self, what: &'static str, write: impl FnOnce() -> Result<(), StateError> + Send + 'static) {
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.settings.metrics.alarm(Alarm::StateNotStored);
                tracing::error!(what, %error, "could not be stored: it is used, but will be missing after a restart");
                self.store_again_at = Some(self.boot().saturating_add(STORE_AGAIN_AFTER));
                let unstored = format!("the {what} could not be stored, and would be missing after a restart: {error}");
                self.status.send_modify(|status| status.unstored = Some(unstored));
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}
