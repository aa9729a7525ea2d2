//! The node agent: proves the node to the CA, keeps an identity for every workload of the node, and hands each caller its own.
//!
//! * [`config`]: the file and the flags above it.
//! * [`ca_client`]: attestation, the connection to the CA, what is pushed over it.
//! * `identities`: the worker that fetches and renews; `secrets`: what of it is a caller's own.
//! * `bearer`: identities by tokens that streams bring. `file_secrets`: secrets from files, for callers that could read them.
//! * [`files`]: identities on disk, for programs that read nothing else.
//! * [`workload`]: who is calling, proven by the kernel; the socket that workloads use. `workload_api`: the SPIFFE Workload API on it.
//! * `progress`: how far the node is with what the CA sent.
//! * `admin`: the operator's socket. [`Server`] binds and runs the whole.

mod admin;
mod bearer;
pub mod ca_client;
mod certificate_directory;
mod check;
pub mod config;
pub mod entry;
mod explain;
#[cfg(test)]
mod fakes;
mod file_secrets;
pub mod files;
mod identities;
mod key_file;
mod metrics;
mod progress;
mod sds_source;
mod secrets;
mod server;
pub mod state;
mod svid_cache;
pub mod token;
mod web_token_file;
pub mod workload;
mod workload_api;

pub use check::{CheckFaults, CheckReport, check};
pub use file_secrets::{FileLinks, FileSecretSettings};
pub use server::{AgentAddresses, BoundServer, RunError, Server, StartError};
