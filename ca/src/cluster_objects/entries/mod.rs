//! Objects of a cluster that ask for entries (`IdentityEntry`, docs/kubernetes-entries.md): whoever may write them in a namespace has names below that
//! namespace given to pods of it.
//!
//! The object is the source and the store follows: `judgement` says what an object may have (pure), `follower` makes the entries of the cluster those
//! of its objects, in one plan, while this replica leads; `statuses` tells each object what became of it, once the store has it.

mod follower;
mod index;
pub mod judgement;
mod metrics;
mod statuses;
mod verdicts;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity::TrustDomain;
use kubernetes::identity_entries::IdentityEntry;
use kubernetes::{ClusterConfig, KubernetesMetrics, Watcher};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::shutdown::Shutdown;
use tokio::sync::Notify;

pub(crate) use follower::EntryFollower;
pub(crate) use metrics::ObjectEntryMetrics;
pub(crate) use statuses::EntryObjects;

use super::healing::Healing;
use super::queue::SharedQueue;
use super::reconciler::Reconciler;
use super::watching::WatchParts;
use crate::config::ObjectEntriesConfig;
use crate::replicas::Tenure;
use crate::store::Store;

/// Nothing is swept: each object is told what is said of it alone.
const SWEEP_RATE: u32 = 1;

/// What it is made of.
pub(crate) struct EntryParts {
    pub(crate) trust_domain: TrustDomain,
    /// The longest life of a leaf.
    pub(crate) max_ttl: Duration,
    /// The name of the cluster.
    pub(crate) cluster: String,
    pub(crate) server: ClusterConfig,
    pub(crate) config: ObjectEntriesConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tenure: Tenure,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) calls: KubernetesMetrics,
    pub(crate) metrics: ObjectEntryMetrics,
}

/// Who keeps up with the objects.
pub(crate) struct EntryWatcher {
    watcher: Watcher<index::Objects>,
    news: Arc<News>,
}

/// Who is told that something may have changed.
#[derive(Debug, Default)]
struct News {
    entries: Notify,
    statuses: Notify,
}

/// The tasks: of entries, of statuses, and who watches for both. Nothing is asked of the API server yet.
pub(crate) fn follower(parts: EntryParts) -> (EntryFollower, Reconciler<EntryObjects>, EntryWatcher) {
    let EntryParts { trust_domain, max_ttl, cluster, server, config, store, tenure, clock, entropy, calls, metrics } = parts;
    let watching = WatchParts { server: &server, calls: &calls, clock: &clock, entropy: &entropy };
    let (known, watcher) = watching.watcher(IdentityEntry::all());
    let news = Arc::new(News::default());
    let objects = Arc::new(EntryObjects {
        known,
        client: watching.client(),
        tenure: tenure.clone(),
        clock: Arc::clone(&clock),
        metrics,
        verdicts: verdicts::Verdicts::default(),
        troubles: statuses::Troubles::default(),
        healing: Healing::default(),
        written: Mutex::default(),
        news: Arc::clone(&news),
    });
    let follower = EntryFollower {
        objects: Arc::clone(&objects),
        trust_domain,
        max_ttl,
        cluster,
        config,
        store,
        entropy: Arc::clone(&entropy),
    };
    let queue = SharedQueue::default();
    (follower, Reconciler { objects, queue, tenure, clock, entropy, rate: SWEEP_RATE }, EntryWatcher { watcher, news })
}

impl EntryWatcher {
    /// Watches until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> std::io::Result<()> {
        let Self { watcher, news } = self;
        // Whoever hears it asks what has changed; nothing is no harm.
        let tell = |_: &mut _| {
            news.entries.notify_one();
            news.statuses.notify_one();
        };
        watcher.run(shutdown, tell).await
    }
}
