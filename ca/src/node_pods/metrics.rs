//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type TwoLabels = [(&'static str, &'static str); 2];

/// Counts decisions, and the pods that are known; clones share the numbers.
#[derive(Clone, Default)]
pub(crate) struct PodMetrics {
    decisions: Family<TwoLabels, Counter>,
    known: Gauge,
    bridged: Counter,
}

/// By what a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecidedBy {
    /// By what the watch had said.
    Watch,
    /// By a read.
    Read,
}

const OUTCOMES: [&str; 3] = ["live", "none", "unavailable"];

impl PodMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Decisions on whether a live pod runs on a node, by what they were made and what was found";
        registry.register("kubernetes_pod_decisions", help, metrics.decisions.clone());
        registry.register("kubernetes_pods_known", "Pods on nodes that the watch has told of", metrics.known.clone());
        let help =
            "Certificates and tokens that agents got for pods which nobody could look for, since they had been found before";
        registry.register("kubernetes_bridged_renewals", help, metrics.bridged.clone());
        for by in [DecidedBy::Watch, DecidedBy::Read] {
            for outcome in OUTCOMES {
                drop(metrics.decisions.get_or_create(&[("by", by.label()), ("outcome", outcome)]));
            }
        }
        metrics
    }

    /// A decision; `None` when none could be made.
    pub(crate) fn decided(&self, by: DecidedBy, is_live: Option<bool>) {
        let outcome = match is_live {
            Some(true) => "live",
            Some(false) => "none",
            None => "unavailable",
        };
        self.decisions.get_or_create(&[("by", by.label()), ("outcome", outcome)]).inc();
    }

    /// Something was renewed while the API server did not say whether there is a pod.
    pub(crate) fn bridged(&self) {
        self.bridged.inc();
    }

    /// How many pods are known.
    pub(crate) fn known(&self, count: usize) {
        self.known.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl DecidedBy {
    fn label(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Read => "read",
        }
    }
}
