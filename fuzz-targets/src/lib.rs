//! What is fuzzed. Each target takes bytes that somebody else chose and panics when a rule of Signet's does not hold; an input that
//! is refused is a good outcome, and so is one that is too short to mean anything.
//!
//! The bodies are functions: the same code runs under libFuzzer (`fuzz/`, docs/testing.md) and, over the corpora, in `cargo test`.

mod answer;
mod attest;
mod authority;
mod cgroup;
mod config;
mod crl;
mod csr;
mod fixture;
mod foreign_bundle;
mod hello;
mod jwks;
mod jwt;
mod ledger;
mod objects;
mod pem;
mod policy;
mod sds;
mod spiffe_id;
mod svid_verify;
mod sync;
mod targets;
mod vault;

pub use fixture::{JWT_KEY_PEM, LIST_ISSUER, ListIssuer, NOW, TRUST_DOMAIN, csr_of, list_of};
pub use targets::{TARGETS, Target, target};
