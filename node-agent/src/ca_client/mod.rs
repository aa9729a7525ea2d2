//! The agent's side of the CA's API: one verified connection at a time, attestation over it, and what flows on it after.
//!
//! `provider` is the seam to the rest of the agent: a Signet CA (`node`), or any that speaks Istio's API (`istio`).
//!
//! Pure parts: `lifecycle` (what to do next), `view` (what an update changes), `wire` (what an answer must be). The rest moves
//! bytes and persists.

mod attestation;
pub mod checkpoints;
mod connection;
mod fault;
mod issuer;
pub(crate) mod istio;
mod joining;
pub(crate) mod lifecycle;
mod node;
mod progress;
mod provider;
mod session;
mod storing;
mod told;
mod trust;
pub mod view;
pub mod wire;

pub(crate) use checkpoints::RefusedCheckpoint;
pub use fault::{CallFault, LONGEST_PAUSE, RefusalReason};
pub(crate) use issuer::JwtIssuer;
pub(crate) use istio::IstioProvider;
pub use istio::{CredentialSource, IstioAnswer};
pub use node::NodeFailure;
pub(crate) use node::{NodeClient, NodeSettings, NodeStatus, read_bundle_file};
pub(crate) use provider::CaProvider;
pub(crate) use view::NodeViews;
