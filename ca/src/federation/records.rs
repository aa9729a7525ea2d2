//! What is kept of a relationship.

use std::str::FromStr;

use identity::{SpiffeId, TrustDomain};
use mtls::https::{HttpsUrl, HttpsUrlError};
use pki::Timestamp;

/// A relationship with another trust domain: where its bundle is, and how its server is recognised. All of it was said by an operator,
/// nothing is inferred (SPIFFE Federation section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// Whose bundle it is; never the CA's own trust domain.
    pub trust_domain: TrustDomain,
    /// Where it is.
    pub endpoint: BundleEndpoint,
    /// When an operator added it.
    pub created_at: Timestamp,
}

/// A bundle endpoint (SPIFFE Federation section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEndpoint {
    /// Where.
    pub url: HttpsUrl,
    /// Who.
    pub trust: EndpointTrust,
}

/// How the server is recognised (SPIFFE Federation section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointTrust {
    /// Profile `https_web`: by the name in the URL, under authorities of the web.
    Web,
    /// Profile `https_spiffe`: by this SPIFFE ID of the same trust domain, under the newest bundle held of that.
    Spiffe(SpiffeId),
}

/// A foreign bundle as its publisher wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDocument {
    /// A SPIFFE JWKS document.
    pub json: Vec<u8>,
    /// Its sequence; 0 when it names none.
    pub sequence: u64,
    /// When it was taken.
    pub taken_at: Timestamp,
}

/// A relationship with the newest bundle that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFederation {
    /// The relationship.
    pub federation: Federation,
    /// `None` before the first.
    pub document: Option<ForeignDocument>,
}

/// What is wrong with a relationship that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FederationFault {
    /// It would be with itself.
    #[error("{0} is this CA's own trust domain: a relationship is with another one")]
    OwnTrustDomain(TrustDomain),
    /// The name of the trust domain.
    #[error("the trust domain: {0}")]
    TrustDomain(#[from] identity::TrustDomainError),
    /// Where the bundle is.
    #[error("the endpoint: {0}")]
    Url(#[from] HttpsUrlError),
    /// Who the server is.
    #[error("the endpoint's SPIFFE ID: {0}")]
    SpiffeId(#[from] identity::SpiffeIdError),
    /// It is of another trust domain: that one's bundle would be needed to recognise it.
    #[error(
        "the endpoint's SPIFFE ID {id} is not of the trust domain {trust_domain}: only an endpoint that vouches for its own trust \
         domain is taken; name its ID there, or use the profile https_web"
    )]
    ForeignEndpoint {
        /// As asked.
        id: SpiffeId,
        /// The one asked for.
        trust_domain: TrustDomain,
    },
    /// `https_spiffe` without who the server is.
    #[error(
        "the profile https_spiffe needs the SPIFFE ID of the endpoint: without it anyone of the trust domain could publish its bundle"
    )]
    SpiffeIdMissing,
    /// `https_web` with a SPIFFE ID.
    #[error(
        "an endpoint of the profile https_web is known by the name in its URL; leave its SPIFFE ID out, or use the profile https_spiffe"
    )]
    SpiffeIdUnused,
    /// `https_spiffe` without a bundle to begin with.
    #[error(
        "the profile https_spiffe needs a bundle to begin with, got from somebody who is trusted: nothing else tells who the endpoint is"
    )]
    BundleMissing,
    /// Neither profile.
    #[error("the profile is neither https_web nor https_spiffe")]
    Profile,
}

impl BundleEndpoint {
    /// An endpoint of `trust_domain`, by what an operator said or the store kept: `spiffe_id` for the profile `https_spiffe`, and `None` for
    /// `https_web`.
    ///
    /// # Errors
    /// [`FederationFault`].
    pub fn new(trust_domain: &TrustDomain, url: &str, spiffe_id: Option<&str>) -> Result<Self, FederationFault> {
        let url = HttpsUrl::from_str(url)?;
        let trust = match spiffe_id {
            None => EndpointTrust::Web,
            Some(text) => {
                let id = SpiffeId::parse(text)?;
                if id.trust_domain() != trust_domain {
                    return Err(FederationFault::ForeignEndpoint { id, trust_domain: trust_domain.clone() });
                }
                EndpointTrust::Spiffe(id)
            }
        };
        Ok(Self { url, trust })
    }

    /// The SPIFFE ID that the server must show, with the profile `https_spiffe`.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        match &self.trust {
            EndpointTrust::Web => None,
            EndpointTrust::Spiffe(id) => Some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_and_vouches_for_its_own_trust_domain() {
        let domain = TrustDomain::parse("other.org").unwrap();
        let new = |url: &str, id: Option<&str>| BundleEndpoint::new(&domain, url, id);
        assert_eq!(new("https://other.org/bundle", None).unwrap().trust, EndpointTrust::Web);
        let id = "spiffe://other.org/ca";
        let spiffe = new("https://10.0.0.1:8444/", Some(id)).unwrap();
        assert_eq!(spiffe.spiffe_id().unwrap().as_str(), id);
        for url in ["http://other.org/", "https://user@other.org/", "https://other.org/#a", "other.org"] {
            assert!(matches!(new(url, None), Err(FederationFault::Url(_))), "{url}");
        }
        assert!(matches!(new("https://other.org/", Some("other.org/ca")), Err(FederationFault::SpiffeId(_))));
        let foreign = new("https://other.org/", Some("spiffe://third.org/ca"));
        assert!(matches!(foreign, Err(FederationFault::ForeignEndpoint { .. })));
    }
}
