//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts what became of connections from pods; clones share the numbers.
#[derive(Clone, Default)]
pub(crate) struct PodMetrics {
    lookups: Family<[(&'static str, &'static str); 1], Counter>,
    known: Gauge,
    waiting: Gauge,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Its container was listed, at once or within the time.
    Found,
    /// It was not, all the time.
    NotListed,
    /// What is listed is not believed, or the control groups are not.
    Refused,
    /// Too many others waited.
    TooMany,
}

impl PodMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let workload = registry.sub_registry_with_prefix("workload");
        workload.register("pod_lookups", "Connections from pods, by what was found of their container", metrics.lookups.clone());
        workload.register("pods_known", "Pods of this node that the API server has told of", metrics.known.clone());
        workload.register(
            "pod_lookups_waiting",
            "Connections that wait for their container to be listed",
            metrics.waiting.clone(),
        );
        for lookup in [Lookup::Found, Lookup::NotListed, Lookup::Refused, Lookup::TooMany] {
            drop(metrics.lookups.get_or_create(&[("outcome", lookup.label())]));
        }
        metrics
    }

    pub(super) fn looked_up(&self, lookup: Lookup) {
        self.lookups.get_or_create(&[("outcome", lookup.label())]).inc();
    }

    pub(super) fn known(&self, count: usize) {
        self.known.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Lookup {
    fn label(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotListed => "not_listed",
            Self::Refused => "refused",
            Self::TooMany => "too_many",
        }
    }
}
