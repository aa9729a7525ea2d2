//! What the agent counts: `signet_agent_*`. docs/metrics.md is the list for people, and a test holds the two together.
//!
//! Label sets are closed: each value comes from an enum and is there from the start, at zero.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kubernetes::{Call, KubernetesMetrics};
use pki::{RevocationList, RevocationSet, Timestamp, TrustBundle};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runtime::telemetry;
use vault::VaultMetrics;

use crate::ca_client::NodeStatus;
use crate::identities::schedule::Overdue;
use crate::identities::{Held, IDENTITY_STATES};

type OneLabel = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// How a node attests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttestationMethod {
    JoinToken,
    Certificate,
    ServiceAccount,
    NodeKey,
}

/// How an attestation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttestationOutcome {
    Attested,
    /// By either side.
    Refused,
    /// The CA could not be reached.
    Unavailable,
}

/// How a try to get a certificate for a workload, or a new one for the agent, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssuanceOutcome {
    Issued,
    /// The CA said no.
    Refused,
    /// The CA could not be reached.
    Unavailable,
    /// What came was not what was asked for.
    Invalid,
}

/// What the agent refuses to take from the CA, and what it fails to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// An entry that does not parse or is not this node's.
    EntryRefused,
    /// A bundle that would go back, or contradicts the one held.
    BundleRefused,
    /// Revocation lists that do not verify, or would go back.
    RevocationRefused,
    /// A bundle of another trust domain from the CA was refused.
    ForeignBundleRefused,
    /// A file of the state directory could not be written.
    StateNotStored,
    /// A checkpoint of the CA's audit chain that contradicts the one kept.
    CheckpointRefused,
    /// Files that a caller asks for hold nothing that can be served.
    FileUnfit,
    /// The file by which the CA was first trusted names somebody else.
    AnchorDiffers,
    /// A cache of SVIDs that does not open, or cannot be kept.
    SvidCacheUnusable,
}

/// The agent's metrics.
#[derive(Clone, Default)]
pub(crate) struct AgentMetrics {
    svid_expiry: Gauge,
    sync_connected: Gauge,
    sync_lag: Gauge,
    bundle_sequence: Gauge,
    checkpoint_sequence: Gauge,
    revocation_sequence: Gauge,
    revocation_complete: Gauge,
    revocation_stale_at: Gauge,
    attestations: Family<TwoLabels, Counter>,
    agent_renewals: Family<OneLabel, Counter>,
    issuance: Family<OneLabel, Counter>,
    identities: Family<OneLabel, Gauge>,
    renewals_due: Gauge,
    renewals_late: Gauge,
    first_loss: Gauge,
    svids_tainted: Gauge,
    svids_cached: Gauge,
    alarms: Family<OneLabel, Counter>,
    vault: VaultMetrics,
    kubernetes: KubernetesMetrics,
}

impl AgentMetrics {
    /// Where calls to Vault or OpenBao are counted.
    pub(crate) fn vault(&self) -> VaultMetrics {
        self.vault.clone()
    }

    /// For the client that watches the pods of this node.
    pub(crate) fn kubernetes(&self) -> KubernetesMetrics {
        self.kubernetes.clone()
    }

