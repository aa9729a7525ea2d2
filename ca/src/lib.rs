//! The certificate authority: who may be issued what, issuing it, and remembering it.

mod accept_clock;
pub mod admission;
mod attestation;
pub mod audit;
mod audit_walk;
pub mod authority;
pub mod backup;
mod checkpoints;
pub mod config;
mod csr_limit;
pub mod entry_plan;
mod error_reason;
pub mod federation;
mod init;
pub mod issuance;
mod issuance_clock;
mod issuing;
mod istio;
pub mod jwt;
mod key_file;
mod key_watch;
pub mod keystore;
mod metrics;
mod node_pods;
pub mod oidc;
mod pod_identities;
pub mod provisioning;
mod rate;
pub mod records;
mod replicas;
mod report;
pub mod revocation;
mod rotation;
pub mod rpc;
mod secret_controller;
mod server;
pub mod service_accounts;
mod serving;
mod sessions;
mod signing_keys;
pub mod store;
mod store_watch;
mod sync;
mod turns;
mod upkeep;
mod upstream;

pub use accept_clock::{AcceptClockError, AcceptedClock, accept_clock};
pub use audit_walk::verify as verify_audit;
pub use init::{
    CheckError, CheckReport, CheckedAuthority, InitError, InitOptions, InitReport, RenewReport, RootKept, SecretPlace, check,
    init, init_with_secret, is_made, issuer_renew,
};
pub use issuance_clock::ClockFault;
pub use rotation::maker::MakeError;
pub use rotation::steps::{Moment, Step, StepSeam};
pub use rotation::{AdoptionError, MaterialError};
pub use server::{Addresses, BoundServer, RunError, Server, StartError};
