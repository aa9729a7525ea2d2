//! The numbers of the CA, described in docs/metrics.md. Label sets are closed: every label value is a constant or comes from an enum.

mod backup;
mod keys;
mod labels;
mod limits;
mod rotation;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kubernetes::{Call, KubernetesMetrics};
use mtls::{HandshakeEvents, HandshakeOutcome};
use pki::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use vault::VaultMetrics;

use crate::checkpoints::metrics::CheckpointMetrics;
use crate::cluster_objects::entries::ObjectEntryMetrics;
use crate::cluster_objects::secrets::SecretMetrics;
use crate::cluster_objects::trust::TrustMetrics;
use crate::error_reason::ErrorReason;
use crate::federation::FederationMetrics;
use crate::node_pods::PodMetrics;
use crate::oidc::OidcMetrics;
use crate::revocation::RevocationMetrics;
use crate::service_accounts::ReviewMetrics;
use crate::store::Store;
use crate::upstream::metrics::UpstreamMetrics;
pub(crate) use backup::{BackupMetrics, BackupOutcome};
pub(crate) use keys::KeyCollector;
use labels::handshake_label;
pub(crate) use labels::{AttestationKind, ConnectionOutcome, IstioMethod, Purpose, Role};
pub(crate) use limits::{Limit, LimitMetrics};
pub(crate) use rotation::RotationCollector;

type OneLabel = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];
type ThreeLabels = [(&'static str, &'static str); 3];

/// The metrics; clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    expiry: Family<OneLabel, Gauge>,
    issuance: Family<ThreeLabels, Counter>,
    jwt_issuance: Family<TwoLabels, Counter>,
    attestations: Family<TwoLabels, Counter>,
    peer_refusals: Family<OneLabel, Counter>,
    istio_calls: Family<ThreeLabels, Counter>,
    handshakes: Family<OneLabel, Counter>,
    connections: Family<OneLabel, Counter>,
    sync_streams: Gauge,
    sync_lag: Gauge<f64, AtomicU64>,
    nodes: Family<OneLabel, Gauge>,
    entries: Gauge,
    bundle_sequence: Gauge,
    issuer_past_half_life: Gauge,
    clock_untrusted: Gauge,
    /// Of the part that judges tokens.
    pub(crate) oidc: OidcMetrics,
    /// Of the limits.
    pub(crate) limits: LimitMetrics,
    pub(crate) checkpoints: CheckpointMetrics,
    /// Of backups.
    pub(crate) backup: BackupMetrics,
    /// Revocation.
    pub(crate) revocation: RevocationMetrics,
    pub(crate) federation: FederationMetrics,
    /// Authorities that come from elsewhere.
    pub(crate) upstream: UpstreamMetrics,
    /// Calls to Vault or OpenBao above this CA.
    pub(crate) vault: VaultMetrics,
    /// Calls to the API server of Kubernetes.
    pub(crate) kubernetes: KubernetesMetrics,
    /// Of the part that has tokens reviewed there.
    pub(crate) reviews: ReviewMetrics,
    /// Of the part that looks for pods there.
    pub(crate) pods: PodMetrics,
    /// Of the part that writes Secrets there.
    pub(crate) secrets: SecretMetrics,
    pub(crate) trust: TrustMetrics,
    /// Of the part that follows objects there which ask for entries.
    pub(crate) object_entries: ObjectEntryMetrics,
}

