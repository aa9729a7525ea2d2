//! Decides on the pods of a node: by what the watch says while it says something, and by a read else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::pods::{Pod, PodScope, PodsOfNodes};
use kubernetes::{ApiError, ClusterConfig, Known, KubernetesClient, KubernetesMetrics};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use tokio::sync::Semaphore;

use super::metrics::{DecidedBy, PodMetrics};
use super::watcher::PodWatcher;

/// For how long what the watch said last is enough to decide by.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// The time for a turn and a read.
const DEADLINE: Duration = Duration::from_secs(5);
/// Reads at once, each of the pods of another node.
const MAX_CONCURRENT: usize = 16;

/// Why nothing is known of a node's pods now.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PodsUnavailable {
    /// The API server did not say. Shared by all who waited for the same read.
    #[error("which pods run on the node cannot be told now: {0}")]
    Unread(Arc<ApiError>),
    /// Too many others ask.
    #[error(
        "which pods run on the node cannot be told now: too many others are being read about, and none of them was done within \
         {DEADLINE:?}"
    )]
    Busy,
}

/// The pods of nodes. One for the process.
pub(crate) struct NodePods {
    client: Arc<KubernetesClient>,
    known: Known<PodsOfNodes>,
    reads: Mutex<HashMap<String, Reads>>,
    /// Counts those who came.
    came: AtomicU64,
    slots: Semaphore,
    /// Why the last read went wrong; `None` when it did not.
    fault: Mutex<Option<String>>,
    /// When a read was answered last, or when this began.
    answered: Mutex<Duration>,
    /// For how long identities that were found to have a pod are renewed while nothing is heard.
    renewals: Duration,
    clock: Arc<dyn Clock>,
    metrics: PodMetrics,
}

/// Reads of one node's pods, one at a time: the last one.
type Reads = Arc<tokio::sync::Mutex<Option<Read>>>;

struct Read {
    /// How many had come when it was begun: it is for them, and for nobody who came later.
    for_those_before: u64,
    pods: Result<Arc<Vec<Pod>>, PodsUnavailable>,
}

impl PodsUnavailable {
    /// For how long the API server wants to be left alone, when it says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Unread(error) = self { error.retry_after() } else { None }
    }
}

impl NodePods {
    /// Who decides, by reads on this client, and who watches, on a connection of its own. Nothing is asked yet. `renewals` is for how long
    /// silence of the API server is bridged where somebody had an identity before it.
    pub(crate) fn new(
        client: Arc<KubernetesClient>,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
        calls: KubernetesMetrics,
        metrics: PodMetrics,
        renewals: Duration,
    ) -> (Self, PodWatcher) {
        let known = Known::default();
        let config: ClusterConfig = client.config().clone();
        let watcher = PodWatcher {
            client: KubernetesClient::new(config, Arc::clone(clock), calls),
            known: known.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            metrics: metrics.clone(),
        };
        let pods = Self {
            client,
            known,
            reads: Mutex::default(),
            came: AtomicU64::new(0),
            slots: Semaphore::new(MAX_CONCURRENT),
            fault: Mutex::default(),
            answered: Mutex::new(clock.boottime()),
            renewals,
            clock: Arc::clone(clock),
            metrics,
        };
        (pods, watcher)
    }

    /// What `judge` says of the pods of a node. What the watch says counts for 5 s, and only where something is found: what it has not heard
    /// of may be there already. Everything else is decided by a read that began after this was called.
    ///
    /// # Errors
    /// [`PodsUnavailable`].
    pub(crate) async fn decide<T, E>(
        &self,
        node: &str,
        judge: impl Fn(&[&Pod]) -> Result<T, E>,
    ) -> Result<Result<T, E>, PodsUnavailable> {
        if let Some(found) = self.watched(node, &judge) {
            self.metrics.decided(DecidedBy::Watch, Some(true));
            return Ok(Ok(found));
        }
        let judged = self.read(node).await.map(|pods| judge(&pods.iter().collect::<Vec<_>>()));
        self.metrics.decided(DecidedBy::Read, judged.as_ref().map(Result::is_ok).ok());
        judged
    }

    /// How much longer a silence is bridged for those who had an identity before it; `None` when that is over. Silence begins with what was
    /// heard last by a read or by the watch, or with this process.
    pub(crate) fn bridged_for(&self) -> Option<Duration> {
        let heard = self.known.locked().answered().unwrap_or_default().max(*locked(&self.answered));
        let silence = self.clock.boottime().saturating_sub(heard);
        self.renewals.checked_sub(silence).filter(|left| !left.is_zero())
    }

    /// What an operator should know.
    pub(crate) fn warning(&self) -> Option<String> {
        if let Some(fault) = locked(&self.fault).clone() {
            let renewals = match self.bridged_for() {
                Some(left) => format!("agents renew for {}s more what they had for a pod before", left.as_secs()),
                None => "nor are any renewed".to_owned(),
            };
            return Some(format!(
                "the pods of nodes cannot be read, and nobody gets an identity for them anew, {renewals}: {fault}"
            ));
        }
        let fault = self.known.locked().fault().map(str::to_owned)?;
        Some(format!("pods are not watched, and each question about them is read from the API server: {fault}"))
    }

