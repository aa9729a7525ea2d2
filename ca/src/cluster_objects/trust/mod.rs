//! Objects of a cluster by which others learn whom to trust (docs/kubernetes.md): a ConfigMap with the trust bundle in each namespace, one with the
//! revocation lists, and the `caBundle` of webhook configurations.
//!
//! What is to be done about one object is pure (`plan`), over what the watches know (`index`, `world`). `distribution` is what the task of
//! `cluster_objects::reconciler` works on; `standing` is what a rotation waits for: what was written is counted when a watch tells of it.

mod contents;
mod distribution;
mod index;
mod metrics;
mod names;
mod plan;
mod standing;
mod troubles;
mod world;

use std::sync::{Arc, Mutex};

use kubernetes::{ClusterConfig, KubernetesMetrics};
use pki::TrustBundle;
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use tokio::sync::watch;

pub(crate) use distribution::TrustObjects;
pub(crate) use metrics::TrustMetrics;
pub(crate) use standing::{TrustRow, TrustState};
pub(crate) use world::TrustWatcher;

use super::queue::SharedQueue;
use super::reconciler::Reconciler;
use super::watching::WatchParts;
use crate::config::TrustConfig;
use crate::replicas::Tenure;
use crate::revocation::Published;

/// What it is made of.
pub(crate) struct TrustParts {
    pub(crate) server: ClusterConfig,
    pub(crate) config: TrustConfig,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) lists: watch::Receiver<Arc<Published>>,
    pub(crate) tenure: Tenure,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) calls: KubernetesMetrics,
    pub(crate) metrics: TrustMetrics,
}

/// The task, and who watches for it. Nothing is asked of the API server yet.
pub(crate) fn distribution(parts: TrustParts) -> (Reconciler<TrustObjects>, Vec<TrustWatcher>) {
    let TrustParts { server, config, bundle, lists, tenure, clock, entropy, calls, metrics } = parts;
    let watching = WatchParts { server: &server, calls: &calls, clock: &clock, entropy: &entropy };
    let rate = config.rewrites_per_second;
    let (world, watchers) = world::World::new(config, &watching);
    let objects = Arc::new(TrustObjects {
        world,
        client: watching.client(),
        tenure: tenure.clone(),
        clock: Arc::clone(&clock),
        metrics,
        troubles: troubles::Troubles::default(),
        healing: super::healing::Healing::default(),
        written: Mutex::default(),
        contents: contents::Contents::default(),
        standing: standing::Standing::default(),
        seen: Mutex::new(distribution::Seen { bundle: bundle.clone(), lists: lists.clone() }),
        bundle,
        lists,
    });
    (Reconciler { objects, queue: SharedQueue::default(), tenure, clock, entropy, rate }, watchers)
}
