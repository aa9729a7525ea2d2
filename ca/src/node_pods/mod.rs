//! Which pods run on which node, as far as identities depend on it.
//!
//! What a pod must be for somebody to have its identity (`rule`) is pure; `watcher` keeps up with the cluster, and `lookup` decides by it, or
//! by a read where it has heard nothing for a while.

mod lookup;
mod metrics;
mod rule;
mod watcher;

pub(crate) use lookup::{NodePods, PodsUnavailable};
pub(crate) use metrics::PodMetrics;
pub(crate) use rule::{NoLivePod, Sought, live_pod};
pub(crate) use watcher::PodWatcher;