impl Metrics {
    /// Registers everything below the registry's prefix, as `ca_...`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("ca");
        let metrics = Self {
            expiry: Family::default(),
            issuance: Family::default(),
            jwt_issuance: Family::default(),
            attestations: Family::default(),
            peer_refusals: Family::default(),
            istio_calls: Family::default(),
            handshakes: Family::default(),
            connections: Family::default(),
            sync_streams: Gauge::default(),
            sync_lag: Gauge::default(),
            nodes: Family::default(),
            entries: Gauge::default(),
            bundle_sequence: Gauge::default(),
            issuer_past_half_life: Gauge::default(),
            clock_untrusted: Gauge::default(),
            oidc: OidcMetrics::register(registry),
            limits: LimitMetrics::register(registry),
            checkpoints: CheckpointMetrics::register(registry),
            backup: BackupMetrics::register(registry),
            revocation: RevocationMetrics::register(registry),
            federation: FederationMetrics::register(registry),
            upstream: UpstreamMetrics::register(registry),
            vault: VaultMetrics::default(),
            kubernetes: KubernetesMetrics::default(),
            reviews: ReviewMetrics::register(registry),
            pods: PodMetrics::register(registry),
            secrets: SecretMetrics::register(registry),
            trust: TrustMetrics::register(registry),
            object_entries: ObjectEntryMetrics::register(registry),
        };
        metrics.vault.register(registry, "vault_calls");
        metrics.kubernetes.register(registry, "kubernetes_calls", &Call::ALL);
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate of the CA itself ends, in Unix seconds",
            metrics.expiry.clone(),
        );
        registry.register("issuance", "Certificates asked for, by what became of it", metrics.issuance.clone());
        registry.register("jwt_issuance", "JWT-SVIDs asked for, by what became of it", metrics.jwt_issuance.clone());
        registry.register("attestations", "Node attestations, by kind and outcome", metrics.attestations.clone());
        registry.register("peer_refusals", "Calls and messages refused for who the peer is", metrics.peer_refusals.clone());
        registry.register(
            "istio_calls",
            "Calls of istio.v1.auth, by credential and by what became of them",
            metrics.istio_calls.clone(),
        );
        registry.register("handshakes", "TLS handshakes of agents, by how they ended", metrics.handshakes.clone());
        registry.register("connections", "Finished TLS handshakes, by what became of them", metrics.connections.clone());
        registry.register("sync_streams", "Sync streams that are open", metrics.sync_streams.clone());
        registry.register("sync_lag_seconds", "Age of the oldest unacknowledged update", metrics.sync_lag.clone());
        registry.register("nodes", "Nodes on record, by state", metrics.nodes.clone());
        registry.register("entries", "Registration entries", metrics.entries.clone());
        registry.register("bundle_sequence", "Sequence of the trust bundle being pushed", metrics.bundle_sequence.clone());
        registry.register(
            "issuer_past_half_life",
            "1 when half of the issuing CA's life is over: time for signet ca issuer renew",
            metrics.issuer_past_half_life.clone(),
        );
        registry.register(
            "clock_untrusted",
            "1 while nothing is issued because the clock leapt ahead or is behind what was issued",
            metrics.clock_untrusted.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that is not there cannot be told from one that never counted, and its first event from a restart.
    fn begin_at_zero(&self) {
        for purpose in [Purpose::Workload, Purpose::Caller, Purpose::AccountSecret, Purpose::Agent, Purpose::Serving] {
            drop(self.issuance.get_or_create(&[("purpose", purpose.as_str()), ("outcome", "issued"), ("reason", "NONE")]));
        }
        drop(self.jwt_issuance.get_or_create(&[("outcome", "issued"), ("reason", "NONE")]));
        for kind in [
            AttestationKind::JoinToken,
            AttestationKind::Certificate,
            AttestationKind::ServiceAccount,
            AttestationKind::Reattestation,
        ] {
            for outcome in ["attested", "refused"] {
                drop(self.attestations.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome)]));
            }
        }
        for reason in [ErrorReason::MustReattest, ErrorReason::Banned, ErrorReason::NotAnAgent] {
            drop(self.peer_refusals.get_or_create(&[("reason", reason.as_str())]));
        }
        for method in [IstioMethod::CreateCertificate, IstioMethod::HandleCsr] {
            for credential in ["token", "certificate"] {
                let labels = [("method", method.as_str()), ("credential", credential), ("reason", "NONE")];
                drop(self.istio_calls.get_or_create(&labels));
            }
        }
        for outcome in [ConnectionOutcome::Identified, ConnectionOutcome::Anonymous, ConnectionOutcome::Unserved] {
            drop(self.connections.get_or_create(&[("outcome", outcome.as_str())]));
        }
        for outcome in HANDSHAKE_OUTCOMES {
            drop(self.handshakes.get_or_create(&[("outcome", handshake_label(outcome))]));
        }
        for role in [Role::Root, Role::Issuer, Role::Serving] {
            drop(self.expiry.get_or_create(&[("role", role.as_str())]));
        }
        self.fleet(0, 0, 0);
    }

    /// A certificate of the CA itself was loaded or made.
    pub(crate) fn expires(&self, role: Role, not_after: Timestamp) {
        self.expiry.get_or_create(&[("role", role.as_str())]).set(signed(not_after.unix_seconds()));
    }

    /// A certificate left, or did not: `refusal` is `None` for success.
    pub(crate) fn issuance(&self, purpose: Purpose, outcome: Result<(), Option<ErrorReason>>) {
        let (outcome, reason) = labels(outcome);
        self.issuance.get_or_create(&[("purpose", purpose.as_str()), ("outcome", outcome), ("reason", reason)]).inc();
    }

    /// A JWT-SVID was issued, or why not; `None` is a bug of ours.
    pub(crate) fn jwt_issuance(&self, outcome: Result<(), Option<ErrorReason>>) {
        let (outcome, reason) = labels(outcome);
        self.jwt_issuance.get_or_create(&[("outcome", outcome), ("reason", reason)]).inc();
    }

    /// A node attested (`Ok`), or was refused.
    pub(crate) fn attested<T, E>(&self, kind: AttestationKind, outcome: &Result<T, E>) {
        let outcome = if outcome.is_ok() { "attested" } else { "refused" };
        self.attestations.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome)]).inc();
    }

    /// A peer may not speak.
    pub(crate) fn peer_refused(&self, reason: Option<ErrorReason>) {
        self.peer_refusals.get_or_create(&[("reason", reason.map_or("INTERNAL", ErrorReason::as_str))]).inc();
    }

    /// A call in Istio's way was answered: by a certificate, or for a reason.
    pub(crate) fn istio_call(&self, method: IstioMethod, credential: &'static str, outcome: Result<(), Option<ErrorReason>>) {
        let reason = match outcome {
            Ok(()) => "NONE",
            Err(reason) => reason.map_or("INTERNAL", ErrorReason::as_str),
        };
        self.istio_calls.get_or_create(&[("method", method.as_str()), ("credential", credential), ("reason", reason)]).inc();
    }

    /// A handshake has finished.
    pub(crate) fn connection(&self, outcome: ConnectionOutcome) {
        self.connections.get_or_create(&[("outcome", outcome.as_str())]).inc();
    }

    /// What the hub says.
    pub(crate) fn sync(&self, streams: usize, lag: Duration) {
        self.sync_streams.set(signed(streams));
        self.sync_lag.set(lag.as_secs_f64());
    }

    /// What the store says.
    pub(crate) fn fleet(&self, attested: usize, banned: usize, entries: usize) {
        self.nodes.get_or_create(&[("state", "attested")]).set(signed(attested));
        self.nodes.get_or_create(&[("state", "banned")]).set(signed(banned));
        self.entries.set(signed(entries));
    }

    /// The bundle that is pushed.
    pub(crate) fn bundle(&self, sequence: u64) {
        self.bundle_sequence.set(signed(sequence));
    }

    /// Whether the clock keeps everything from being issued.
    pub(crate) fn clock(&self, trusted: bool) {
        self.clock_untrusted.set(i64::from(!trusted));
    }

    /// From when on the issuing CA should be renewed.
    pub(crate) fn issuer_half_life(&self, half_life: Timestamp, now: Timestamp) {
        self.issuer_past_half_life.set(i64::from(half_life <= now));
    }
}

