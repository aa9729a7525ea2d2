//! Mutual TLS with SPIFFE verification. The only crate that names rustls; its streams and errors are its own types.
//!
//! TLS 1.3 alone, no resumption and no tickets on either side (a resumed session would skip the check against the bundle of
//! now), credentials taken anew per handshake. Chains are validated by `pki` against the bundle of the peer's trust domain,
//! peers are recognised by SPIFFE ID and never by DNS name (SPIFFE X509-SVID section 5). A [`VerifiedPeer`] is made by the
//! verifier of the very handshake that it speaks of, and by nothing else.

mod accept;
mod backend;
mod client;
mod credentials;
mod error;
mod peer;
mod pending;
mod server;
mod stream;
mod verify;

#[cfg(test)]
mod tests;

pub use accept::{Accepted, HandshakeEvents, HandshakeLimits, HandshakeOutcome, MtlsListener};
pub use client::{ClientTls, ServerTrust};
pub use error::{PeerRejection, TlsError};
pub use peer::{PeerMatcher, VerifiedPeer};
pub use server::{ClientAuthentication, ServerTls};
pub use stream::{EXPORTER_BYTES, TlsStream};
