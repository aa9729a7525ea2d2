//! The other side of a connection: which TLS a client speaks to a service (Istio DestinationRule), how that meets what the server takes, and
//! whether the server is who was meant (secure naming).
//!
//! None of it decides about a request that has come. It tells beforehand why one would not come at all.

mod lookup;
mod meeting;
mod naming;

pub use lookup::{Client, ClientSettings, Destination, SettingsLevel, client_settings};
pub use meeting::{AutoMtls, Meeting, ServerMode, client_mode, meet};
pub use naming::{NamingFault, ServerNames, ServerVerification, expected_names, judge_server, server_verification};
