//! What became of calls, counted. Label sets are closed, and those of calls that a process makes are there from the start, at zero.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::{ApiError, Call, FaultKind};

type Labels = [(&'static str, std::borrow::Cow<'static, str>); 2];

/// Counts the calls of one client. `Clone` shares them.
#[derive(Clone, Debug, Default)]
pub struct KubernetesMetrics(Family<Labels, Counter>);

const OUTCOMES: [&str; 5] = ["ok", "unreachable", "credential", "refused", "malformed"];

impl KubernetesMetrics {
    /// Puts them into a registry, as a counter of this name (without prefix and suffix). Those that this process makes are there at zero.
    pub fn register(&self, registry: &mut Registry, name: &'static str, made: &[Call]) {
        for call in made {
            for outcome in OUTCOMES {
                drop(self.0.get_or_create(&labels(*call, outcome)));
            }
        }
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
