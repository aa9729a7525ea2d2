//! CAs that speak Istio's certificate API (`istio.v1.auth.IstioCertificateService`): istiod, and a Signet CA through that door.
//!
//! [`IstioCa`] makes one call with one credential and refuses every answer that goes beyond what this node trusts; `provider`
//! keeps the identities of the configuration by such calls; `credential` finds what each of them shows.

mod answer;
mod ca;
mod credential;
mod provider;
#[cfg(test)]
mod tests;

pub use answer::IstioAnswer;
pub(crate) use ca::{CaTrust, IstioCa, read_roots};
pub use credential::CredentialSource;
pub(crate) use credential::IstioCredential;
pub(crate) use provider::IstioProvider;
