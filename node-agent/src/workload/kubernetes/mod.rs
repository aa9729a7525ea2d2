//! Workloads in pods: which container a process runs in, by its control groups, and which selectors that has, by what the API server says of
//! the pods of this node.
//!
//! `cgroup` and `selectors` decide, and are pure; `pods` waits for a container that is not listed yet, and says when what was found is no
//! longer so; `watcher` keeps up with the API server. `accounts` makes entries of the pods' service accounts, for who has none of the CA's.

mod accounts;
mod cgroup;
mod metrics;
mod pods;
mod selectors;
mod watcher;

pub(crate) use accounts::AccountEntries;
pub use cgroup::{ContainerPlace, PlaceError, container_of};
pub(crate) use metrics::PodMetrics;
pub(crate) use pods::NodePods;
pub(crate) use watcher::PodWatcher;
