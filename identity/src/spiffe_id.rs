//! SPIFFE IDs: SPIFFE-ID section 2.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{SystemIdentity, TrustDomain, TrustDomainError, text_serde};

/// The longest SPIFFE ID, in bytes (SPIFFE-ID section 2.3).
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

const SCHEME: &str = "spiffe://";

/// A SPIFFE ID, `spiffe://<trust domain>[/<path>]`, compared byte for byte.
///
/// Path segments hold `A-Z a-z 0-9 . - _`, none is empty, `.` or `..`, and no slash ends the path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

/// Why a text is not a SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Over [`MAX_SPIFFE_ID_BYTES`].
    #[error("the SPIFFE ID has {found} bytes, at most {MAX_SPIFFE_ID_BYTES} are allowed")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
    /// It does not begin with `spiffe://`.
    #[error("the SPIFFE ID does not begin with \"spiffe://\"")]
    Scheme,
    /// The part before the first slash is no trust domain name.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainError),
    /// Two slashes stand side by side, or one ends the path.
    #[error("the path of the SPIFFE ID has an empty segment or a trailing slash")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("the path of the SPIFFE ID has the segment \"{found}\"")]
    DotSegment {
        /// The segment refused.
        found: &'static str,
    },
    /// A character outside `A-Z a-z 0-9 . - _` in the path.
    #[error("the path of the SPIFFE ID holds {found:?}; allowed are letters, digits, '.', '-' and '_'")]
    Character {
        /// The first character refused.
        found: char,
    },
}

impl SpiffeId {
    /// Parses a SPIFFE ID, with or without a path.
    ///
    /// # Errors
    /// [`SpiffeIdError`] when the text breaks SPIFFE-ID section 2.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_SPIFFE_ID_BYTES {
            return Err(SpiffeIdError::TooLong { found: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let trust_domain = TrustDomain::parse(authority)?;
        for segment in path.iter().flat_map(|path| path.split('/')) {
            check_segment(segment)?;
        }
        Ok(Self { text: text.into(), trust_domain })
    }

    pub(crate) fn of_trust_domain(trust_domain: &TrustDomain) -> Self {
        Self { text: format!("{SCHEME}{trust_domain}").into(), trust_domain: trust_domain.clone() }
    }

    pub(crate) fn of_parsed_segments(trust_domain: &TrustDomain, segments: &[&str]) -> Self {
        Self { text: format!("{SCHEME}{trust_domain}/{}", segments.join("/")).into(), trust_domain: trust_domain.clone() }
    }

    /// The whole ID, as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain that the ID belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash, or the empty text when the ID names the trust domain itself.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(SCHEME.len() + self.trust_domain.as_str().len()..).unwrap_or_default()
    }

    /// Whether the ID lies at or below `/signet`, which Signet keeps for itself: no entry may name it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.path() == "/signet" || self.path().starts_with("/signet/")
    }

    /// What part of Signet the ID names, if it names one.
    #[must_use]
    pub fn system_identity(&self) -> Option<SystemIdentity> {
        SystemIdentity::from_path(self.path())
    }
}

/// Checks one path segment: SPIFFE-ID section 2.2.
///
/// # Errors
/// [`SpiffeIdError`] naming the fault.
pub(crate) fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    match segment {
        "" => return Err(SpiffeIdError::EmptySegment),
        "." => return Err(SpiffeIdError::DotSegment { found: "." }),
        ".." => return Err(SpiffeIdError::DotSegment { found: ".." }),
        _ => {}
    }
    match segment.chars().find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_')) {
        Some(found) => Err(SpiffeIdError::Character { found }),
        None => Ok(()),
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

text_serde!(SpiffeId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_of_an_accepted_id() {
        let id = SpiffeId::parse("spiffe://example.org/ns/default/sa/web").unwrap();
        assert_eq!(id.trust_domain().as_str(), "example.org");
        assert_eq!(id.path(), "/ns/default/sa/web");
        assert!(!id.is_reserved());
        assert_eq!(SpiffeId::parse("spiffe://example.org").unwrap().path(), "");
        for odd in ["spiffe://t/.path", "spiffe://t/..path", "spiffe://t/...", "spiffe://t/A.b-C_9"] {
            assert_eq!(SpiffeId::parse(odd).unwrap().as_str(), odd);
        }
    }

    #[test]
    fn refuses_each_fault_by_its_own_error() {
        use SpiffeIdError as E;
        let long = format!("spiffe://t/{}", "a".repeat(MAX_SPIFFE_ID_BYTES));
        let cases: [(&str, E); 16] = [
            ("", E::Scheme),
            ("spiffe:/", E::Scheme),
            ("Spiffe://t/a", E::Scheme),
            ("https://t/a", E::Scheme),
            ("spiffe://", E::TrustDomain(TrustDomainError::Empty)),
            ("spiffe:///a", E::TrustDomain(TrustDomainError::Empty)),
            ("spiffe://u@t/a", E::TrustDomain(TrustDomainError::Character { found: '@' })),
            ("spiffe://t:1/a", E::TrustDomain(TrustDomainError::Character { found: ':' })),
            ("spiffe://t/", E::EmptySegment),
            ("spiffe://t/a/", E::EmptySegment),
            ("spiffe://t/a//b", E::EmptySegment),
            ("spiffe://t/a/./b", E::DotSegment { found: "." }),
            ("spiffe://t/a/..", E::DotSegment { found: ".." }),
            ("spiffe://t/a%20b", E::Character { found: '%' }),
            ("spiffe://t/a?q", E::Character { found: '?' }),
            ("spiffe://t/a\u{0}", E::Character { found: '\u{0}' }),
        ];
        for (text, error) in cases {
            assert_eq!(SpiffeId::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(SpiffeId::parse(&long), Err(E::TooLong { found: long.len() }));
        let longest = format!("spiffe://t/{}", "a".repeat(MAX_SPIFFE_ID_BYTES - "spiffe://t/".len()));
        assert!(SpiffeId::parse(&longest).is_ok());
    }

    #[test]
    fn the_reserved_path_is_a_segment_not_a_prefix() {
        for (id, reserved) in [
            ("spiffe://t/signet", true),
            ("spiffe://t/signet/agent/n1", true),
            ("spiffe://t/signets", false),
            ("spiffe://t/a/signet", false),
        ] {
            assert_eq!(SpiffeId::parse(id).unwrap().is_reserved(), reserved, "{id}");
        }
    }

    proptest! {
        /// Every character is decided alike in the trust domain and in the path, by the specification's two sets.
        #[test]
        fn each_character_is_in_its_set_or_refused(c in any::<char>()) {
            let in_domain = matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
            let in_path = in_domain || c.is_ascii_uppercase();
            if c != '/' {
                prop_assert_eq!(SpiffeId::parse(&format!("spiffe://x{c}x/y")).is_ok(), in_domain);
                prop_assert_eq!(SpiffeId::parse(&format!("spiffe://x/y{c}y")).is_ok(), in_path);
            }
        }

        #[test]
        fn never_panics_and_round_trips(text in ".{0,64}") {
            if let Ok(id) = SpiffeId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
