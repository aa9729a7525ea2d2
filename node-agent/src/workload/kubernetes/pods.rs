//! The pods of this node, as attestation uses them: waits for a container that is not listed yet, and knows when what was found of one is no
//! longer so.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::{Selector, SelectorKind};
use kubernetes::pods::PodsOnNode;
use kubernetes::{Known, KubernetesClient, KubernetesMetrics};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use tokio::sync::watch;

use super::accounts::accounts_of;
use super::cgroup::ContainerPlace;
use super::metrics::{Lookup, PodMetrics};
use super::selectors::{NoSelectors, selectors_of};
use super::watcher::PodWatcher;
use crate::config::PodsConfig;
use crate::entry::ServiceAccount;
use crate::workload::{Caller, Unreadable};

/// For how long a container may be unknown: a kubelet tells of one when it runs, which is a moment after it began to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that wait at once, in all and of one pod: none keeps the others from being served.
const MAX_WAITING: usize = 256;
const MAX_WAITING_OF_POD: usize = 16;

/// The pods of this node; clones share them.
#[derive(Clone)]
pub(crate) struct NodePods(Option<Arc<Pods>>);

struct Pods {
    node: String,
    known: Known<PodsOnNode>,
    changes: watch::Receiver<u64>,
    /// How many wait, by the UID of their pod.
    waiting: Mutex<HashMap<String, usize>>,
    metrics: PodMetrics,
}

/// What was found of a container, to be held against what is known later.
pub(crate) struct Standing(Option<Found>);

struct Found {
    pods: Arc<Pods>,
    place: ContainerPlace,
    selectors: Result<BTreeSet<Selector>, NoSelectors>,
}

/// A place among those who wait.
struct Turn<'a> {
    pods: &'a Pods,
    uid: String,
}

impl NodePods {
    /// Where no cluster is configured.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Who attests by the pods of this node, and who watches them. Nothing is asked yet.
    pub(crate) fn new(
        config: PodsConfig,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
        calls: KubernetesMetrics,
        metrics: PodMetrics,
    ) -> (Self, PodWatcher) {
        let PodsConfig { cluster, node_name: node, pod_identities: _ } = config;
        let (known, (changes, receiver)) = (Known::default(), watch::channel(0));
        let watcher = PodWatcher {
            client: KubernetesClient::new(cluster, Arc::clone(clock), calls),
            node: node.clone(),
            known: known.clone(),
            changes,
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            metrics: metrics.clone(),
        };
        (Self(Some(Arc::new(Pods { node, known, changes: receiver, waiting: Mutex::default(), metrics }))), watcher)
    }

    /// Adds the selectors of its pod to a caller, or why it has none. Waits for a container that is not listed yet while the caller runs.
    pub(crate) async fn complete(&self, caller: &mut Caller) -> Standing {
        let Some((pods, place)) = self.pod_of(caller) else { return Standing(None) };
        let process = Arc::clone(&caller.process);
        let selectors = tokio::select! {
            selectors = pods.wait_for(&place) => selectors,
            // Either order is fine: what is found does not matter any more.
            () = process.ended() => Err(NoSelectors::NotListed(place.clone())),
        };
        add(caller, &selectors);
        Standing(Some(Found { pods: Arc::clone(pods), place, selectors }))
    }

    /// The same by what is known at this moment.
    pub(crate) fn complete_now(&self, caller: &mut Caller) {
        if let Some((pods, place)) = self.pod_of(caller) {
            add(caller, &pods.look(&place));
        }
    }

    /// The container of a caller that is to be looked for. What is said to be in one and cannot be looked for is told so at once.
    fn pod_of(&self, caller: &mut Caller) -> Option<(&Arc<Pods>, ContainerPlace)> {
        let why = match (&self.0, caller.container.clone()) {
            (_, Ok(None)) => return None,
            (Some(pods), Ok(Some(place))) => return Some((pods, place)),
            (None, Ok(Some(place))) => format!("it runs in container {place}, and this agent has no [kubernetes]"),
            (pods, Err(why)) => {
                pods.iter().for_each(|pods| pods.metrics.looked_up(Lookup::Refused));
                why
            }
        };
        add_none(caller, &why, false);
        None
    }

