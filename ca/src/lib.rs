//! The certificate authority: who may be issued what, issuing it, and remembering it.

pub mod admission;
mod attestation;
pub mod audit;
pub mod authority;
pub mod config;
mod error_reason;
mod init;
pub mod issuance;
mod issuing;
pub mod keystore;
mod metrics;
pub mod records;
mod report;
mod rpc;
mod server;
mod serving;
mod sessions;
pub mod store;
mod sync;
mod upkeep;

pub use init::{CheckReport, InitError, InitOptions, InitReport, RenewReport, check, init, issuer_renew};
pub use server::{Addresses, BoundServer, RunError, Server, StartError};
