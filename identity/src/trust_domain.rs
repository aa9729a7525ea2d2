//! Trust domain names: SPIFFE-ID section 2.1.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{SpiffeId, text_serde};

/// The longest trust domain name, in bytes (RFC 3986 section 3.2.2, by way of SPIFFE-ID section 2.1).
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// A trust domain name, such as `example.org`: 1 to 255 bytes of `a-z 0-9 . - _`.
///
/// Upper case is refused, not folded, and a name is never read as a DNS name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// Why a text is not a trust domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustDomainError {
    /// Nothing stands where the name should.
    #[error("the trust domain is empty")]
    Empty,
    /// Over [`MAX_TRUST_DOMAIN_BYTES`].
    #[error("the trust domain has {found} bytes, at most {MAX_TRUST_DOMAIN_BYTES} are allowed")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
    /// A character outside `a-z 0-9 . - _`.
    #[error("the trust domain holds {found:?}; allowed are a-z, 0-9, '.', '-' and '_'")]
    Character {
        /// The first character refused.
        found: char,
    },
}

impl TrustDomain {
    /// Parses a name that stands alone (without `spiffe://`).
    ///
    /// # Errors
    /// [`TrustDomainError`] when the text breaks SPIFFE-ID section 2.1.
    pub fn parse(text: &str) -> Result<Self, TrustDomainError> {
        if text.is_empty() {
            return Err(TrustDomainError::Empty);
        }
        if text.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(TrustDomainError::TooLong { found: text.len() });
        }
        match text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')) {
            Some(found) => Err(TrustDomainError::Character { found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The name, as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the trust domain itself, `spiffe://<name>`, which signing certificates bear.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        SpiffeId::of_trust_domain(self)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

text_serde!(TrustDomain);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_every_allowed_character_and_the_longest_name() {
        for name in ["example.org", "a", "127.0.0.1", "under_score-and.dot", &"a".repeat(255)] {
            assert_eq!(TrustDomain::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_each_fault_by_its_own_error() {
        assert_eq!(TrustDomain::parse(""), Err(TrustDomainError::Empty));
        assert_eq!(TrustDomain::parse(&"a".repeat(256)), Err(TrustDomainError::TooLong { found: 256 }));
        for (name, found) in [("Example.org", 'E'), ("a b", ' '), ("a:1", ':'), ("u@a", '@'), ("a%2e", '%'), ("é", 'é')] {
            assert_eq!(TrustDomain::parse(name), Err(TrustDomainError::Character { found }), "{name}");
        }
    }
}
