//! What is counted of authorities that come from elsewhere: `signet_ca_upstream_...`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Where the issuing CA comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// A directory that somebody else fills.
    Files,
    /// Another Signet CA.
    Signet,
    /// Vault or OpenBao.
    Vault,
}

impl UpstreamKind {
    const ALL: [Self; 3] = [Self::Files, Self::Signet, Self::Vault];

    /// As it stands in configuration, metrics and the audit chain.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Signet => "signet",
            Self::Vault => "vault",
        }
    }
}

/// What became of an issuing CA that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamOutcome {
    /// It verified, and was taken.
    Taken,
    /// It was there, and is not used.
    Refused,
    /// There was none: upstream was not reached, or did not sign.
    Failed,
}

impl UpstreamOutcome {
    const ALL: [Self; 3] = [Self::Taken, Self::Refused, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The metrics of upstream authorities. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct UpstreamMetrics {
    answers: Family<[(&'static str, &'static str); 2], Counter>,
    fault: Gauge,
    downstream: Family<[(&'static str, &'static str); 1], Counter>,
}

impl UpstreamMetrics {
    /// Registers them below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "upstream_authorities",
            "Issuing CAs that came from elsewhere, by what became of them",
            metrics.answers.clone(),
        );
        registry.register(
            "upstream_fault",
            "1 while what came from elsewhere is not used, or nothing comes",
            metrics.fault.clone(),
        );
        registry.register(
            "downstream_authorities",
            "Issuing CAs that other CAs asked for, by what became of it",
            metrics.downstream.clone(),
        );
        for outcome in ["signed", "refused"] {
            drop(metrics.downstream.get_or_create(&[("outcome", outcome)]));
        }
        for upstream in UpstreamKind::ALL {
            for outcome in UpstreamOutcome::ALL {
                drop(metrics.answers.get_or_create(&[("upstream", upstream.as_str()), ("outcome", outcome.as_str())]));
            }
        }
        metrics
    }

    /// One came, or did not.
    pub(crate) fn count(&self, upstream: UpstreamKind, outcome: UpstreamOutcome) {
        self.answers.get_or_create(&[("upstream", upstream.as_str()), ("outcome", outcome.as_str())]).inc();
    }

    /// Another CA asked for an issuing CA, or for the roots and was refused.
    pub(crate) fn downstream(&self, is_signed: bool) {
        self.downstream.get_or_create(&[("outcome", if is_signed { "signed" } else { "refused" })]).inc();
    }

    /// Whether something is wrong with it.
    pub(crate) fn fault(&self, is_wrong: bool) {
        self.fault.set(i64::from(is_wrong));
    }
}
