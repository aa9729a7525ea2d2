//! What the writer tells everyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{broadcast, watch};

use crate::audit::ChainHead;
use crate::revocation::Revoked;
use crate::store::sqlite::remembered::Generation;
use crate::store::{Change, FaultKind, StoreError, StoreState};

/// Changes that a slow receiver may fall behind before it must look at everything anew.
const CHANGES: usize = 1024;

/// As of the last group that was committed.
pub(super) struct Published {
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) audit_head: watch::Sender<u64>,
    pub(super) state: watch::Sender<StoreState>,
    /// Of what nodes have.
    pub(super) entries: Generation,
    pub(super) revoked: watch::Sender<Arc<Revoked>>,
    pub(super) commits: AtomicU64,
    /// Odd while a group is worked on.
    pub(super) turns: AtomicU64,
    pub(super) faults: [AtomicU64; FaultKind::ALL.len()],
}

impl Published {
    /// A store that was opened, and nothing was written since.
    pub(super) fn new(head: ChainHead, entries: Generation, revoked: Revoked) -> Self {
        Self {
            changes: broadcast::Sender::new(CHANGES),
            audit_head: watch::Sender::new(head.sequence),
            state: watch::Sender::new(StoreState::Well),
            entries,
            revoked: watch::Sender::new(Arc::new(revoked)),
            commits: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            faults: FaultKind::ALL.map(|_| AtomicU64::new(0)),
        }
    }

    /// What a write is told while none is taken.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        self.state.borrow().refusal().map(StoreError::Unavailable)
    }

    /// Logs and publishes a state; the same fault again, as found at each try to recover, is news to nobody.
    pub(super) fn enter(&self, state: StoreState) {
        let same = |before: &StoreState| match (before, &state) {
            (StoreState::Refusing(before), StoreState::Refusing(now))
            | (StoreState::Backlog(before), StoreState::Backlog(now)) => before.kind == now.kind,
            (before, now) => before == now,
        };
        if same(&self.state.borrow()) {
            return;
        }
        match &state {
            StoreState::Well => tracing::info!("the store takes writes"),
            StoreState::Backlog(fault) => {
                self.count(fault.kind);
                tracing::error!(%fault, "the log of the store cannot be merged into the database, and grows");
            }
            StoreState::Refusing(fault) => {
                self.count(fault.kind);
                tracing::error!(%fault, "the store takes no writes: nothing is recorded, so nothing is signed");
            }
            StoreState::Ended(cause) => tracing::error!(cause, "the store takes no writes any more"),
        }
        self.state.send_replace(state);
    }

    /// What cannot be read is not known.
    pub(super) fn publish_entries(&self, found: Result<i64, StoreError>) {
        match found {
            Ok(found) => self.entries.publish(found),
            Err(_) => self.entries.forget(),
        }
    }

    fn count(&self, kind: FaultKind) {
        if let Some(count) = self.faults.get(kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
