//! What one sync stream tells its agent of the audit chain: each checkpoint after the one that it keeps, so that it can see that each
//! continues the one before.

use std::sync::Arc;

use pki::checkpoint::SignedCheckpoint;
use proto::v1;

use crate::checkpoints::{Kept, Newest};
use crate::rpc::checkpoint_wire;
use crate::store::{Store, StoreError};

/// Checkpoints of one message: an agent that was away for long gets several.
const PAGE: u32 = 256;

/// What is told, and what was. For an agent that does not know checkpoints there is none.
pub(crate) struct CheckpointFeed {
    newest: Newest,
    store: Arc<dyn Store>,
    kept: Kept,
    /// The digest of the last one told.
    told: Option<pki::Sha256Digest>,
}

impl CheckpointFeed {
    /// For an agent that keeps this.
    pub(crate) fn new(newest: Newest, store: Arc<dyn Store>, kept: Kept) -> Self {
        Self { newest, store, kept, told: None }
    }

    /// Resolves when there may be another one (cancel safe).
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as the CA.
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the agent does not keep yet, oldest first; `None` when it keeps the newest. To be asked again after each answer.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::AuditCheckpoints>, StoreError> {
        let Some(newest) = self.newest.borrow_and_update().clone() else { return Ok(None) };
        let known = match self.kept {
            Kept::Ours { digest, .. } => Some(digest),
            Kept::Nothing | Kept::Foreign => self.told,
        };
        if known == Some(*newest.digest()) {
            return Ok(None);
        }
        let checkpoints = match self.kept {
            Kept::Ours { sequence, digest } if newest.checkpoint().previous != digest => self.missed(sequence, &newest).await?,
            // The first one is taken as it is; and to an agent that keeps another history the newest one says so.
            Kept::Ours { .. } | Kept::Nothing | Kept::Foreign => vec![SignedCheckpoint::clone(&newest)],
        };
        if let Some(last) = checkpoints.last() {
            self.told = Some(*last.digest());
            if self.kept != Kept::Foreign {
                self.kept = Kept::Ours { sequence: last.checkpoint().sequence, digest: *last.digest() };
            }
        }
        Ok(Some(v1::AuditCheckpoints { checkpoints: checkpoints.iter().map(checkpoint_wire::checkpoint).collect() }))
    }

    /// Those after the one that it keeps. One that does not count ends them: the agent then sees that the newest does not continue.
    async fn missed(&self, sequence: u64, newest: &SignedCheckpoint) -> Result<Vec<SignedCheckpoint>, StoreError> {
        let stored = self.store.checkpoints(sequence, newest.checkpoint().sequence, PAGE).await?;
        let missed: Option<Vec<_>> = stored.into_iter().map(|stored| stored.content.ok()).collect();
        Ok(missed.filter(|missed| !missed.is_empty()).unwrap_or_else(|| vec![newest.clone()]))
    }
}
