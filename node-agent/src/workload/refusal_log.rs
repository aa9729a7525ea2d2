//! Says why callers are refused, within a budget: anybody on the node may come as often as it likes.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use runtime::clock::Clock;
use runtime::log_budget::LogBudget;

/// Clones share the budget.
#[derive(Clone)]
pub(super) struct RefusalLog {
    budget: Arc<Mutex<LogBudget>>,
    clock: Arc<dyn Clock>,
}

impl RefusalLog {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { budget: Arc::new(Mutex::new(LogBudget::new(clock.boottime()))), clock }
    }

    /// `what` was refused: a connection or a call.
    pub(super) fn say(&self, what: &str, why: &dyn Display) {
        let line = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(self.clock.boottime());
        if let Some(left_out) = line {
            tracing::warn!(%why, left_out, "{what} refused");
        }
    }
}
