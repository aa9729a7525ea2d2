//! Tests with real processes and a real socket.

mod attestation;
mod bounds;
mod children;
mod entries;
mod sds_methods;
mod socket;
