//! The agent's side of the CA's API: one verified connection at a time, attestation over it, and what flows on it after.
//!
//! Pure parts: `lifecycle` (what to do next), `view` (what an update changes), `wire` (what an answer must be). The rest moves
//! bytes and persists.

mod attestation;
mod connection;
mod fault;
mod issuer;
mod joining;
pub(crate) mod lifecycle;
mod node;
mod session;
mod storing;
mod told;
pub(crate) mod view;
pub(crate) mod wire;

pub use fault::{CallFault, RefusalReason};
pub use node::NodeFailure;
pub(crate) use node::{NodeClient, NodeSettings, NodeStatus, read_bundle_file};