    /// Registers all of them below `agent`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.fill_labels();
        let registry = registry.sub_registry_with_prefix("agent");
        metrics.vault.register(registry, "vault_calls");
        metrics.kubernetes.register(registry, "kubernetes_calls", &Call::OF_PODS);
        registry.register(
            "svid_expiry_timestamp_seconds",
            "Last second of the agent SVID, Unix time; 0 when there is none",
            metrics.svid_expiry.clone(),
        );
        registry.register("sync_connected", "Whether the sync stream to the CA is up", metrics.sync_connected.clone());
        registry.register("sync_lag_seconds", "Time since the node was last in step with the CA", metrics.sync_lag.clone());
        registry.register("bundle_sequence", "Sequence of the trust bundle in use", metrics.bundle_sequence.clone());
        registry.register(
            "audit_checkpoint_sequence",
            "Last event of the CA's audit chain that the checkpoint kept covers",
            metrics.checkpoint_sequence.clone(),
        );
        registry.register(
            "revocation_sequence",
            "Sequence of the revocation lists in use; 0 when there are none",
            metrics.revocation_sequence.clone(),
        );
        registry.register(
            "revocation_complete",
            "Whether each CA of the bundle has a revocation list that is current, as verifiers of whole chains want",
            metrics.revocation_complete.clone(),
        );
        registry.register(
            "revocation_stale_timestamp_seconds",
            "When the first revocation list goes stale, Unix time, also when it has; 0 when there are none",
            metrics.revocation_stale_at.clone(),
        );
        registry.register("attestations", "Attestations of the node, by method and outcome", metrics.attestations.clone());
        registry.register("svid_renewals", "Renewals of the agent SVID, by outcome", metrics.agent_renewals.clone());
        registry.register("issuance", "Certificates asked for workloads, by outcome", metrics.issuance.clone());
        registry.register("identities", "Identities of this node's entries, by state", metrics.identities.clone());
        registry.register("renewals_due", "Identities past their time to renew, or not held", metrics.renewals_due.clone());
        registry.register("renewals_late", "Identities due for more than a tenth of their life", metrics.renewals_late.clone());
        registry.register(
            "first_identity_loss_seconds",
            "Time until the first workload loses its identity if nothing renews it; -1 when none is held",
            metrics.first_loss.clone(),
        );
        registry.register("svids_tainted", "SVIDs held that rest on a tainted key", metrics.svids_tainted.clone());
        registry.register(
            "svid_cache_identities",
            "SVIDs in the sealed cache as it was written last; -1 when none was",
            metrics.svids_cached.clone(),
        );
        registry.register("alarms", "What the agent refused from the CA or failed to keep, by kind", metrics.alarms.clone());
        metrics
    }

    fn fill_labels(&self) {
        for method in [
            AttestationMethod::JoinToken,
            AttestationMethod::Certificate,
            AttestationMethod::ServiceAccount,
            AttestationMethod::NodeKey,
        ] {
            for outcome in [AttestationOutcome::Attested, AttestationOutcome::Refused, AttestationOutcome::Unavailable] {
                drop(self.attestations.get_or_create(&attestation_labels(method, outcome)));
            }
        }
        for outcome in IssuanceOutcome::ALL {
            drop(self.issuance.get_or_create(&[("outcome", outcome.as_str())]));
            drop(self.agent_renewals.get_or_create(&[("outcome", outcome.as_str())]));
        }
        for state in IDENTITY_STATES {
            drop(self.identities.get_or_create(&[("state", state)]));
        }
        for alarm in Alarm::ALL {
            drop(self.alarms.get_or_create(&[("kind", alarm.as_str())]));
        }
        self.first_loss.set(-1);
        self.svids_cached.set(-1);
    }

    /// How the node stands with the CA.
    pub(crate) fn node(&self, status: &NodeStatus, bundle: Option<&Arc<TrustBundle>>, lag: Duration) {
        let end = status.svid.as_ref().map_or(0, |svid| telemetry::unix_seconds(svid.leaf().not_after().into()));
        self.svid_expiry.set(end);
        let covered = status.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.checkpoint().sequence);
        self.checkpoint_sequence.set(i64::try_from(covered).unwrap_or(i64::MAX));
        self.sync_connected.set(i64::from(status.connected));
        self.sync_lag.set(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
        self.bundle_sequence.set(bundle.map_or(0, |bundle| i64::try_from(bundle.sequence()).unwrap_or(i64::MAX)));
    }

    /// What is known to be revoked.
    pub(crate) fn revocation(&self, bundle: Option<&TrustBundle>, lists: Option<&RevocationSet>, now: Timestamp) {
        self.revocation_sequence.set(lists.map_or(0, |lists| i64::try_from(lists.sequence()).unwrap_or(i64::MAX)));
        let complete = lists.zip(bundle).is_some_and(|(lists, bundle)| lists.complete_for(bundle, now));
        self.revocation_complete.set(i64::from(complete));
        let first = lists.and_then(|lists| lists.lists().iter().map(RevocationList::next_update).min());
        self.revocation_stale_at.set(first.map_or(0, |at| telemetry::unix_seconds(at.into())));
    }

    /// What is held for workloads.
    pub(crate) fn held(&self, held: &Held, overdue: Overdue, now: Timestamp) {
        for state in IDENTITY_STATES {
            let count = held.identities.iter().filter(|identity| identity.state.as_str() == state).count();
            self.identities.get_or_create(&[("state", state)]).set(gauge(count));
        }
        self.renewals_due.set(gauge(overdue.due));
        self.renewals_late.set(gauge(overdue.late));
        let loss = held.first_end().map_or(-1, |end| telemetry::seconds_until(SystemTime::from(end), now.into()));
        self.first_loss.set(loss);
        self.svids_tainted.set(gauge(held.tainted()));
    }

    pub(crate) fn attestation(&self, method: AttestationMethod, outcome: AttestationOutcome) {
        self.attestations.get_or_create(&attestation_labels(method, outcome)).inc();
    }

    pub(crate) fn agent_renewal(&self, outcome: IssuanceOutcome) {
        self.agent_renewals.get_or_create(&[("outcome", outcome.as_str())]).inc();
    }

    pub(crate) fn issuance(&self, outcome: IssuanceOutcome) {
        self.issuance.get_or_create(&[("outcome", outcome.as_str())]).inc();
    }

    pub(crate) fn svids_cached(&self, count: usize) {
        self.svids_cached.set(gauge(count));
    }

    pub(crate) fn alarm(&self, alarm: Alarm) {
        self.alarms.get_or_create(&[("kind", alarm.as_str())]).inc();
    }
}

