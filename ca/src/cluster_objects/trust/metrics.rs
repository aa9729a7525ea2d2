//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cluster_objects::queue::QueueLengths;

type OneLabel = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// Counts what is written, and shows how far it has come; clones share the numbers.
#[derive(Clone, Default)]
pub(crate) struct TrustMetrics {
    writes: Family<TwoLabels, Counter>,
    queue: Family<OneLabel, Gauge>,
    objects: Family<OneLabel, Gauge>,
}

/// What was done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It was made.
    Create,
    /// It was changed.
    Apply,
    /// It was deleted, so that it can be made anew.
    Delete,
}

impl TrustMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Objects of the cluster that show whom to trust and were written, by what was done and how that went";
        registry.register("kubernetes_trust_writes", help, metrics.writes.clone());
        let help = "Objects that show whom to trust and are to be looked at, by what they wait for";
        registry.register("kubernetes_trust_queue", help, metrics.queue.clone());
        let help = "Objects that show whom to trust, by whether they show the bundle of now";
        registry.register("kubernetes_trust_objects", help, metrics.objects.clone());
        for deed in [Deed::Create, Deed::Apply, Deed::Delete] {
            for outcome in ["ok", "failed"] {
                drop(metrics.writes.get_or_create(&[("what", deed.label()), ("outcome", outcome)]));
            }
        }
        metrics.queue(QueueLengths::default());
        metrics.objects(0, 0);
        metrics
    }

    /// Something was done, or not.
    pub(crate) fn done(&self, deed: Deed, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "failed" };
        self.writes.get_or_create(&[("what", deed.label()), ("outcome", outcome)]).inc();
    }

    /// How much there is to do.
    pub(crate) fn queue(&self, lengths: QueueLengths) {
        let QueueLengths { waiting, busy, paused, swept } = lengths;
        for (state, count) in [("waiting", waiting), ("busy", busy), ("paused", paused), ("sweep", swept)] {
            self.queue.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How many show the bundle of now, and how many do not.
    pub(crate) fn objects(&self, current: u64, behind: u64) {
        for (state, count) in [("current", current), ("behind", behind)] {
            self.objects.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl Deed {
    fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Delete => "delete",
        }
    }
}
