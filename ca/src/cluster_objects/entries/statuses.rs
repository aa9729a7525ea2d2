//! What each object is told: its status is looked at, and written if it is not what it should be.
//!
//! A write names the UID and the version of the object that was judged, and follows the store: what an object is told is so.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::identity_entries::{AcceptedCondition, EntryStatus, IdentityEntry};
use kubernetes::{ApiError, FaultKind, Known, KubernetesClient, ObjectVersion};
use pki::Timestamp;
use runtime::clock::Clock;

use super::News;
use super::index::Objects;
use super::judgement::Refusal;
use super::metrics::ObjectEntryMetrics;
use super::verdicts::{Verdict, Verdicts};
use crate::cluster_objects::changes::Changes;
use crate::cluster_objects::healing::Healing;
use crate::cluster_objects::queue::{Key, Outcome, QueueLengths};
use crate::cluster_objects::reconciler::KeptObjects;
use crate::replicas::Tenure;

/// The time for one call to the API server.
const DEADLINE: Duration = Duration::from_secs(10);
/// The name under which statuses are written.
const FIELD_MANAGER: &str = "signet-entries";
/// The reason of an object that has its entry.
const ACCEPTED: &str = "EntryMade";
/// The longest message that is written, in characters: it repeats what a tenant wrote.
const MAX_MESSAGE_CHARACTERS: usize = 1024;

/// The objects that ask for entries, and what they are told. One for the process.
pub(crate) struct EntryObjects {
    pub(super) known: Known<Objects>,
    pub(super) client: KubernetesClient,
    pub(super) tenure: Tenure,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: ObjectEntryMetrics,
    pub(super) verdicts: Verdicts,
    pub(super) troubles: Troubles,
    pub(super) healing: Healing,
    /// What each was last told.
    pub(super) written: Mutex<HashMap<Key, Verdict>>,
    pub(super) news: Arc<News>,
}

/// What operators should know beside how the watch fares.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    store: Option<String>,
    forbidden: Option<String>,
}

impl Troubles {
    /// Whether the store took what is asked for, and if not, why.
    pub(super) fn stored(&self, trouble: Option<String>) {
        let mut told = self.told();
        if trouble.is_some() && told.store != trouble {
            tracing::warn!(why = trouble, "what objects of the cluster ask for is not in the store");
        }
        told.store = trouble;
    }

