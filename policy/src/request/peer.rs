//! Who is at the other end, by the certificate that was verified.

use identity::{SpiffeId, SpiffeIdError};

/// Whoever showed a client certificate. Exactly one URI names it, and nothing else in the certificate does: neither a DNS name nor the
/// subject, which Envoy would take as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// No certificate was shown.
    #[default]
    Absent,
    /// A certificate was shown, and nobody can tell whose it is. Such a connection is refused.
    Unreadable(PeerFault),
    /// The identity of the certificate.
    Identity(SpiffeId),
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// It has no URI among its names.
    #[error("the certificate has no URI that names its holder")]
    NoUri,
    /// It has several.
    #[error("the certificate has {found} URIs; exactly one names its holder")]
    SeveralUris {
        /// How many there are.
        found: usize,
    },
    /// The URI is not text.
    #[error("the URI of the certificate is not ASCII")]
    NotText,
    /// The URI is no SPIFFE ID.
    #[error(transparent)]
    Malformed(#[from] SpiffeIdError),
    /// The URI names a trust domain and nobody in it.
    #[error("the URI of the certificate names a trust domain and nobody in it")]
    TrustDomain,
}

impl Peer {
    /// Reads the URI names of a certificate that was verified.
    #[must_use]
    pub fn of_uri_names(uris: &[&[u8]]) -> Self {
        Self::read(uris).map_or_else(Self::Unreadable, Self::Identity)
    }

    fn read(uris: &[&[u8]]) -> Result<SpiffeId, PeerFault> {
        let uri = match uris {
            [] => return Err(PeerFault::NoUri),
            [uri] => std::str::from_utf8(uri).map_err(|_| PeerFault::NotText)?,
            [..] => return Err(PeerFault::SeveralUris { found: uris.len() }),
        };
        let id = SpiffeId::parse(uri)?;
        if id.path().is_empty() { Err(PeerFault::TrustDomain) } else { Ok(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_spiffe_id_names_a_peer() {
        let id = "spiffe://td/ns/foo/sa/a";
        assert_eq!(Peer::of_uri_names(&[id.as_bytes()]), Peer::Identity(SpiffeId::parse(id).unwrap()));
        for (uris, fault) in [
            (vec![], PeerFault::NoUri),
            (vec![id.as_bytes(), id.as_bytes()], PeerFault::SeveralUris { found: 2 }),
            (vec![b"spiffe://td/\xff".as_slice()], PeerFault::NotText),
            (vec![b"https://td/a"], PeerFault::Malformed(SpiffeIdError::Scheme)),
            (vec![b"spiffe://td/ns/a/sa/b\0x"], PeerFault::Malformed(SpiffeIdError::Character { found: '\0' })),
            (vec![b"spiffe://td"], PeerFault::TrustDomain),
        ] {
            assert_eq!(Peer::of_uri_names(&uris), Peer::Unreadable(fault));
        }
    }
}
