//! What became of calls, counted. Label sets are closed, and there from the start, at zero.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::{ApiError, Call, FaultKind};

type Labels = [(&'static str, std::borrow::Cow<'static, str>); 2];

/// Counts the calls of one client. `Clone` shares them.
#[derive(Clone, Debug)]
pub struct KubernetesMetrics(Family<Labels, Counter>);

const OUTCOMES: [&str; 5] = ["ok", "unreachable", "credential", "refused", "malformed"];

impl Default for KubernetesMetrics {
    fn default() -> Self {
        let calls = Family::<Labels, Counter>::default();
        for call in Call::ALL {
            for outcome in OUTCOMES {
                drop(calls.get_or_create(&labels(call, outcome)));
            }
        }
        Self(calls)
    }
}

impl KubernetesMetrics {
    /// Puts them into a registry, as a counter of this name (without prefix and suffix).
    pub fn register(&self, registry: &mut Registry, name: &'static str) {
        registry.register(name, "Calls to the Kubernetes API server, by what was asked and what became of it", self.0.clone());
    }

    pub(crate) fn count<T>(&self, call: Call, outcome: &Result<T, ApiError>) {
        let outcome = match outcome.as_ref().map_err(ApiError::kind) {
            Ok(_) => "ok",
            Err(FaultKind::Unreachable) => "unreachable",
            Err(FaultKind::Credential) => "credential",
            Err(FaultKind::Refused) => "refused",
            Err(FaultKind::Malformed) => "malformed",
        };
        self.0.get_or_create(&labels(call, outcome)).inc();
    }
}

fn labels(call: Call, outcome: &'static str) -> Labels {
    [("call", call.label().into()), ("outcome", outcome.into())]
}