    /// The accounts that pods on this node run as, as far as they are known; none where no cluster is configured.
    pub(super) fn accounts(&self) -> BTreeSet<ServiceAccount> {
        self.0.as_ref().map(|pods| accounts_of(pods.known.locked().index().pods(), &pods.node)).unwrap_or_default()
    }

    /// Hears of each change of what is known; of none where no cluster is configured.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.as_ref().map_or_else(|| watch::channel(0).1, |pods| pods.changes.clone())
    }

    /// What an operator should know.
    pub(crate) fn warning(&self) -> Option<String> {
        let fault = self.0.as_ref()?.known.locked().fault().map(str::to_owned)?;
        Some(format!(
            "the pods of this node are not watched: containers that have started since have no k8s: selectors, and labels may be old: {fault}"
        ))
    }
}

impl Pods {
    fn look(&self, place: &ContainerPlace) -> Result<BTreeSet<Selector>, NoSelectors> {
        selectors_of(place, self.known.locked().index().of_uid(&place.pod_uid), &self.node)
    }

    async fn wait_for(&self, place: &ContainerPlace) -> Result<BTreeSet<Selector>, NoSelectors> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        let mut found = self.look(place);
        let mut lookup = Lookup::NotListed;
        if matches!(&found, Err(none) if none.is_passing()) {
            match self.turn(&place.pod_uid) {
                Some(_turn) => {
                    let listed = async {
                        // Whoever watches is gone at the shutdown only: nothing comes any more.
                        while changes.changed().await.is_ok() {
                            let found = self.look(place);
                            if !matches!(&found, Err(none) if none.is_passing()) {
                                return found;
                            }
                        }
                        std::future::pending().await
                    };
                    if let Ok(listed) = tokio::time::timeout(PATIENCE, listed).await {
                        found = listed;
                    }
                }
                None => lookup = Lookup::TooMany,
            }
        }
        self.metrics.looked_up(match &found {
            Ok(_) => Lookup::Found,
            Err(none) if none.is_passing() => lookup,
            Err(_) => Lookup::Refused,
        });
        found
    }

    fn turn(&self, uid: &str) -> Option<Turn<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let of_pod = waiting.get(uid).copied().unwrap_or(0);
        if all >= MAX_WAITING || of_pod >= MAX_WAITING_OF_POD {
            return None;
        }
        waiting.insert(uid.to_owned(), of_pod + 1);
        self.metrics.waiting(all + 1);
        Some(Turn { pods: self, uid: uid.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.pods.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.uid);
            }
        }
        self.pods.metrics.waiting(waiting.values().sum());
    }
}

impl Standing {
    /// Resolves when the container has other selectors than were found: its pod has other labels, is gone, or is listed by now. Nobody else
    /// would look again while the connection lives.
    pub(crate) async fn outdated(self) {
        let Some(Found { pods, place, selectors }) = self.0 else { return std::future::pending().await };
        let mut changes = pods.changes.clone();
        let mut looked_at = None;
        loop {
            // Before the look, so that no change falls between.
            changes.mark_unchanged();
            let since = pods.known.locked().index().since(&place.pod_uid);
            // Most changes are of other pods.
            if looked_at != Some(since) && pods.look(&place) != selectors {
                return;
            }
            looked_at = Some(since);
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

fn add(caller: &mut Caller, found: &Result<BTreeSet<Selector>, NoSelectors>) {
    match found {
        Ok(selectors) => caller.selectors.extend(selectors.iter().cloned()),
        Err(none) => add_none(caller, &none.to_string(), none.is_passing()),
    }
}

/// All of them are absent for one reason.
fn add_none(caller: &mut Caller, why: &str, passing: bool) {
    let absent = SelectorKind::OF_PODS.map(|kind| Unreadable { kind, why: why.to_owned(), passing });
    caller.unreadable.extend(absent);
}

#[cfg(test)]
mod tests;
