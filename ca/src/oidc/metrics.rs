//! The numbers of this part, described in docs/metrics.md.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::error::TokenError;

type OneLabel = [(&'static str, &'static str); 1];

/// How a look at an issuer's keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Keys were read.
    Loaded,
    /// The file is the one of before.
    Unchanged,
    /// Neither; the keys of before stay.
    Failed,
}

/// The metrics; clones share them.
#[derive(Clone, Default)]
pub struct OidcMetrics {
    tokens: Family<OneLabel, Counter>,
    looks: Family<OneLabel, Counter>,
}

/// Every outcome of a judgement: taken, each kind of refusal, keys not known.
const OUTCOMES: [&str; 10] =
    ["accepted", "malformed", "issuer", "unknown_key", "signature", "claim", "audience", "time", "mapping", "unavailable"];

impl OidcMetrics {
    /// Registers everything below the registry's prefix.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("oidc_tokens", "Tokens of OIDC issuers, by what was found", metrics.tokens.clone());
        registry.register("oidc_key_lookups", "Looks at the keys of OIDC issuers, by outcome", metrics.looks.clone());
        for outcome in OUTCOMES {
            drop(metrics.tokens.get_or_create(&[("outcome", outcome)]));
        }
        for look in [Look::Loaded, Look::Unchanged, Look::Failed] {
            drop(metrics.looks.get_or_create(&[("outcome", look.as_str())]));
        }
        metrics
    }

    /// A token was judged.
    pub(crate) fn judged<T>(&self, outcome: &Result<T, TokenError>) {
        let outcome = match outcome {
            Ok(_) => "accepted",
            Err(TokenError::Unauthenticated(refusal)) => refusal.label(),
            Err(TokenError::Unavailable(_)) => "unavailable",
        };
        self.tokens.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A look has ended.
    pub(crate) fn looked(&self, look: Look) {
        self.looks.get_or_create(&[("outcome", look.as_str())]).inc();
    }
}

impl Look {
    fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}
