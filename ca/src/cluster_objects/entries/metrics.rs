//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type OneLabel = [(&'static str, &'static str); 1];

/// Counts what is done, and shows how things are; clones share the numbers.
#[derive(Clone, Default)]
pub(crate) struct ObjectEntryMetrics {
    objects: Family<OneLabel, Gauge>,
    changes: Family<OneLabel, Counter>,
    failures: Counter,
    statuses: Family<OneLabel, Counter>,
}

/// What was done about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It was made.
    Create,
    /// It was changed.
    Update,
    /// It was deleted.
    Delete,
}

impl ObjectEntryMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Objects of the cluster that ask for entries, by whether they have one";
        registry.register("kubernetes_entry_objects", help, metrics.objects.clone());
        let help = "Entries that were changed because an object of the cluster asks for it";
        registry.register("kubernetes_entry_changes", help, metrics.changes.clone());
        let help = "Times that the store did not take what objects of the cluster ask for";
        registry.register("kubernetes_entry_failures", help, metrics.failures.clone());
        let help = "Times that an object that asks for an entry was told what became of it, by how that went";
        registry.register("kubernetes_entry_statuses", help, metrics.statuses.clone());
        for deed in [Deed::Create, Deed::Update, Deed::Delete] {
            drop(metrics.changes.get_or_create(&[("what", deed.label())]));
        }
        for outcome in ["ok", "failed"] {
            drop(metrics.statuses.get_or_create(&[("outcome", outcome)]));
        }
        metrics.objects(0, 0);
        metrics
    }

    /// How many have an entry, and how many are refused one.
    pub(super) fn objects(&self, accepted: usize, refused: usize) {
        for (state, count) in [("accepted", accepted), ("refused", refused)] {
            self.objects.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// An entry was changed.
    pub(super) fn changed(&self, deed: Deed) {
        self.changes.get_or_create(&[("what", deed.label())]).inc();
    }

    /// The store did not take it.
    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// An object was told, or not.
    pub(super) fn told(&self, is_ok: bool) {
        self.statuses.get_or_create(&[("outcome", if is_ok { "ok" } else { "failed" })]).inc();
    }
}

impl Deed {
    fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}