/// Outcome and reason of an issuance: whose fault it was.
fn labels(outcome: Result<(), Option<ErrorReason>>) -> (&'static str, &'static str) {
    match outcome {
        Ok(()) => ("issued", "NONE"),
        Err(Some(
            reason @ (ErrorReason::StoreUnavailable
            | ErrorReason::ClockUntrusted
            | ErrorReason::IssuerEndsTooSoon
            | ErrorReason::Overloaded),
        )) => ("failed", reason.as_str()),
        Err(Some(reason)) => ("refused", reason.as_str()),
        Err(None) => ("failed", "INTERNAL"),
    }
}

fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// Reads the store's own numbers when somebody scrapes.
pub(crate) struct StoreCollector(pub(crate) Arc<dyn Store>);

impl std::fmt::Debug for StoreCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreCollector")
    }
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let writable = ConstGauge::new(i64::from(self.0.state().borrow().refusal().is_none()));
        let help = "1 while the store takes writes; while it does not, nothing is signed";
        writable.encode(encoder.encode_descriptor("ca_store_writable", help, None, writable.metric_type())?)?;
        let help = "Faults of the store's file that were met, by what the system said";
        let mut faults = encoder.encode_descriptor("ca_store_faults", help, None, MetricType::Counter)?;
        for (kind, count) in self.0.faults() {
            ConstCounter::new(count).encode(faults.encode_family(&[("kind", kind.as_str())])?)?;
        }
        let commits = ConstCounter::new(self.0.commits());
        let encoder = encoder.encode_descriptor(
            "ca_store_commits",
            "Transactions committed to the store; writes share them",
            None,
            commits.metric_type(),
        )?;
        commits.encode(encoder)
    }
}