    fn called<T>(&self, done: &Result<T, ApiError>) {
        let mut told = self.told();
        match done {
            Ok(_) => told.forbidden = None,
            Err(error) if error.kind() == FaultKind::Credential && !error.is_of_ending_namespace() => {
                if told.forbidden.replace(error.to_string()).is_none() {
                    tracing::error!(%error, "objects that ask for entries are not told what became of them");
                }
            }
            Err(_) => {}
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EntryObjects {
    /// Whether this replica does the work.
    pub(super) fn leads(&self) -> bool {
        self.tenure.fence().lead.is_some()
    }

    /// What operators should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let watch = self.known.locked().fault().map(|fault| format!("are not followed: {fault}"));
        let told = self.troubles.told();
        let store = told.store.as_ref().map(|why| format!("are not in the store: {why}"));
        let status = told.forbidden.as_ref().map(|why| format!("are not told what became of them: {why}"));
        let line = |what: String| {
            format!("objects that ask for entries {what} (docs/kubernetes-entries.md, ClusterRole signet-entries)")
        };
        [watch, store, status].into_iter().flatten().map(line).collect()
    }

    async fn tell(&self, key: &Key, object: &IdentityEntry, verdict: Verdict) -> Outcome {
        let Some(status) = due(object, &verdict, self.clock.now().into()) else { return Outcome::Settled { due: None } };
        if self.written().get(key) == Some(&verdict) {
            let wait = self.healing.pause(key, self.clock.boottime());
            if !wait.is_zero() {
                // Somebody undoes it again and again: that harms nobody else.
                return Outcome::Failed { after: Some(wait) };
            }
        } else {
            self.healing.forget(key);
        }
        let at = ObjectVersion { uid: object.uid.clone(), version: object.version.clone() };
        let named = (object.namespace.as_str(), object.name.as_str());
        let done = self.client.apply_entry_status(FIELD_MANAGER, named, &at, &status, DEADLINE).await;
        self.troubles.called(&done);
        self.metrics.told(done.is_ok());
        match done {
            Ok(_) => {
                self.written().insert(key.clone(), verdict);
                self.healing.wrote(key, self.clock.boottime());
                Outcome::Settled { due: None }
            }
            // What is known is not what is there, and it will be heard of.
            Err(ApiError::Conflict { .. }) => Outcome::Failed { after: None },
            Err(error) if error.is_of_ending_namespace() || error.is_not_found() => Outcome::Stuck,
            Err(error) => {
                tracing::debug!(%error, namespace = key.0, name = key.1, "an object is not told what became of it");
                Outcome::Failed { after: error.retry_after() }
            }
        }
    }

    fn written(&self) -> MutexGuard<'_, HashMap<Key, Verdict>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an object is to be told, unless it says so already. Pure.
fn due(object: &IdentityEntry, verdict: &Verdict, now: Timestamp) -> Option<EntryStatus> {
    let Verdict { uid, generation, outcome } = verdict;
    if (uid, generation) != (&object.uid, &object.generation) {
        // What it asks for now has not been judged yet.
        return None;
    }
    let (is_true, reason, message, spiffe_id) = match outcome {
        Ok(id) => (true, ACCEPTED, format!("pods that match have {id}"), Some(id.clone())),
        Err(Refusal { reason, message }) => (false, *reason, message.chars().take(MAX_MESSAGE_CHARACTERS).collect(), None),
    };
    let before = object.status.accepted.as_ref();
    // The time of a condition is that of its last turn.
    let since = before.filter(|before| before.is_true == is_true && !before.since.is_empty()).map(|before| before.since.clone());
    let accepted =
        AcceptedCondition { is_true, reason: reason.to_owned(), message, since: since.unwrap_or_else(|| now.to_string()) };
    let status = EntryStatus { observed_generation: *generation, spiffe_id, accepted: Some(accepted) };
    (status != object.status).then_some(status)
}

impl KeptObjects for EntryObjects {
    fn keys(&self) -> BTreeSet<Key> {
        self.known.locked().index().keys()
    }

    fn take_changes(&self) -> BTreeSet<Key> {
        let mut changed = self.verdicts.take_changes();
        let mut known = self.known.locked();
        match known.index_mut().take_changes() {
            Changes::None => {}
            Changes::Some(keys) => changed.extend(keys),
            Changes::All => changed.extend(known.index().keys()),
        }
        changed
    }

    fn take_sweep(&self) -> BTreeSet<Key> {
        BTreeSet::new()
    }

    async fn changed(&self) {
        self.news.statuses.notified().await;
    }

    async fn look_at(&self, key: &Key) -> Outcome {
        let object = self.known.locked().index().get(key).cloned();
        let Some(object) = object else {
            self.written().remove(key);
            self.healing.forget(key);
            return Outcome::Settled { due: None };
        };
        match self.verdicts.of(key) {
            Some(verdict) if self.leads() && !object.is_terminating => self.tell(key, &object, verdict).await,
            Some(_) | None => Outcome::Settled { due: None },
        }
    }

    fn show(&self, _lengths: QueueLengths) {
        let (accepted, refused) = self.verdicts.counts();
        self.metrics.objects(accepted, refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_objects::entries::judgement::tests::object;

    #[test]
    fn an_object_is_told_once_what_was_judged_of_what_it_asks_for_now() {
        let at = Timestamp::from_unix_seconds;
        let (mut object, id) = (object("shop", "web"), "spiffe://example.org/ns/shop/web".to_owned());
        let verdict = |outcome| Verdict { uid: "uid-of-shop-web".to_owned(), generation: 1, outcome };
        let accepted = verdict(Ok(id.clone()));
        let told = due(&object, &accepted, at(5)).unwrap();
        assert_eq!((told.observed_generation, told.spiffe_id.as_ref()), (1, Some(&id)));
        let condition = told.accepted.clone().unwrap();
        assert_eq!((condition.is_true, condition.reason.as_str(), condition.since), (true, ACCEPTED, at(5).to_string()));
        object.status = told;
        assert_eq!(due(&object, &accepted, at(9)), None, "it says so already");

        let refusal = Refusal { reason: "InvalidPath", message: "\u{e9}".repeat(5000) };
        let told = due(&object, &verdict(Err(refusal)), at(9)).unwrap();
        let condition = told.accepted.clone().unwrap();
        assert_eq!((told.spiffe_id, condition.is_true, condition.since), (None, false, at(9).to_string()));
        assert_eq!(condition.message.chars().count(), MAX_MESSAGE_CHARACTERS);
        // Another reason is no other turn.
        object.status.accepted.as_mut().unwrap().reason = "Other".to_owned();
        assert_eq!(due(&object, &accepted, at(12)).unwrap().accepted.unwrap().since, at(5).to_string());

        let changes: [fn(&mut IdentityEntry); 2] = [|object| object.generation = 2, |object| object.uid = "another".to_owned()];
        for change in changes {
            let mut changed = object.clone();
            change(&mut changed);
            assert_eq!(due(&changed, &accepted, at(9)), None, "that was not judged");
        }
    }
}
