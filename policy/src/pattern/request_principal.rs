//! Principals of verified tokens: Istio AuthorizationPolicy `source.requestPrincipals`, `request.auth.principal`.

use std::fmt;

use super::{Pattern, PatternError};

/// A pattern over `issuer/subject`, split at the **last** slash of the pattern, since an issuer is often a URL.
///
/// `*` is a token with both, neither empty. `iss/*` and `*/sub` leave one side open. Without a slash, `abc*` is a prefix of the issuer and
/// `*abc` a suffix of the subject; a plain value is an issuer with an empty subject, which no token has in earnest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestPrincipalPattern {
    text: String,
    issuer: Pattern,
    subject: Pattern,
}

impl RequestPrincipalPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError::Empty`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() { Err(PatternError::Empty) } else { Ok(Self::of(text)) }
    }

    /// The pattern of a text that was parsed before.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let halves = text.rsplit_once('/');
        let (issuer, subject) = match (Pattern::of(text), halves) {
            (Pattern::Present, _) => (Pattern::Present, Pattern::Present),
            (Pattern::Suffix(_), Some((issuer, subject))) => (Pattern::of(issuer), Pattern::Exact(subject.to_owned())),
            (suffix @ Pattern::Suffix(_), None) => (Pattern::Present, suffix),
            (Pattern::Prefix(_), Some((issuer, subject))) => (Pattern::Exact(issuer.to_owned()), Pattern::of(subject)),
            (prefix @ Pattern::Prefix(_), None) => (prefix, Pattern::Present),
            (Pattern::Exact(_), Some((issuer, subject))) => {
                (Pattern::Exact(issuer.to_owned()), Pattern::Exact(subject.to_owned()))
            }
            (exact @ Pattern::Exact(_), None) => (exact, Pattern::Exact(String::new())),
        };
        Self { text: text.to_owned(), issuer, subject }
    }

    /// Whether a token with this issuer and subject matches. One that lacks either matches nothing.
    #[must_use]
    pub fn matches(&self, issuer: Option<&str>, subject: Option<&str>) -> bool {
        match (issuer, subject) {
            (Some(issuer), Some(subject)) => self.issuer.matches(issuer.as_bytes()) && self.subject.matches(subject.as_bytes()),
            _ => false,
        }
    }

    pub(crate) fn issuer(&self) -> &Pattern {
        &self.issuer
    }

    pub(crate) fn subject(&self) -> &Pattern {
        &self.subject
    }
}

impl fmt::Display for RequestPrincipalPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slash_splits_issuer_and_subject() {
        for (text, issuer, subject, expected) in [
            ("*", "i", "s", true),
            ("*", "i", "", false),
            ("*", "", "s", false),
            ("https://i/x/*", "https://i/x", "u", true),
            ("https://i/x/*", "https://i", "u", false),
            ("https://i/x/*", "https://i/x", "", false),
            ("https://i/x/*", "https://i", "x/u", false),
            ("https://i/ad*", "https://i", "admin", true),
            ("https://i/ad*", "https://i", "bad", false),
            ("*/sub", "any", "sub", true),
            ("*/sub", "any", "xsub", false),
            ("*.org/sub", "a.org", "sub", true),
            ("*.org/sub", "a.com", "sub", false),
            ("*ub", "any", "sub", true),
            ("*ub", "any", "bus", false),
            ("iss*", "issuer", "s", true),
            ("iss*", "issuer", "", false),
            ("iss*", "xissuer", "s", false),
            ("i/s", "i", "s", true),
            ("i/s", "i", "t", false),
            ("i/s", "j", "s", false),
            ("plain", "plain", "s", false),
            ("plain", "plain", "", true),
        ] {
            let pattern = RequestPrincipalPattern::parse(text).unwrap();
            assert_eq!(pattern.matches(Some(issuer), Some(subject)), expected, "{text} {issuer} {subject}");
            assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn half_a_principal_matches_nothing() {
        let any = RequestPrincipalPattern::parse("*").unwrap();
        let plain = RequestPrincipalPattern::parse("plain").unwrap();
        assert!(!any.matches(Some("i"), None) && !any.matches(None, Some("s")) && !any.matches(None, None));
        assert!(!plain.matches(Some("plain"), None));
        assert_eq!(RequestPrincipalPattern::parse(""), Err(PatternError::Empty));
    }
}
