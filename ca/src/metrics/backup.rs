//! The numbers of backups: how many there were, and when the last good one was.

use pki::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::OneLabel;

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackupOutcome {
    /// All of it was taken.
    Made,
    /// It ended early.
    Failed,
}

impl BackupOutcome {
    const ALL: [Self; 2] = [Self::Made, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Failed => "failed",
        }
    }
}

/// The metrics of backups that this process made.
#[derive(Clone, Default)]
pub(crate) struct BackupMetrics {
    backups: Family<OneLabel, Counter>,
    last: Gauge,
}

impl BackupMetrics {
    /// Registers them below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("backups", "Backups of this CA since its start, by outcome", metrics.backups.clone());
        let help = "When the last backup was made since the start of this CA, in Unix seconds; 0 before the first";
        registry.register("backup_timestamp_seconds", help, metrics.last.clone());
        for outcome in BackupOutcome::ALL {
            drop(metrics.backups.get_or_create(&[("outcome", outcome.as_str())]));
        }
        metrics
    }

    /// One has ended.
    pub(crate) fn count(&self, outcome: BackupOutcome, now: Timestamp) {
        self.backups.get_or_create(&[("outcome", outcome.as_str())]).inc();
        if outcome == BackupOutcome::Made {
            self.last.set(i64::try_from(now.unix_seconds()).unwrap_or(i64::MAX));
        }
    }
}
