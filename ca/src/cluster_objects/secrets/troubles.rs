//! What keeps accounts from having what they should have, and what operators are told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kubernetes::{ApiError, FaultKind};

use crate::cluster_objects::queue::Key;

/// The most accounts of which it is remembered; beyond, their troubles are in the log alone.
const MOST_TROUBLES: usize = 20_000;
/// The most lines that operators are told at once.
const MOST_LINES: usize = 8;

/// Which kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TroubleKind {
    /// Somebody else's Secret has the name.
    Alien,
    /// The account has too long a name.
    TooLong,
    /// It failed, and is tried again.
    Failed,
}

/// The trouble of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: TroubleKind,
    /// For people.
    pub(crate) text: String,
}

/// All troubles of now.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    of_accounts: BTreeMap<Key, Trouble>,
    /// Calls that are not allowed, by verb and resource and by namespace, with the server's words.
    forbidden: BTreeMap<(String, String), String>,
    /// Of which accounts an Event was written: by UID of the account, and what it says.
    told: BTreeSet<(String, TroubleKind)>,
}

impl Troubles {
    /// An account is well.
    pub(crate) fn clear(&self, key: &Key) {
        self.state().of_accounts.remove(key);
    }

    /// An account is in trouble. Logged when it is another one than before.
    pub(crate) fn set(&self, key: &Key, kind: TroubleKind, text: String) {
        let mut state = self.state();
        let trouble = Trouble { kind, text };
        if state.of_accounts.get(key) == Some(&trouble) {
            return;
        }
        let (namespace, account) = key;
        tracing::warn!(namespace, account, why = trouble.text, "a service account is without the Secret that it should have");
        if state.of_accounts.len() < MOST_TROUBLES || state.of_accounts.contains_key(key) {
            state.of_accounts.insert(key.clone(), trouble);
        }
    }

    /// That of an account.
    pub(crate) fn of(&self, key: &Key) -> Option<Trouble> {
        self.state().of_accounts.get(key).cloned()
    }

    /// What became of a call in a namespace: whether a permission is missing.
    pub(crate) fn called<T>(&self, verb_and_resource: &str, namespace: &str, outcome: &Result<T, ApiError>) {
        let place = || (verb_and_resource.to_owned(), namespace.to_owned());
        let mut state = self.state();
        match outcome {
            Err(error) if error.is_of_ending_namespace() => {}
            Err(error) if error.kind() == FaultKind::Credential => {
                if state.forbidden.insert(place(), error.to_string()).is_none() {
                    tracing::error!(namespace, %error, "Secrets of service accounts cannot be kept as they should be");
                }
            }
            Err(_) => {}
            Ok(_) if state.forbidden.is_empty() => {}
            Ok(_) => drop(state.forbidden.remove(&place())),
        }
    }

    /// Whether an Event on this trouble of this account is to be written: once while the process lives.
    pub(crate) fn is_to_be_told(&self, account_uid: &str, kind: TroubleKind) -> bool {
        let mut state = self.state();
        if state.told.len() >= MOST_TROUBLES {
            state.told.clear();
        }
        state.told.insert((account_uid.to_owned(), kind))
    }

    /// How many there are of each kind, for metrics.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 3] {
        let state = self.state();
        let count = |kind| state.of_accounts.values().filter(|trouble| trouble.kind == kind).count();
        [("alien", count(TroubleKind::Alien)), ("too_long", count(TroubleKind::TooLong)), ("failed", count(TroubleKind::Failed))]
    }

    /// What operators should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let mut lines: Vec<String> = state
            .forbidden
            .iter()
            .map(|((call, namespace), told)| {
                format!("Secrets of service accounts in namespace {namespace}: {told}; its Role signet-secrets must say `{call}` (docs/kubernetes.md)")
            })
            .collect();
        lines.extend(state.of_accounts.iter().map(|((namespace, account), trouble)| {
            format!("the service account {namespace}/{account} is without the Secret that it should have: {}", trouble.text)
        }));
        let more = lines.len().saturating_sub(MOST_LINES);
        lines.truncate(MOST_LINES);
        if more > 0 {
            lines.push(format!("and {more} more about Secrets of service accounts: `signet k8s secrets list`"));
        }
        lines
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kubernetes::{Call, Kind, Message};

    use super::*;

    fn forbidden(text: &str) -> Result<(), ApiError> {
        Err(ApiError::Forbidden { call: Call::Patch(Kind::Secrets), message: Message::of(text) })
    }

    #[test]
    fn a_permission_that_is_missing_is_named_until_the_call_goes_well_again() {
        let troubles = Troubles::default();
        troubles.called("patch secrets", "shop", &forbidden("no"));
        troubles.called("patch secrets", "shop", &forbidden("no"));
        troubles.called("patch secrets", "old", &forbidden("in namespace old because it is being terminated"));
        let told = troubles.warnings();
        assert_eq!(told.len(), 1, "{told:?}");
        for part in ["namespace shop", "patch secrets", "forbidden (403)", "Role signet-secrets"] {
            assert!(told[0].contains(part), "{part} in {told:?}");
        }
        troubles.called("patch secrets", "other", &Ok(()));
        assert_eq!(troubles.warnings().len(), 1, "that was another namespace");
        troubles.called("patch secrets", "shop", &Ok(()));
        assert!(troubles.warnings().is_empty());
    }

    #[test]
    fn few_lines_are_told_however_many_accounts_are_in_trouble_and_events_once() {
        let troubles = Troubles::default();
        for number in 0..100 {
            let key = ("shop".to_owned(), format!("a{number:03}"));
            troubles.set(&key, if number == 0 { TroubleKind::Alien } else { TroubleKind::Failed }, "no".to_owned());
        }
        assert_eq!(troubles.counts(), [("alien", 1), ("too_long", 0), ("failed", 99)]);
        let told = troubles.warnings();
        assert_eq!(told.len(), MOST_LINES + 1);
        assert!(told[0].contains("shop/a000") && told[MOST_LINES].contains("92 more"), "{told:?}");
        troubles.clear(&("shop".to_owned(), "a000".to_owned()));
        assert_eq!(troubles.counts()[0], ("alien", 0));
        assert!(troubles.is_to_be_told("u", TroubleKind::Alien));
        assert!(!troubles.is_to_be_told("u", TroubleKind::Alien));
        assert!(troubles.is_to_be_told("u", TroubleKind::TooLong) && troubles.is_to_be_told("v", TroubleKind::Alien));
    }
}
