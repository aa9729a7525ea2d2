//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::content::IssueReason;
use crate::cluster_objects::queue::QueueLengths;

type OneLabel = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// Counts what is written, and shows how far it has come; clones share the numbers.
#[derive(Clone, Default)]
pub(crate) struct SecretMetrics {
    writes: Family<TwoLabels, Counter>,
    queue: Family<OneLabel, Gauge>,
    known: Family<OneLabel, Gauge>,
    troubles: Family<OneLabel, Gauge>,
}

/// What was done about a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Key and certificate, for this reason.
    Issue(IssueReason),
    /// All but key and certificate.
    Rewrite,
    /// It was deleted.
    Delete,
}

impl SecretMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Secrets of service accounts that were written or deleted, by why and how that went";
        registry.register("kubernetes_secret_writes", help, metrics.writes.clone());
        let help = "Service accounts that are to be looked at, by what they wait for";
        registry.register("kubernetes_secret_queue", help, metrics.queue.clone());
        registry.register("kubernetes_secret_objects", "Objects that the watches know of, by kind", metrics.known.clone());
        let help = "Service accounts that are without what they should have, by why";
        registry.register("kubernetes_secret_troubles", help, metrics.troubles.clone());
        let deeds = IssueReason::ALL.into_iter().map(Deed::Issue).chain([Deed::Rewrite, Deed::Delete]);
        for deed in deeds {
            for outcome in ["ok", "failed"] {
                drop(metrics.writes.get_or_create(&[("why", deed.label()), ("outcome", outcome)]));
            }
        }
        metrics.queue(QueueLengths::default());
        metrics.known(0, 0);
        metrics.troubles([("alien", 0), ("too_long", 0), ("failed", 0)]);
        metrics
    }

    /// Something was done, or not.
    pub(crate) fn done(&self, deed: Deed, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "failed" };
        self.writes.get_or_create(&[("why", deed.label()), ("outcome", outcome)]).inc();
    }

    /// How much there is to do.
    pub(crate) fn queue(&self, lengths: QueueLengths) {
        let QueueLengths { waiting, busy, paused, swept } = lengths;
        for (state, count) in [("waiting", waiting), ("busy", busy), ("paused", paused), ("sweep", swept)] {
            self.queue.get_or_create(&[("state", state)]).set(signed(count));
        }
    }

    /// How many objects are known.
    pub(crate) fn known(&self, accounts: usize, secrets: usize) {
        for (kind, count) in [("accounts", accounts), ("secrets", secrets)] {
            self.known.get_or_create(&[("kind", kind)]).set(signed(count));
        }
    }

    /// How many are in trouble, by label.
    pub(crate) fn troubles(&self, counts: [(&'static str, usize); 3]) {
        for (why, count) in counts {
            self.troubles.get_or_create(&[("why", why)]).set(signed(count));
        }
    }
}

impl Deed {
    fn label(self) -> &'static str {
        match self {
            Self::Issue(reason) => reason.label(),
            Self::Rewrite => "rewrite",
            Self::Delete => "delete",
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