    fn watched<T, E>(&self, node: &str, judge: impl Fn(&[&Pod]) -> Result<T, E>) -> Option<T> {
        let known = self.known.locked();
        let is_fresh = known.heard().is_some_and(|heard| self.clock.boottime().saturating_sub(heard) < FRESH_FOR);
        if !is_fresh {
            return None;
        }
        let pods: Vec<_> = known.index().pods_of(node).collect();
        judge(&pods).ok()
    }

    /// The pods of a node now. Those who come while one is read about wait for the next read, which is for all of them.
    async fn read(&self, node: &str) -> Result<Arc<Vec<Pod>>, PodsUnavailable> {
        let number = self.came.fetch_add(1, Ordering::SeqCst);
        let began = self.clock.boottime();
        let reads = {
            let mut all = locked(&self.reads);
            // Nobody waits for what only this map holds.
            all.retain(|_, reads| Arc::strong_count(reads) > 1);
            Arc::clone(all.entry(node.to_owned()).or_default())
        };
        let turn = async {
            let mut last = reads.lock().await;
            if let Some(Read { pods, .. }) = last.as_ref().filter(|read| number < read.for_those_before) {
                return pods.clone();
            }
            let Ok(_slot) = self.slots.acquire().await else { return Err(PodsUnavailable::Busy) };
            let left = DEADLINE.saturating_sub(self.clock.boottime().saturating_sub(began));
            let for_those_before = self.came.load(Ordering::SeqCst);
            let read = match PodScope::Node(node.to_owned()).selection() {
                Ok(selection) => self.client.list(&selection, left).await,
                Err(error) => Err(error),
            };
            if read.is_ok() {
                *locked(&self.answered) = self.clock.boottime();
            }
            self.tell(read.as_ref().err());
            let pods = read.map(|list| Arc::new(list.objects)).map_err(|error| PodsUnavailable::Unread(Arc::new(error)));
            *last = Some(Read { for_those_before, pods: pods.clone() });
            pods
        };
        // A little more than the read has, so that a read which takes too long says so itself.
        tokio::time::timeout(DEADLINE + DEADLINE / 10, turn).await.unwrap_or(Err(PodsUnavailable::Busy))
    }

    /// Says so once when it begins, and once when it is over.
    fn tell(&self, fault: Option<&ApiError>) {
        let fault = fault.map(ToString::to_string);
        let before = std::mem::replace(&mut *locked(&self.fault), fault.clone());
        match (before, fault) {
            (None, Some(fault)) => tracing::error!(fault, "the API server does not say which pods run on a node"),
            (Some(_), None) => tracing::info!("the API server says again which pods run on nodes"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use kubernetes::ObjectList;
    use kubernetes::follower::{Moment, Step};
    use runtime::clock::TestClock;
    use runtime::entropy::SystemEntropy;

    use super::*;

    fn pods(clock: &Arc<TestClock>, renewals: Duration) -> NodePods {
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(clock);
        let config = ClusterConfig {
            api_server: "https://127.0.0.1:1".parse().unwrap(),
            roots: "/nowhere/roots".into(),
            token_file: "/nowhere/token".into(),
        };
        let client = Arc::new(KubernetesClient::new(config, Arc::clone(&clock), KubernetesMetrics::default()));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        NodePods::new(client, &clock, &entropy, KubernetesMetrics::default(), PodMetrics::default(), renewals).0
    }

    #[test]
    fn a_silence_begins_with_the_last_word_of_the_api_server_whatever_became_of_what_it_said() {
        let seconds = Duration::from_secs;
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + seconds(1_800_000_000));
        let pods = pods(&clock, seconds(60));
        assert_eq!(pods.bridged_for(), Some(seconds(60)), "it begins with this process");
        clock.advance(seconds(600));
        assert_eq!(pods.bridged_for(), None);
        let at = Moment { now: clock.boottime(), random: 0 };
        {
            let mut known = pods.known.locked();
            assert_eq!(known.step(at), Step::List);
            known.listed(Ok(ObjectList { objects: Vec::new(), version: "1".to_owned() }), at.now, at);
        }
        clock.advance(seconds(10));
        assert_eq!(pods.bridged_for(), Some(seconds(50)));
        let now = Moment { now: clock.boottime(), ..at };
        {
            let mut known = pods.known.locked();
            assert!(matches!(known.step(now), Step::Watch { .. }));
            let unreachable = ApiError::Name { call: kubernetes::Call::List(kubernetes::Kind::Pods), what: "a node" };
            known.opened(Err(&unreachable), now);
            assert_eq!(known.heard(), None, "nobody decides by it any more");
        }
        assert_eq!(pods.bridged_for(), Some(seconds(50)));
        clock.advance(seconds(50));
        assert_eq!(pods.bridged_for(), None);
    }
}
