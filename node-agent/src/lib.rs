//! The node agent: proves the node to the CA, keeps an identity for every workload of the node, and hands each caller its own.
//!
//! * [`config`]: the file and the flags above it.
//! * [`ca_client`]: attestation, the connection to the CA, what is pushed over it.
//! * `identities`: the worker that fetches and renews; `secrets`: what of it is a caller's own.
//! * [`workload`]: who is calling, proven by the kernel; the socket that workloads use.
//! * `admin`: the operator's socket. [`Server`] binds and runs the whole.

mod admin;
pub mod ca_client;
mod check;
pub mod config;
pub mod entry;
#[cfg(test)]
mod fakes;
mod identities;
mod metrics;
mod secrets;
mod server;
pub mod state;
pub mod token;
pub mod workload;

pub use check::{CheckFaults, CheckReport, check};
pub use server::{AgentAddresses, BoundServer, RunError, Server, StartError};
