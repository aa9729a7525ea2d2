//! Who shows a token of an OpenID Connect issuer: the rules, the issuers' keys, and the judgement.
//!
//! Rules and mapping (`rule`, `template`) are pure; `keys` knows what is known and when to look, `refresher` looks.

pub(crate) mod config;
mod error;
mod judge;
mod keys;
mod metrics;
mod refresher;
mod rule;
mod template;
#[cfg(test)]
mod tests;

pub use error::{KeysUnavailable, TokenError, TokenRefusal};
pub(crate) use judge::check;
pub use judge::{OidcStartError, TokenJudge, TokenSubject};
pub use metrics::OidcMetrics;
pub use refresher::KeyRefresher;
pub use rule::{AdmissionSource, Grant, KeyLocation, OidcRule};
pub use template::{DnsTemplate, IdentityTemplate, MappingError, TemplateError, UsedClaims};
