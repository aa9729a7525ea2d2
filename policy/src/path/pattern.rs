//! What `operation.paths` of an Istio AuthorizationPolicy may hold.

use std::fmt;

use super::{PathTemplate, PathTemplateError};
use crate::pattern::{Leaning, Pattern, PatternError};

/// A text pattern, or a template if `{*}` or `{**}` is in it. Compared byte for byte, with the path alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// Exact, `/a*`, `*/a` or `*`.
    Text(Pattern),
    /// `/a/{*}/b`, `/a/{**}`.
    Template(PathTemplate),
}

/// Why a text is no pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// As for any pattern.
    #[error(transparent)]
    Text(#[from] PatternError),
    /// As for any template.
    #[error(transparent)]
    Template(#[from] PathTemplateError),
    /// A brace, though it is no template.
    #[error("a brace stands in a path only as the whole segment \"{{*}}\" or \"{{**}}\"")]
    Brace,
}

impl PathPattern {
    /// Parses a pattern of paths.
    ///
    /// # Errors
    /// [`PathPatternError`].
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        if PathTemplate::is_meant(text) {
            return Ok(Self::Template(PathTemplate::parse(text)?));
        }
        if text.contains(['{', '}']) {
            return Err(PathPatternError::Brace);
        }
        Ok(Self::Text(Pattern::parse(text)?))
    }

    /// Whether a path without its query matches.
    #[must_use]
    pub fn matches(&self, path: &[u8], leaning: Leaning) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(path),
            Self::Template(template) => template.matches(path, leaning),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(pattern) => pattern.fmt(f),
            Self::Template(template) => template.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_known_by_its_braces() {
        assert!(matches!(PathPattern::parse("/a/{*}"), Ok(PathPattern::Template(_))));
        assert!(matches!(PathPattern::parse("/a/*"), Ok(PathPattern::Text(Pattern::Prefix(_)))));
        assert_eq!(PathPattern::parse("/a/{b}"), Err(PathPatternError::Brace));
        assert_eq!(PathPattern::parse("/a}"), Err(PathPatternError::Brace));
        assert_eq!(PathPattern::parse(""), Err(PathPatternError::Text(PatternError::Empty)));
        assert!(matches!(PathPattern::parse("/{*}*"), Err(PathPatternError::Template(_))));
    }

    #[test]
    fn paths_are_compared_in_their_case() {
        let admin = PathPattern::parse("/admin").unwrap();
        for (path, expected) in [("/admin", true), ("/ADMIN", false), ("/admin/", false), ("/admin;a=b", false)] {
            assert_eq!(admin.matches(path.as_bytes(), Leaning::Refuses), expected, "{path}");
        }
        let rows = PathPattern::parse("/foo/{*}").unwrap();
        assert!(rows.matches(b"/foo/1", Leaning::Admits));
    }
}
