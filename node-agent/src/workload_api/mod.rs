//! The SPIFFE Workload API (service `SpiffeWorkloadAPI`): X.509-SVIDs, JWT-SVIDs and bundles for the process that calls.
//!
//! Pure parts: `standing` (what a caller is told who gets nothing), `content` (what one that gets something is sent). The rest
//! follows one caller's state and moves bytes. Who is calling was settled when its connection was accepted
//! ([`crate::workload`]).

mod claims;
mod content;
mod follow;
mod header;
mod jwt;
mod jwt_svids;
mod metrics;
mod open_streams;
mod service;
mod standing;

pub(crate) use jwt_svids::JwtSvids;
pub(crate) use metrics::WorkloadApiMetrics;
pub(crate) use open_streams::OpenStreams;
pub(crate) use service::WorkloadApi;
