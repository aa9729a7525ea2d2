//! What a decision is asked about: where a request goes, on what connection, and what it says.
//!
//! Everything is borrowed and may hold any bytes; what is not known is absent, and an absent attribute matches no value. What a client says
//! of itself in headers is never taken for an attribute of the connection (CVE-2020-8843).

mod connection;
mod forwarded;
mod http;
mod peer;
mod target;
mod token;

pub use connection::{Connection, Transport};
pub use forwarded::client_address;
pub use http::{HeaderFault, Headers, Request};
pub use peer::{Peer, PeerFault};
pub use target::{Attachment, Role, Service, Target};
pub use token::{ClaimValue, PresentedToken, TokenFault, VerifiedToken};
