//! What is told of revocation: `signet_ca_revo...`.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use pki::Timestamp;

use super::{Published, Revoked};

/// The metrics of revocation.
#[derive(Clone, Default)]
pub(crate) struct RevocationMetrics {
    complete: Gauge,
    missing: Gauge,
    stale_at: Gauge,
    revoked: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl RevocationMetrics {
    /// Registers them below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "revocation_lists_complete",
            "Whether each CA has a revocation list that is good now",
            metrics.complete.clone(),
        );
        registry.register("revocation_lists_missing", "CAs without a revocation list that is good now", metrics.missing.clone());
        registry.register(
            "revocation_lists_stale_timestamp_seconds",
            "When the first of the revocation lists goes stale",
            metrics.stale_at.clone(),
        );
        registry.register("revoked", "What is revoked now", metrics.revoked.clone());
        for kind in ["certificate", "identity"] {
            metrics.revoked.get_or_create(&[("kind", kind)]).set(0);
        }
        metrics
    }

    /// What is so at `now`.
    pub(crate) fn tell(&self, published: &Published, revoked: &Revoked, now: Timestamp) {
        self.complete.set(i64::from(published.set.complete_at(now)));
        self.missing.set(signed(published.missing.len()));
        self.stale_at.set(published.set.next_stale_after(now).map_or(0, |stale| signed(stale.unix_seconds())));
        self.revoked.get_or_create(&[("kind", "certificate")]).set(signed(revoked.serials.len()));
        self.revoked.get_or_create(&[("kind", "identity")]).set(signed(revoked.denied.len()));
    }
}

fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
