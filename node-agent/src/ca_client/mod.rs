//! The agent's side of the CA's API: one verified connection at a time, attestation over it, and what flows on it after.
//!
//! `provider` is the seam to the rest of the agent: a Signet CA (`node`), any that speaks Istio's API (`istio`), or the PKI secrets engine
//! of Vault and OpenBao (`vault`); `configured` and `configured_provider` are what the latter two have in common.
//!
//! Pure parts: `lifecycle` (what to do next), `view` (what an update changes), `wire` (what an answer must be). The rest moves
//! bytes and persists.

mod addresses;
mod anchor;
mod attestation;
pub mod checkpoints;
mod configured;
mod configured_provider;
mod connection;
mod fault;
mod issuer;
pub(crate) mod istio;
mod joining;
pub(crate) mod lifecycle;
mod node;
mod progress;
mod provider;
mod rebootstrap;
mod session;
mod storing;
mod told;
mod trust;
pub(crate) mod vault;
pub mod view;
pub mod wire;

pub(crate) use addresses::CaAddresses;
pub(crate) use checkpoints::RefusedCheckpoint;
pub use fault::{CallFault, LONGEST_PAUSE, RefusalReason};
pub(crate) use issuer::JwtIssuer;
pub(crate) use istio::IstioProvider;
pub use istio::{CredentialSource, IstioAnswer};
pub use node::NodeFailure;
pub(crate) use node::{NodeClient, NodeSettings, NodeStatus, read_bundle_file};
pub(crate) use provider::CaProvider;
pub(crate) use rebootstrap::{RebootstrapDoor, RebootstrapNote, RebootstrapRefusal};
pub(crate) use vault::VaultProvider;
pub use vault::{AskedLeaf, checked_chain};
pub(crate) use view::NodeViews;
