//! The numbers of the limits: what was refused or closed, and how near the queue is to its own.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{OneLabel, signed};

/// A limit that somebody met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Bytes of a certificate request.
    CsrBytes,
    /// Bytes of a message.
    MessageBytes,
    /// Items of a batch.
    BatchItems,
    /// Connections of one address before authentication.
    ConnectionsPerAddress,
    /// Connections without a client certificate in all.
    AnonymousConnections,
    /// Bytes that the calls on one connection without a client certificate hold.
    AnonymousBytes,
    /// Connections of one identity.
    ConnectionsPerIdentity,
    /// Certificates of one identity over time.
    IssuanceRate,
    /// Attestations of one address over time.
    AttestationRate,
    /// Requests that wait.
    IssuanceQueue,
}

impl Limit {
    const ALL: [Self; 10] = [
        Self::CsrBytes,
        Self::MessageBytes,
        Self::BatchItems,
        Self::ConnectionsPerAddress,
        Self::AnonymousConnections,
        Self::AnonymousBytes,
        Self::ConnectionsPerIdentity,
        Self::IssuanceRate,
        Self::AttestationRate,
        Self::IssuanceQueue,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::CsrBytes => "csr_bytes",
            Self::MessageBytes => "message_bytes",
            Self::BatchItems => "batch_items",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::AnonymousConnections => "anonymous_connections",
            Self::AnonymousBytes => "anonymous_bytes",
            Self::ConnectionsPerIdentity => "connections_per_identity",
            Self::IssuanceRate => "issuance_rate",
            Self::AttestationRate => "attestation_rate",
            Self::IssuanceQueue => "issuance_queue",
        }
    }
}

/// The metrics; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct LimitMetrics {
    reached: Family<OneLabel, Counter>,
    accept_failures: Counter,
    issuance_waiting: Gauge,
}

impl LimitMetrics {
    /// Registers them with the registry of the CA.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { reached: Family::default(), accept_failures: Counter::default(), issuance_waiting: Gauge::default() };
        registry.register(
            "limits_reached",
            "Refusals and closed connections, by the limit that was reached",
            metrics.reached.clone(),
        );
        registry.register(
            "accept_failures",
            "Tries to accept a connection that failed for want of descriptors or memory",
            metrics.accept_failures.clone(),
        );
        registry.register("issuance_waiting", "Requests that wait for their turn to be issued", metrics.issuance_waiting.clone());
        for limit in Limit::ALL {
            drop(metrics.reached.get_or_create(&[("limit", limit.as_str())]));
        }
        metrics
    }

    /// Something was refused or closed for this limit.
    pub(crate) fn reached(&self, limit: Limit) {
        self.reached.get_or_create(&[("limit", limit.as_str())]).inc();
    }

    /// A connection could not be accepted.
    pub(crate) fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// So many wait now.
    pub(crate) fn issuance_waiting(&self, count: usize) {
        self.issuance_waiting.set(signed(count));
    }
}
