//! What every service needs and no domain knows: clock, randomness, tasks and their end, backoff, readiness, telemetry,
//! the admin HTTP listener, configuration reading, private files, checked Unix sockets, word to the
//! service manager.
//!
//! The only crate that reads a clock, asks the system for randomness or starts a task; everything else takes these as
//! arguments. It knows no domain noun.

pub mod accept;
pub mod admin_http;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod hardening;
pub mod log_budget;
pub mod private_files;
pub mod readiness;
pub mod secret_source;
pub mod service_manager;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod unix_socket;
pub mod web_roots;
pub mod workload_endpoint;
