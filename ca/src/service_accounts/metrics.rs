//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::reviewer::ReviewError;

type OneLabel = [(&'static str, &'static str); 1];

/// Counts tokens by what was found; clones share the counters.
#[derive(Clone, Default)]
pub(crate) struct ReviewMetrics(Family<OneLabel, Counter>);

const OUTCOMES: [&str; 9] =
    ["accepted", "remembered", "malformed", "not_authenticated", "audience", "not_an_account", "bound", "unavailable", "busy"];

impl ReviewMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("kubernetes_tokens", "Tokens of Kubernetes service accounts, by what was found", metrics.0.clone());
        for outcome in OUTCOMES {
            drop(metrics.0.get_or_create(&[("outcome", outcome)]));
        }
        metrics
    }

    /// A token was taken without a question.
    pub(crate) fn remembered(&self) {
        self.count("remembered");
    }

    /// A token was asked about, or could not be.
    pub(crate) fn reviewed<T>(&self, outcome: &Result<T, ReviewError>) {
        self.count(match outcome {
            Ok(_) => "accepted",
            Err(ReviewError::Refused(refusal)) => refusal.label(),
            Err(ReviewError::Unavailable { .. }) => "unavailable",
            Err(ReviewError::Busy) => "busy",
        });
    }

    fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&[("outcome", outcome)]).inc();
    }
}
