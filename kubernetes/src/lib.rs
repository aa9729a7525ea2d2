//! Client of the Kubernetes API, as far as Signet asks it: whom does this token stand for (`TokenReview`), which pods run where, and the Secrets of
//! accounts, and whom others are told to trust.
//!
//! * [`ClusterConfig`]: where the API server is, what makes it trusted, and the file with the token that proves this process.
//! * [`KubernetesClient`]: every call within a deadline and a number of bytes, on one HTTP/2 connection. Nothing is tried again here but
//!   what was never sent: whoever asks knows what a second try may cost.
//! * [`review`], [`pods`], [`secrets`], [`config_maps`], [`webhooks`], [`identity_entries`] and [`metadata`]: what is answered, as the fields that count. Who believes what of it is the caller's affair.
//! * [`Resource`] is an object of a kind, [`Selection`] says which of them; `KubernetesClient` lists and watches any.
//! * [`follower`]: a list and a watch kept together, as a machine without I/O. [`Watcher`] is the task that does what it says.
//! * [`ApiError`]: each fault in words, with what to do.

mod client;
mod config;
pub mod config_maps;
mod connection;
mod credential;
mod error;
mod event;
pub mod follower;
pub mod identity_entries;
mod label_selector;
mod list;
pub mod metadata;
pub mod names;
mod object;
mod objects;
pub mod pods;
pub mod review;
mod secret_calls;
pub mod secrets;
mod tally;
mod watch;
mod watcher;
pub mod webhooks;
mod writing;

pub use client::KubernetesClient;
pub use config::ClusterConfig;
pub use error::{ApiError, Call, FaultKind, Kind, Message};
pub use event::Incident;
pub use label_selector::LabelSelector;
pub use objects::{ObjectEvent, ObjectList, Resource, Selection};
pub use secret_calls::SecretWrite;
pub use tally::KubernetesMetrics;
pub use watch::ObjectWatch;
pub use watcher::{Known, Watcher};
pub use writing::ObjectVersion;
