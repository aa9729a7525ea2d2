//! The end-to-end suite: a module per behaviour, real processes on loopback.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them, and prints its figures")]

mod architecture;
mod attestation;
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
mod isolation;
mod istio_ca;
mod istio_provider;
mod key_protection;
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
mod workload_api;
mod workload_jwt;
mod workload_restart;
