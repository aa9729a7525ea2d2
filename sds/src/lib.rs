//! Envoy's Secret Discovery Service, v3, over a [`SecretSource`] that the host provides.
//!
//! [`stream`] is the protocol as a state machine without I/O; [`SdsService`] moves its bytes. A caller is whoever the host attested:
//! no name in a request gives access to anything that [`SecretSource::subscribe`] did not give for that caller.

mod metrics;
mod service;
mod source;
pub mod stream;
mod wire;

pub use metrics::SdsMetrics;
pub use service::{SdsConnection, SdsService};
pub use source::{SecretSource, SecretState};
pub use stream::ValidationContextKind;
