//! What keeps objects from being as they should be, and what operators are told of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kubernetes::{ApiError, FaultKind};

use crate::cluster_objects::queue::Key;

/// The most objects of which it is remembered; beyond, their troubles are in the log alone.
const MOST_TROUBLES: usize = 20_000;
/// The most lines that operators are told at once.
const MOST_LINES: usize = 8;

/// All troubles of now.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    of_objects: BTreeMap<Key, String>,
    /// Calls that are not allowed, by verb and resource, with the server's words.
    forbidden: BTreeMap<&'static str, String>,
}

impl Troubles {
    /// An object is well.
    pub(crate) fn clear(&self, key: &Key) {
        self.state().of_objects.remove(key);
    }

    /// An object is not as it should be. Logged when it is for another reason than before.
    pub(crate) fn set(&self, key: &Key, text: String) {
        let mut state = self.state();
        if state.of_objects.get(key) == Some(&text) {
            return;
        }
        let (kind, name) = key;
        tracing::warn!(kind, name, why = text, "an object of the cluster does not show whom to trust as it should");
        if state.of_objects.len() < MOST_TROUBLES || state.of_objects.contains_key(key) {
            state.of_objects.insert(key.clone(), text);
        }
    }

    /// That of an object.
    pub(crate) fn of(&self, key: &Key) -> Option<String> {
        self.state().of_objects.get(key).cloned()
    }

    /// What became of a call: whether a permission is missing.
    pub(crate) fn called<T>(&self, call: &'static str, outcome: &Result<T, ApiError>) {
        let mut state = self.state();
        match outcome {
            Err(error) if error.is_of_ending_namespace() => {}
            Err(error) if error.kind() == FaultKind::Credential => {
                if state.forbidden.insert(call, error.to_string()).is_none() {
                    tracing::error!(%error, "objects of the cluster cannot show whom to trust as they should");
                }
            }
            Err(_) => {}
            Ok(_) => drop(state.forbidden.remove(call)),
        }
    }

    /// What operators should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let forbidden = state.forbidden.iter().map(|(call, told)| {
            format!(
                "objects that show whom to trust: {told}; the ClusterRole signet-trust must say `{call}` (docs/kubernetes.md)"
            )
        });
        let of_objects =
            state.of_objects.iter().map(|((kind, name), text)| format!("{kind} {name} does not show whom to trust: {text}"));
        let mut lines: Vec<String> = forbidden.chain(of_objects).collect();
        let more = lines.len().saturating_sub(MOST_LINES);
        lines.truncate(MOST_LINES);
        if more > 0 {
            lines.push(format!("and {more} more objects that do not show whom to trust: `signet k8s trust list`"));
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

    #[test]
    fn a_permission_that_is_missing_is_named_until_the_call_goes_well_and_few_lines_are_told() {
        let troubles = Troubles::default();
        let forbidden =
            |text: &str| Err::<(), _>(ApiError::Forbidden { call: Call::Patch(Kind::ConfigMaps), message: Message::of(text) });
        troubles.called("patch configmaps", &forbidden("no"));
        troubles.called("create configmaps", &forbidden("in namespace old because it is being terminated"));
        let told = troubles.warnings();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("patch configmaps: forbidden (403)") && told[0].contains("ClusterRole signet-trust"),
            "{told:?}"
        );
        troubles.called("create configmaps", &Ok(()));
        assert_eq!(troubles.warnings().len(), 1, "that was another call");
        troubles.called("patch configmaps", &Ok(()));
        assert!(troubles.warnings().is_empty());
        let key = |number: u32| ("istio-ca-root-cert".to_owned(), format!("n{number:03}"));
        (0..100).for_each(|number| troubles.set(&key(number), "no".to_owned()));
        let told = troubles.warnings();
        assert_eq!(told.len(), MOST_LINES + 1);
        assert!(told[0].contains("istio-ca-root-cert n000") && told[MOST_LINES].contains("92 more"), "{told:?}");
        troubles.clear(&key(0));
        assert_eq!((troubles.of(&key(0)), troubles.of(&key(1)).as_deref()), (None, Some("no")));
    }
}
