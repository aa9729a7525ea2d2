//! The end-to-end suite: a module per behaviour, real processes on loopback.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them, and prints its figures")]

mod agent_limits;
mod anchors;
mod architecture;
mod attestation;
mod audit_checkpoints;
mod ca_start;
mod certificate_attestation;
mod command_line;
mod dev;
mod durability;
mod entries;
mod envoy_delta;
mod envoy_nack;
mod envoy_pair;
mod file_secrets;
mod files;
mod http2;
mod isolation;
mod istio_ca;
mod istio_provider;
mod key_protection;
mod limbo;
mod limits;
mod memory_residue;
mod nginx;
mod oidc;
mod operator;
mod outage;
mod overload;
mod peers;
mod relay;
mod sds_bearer;
mod sds_relay;
mod secrecy;
mod service_manager;
mod stranger;
mod telemetry;
mod timer;
mod undumpable;
mod workload_api;
mod workload_jwt;
mod workload_restart;
