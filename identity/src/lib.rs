//! The nouns of workload identity, parsed once at the border and never again.
//!
//! Owns the trust domain, the SPIFFE ID (SPIFFE-ID sections 2 and 2.4), the identities that Signet reserves for itself, selectors,
//! DNS names, and hosts with ports. Pure values: no I/O, no clock, no randomness. Input is accepted or refused, never normalised.

mod dns_name;
mod host_port;
mod selector;
mod spiffe_id;
mod system;
mod trust_domain;

pub use dns_name::{DnsName, DnsNameError};
pub use host_port::{Host, HostPort, HostPortError};
pub use selector::{Selector, SelectorError, SelectorKind};
pub use spiffe_id::{MAX_SPIFFE_ID_BYTES, SpiffeId, SpiffeIdError};
pub use system::{AliasName, NodeName, NodeNameError, ReplicaName, SystemIdentity};
pub use trust_domain::{MAX_TRUST_DOMAIN_BYTES, TrustDomain, TrustDomainError};

/// Serialises as its text and reads back through its parser, so that nothing unparsed enters by configuration or storage.
macro_rules! text_serde {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
use text_serde;
