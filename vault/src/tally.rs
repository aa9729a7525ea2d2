//! What became of calls, counted. Label sets are closed, and there from the start, at zero.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::{FaultKind, VaultError};

type Labels = [(&'static str, &'static str); 2];

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// A login, or a look at a token that lay there.
    Login,
    /// The renewal of a token.
    Renew,
    /// A signature.
    Sign,
    /// A look at an issuer.
    Read,
}

/// Counts the calls of one client. `Clone` shares them.
#[derive(Clone, Debug)]
pub struct VaultMetrics(Family<Labels, Counter>);

const KINDS: [CallKind; 4] = [CallKind::Login, CallKind::Renew, CallKind::Sign, CallKind::Read];
const OUTCOMES: [&str; 5] = ["ok", "unreachable", "credential", "refused", "malformed"];

impl Default for VaultMetrics {
    fn default() -> Self {
        let calls = Family::<Labels, Counter>::default();
        for call in KINDS {
            for outcome in OUTCOMES {
                drop(calls.get_or_create(&[("call", call.as_str()), ("outcome", outcome)]));
            }
        }
        Self(calls)
    }
}

impl VaultMetrics {
    /// Puts them into a registry, as a counter of this name (without prefix and suffix).
    pub fn register(&self, registry: &mut Registry, name: &'static str) {
        registry.register(name, "Calls to Vault or OpenBao, by what was asked and what became of it", self.0.clone());
    }

    pub(crate) fn count<T>(&self, call: CallKind, outcome: &Result<T, VaultError>) {
        let outcome = match outcome {
            Ok(_) => "ok",
            Err(error) => match error.kind() {
                FaultKind::Unreachable => "unreachable",
                FaultKind::Credential => "credential",
                FaultKind::Refused => "refused",
                FaultKind::Malformed => "malformed",
            },
        };
        self.0.get_or_create(&[("call", call.as_str()), ("outcome", outcome)]).inc();
    }
}

impl CallKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Renew => "renew",
            Self::Sign => "sign",
            Self::Read => "read",
        }
    }
}
