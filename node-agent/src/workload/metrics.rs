//! Metrics of the workload socket: `docs/metrics.md`, section "Workload socket".

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Clone freely. The default counts and is registered nowhere.
#[derive(Clone, Debug, Default)]
pub struct WorkloadMetrics {
    connections: Gauge,
    refused: Family<Refused, Counter>,
    calls: Gauge,
    refused_calls: Family<RefusedCall, Counter>,
}

impl WorkloadMetrics {
    /// Registers the metrics below `<prefix of the registry>_workload_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in [Refusal::NotAttested, Refusal::TooManyOfUser, Refusal::TooMany] {
            drop(metrics.refused.get_or_create(&Refused { reason }));
        }
        for reason in [CallRefusal::TooManyOfUser, CallRefusal::RequestBytesOfUser] {
            drop(metrics.refused_calls.get_or_create(&RefusedCall { reason }));
        }
        let workload = registry.sub_registry_with_prefix("workload");
        workload.register("connections", "Attested connections open now", metrics.connections.clone());
        workload.register("connections_refused", "Connections closed before a byte was read", metrics.refused.clone());
        workload.register("calls", "Calls and streams open now", metrics.calls.clone());
        workload.register("calls_refused", "Calls ended for what their user holds already", metrics.refused_calls.clone());
        metrics
    }

    pub(super) fn opened(&self) {
        self.connections.inc();
    }

    pub(super) fn closed(&self) {
        self.connections.dec();
    }

    pub(super) fn call_opened(&self) {
        self.calls.inc();
    }

    pub(super) fn call_closed(&self) {
        self.calls.dec();
    }

    pub(super) fn refused_call(&self, reason: CallRefusal) {
        self.refused_calls.get_or_create(&RefusedCall { reason }).inc();
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: Refusal,
}

/// Why a connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    NotAttested,
    TooManyOfUser,
    TooMany,
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write;
        encoder.write_str(match self {
            Self::NotAttested => "not_attested",
            Self::TooManyOfUser => "too_many_of_user",
            Self::TooMany => "too_many",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedCall {
    reason: CallRefusal,
}

/// Why a call was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CallRefusal {
    TooManyOfUser,
    RequestBytesOfUser,
}

impl EncodeLabelValue for CallRefusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write;
        encoder.write_str(match self {
            Self::TooManyOfUser => "too_many_of_user",
            Self::RequestBytesOfUser => "request_bytes_of_user",
        })
    }
}