impl HandshakeEvents for Metrics {
    fn handshake_ended(&self, outcome: HandshakeOutcome) {
        self.handshakes.get_or_create(&[("outcome", handshake_label(outcome))]).inc();
    }

    fn accept_failed(&self) {
        self.limits.accept_failed();
    }

    fn closed_for_address(&self) {
        self.limits.reached(Limit::ConnectionsPerAddress);
    }
}

const HANDSHAKE_OUTCOMES: [HandshakeOutcome; 11] = [
    HandshakeOutcome::Finished,
    HandshakeOutcome::PeerRejected,
    HandshakeOutcome::PeerAlert,
    HandshakeOutcome::Protocol,
    HandshakeOutcome::Io,
    HandshakeOutcome::Timeout,
    HandshakeOutcome::EvictedSilent,
    HandshakeOutcome::EvictedStalled,
    HandshakeOutcome::AddressEvictedSilent,
    HandshakeOutcome::AddressEvictedStalled,
    HandshakeOutcome::Config,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_served_from_the_start_and_documented() {
        let mut registry = runtime::telemetry::registry();
        let metrics = Metrics::register(&mut registry);
        registry.register_collector(Box::new(KeyCollector(None)));
        metrics.issuance(Purpose::Workload, Err(Some(ErrorReason::CsrInvalid)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let served: BTreeSet<_> = types
            .chain(["signet_ca_store_commits", "signet_ca_store_faults", "signet_ca_store_writable"])
            .chain(rotation::NAMES)
            .filter(|name| name.starts_with("signet_ca_"))
            .collect();
        let page = include_str!("../../docs/metrics.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<_> =
            rows.filter(|name| name.starts_with("signet_ca_")).map(|name| name.trim_end_matches("_total")).collect();
        assert_eq!(served, documented);
        let counted = "signet_ca_issuance_total{purpose=\"workload\",outcome=\"refused\",reason=\"CSR_INVALID\"} 1";
        assert!(text.contains(counted), "{text}");
    }
}
