//! The end-to-end suite: a module per behaviour, real processes on loopback.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them, and prints its figures")]

mod architecture;
mod attestation;
mod ca_start;
mod dev;
mod durability;
mod envoy_nack;
mod envoy_pair;
mod isolation;
mod operator;
mod outage;
mod overload;
mod relay;
mod sds_relay;
mod secrecy;
mod stranger;
mod telemetry;
