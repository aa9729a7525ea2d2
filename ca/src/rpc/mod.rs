//! The services on the wire: each file turns messages into domain values, calls the domain, and turns the answer back.

pub(crate) mod admin;
mod admin_audit;
pub(crate) mod admin_entries;
pub(crate) mod admin_sources;
pub(crate) mod admin_status;
pub(crate) mod admin_tail;
pub(crate) mod attest;
mod attest_certificate;
pub(crate) mod callers;
mod checkpoint_wire;
pub(crate) mod connection;
pub(crate) mod credential;
pub(crate) mod entry_wire;
pub(crate) mod hello;
pub(crate) mod istio;
pub(crate) mod listen;
pub(crate) mod message_limit;
pub(crate) mod node;
pub(crate) mod only_agents;
pub(crate) mod places;
pub(crate) mod status;
mod sync_checkpoints;
pub(crate) mod sync_stream;
pub(crate) mod wire;
