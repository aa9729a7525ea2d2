//! Text patterns: exact, `abc*`, `*abc` and `*`.

use std::fmt;

/// A text pattern as Istio writes it in an `AuthorizationPolicy`.
///
/// The first star at the front wins, then one at the end; a star anywhere else is a star: `*a*` is the suffix `a*`, and `/a/*/b` is that
/// text and nothing else ([`Pattern::has_literal_star`] tells, since its author meant something else).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// `*`: anything that is there and is not empty. Whether an empty value counts is for the attribute to say ([`Pattern::matches_present`]).
    Present,
    /// The whole value.
    Exact(String),
    /// `abc*`: what the value begins with; never empty.
    Prefix(String),
    /// `*abc`: what the value ends with; never empty.
    Suffix(String),
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The empty text, which would match nothing or everything, depending on the reader.
    #[error("the pattern is empty; leave it out, or write \"*\" for any value")]
    Empty,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError::Empty`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() { Err(PatternError::Empty) } else { Ok(Self::of(text)) }
    }

    /// The pattern of a text that was parsed before; of the empty text, the one that an empty value alone matches.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text == "*" {
            return Self::Present;
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(suffix), _) => Self::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Self::Prefix(prefix.to_owned()),
            (None, None) => Self::Exact(text.to_owned()),
        }
    }

    /// Whether a value that is there matches, byte for byte.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => !value.is_empty(),
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
        }
    }

    /// As [`Pattern::matches`], for header values: a header that is there and empty is present (Envoy `HeaderMatcher.present_match`).
    #[must_use]
    pub fn matches_present(&self, value: &[u8]) -> bool {
        matches!(self, Self::Present) || self.matches(value)
    }

    /// As [`Pattern::matches`], without regard to the case of ASCII letters: for hosts (CVE-2021-39155).
    #[must_use]
    pub fn matches_ignoring_case(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => !value.is_empty(),
            Self::Exact(text) => value.eq_ignore_ascii_case(text.as_bytes()),
            Self::Prefix(prefix) => value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::Suffix(suffix) => value
                .len()
                .checked_sub(suffix.len())
                .and_then(|at| value.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes())),
        }
    }

    /// Whether a star stands where it is only a star.
    #[must_use]
    pub fn has_literal_star(&self) -> bool {
        match self {
            Self::Present => false,
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => text.contains('*'),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_star_counts_at_one_end_and_the_front_wins() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        assert_eq!(pattern("*"), Pattern::Present);
        assert_eq!(pattern("abc*"), Pattern::Prefix("abc".to_owned()));
        assert_eq!(pattern("*abc"), Pattern::Suffix("abc".to_owned()));
        assert_eq!(pattern("*a*"), Pattern::Suffix("a*".to_owned()));
        assert_eq!(pattern("**"), Pattern::Suffix("*".to_owned()));
        assert_eq!(pattern("/a/*/b"), Pattern::Exact("/a/*/b".to_owned()));
        for (text, literal) in
            [("*", false), ("a*", false), ("*a", false), ("a", false), ("*a*", true), ("/a/*/b", true), ("a**", true)]
        {
            assert_eq!(pattern(text).has_literal_star(), literal, "{text}");
        }
    }

    #[test]
    fn each_kind_matches_what_it_says() {
        for (text, value, expected) in [
            ("*", "x", true),
            ("*", "", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc", "ab", false),
            ("abc", "ABC", false),
            ("abc*", "abc", true),
            ("abc*", "abcd", true),
            ("abc*", "xabc", false),
            ("abc*", "ABCd", false),
            ("*abc", "abc", true),
            ("*abc", "xabc", true),
            ("*abc", "abcx", false),
            ("*abc", "bc", false),
            ("*a*", "xa*", true),
            ("*a*", "xay", false),
            ("/a/*/b", "/a/x/b", false),
            ("/a/*/b", "/a/*/b", true),
            ("a.b", "axb", false),
            ("a+(", "a+(", true),
        ] {
            assert_eq!(pattern(text).matches(value.as_bytes()), expected, "{text} {value}");
        }
    }

    #[test]
    fn hosts_disregard_case_in_every_kind() {
        for (text, value, expected) in [
            ("secret.com", "Secret.COM", true),
            ("secret.com", "secret.com:80", false),
            ("secret.com", "secret.com.", false),
            ("secret.com:*", "SECRET.com:80", true),
            ("secret.com:*", "secret.com", false),
            ("*.com", "a.Com", true),
            ("*.com", "om", false),
            ("*", "", false),
            ("*", "a", true),
        ] {
            assert_eq!(pattern(text).matches_ignoring_case(value.as_bytes()), expected, "{text} {value}");
        }
    }

    #[test]
    fn an_empty_header_value_is_present_and_nothing_else() {
        assert!(pattern("*").matches_present(b""));
        assert!(!pattern("a").matches_present(b""));
        assert!(!pattern("a*").matches_present(b""));
    }

    proptest! {
        #[test]
        fn parsing_and_writing_go_round(text in "[a*/.]{1,8}") {
            let parsed = pattern(&text);
            prop_assert_eq!(parsed.to_string(), text.clone());
            if let Pattern::Exact(exact) = &parsed {
                prop_assert!(parsed.matches(exact.as_bytes()));
            }
        }

        #[test]
        fn what_matches_in_its_own_case_matches_in_any(text in "[aB*]{1,5}", value in "[aB*]{0,6}") {
            let parsed = pattern(&text);
            let folded = pattern(&text.to_ascii_lowercase()).matches(value.to_ascii_lowercase().as_bytes());
            prop_assert_eq!(parsed.matches_ignoring_case(value.as_bytes()), folded);
        }
    }
}
