//! Mutual TLS with SPIFFE verification. The only crate that names rustls; its streams and errors are its own types.
//!
//! TLS 1.3 alone, no resumption and no tickets on either side (a resumed session would skip the check against the bundle of
//! now), credentials taken anew per handshake. Chains are validated by `pki` against the bundle of the peer's trust domain,
//! peers are recognised by SPIFFE ID and never by DNS name (SPIFFE X509-SVID section 5). Only servers outside of any trust
//! domain are known by name, under roots of their own. A [`VerifiedPeer`] is made by the
//! verifier of the very handshake that it speaks of, and by nothing else.
//!
//! [`https`] is the exception, and makes no peer: one bounded client for documents of the web, which is also TLS and therefore here.

mod accept;
mod address_group;
mod backend;
mod client;
mod credentials;
mod error;
pub mod https;
mod peer;
mod pem_files;
mod pending;
mod places;
mod server;
mod stall;
mod stream;
mod verify;

#[cfg(test)]
mod tests;

pub use accept::{Accepted, HandshakeEvents, HandshakeLimits, HandshakeOutcome, MtlsListener};
pub use address_group::AddressGroup;
pub use client::{ClientTls, ServerTrust};
pub use error::{PeerRejection, TlsError};
pub use peer::{PeerMatcher, VerifiedPeer};
pub use pem_files::{PemFault, check_pem_pair, check_pem_roots};
pub use places::{Busy, Closed, Order, Place, PlaceLimits, Places, Presence};
pub use server::{ClientAuthentication, ServerTls};
pub use stream::{EXPORTER_BYTES, TlsStream};