fn attestation_labels(method: AttestationMethod, outcome: AttestationOutcome) -> TwoLabels {
    [("method", method.as_str()), ("outcome", outcome.as_str())]
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl AttestationMethod {
    fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::ServiceAccount => "service_account",
            Self::Certificate => "certificate",
            Self::NodeKey => "node_key",
        }
    }
}

impl AttestationOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl IssuanceOutcome {
    const ALL: [Self; 4] = [Self::Issued, Self::Refused, Self::Unavailable, Self::Invalid];

    fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
        }
    }
}

impl Alarm {
    const ALL: [Self; 9] = [
        Self::EntryRefused,
        Self::BundleRefused,
        Self::RevocationRefused,
        Self::ForeignBundleRefused,
        Self::CheckpointRefused,
        Self::StateNotStored,
        Self::FileUnfit,
        Self::AnchorDiffers,
        Self::SvidCacheUnusable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::EntryRefused => "entry_refused",
            Self::BundleRefused => "bundle_refused",
            Self::RevocationRefused => "revocation_refused",
            Self::ForeignBundleRefused => "foreign_bundle_refused",
            Self::CheckpointRefused => "checkpoint_refused",
            Self::StateNotStored => "state_not_stored",
            Self::FileUnfit => "file_unfit",
            Self::AnchorDiffers => "anchor_differs",
            Self::SvidCacheUnusable => "svid_cache_unusable",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Name, type and labels with their values, one line each, as the page has them in its first three columns.
    fn documented() -> BTreeSet<(String, String, String)> {
        let page = include_str!("../../docs/metrics.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `signet_agent_"));
        rows.map(|row| {
            let columns: Vec<_> = row.split('|').map(str::trim).collect();
            let name = columns[0].trim_end_matches('`');
            (name.trim_end_matches("_total").to_owned(), columns[1].to_owned(), columns[2].replace('`', ""))
        })
        .collect()
    }

    /// The same, from what is served right after the start.
    fn served() -> BTreeSet<(String, String, String)> {
        let mut registry = telemetry::registry();
        drop(AgentMetrics::register(&mut registry));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE signet_agent_"));
        types
            .map(|line| {
                let (name, kind) = line.split_once(' ').unwrap();
                (name.to_owned(), kind.to_owned(), labels(&text, name))
            })
            .collect()
    }

    /// `key: value, value; key: value`, in the order in which they are served, or `-`.
    fn labels(text: &str, name: &str) -> String {
        let mut keys: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines().filter(|line| line.starts_with(&format!("signet_agent_{name}"))) {
            let Some((_, rest)) = line.split_once('{') else { continue };
            for pair in rest.split('}').next().unwrap().split(',') {
                let (key, value) = pair.split_once('=').unwrap();
                let value = value.trim_matches('"').to_owned();
                match keys.iter_mut().find(|(known, _)| known == key) {
                    Some((_, values)) if values.contains(&value) => {}
                    Some((_, values)) => values.push(value),
                    None => keys.push((key.to_owned(), vec![value])),
                }
            }
        }
        for (_, values) in &mut keys {
            values.sort();
        }
        keys.sort();
        let text: Vec<_> = keys.iter().map(|(key, values)| format!("{key}: {}", values.join(", "))).collect();
        if text.is_empty() { "-".to_owned() } else { text.join("; ") }
    }

    #[test]
    fn the_page_and_what_is_served_agree_in_names_types_and_labels() {
        let sorted = |(name, kind, labels): (String, String, String)| {
            let labels = labels.split("; ").map(|label| match label.split_once(": ") {
                Some((key, values)) => {
                    let mut values: Vec<_> = values.split(", ").collect();
                    values.sort_unstable();
                    format!("{key}: {}", values.join(", "))
                }
                None => label.to_owned(),
            });
            (name, kind, labels.collect::<Vec<_>>().join("; "))
        };
        let documented: BTreeSet<_> = documented().into_iter().map(sorted).collect();
        assert_eq!(documented, served());
    }
}
