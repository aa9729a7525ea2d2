//! What became of calls, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Fault;

/// Counters of one token. They only grow.
#[derive(Debug, Default)]
pub struct Tally {
    signatures: AtomicU64,
    reopened: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
}

impl Tally {
    /// Signatures that were made and verified.
    #[must_use]
    pub fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }

    /// How often the token was opened anew.
    #[must_use]
    pub fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// Calls that failed in this way, also those that went well when they were tried again.
    #[must_use]
    pub fn faults(&self, fault: Fault) -> u64 {
        self.counter(fault).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn signed(&self) {
        self.signatures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn opened_anew(&self) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, fault: Fault) {
        if let Some(counter) = self.counter(fault) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter(&self, fault: Fault) -> Option<&AtomicU64> {
        Fault::ALL.iter().position(|one| *one == fault).and_then(|at| self.faults.get(at))
    }
}
