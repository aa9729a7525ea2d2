//! Tests with real processes and a real socket.

mod attestation;
mod children;
mod entries;
mod sds_methods;
mod socket;
