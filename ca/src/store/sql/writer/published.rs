//! What the writer tells everyone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::audit::ChainHead;
use crate::revocation::Revoked;
use crate::store::sql::remembered::Generation;
use crate::store::{Change, FaultKind, StoreError, StoreState};

/// Changes that a slow receiver may fall behind before it must look at everything anew.
const CHANGES: usize = 1024;

/// As of the last group that was committed.
pub(in crate::store) struct Published {
    pub(in crate::store) changes: broadcast::Sender<Change>,
    pub(in crate::store) audit_head: watch::Sender<u64>,
    pub(in crate::store) state: watch::Sender<StoreState>,
    /// Of what nodes have.
    pub(in crate::store) entries: Generation,
    pub(in crate::store) revoked: watch::Sender<Arc<Revoked>>,
    /// The end of the audit chain as of which `revoked` is. Held while that is replaced.
    revoked_as_of: Mutex<u64>,
    /// Whether changes that others make in the same database are heard of. Where there are no others, all of them are.
    pub(in crate::store) hears_others: AtomicBool,
    pub(in crate::store) commits: AtomicU64,
    /// Odd while a group is worked on.
    pub(in crate::store) turns: AtomicU64,
    pub(in crate::store) faults: [AtomicU64; FaultKind::ALL.len()],
}

impl Published {
    /// A store that was opened, and nothing was written since.
    pub(in crate::store) fn new(head: ChainHead, entries: Generation, revoked: Revoked) -> Self {
        Self {
            changes: broadcast::Sender::new(CHANGES),
            audit_head: watch::Sender::new(head.sequence),
            state: watch::Sender::new(StoreState::Well),
            entries,
            revoked: watch::Sender::new(Arc::new(revoked)),
            revoked_as_of: Mutex::new(head.sequence),
            hears_others: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            faults: FaultKind::ALL.map(|_| AtomicU64::new(0)),
        }
    }

    /// What a write is told while none is taken.
    pub(in crate::store) fn refusal(&self) -> Option<StoreError> {
        self.state.borrow().refusal().map(StoreError::Unavailable)
    }

    /// Logs and publishes a state; the same fault again, as found at each try to recover, is news to nobody.
    pub(in crate::store) fn enter(&self, state: StoreState) {
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

    /// What is revoked, read when the audit chain ended there: never an earlier state over a later one.
    pub(in crate::store) fn publish_revoked(&self, as_of: u64, revoked: Revoked) {
        let mut known_as_of = self.revoked_as_of.lock().unwrap_or_else(PoisonError::into_inner);
        if as_of >= *known_as_of {
            *known_as_of = as_of;
            self.revoked.send_replace(Arc::new(revoked));
        }
    }

    /// The end of the audit chain, which never comes nearer.
    pub(in crate::store) fn publish_head(&self, sequence: u64) {
        self.audit_head.send_if_modified(|known| {
            let moved = sequence > *known;
            if moved {
                *known = sequence;
            }
            moved
        });
    }

    /// To everyone who listens, which may be nobody.
    pub(in crate::store) fn tell(&self, changes: Vec<Change>) {
        for change in changes {
            self.changes.send(change).ok();
        }
    }

    /// What cannot be read is not known.
    pub(in crate::store) fn publish_entries(&self, found: Result<i64, StoreError>) {
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
