//! Client of the Kubernetes API, as far as Signet asks it: whom does this token stand for (`TokenReview`), and which pods run where?
//!
//! * [`ClusterConfig`]: where the API server is, what makes it trusted, and the file with the token that proves this process.
//! * [`KubernetesClient`]: every call within a deadline and a number of bytes, on one HTTP/2 connection. Nothing is tried again here but
//!   what was never sent: whoever asks knows what a second try may cost.
//! * [`review`] and [`pods`]: what is answered, as the fields that count. Who believes what of it is the caller's affair.
//! * [`pods::follower`]: a list and a watch kept together, as a machine without I/O. [`PodWatch`] is the stream that feeds it.
//! * [`ApiError`]: each fault in words, with what to do.

mod client;
mod config;
mod connection;
mod credential;
mod error;
pub mod names;
mod object;
mod pod_calls;
mod pod_watch;
pub mod pods;
pub mod review;
mod tally;

pub use client::KubernetesClient;
pub use config::ClusterConfig;
pub use error::{ApiError, Call, FaultKind, Message};
pub use pod_watch::PodWatch;
pub use tally::KubernetesMetrics;
