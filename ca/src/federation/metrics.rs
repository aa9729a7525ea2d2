//! The numbers of federation, described in docs/metrics.md.

use mtls::https::DocumentOutcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::standing::{Standing, Standings};

type OneLabel = [(&'static str, &'static str); 1];

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    /// A newer bundle was taken.
    Taken,
    /// It is the one held.
    Unchanged,
    /// No document came.
    Failed,
    /// One came and was refused.
    Refused,
}

/// The metrics; clones share them.
#[derive(Clone, Default)]
pub(crate) struct FederationMetrics {
    polls: Family<OneLabel, Counter>,
    relationships: Family<OneLabel, Gauge>,
    requests: Family<OneLabel, Counter>,
}

impl FederationMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("federation_polls", "Polls of foreign bundle endpoints, by outcome", metrics.polls.clone());
        registry.register(
            "federation_relationships",
            "Relationships with other trust domains, by how current what is held is",
            metrics.relationships.clone(),
        );
        registry.register(
            "federation_endpoint_connections",
            "Connections to the own bundle endpoint, by outcome",
            metrics.requests.clone(),
        );
        for poll in [Poll::Taken, Poll::Unchanged, Poll::Failed, Poll::Refused] {
            drop(metrics.polls.get_or_create(&[("outcome", poll.as_str())]));
        }
        for outcome in [DocumentOutcome::Served, DocumentOutcome::NotThere, DocumentOutcome::Failed, DocumentOutcome::Refused] {
            drop(metrics.requests.get_or_create(&[("outcome", outcome_label(outcome))]));
        }
        metrics.tell(&Standings::new());
        metrics
    }

    /// A poll has ended.
    pub(super) fn polled(&self, poll: Poll) {
        self.polls.get_or_create(&[("outcome", poll.as_str())]).inc();
    }

    /// A connection to the own endpoint has ended.
    pub(super) fn connection(&self, outcome: DocumentOutcome) {
        self.requests.get_or_create(&[("outcome", outcome_label(outcome))]).inc();
    }

    /// How the relationships do now.
    pub(super) fn tell(&self, standings: &Standings) {
        let count = |state: fn(&Standing) -> bool| {
            i64::try_from(standings.values().filter(|standing| state(standing)).count()).unwrap_or(i64::MAX)
        };
        let set = |state, count: i64| {
            self.relationships.get_or_create(&[("state", state)]).set(count);
        };
        set("current", count(|standing| standing.bundle.is_some() && !standing.stale));
        set("stale", count(|standing| standing.bundle.is_some() && standing.stale));
        set("without_bundle", count(|standing| standing.bundle.is_none()));
    }
}

fn outcome_label(outcome: DocumentOutcome) -> &'static str {
    match outcome {
        DocumentOutcome::Served => "served",
        DocumentOutcome::NotThere => "not_there",
        DocumentOutcome::Failed => "failed",
        DocumentOutcome::Refused => "refused",
    }
}

impl Poll {
    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}
