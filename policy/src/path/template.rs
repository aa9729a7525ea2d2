//! Path templates: Istio AuthorizationPolicy `operation.paths` with `{*}` and `{**}`, Envoy `UriTemplateMatchConfig`.

use std::fmt;

use crate::pattern::Leaning;

/// A path with open segments: `{*}` is one segment that is not empty, `{**}`, which comes last but for a slash, is anything, nothing included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    Literal(String),
    One,
    Rest,
}

/// Why a text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    /// It does not begin with a slash.
    #[error("a path template begins with a slash")]
    NotAbsolute,
    /// Something stands behind `{**}`.
    #[error("\"{{**}}\" comes last in a path template")]
    RestNotLast,
    /// A segment is neither literal nor `{*}` nor `{**}`.
    #[error(
        "the segment {segment:?} of a path template is neither \"{{*}}\" nor \"{{**}}\" nor plain text; a star or a brace stands nowhere else"
    )]
    Segment {
        /// The segment refused.
        segment: String,
    },
}

impl PathTemplate {
    /// Whether a text is meant as a template.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains("{*}") || text.contains("{**}")
    }

    /// Parses a template.
    ///
    /// # Errors
    /// [`PathTemplateError`] naming the segment at fault.
    pub fn parse(text: &str) -> Result<Self, PathTemplateError> {
        let inner = text.strip_prefix('/').ok_or(PathTemplateError::NotAbsolute)?;
        let count = inner.split('/').count();
        let segments = inner.split('/').zip(1..).map(|(segment, number)| match segment {
            "{*}" => Ok(Segment::One),
            "{**}" if number == count || inner.ends_with("{**}/") && number + 1 == count => Ok(Segment::Rest),
            "{**}" => Err(PathTemplateError::RestNotLast),
            // A slash at the end is one empty segment; elsewhere it would be one that no normal path has.
            literal if literal.bytes().all(is_literal) && (!literal.is_empty() || number == count) => {
                Ok(Segment::Literal(literal.to_owned()))
            }
            other => Err(PathTemplateError::Segment { segment: other.to_owned() }),
        });
        Ok(Self { text: text.to_owned(), segments: segments.collect::<Result<_, _>>()? })
    }

    /// Whether a path without its query matches.
    ///
    /// Where a match admits, an open segment takes the characters that Envoy takes; where it refuses, it takes any.
    #[must_use]
    pub fn matches(&self, path: &[u8], leaning: Leaning) -> bool {
        let open =
            |text: &[u8]| leaning == Leaning::Refuses || text.iter().all(|byte| is_literal(*byte) || matches!(byte, b'*' | b'/'));
        let Some(mut rest) = path.strip_prefix(b"/") else { return false };
        let mut left = self.segments.len();
        for segment in &self.segments {
            left -= 1;
            let (here, behind) = match rest.iter().position(|byte| *byte == b'/') {
                Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
                None => (rest, None),
            };
            let matched = match segment {
                Segment::Rest if left == 0 => return open(rest),
                // What stands behind it is the slash at the end.
                Segment::Rest => return rest.ends_with(b"/") && open(rest),
                Segment::One => !here.is_empty() && open(here),
                Segment::Literal(literal) => here == literal.as_bytes(),
            };
            match (matched, behind, left) {
                (false, _, _) => return false,
                (true, None, _) => return left == 0,
                (true, Some(_), 0) => return false,
                (true, Some(behind), _) => rest = behind,
            }
        }
        false
    }
}

/// `pchar` of RFC 3986 without the star, which stands in no template of its own.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_segments_take_what_they_say() {
        for (template, path, expected) in [
            ("/foo/{*}/bar/{**}", "/foo/1/bar/", true),
            ("/foo/{*}/bar/{**}", "/foo/1/bar/x/y", true),
            ("/foo/{*}/bar/{**}", "/foo/1/bar//x", true),
            ("/foo/{*}/bar/{**}", "/foo/1/bar", false),
            ("/foo/{*}/bar/{**}", "/foo//bar/x", false),
            ("/foo/{*}/bar/{**}", "/foo/1/2/bar/x", false),
            ("/foo/{*}/bar/{**}", "/x/foo/1/bar/x", false),
            ("/foo/{*}", "/foo/1", true),
            ("/foo/{*}", "/foo/", false),
            ("/foo/{*}", "/foo", false),
            ("/foo/{*}", "/foo/1/", false),
            ("/foo/{*}/", "/foo/1/", true),
            ("/foo/{*}/", "/foo/1", false),
            ("/foo/{*}/", "/foo/1/2", false),
            ("/{**}", "/", true),
            ("/{**}", "/a/b", true),
            ("/{**}", "", false),
            ("/a/{**}/", "/a/b/c/", true),
            ("/a/{**}/", "/a/b/c", false),
            ("/a/{**}/", "/a/", false),
            ("/{*}/{*}", "/a/b", true),
            ("/{*}/{*}", "/x*/a%2fb;c='d'", true),
            ("/{*}/{*}", "/a/b/c", false),
            ("/{*}.b/x", "/a.b/x", false),
            ("/a.b/{*}", "/axb/c", false),
        ] {
            let Ok(parsed) = PathTemplate::parse(template) else {
                assert!(!expected, "{template}");
                continue;
            };
            for leaning in [Leaning::Admits, Leaning::Refuses] {
                assert_eq!(parsed.matches(path.as_bytes(), leaning), expected, "{template} {path}");
            }
            assert_eq!(parsed.to_string(), template);
        }
    }

    #[test]
    fn odd_characters_in_an_open_segment_refuse_and_do_not_admit() {
        for (template, path) in [("/a/{*}", "/a/[x]"), ("/a/{**}", "/a/x/[x]/b")] {
            let parsed = PathTemplate::parse(template).unwrap();
            assert!(parsed.matches(path.as_bytes(), Leaning::Refuses));
            assert!(!parsed.matches(path.as_bytes(), Leaning::Admits));
        }
    }

    #[test]
    fn refuses_each_fault_by_its_own_error() {
        use PathTemplateError as E;
        let segment = |segment: &str| E::Segment { segment: segment.to_owned() };
        for (text, error) in [
            ("foo/{*}", E::NotAbsolute),
            ("{**}", E::NotAbsolute),
            ("/{**}/a", E::RestNotLast),
            ("/{**}/{**}", E::RestNotLast),
            ("/{**}//", E::RestNotLast),
            ("/a{*}", segment("a{*}")),
            ("/{*}b", segment("{*}b")),
            ("/{*}/*", segment("*")),
            ("/{*}/a*", segment("a*")),
            ("/{*}/{x}", segment("{x}")),
            ("/{***}", segment("{***}")),
            ("/{*}//a", segment("")),
            ("//{*}", segment("")),
            ("/{*}/a b", segment("a b")),
            ("/{*}/é", segment("é")),
        ] {
            assert_eq!(PathTemplate::parse(text), Err(error), "{text}");
        }
        assert!(PathTemplate::is_meant("/{*}") && PathTemplate::is_meant("/a/{**}") && !PathTemplate::is_meant("/a*"));
    }
}
