//! Named conditions that must all hold before a service calls itself ready, and what it warns of while they do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The conditions of one service; shared, clone freely. Without any condition a service is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Why each condition does not hold; `None` when it does.
    conditions: BTreeMap<&'static str, Option<String>>,
    warnings: Vec<String>,
}

impl Readiness {
    /// Declares a condition (not yet met, with why). A condition declared before stays as it is.
    pub fn require(&self, condition: &'static str, why_not: &str) {
        self.state().conditions.entry(condition).or_insert_with(|| Some(why_not.to_owned()));
    }

    /// The condition holds now.
    pub fn met(&self, condition: &'static str) {
        self.state().conditions.insert(condition, None);
    }

    /// The condition does not hold (any more), with why.
    pub fn unmet(&self, condition: &'static str, why: &str) {
        self.state().conditions.insert(condition, Some(why.to_owned()));
    }

    /// What will soon hurt and does not yet: the service stays ready. Replaces what was warned of before.
    pub fn warn(&self, warnings: Vec<String>) {
        self.state().warnings = warnings;
    }

    /// `condition: why` for each that does not hold, ordered by name; empty = ready.
    #[must_use]
    pub fn failing(&self) -> Vec<String> {
        let state = self.state();
        state.conditions.iter().filter_map(|(condition, why)| why.as_ref().map(|why| format!("{condition}: {why}"))).collect()
    }

    /// What [`Self::warn`] was given last.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.state().warnings.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_condition_holds() {
        let readiness = Readiness::default();
        assert!(readiness.failing().is_empty());
        readiness.require("store", "not opened");
        readiness.require("authority", "not loaded");
        assert_eq!(readiness.failing(), ["authority: not loaded", "store: not opened"]);
        readiness.met("store");
        readiness.require("store", "asked for again");
        readiness.met("authority");
        assert!(readiness.clone().failing().is_empty());
        readiness.unmet("authority", "ends too soon");
        assert_eq!(readiness.failing(), ["authority: ends too soon"]);
    }

    #[test]
    fn a_warning_leaves_a_service_ready_until_it_is_replaced() {
        let readiness = Readiness::default();
        readiness.warn(vec!["half of its life is over".to_owned()]);
        assert!(readiness.failing().is_empty());
        assert_eq!(readiness.clone().warnings(), ["half of its life is over"]);
        readiness.warn(Vec::new());
        assert!(readiness.warnings().is_empty());
    }
}
