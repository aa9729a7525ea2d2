//! The certificate authority: who may be issued what, issuing it, and remembering it.

pub mod admission;
mod attestation;
pub mod audit;
pub mod authority;
pub mod config;
pub mod entry_plan;
mod error_reason;
mod init;
pub mod issuance;
mod issuing;
mod istio;
pub mod jwt;
mod key_file;
pub mod keystore;
mod metrics;
pub mod oidc;
pub mod provisioning;
pub mod records;
mod report;
pub mod revocation;
mod rpc;
mod server;
mod serving;
mod sessions;
pub mod store;
mod sync;
mod upkeep;

pub use init::{CheckError, CheckReport, InitError, InitOptions, InitReport, RenewReport, check, init, issuer_renew};
pub use server::{Addresses, BoundServer, RunError, Server, StartError};
