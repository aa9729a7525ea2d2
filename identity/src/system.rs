//! The identities that Signet's own parts bear, below `/signet`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::spiffe_id::check_segment;
use crate::{SpiffeId, SpiffeIdError, TrustDomain, text_serde};

/// The longest node or replica name, in bytes: what a Kubernetes node name may have (RFC 1123 subdomain).
const MAX_NAME_BYTES: usize = 253;

/// Why a text cannot name a node or a replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameError {
    /// It could not stand in a SPIFFE ID as one segment.
    #[error("the name cannot be one segment of a SPIFFE ID: {0}")]
    Segment(#[from] SpiffeIdError),
    /// Over 253 bytes.
    #[error("the name has {found} bytes, at most {MAX_NAME_BYTES} are allowed")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
}

macro_rules! segment_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name of 1 to 253 bytes that can stand as one segment of a SPIFFE ID.
            ///
            /// # Errors
            /// [`NodeNameError`] when it cannot.
            pub fn parse(text: &str) -> Result<Self, NodeNameError> {
                check_segment(text)?;
                if text.len() > MAX_NAME_BYTES {
                    return Err(NodeNameError::TooLong { found: text.len() });
                }
                Ok(Self(text.into()))
            }

            /// The name, as parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NodeNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        text_serde!($name);
    };
}

segment_name! {
    /// The name of a node that runs an agent, as `token create --node` sets it.
    NodeName
}

segment_name! {
    /// The name of a set of nodes, chosen by the operator. It never stands in an identity; it keeps to the same letters so that it can
    /// be typed and shown wherever a node's name can.
    AliasName
}

segment_name! {
    /// The name of one replica of the CA.
    ReplicaName
}

/// A part of Signet, as its SPIFFE ID names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SystemIdentity {
    /// `/signet/ca/<replica>`: a CA's serving certificate.
    Ca(ReplicaName),
    /// `/signet/agent/<node>`: a node agent.
    Agent(NodeName),
}

impl SystemIdentity {
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        let (kind, name) = path.strip_prefix("/signet/")?.split_once('/')?;
        match kind {
            "ca" => ReplicaName::parse(name).ok().map(Self::Ca),
            "agent" => NodeName::parse(name).ok().map(Self::Agent),
            _ => None,
        }
    }

    /// The SPIFFE ID of this part in a trust domain.
    #[must_use]
    pub fn id(&self, trust_domain: &TrustDomain) -> SpiffeId {
        let (kind, name) = match self {
            Self::Ca(replica) => ("ca", replica.as_str()),
            Self::Agent(node) => ("agent", node.as_str()),
        };
        SpiffeId::of_parsed_segments(trust_domain, &["signet", kind, name])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_identities_round_trip_through_their_id() {
        let domain = TrustDomain::parse("example.org").unwrap();
        for part in
            [SystemIdentity::Ca(ReplicaName::parse("ca-1").unwrap()), SystemIdentity::Agent(NodeName::parse("n1.lan").unwrap())]
        {
            let id = part.id(&domain);
            assert_eq!(SpiffeId::parse(id.as_str()).unwrap(), id);
            assert_eq!(id.system_identity(), Some(part));
            assert!(id.is_reserved());
        }
    }

    #[test]
    fn near_misses_name_no_part_of_the_system() {
        for text in ["/signet/ca", "/signet/agent/a/b", "/signet/other/x", "/ca/x", "/signet/agents/x", ""] {
            let id = SpiffeId::parse(&format!("spiffe://t{text}")).unwrap();
            assert_eq!(id.system_identity(), None, "{id}");
        }
    }

    #[test]
    fn names_are_one_segment_of_bounded_length() {
        assert!(NodeName::parse(&"n".repeat(253)).is_ok());
        for bad in ["", ".", "..", "a/b", "a b", "%2e", &"n".repeat(254)] {
            assert!(NodeName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
