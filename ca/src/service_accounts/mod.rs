//! Callers that prove themselves by the token of a Kubernetes service account, which the API server reviews.
//!
//! What a review proves (`account`) and what is remembered of one (`cache`) is pure; `reviewer` asks.

mod account;
mod cache;
mod metrics;
mod reviewer;

pub use account::{BoundPod, ReviewRefusal, ReviewedAccount};
pub(crate) use metrics::ReviewMetrics;
pub(crate) use reviewer::{ReviewError, ReviewSettings, TokenReviewer};
