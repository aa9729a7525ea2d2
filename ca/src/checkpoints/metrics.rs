//! What is counted of checkpoints: `signet_ca_audit_...`.

use pki::checkpoint::SignedCheckpoint;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is wrong with the chain, or with what agents say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditAlarm {
    /// The chain does not continue what was signed for last.
    ChainBroken,
    /// An agent showed a checkpoint under our key that the store does not have.
    Fork,
    /// An agent showed a checkpoint that is not ours.
    NotOurs,
    /// A checkpoint that was due could not be made or stored.
    NotMade,
}

impl AuditAlarm {
    const ALL: [Self; 4] = [Self::ChainBroken, Self::Fork, Self::NotOurs, Self::NotMade];

    fn as_str(self) -> &'static str {
        match self {
            Self::ChainBroken => "chain_broken",
            Self::Fork => "fork",
            Self::NotOurs => "not_ours",
            Self::NotMade => "not_made",
        }
    }
}

/// The metrics of checkpoints.
#[derive(Clone, Default)]
pub(crate) struct CheckpointMetrics {
    sequence: Gauge,
    time: Gauge,
    alarms: Family<[(&'static str, &'static str); 1], Counter>,
    forks: Gauge,
}

impl CheckpointMetrics {
    /// Registers them below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("audit_checkpoint_sequence", "Last event that a checkpoint covers", metrics.sequence.clone());
        registry.register(
            "audit_checkpoint_timestamp_seconds",
            "When the newest checkpoint was made, in Unix seconds; 0 before the first",
            metrics.time.clone(),
        );
        registry.register("audit_alarms", "What is wrong with the audit chain, by kind", metrics.alarms.clone());
        registry.register("audit_forks", "Checkpoints of another history that nobody acknowledged", metrics.forks.clone());
        for alarm in AuditAlarm::ALL {
            drop(metrics.alarms.get_or_create(&[("kind", alarm.as_str())]));
        }
        metrics
    }

    /// The newest checkpoint.
    pub(super) fn made(&self, newest: &SignedCheckpoint) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.sequence.set(gauge(newest.checkpoint().sequence));
        self.time.set(gauge(newest.checkpoint().time.unix_seconds()));
    }

    /// Something is wrong.
    pub(super) fn alarm(&self, alarm: AuditAlarm) {
        self.alarms.get_or_create(&[("kind", alarm.as_str())]).inc();
    }

    /// What nobody acknowledged.
    pub(super) fn forks(&self, open: usize) {
        self.forks.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}
