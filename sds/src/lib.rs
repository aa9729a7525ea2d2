//! Envoy's Secret Discovery Service, v3, over a [`SecretSource`] that the host provides.
//!
//! [`stream`] is the protocol as a state machine without I/O; [`SdsService`] moves its bytes. A caller is whoever the host attested:
//! no name in a request gives access to anything that [`SecretSource::subscribe`] did not give for that caller.

mod bearer;
mod file_secret;
mod metrics;
mod progress;
mod server;
mod service;
mod source;
pub mod stream;
mod wire;

pub use bearer::{BearerRefusal, BearerToken, TokenFault};
pub use file_secret::{FILE_CERTIFICATE_PREFIX, FILE_ROOT_PREFIX, FileSecret, FileSecrets, MAX_FILE_NAMES};
pub use metrics::SdsMetrics;
pub use progress::{SdsProgress, StreamProgress};
pub use server::SdsServer;
pub use service::{SdsConnection, SdsService};
pub use source::{FileNames, SecretSource, SecretState};
pub use stream::ValidationContextKind;
