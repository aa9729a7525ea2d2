//! Client of the HTTP API of Vault and OpenBao, as far as their PKI secrets engine signs certificates for Signet: for the issuing CA
//! (`sign-intermediate`) and for workloads (`sign`).
//!
//! * [`VaultConfig`]: where the server is, what makes it trusted, and what proves this process to it.
//! * [`VaultClient`]: keeps a token (logs in, renews, logs in anew) and asks; every call is bounded in time, bytes and tries.
//! * [`answer`]: from bytes to values, pure. Certificates are read here and believed nowhere: whoever asked verifies them.
//! * [`VaultError`]: each fault in words, with what to do.
//!
//! The API is the documented one; nothing here was written against one version of either product.

pub mod answer;
mod client;
mod config;
mod credential;
mod error;
mod lease;
mod path;
mod sign;
mod tally;
#[cfg(test)]
mod tests;

pub use client::VaultClient;
pub use config::{AuthMethod, VaultConfig};
pub use error::{FaultKind, Reasons, VaultError};
pub use path::{PathError, PathName};
pub use sign::{IntermediateRequest, LeafRequest};
pub use tally::VaultMetrics;
