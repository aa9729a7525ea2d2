//! Who is at the other end.

use std::fmt;

use identity::{SpiffeId, SystemIdentity, TrustDomain};
use pki::{Certificate, SerialNumber, SvidError, Timestamp, TrustBundle, Usage, ValidatedSvid};

use crate::PeerRejection;

/// A peer whose chain was validated in this handshake. Only the verifiers of this crate make one.
#[derive(Clone, Debug)]
pub struct VerifiedPeer {
    svid: ValidatedSvid,
    pinned_root: Option<Certificate>,
}

impl VerifiedPeer {
    /// Takes the proof of a validated chain and checks who it speaks of.
    pub(crate) fn admit(
        svid: ValidatedSvid,
        pinned_root: Option<Certificate>,
        expect: Option<&PeerMatcher>,
    ) -> Result<Self, PeerRejection> {
        if let Some(wanted) = expect.filter(|wanted| !wanted.matches(svid.id())) {
            return Err(PeerRejection::WrongId { seen: svid.id().clone(), wanted: wanted.clone() });
        }
        Ok(Self { svid, pinned_root })
    }

    /// Who.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        self.svid.id()
    }

    /// Serial of its leaf.
    #[must_use]
    pub fn serial(&self) -> &SerialNumber {
        self.svid.serial()
    }

    /// Last second of its leaf. A connection may outlive it: whoever serves requests asks again.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.svid.not_after()
    }

    /// Its leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        self.svid.leaf()
    }

    /// Validates the chain of the handshake anew, as of now: a connection outlives the moment in which it was made.
    ///
    /// # Errors
    /// [`SvidError`]: an end has passed since, or its authority is not in this bundle.
    pub fn validate_again(&self, bundle: &TrustBundle, usage: Usage, now: Timestamp) -> Result<ValidatedSvid, SvidError> {
        self.svid.validate_again(bundle, usage, now)
    }

    /// The root whose hash was pinned, when the peer was verified under it ([`crate::ServerTrust::PinnedRoot`]).
    #[must_use]
    pub fn pinned_root(&self) -> Option<&Certificate> {
        self.pinned_root.as_ref()
    }
}

/// Which peers are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMatcher {
    /// Exactly this one.
    Exact(SpiffeId),
    /// A CA of Signet: `/signet/ca/<replica>` of this trust domain.
    SignetCa(TrustDomain),
    /// Anyone of the trust domain (the caller authorises later).
    AnyOf(TrustDomain),
}

impl PeerMatcher {
    /// Whether `id` is one of them.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(wanted) => id == wanted,
            Self::SignetCa(domain) => id.trust_domain() == domain && matches!(id.system_identity(), Some(SystemIdentity::Ca(_))),
            Self::AnyOf(domain) => id.trust_domain() == domain,
        }
    }
}

/// For error texts: what was wanted.
impl fmt::Display for PeerMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => write!(f, "{id}"),
            Self::SignetCa(domain) => write!(f, "a CA of Signet, spiffe://{domain}/signet/ca/<replica>"),
            Self::AnyOf(domain) => write!(f, "any identity of the trust domain {domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_accept_theirs_and_nobody_else() {
        let domain = TrustDomain::parse("example.org").unwrap();
        let id = |text: &str| SpiffeId::parse(text).unwrap();
        let exact = PeerMatcher::Exact(id("spiffe://example.org/web"));
        let ca = PeerMatcher::SignetCa(domain.clone());
        let any = PeerMatcher::AnyOf(domain);
        for (text, by_exact, by_ca, by_any) in [
            ("spiffe://example.org/web", true, false, true),
            ("spiffe://example.org/web/x", false, false, true),
            ("spiffe://example.org/signet/ca/ca-1", false, true, true),
            ("spiffe://example.org/signet/ca", false, false, true),
            ("spiffe://example.org/signet/agent/n", false, false, true),
            ("spiffe://example.com/signet/ca/ca-1", false, false, false),
            ("spiffe://example.com/web", false, false, false),
        ] {
            let matched = [&exact, &ca, &any].map(|matcher| matcher.matches(&id(text)));
            assert_eq!(matched, [by_exact, by_ca, by_any], "{text}");
        }
    }
}
