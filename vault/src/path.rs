//! Names that stand in paths of the API: mounts, roles, issuers, namespaces.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes.
const MAX_BYTES: usize = 256;

/// One or more segments with a slash between them, each of letters, digits, `.`, `-` and `_`, and none of them a step to elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathName(String);

/// Why a text is no name in a path of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Characters, segments or length that are not taken.
    #[error("{found:?} is no name such as \"pki\" or \"team/pki\": letters, digits, '.', '-', '_', and single slashes between")]
    Malformed {
        /// The text met, cut to 64 characters.
        found: String,
    },
    /// More than one segment where there is room for one.
    #[error("{found:?} has a slash, and names more than one thing")]
    Segments {
        /// The text met.
        found: String,
    },
}

impl PathName {
    /// A name of one segment, such as that of a role or an issuer.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn segment(text: &str) -> Result<Self, PathError> {
        let name: Self = text.parse()?;
        if name.0.contains('/') { Err(PathError::Segments { found: name.0 }) } else { Ok(name) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathName {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_segment = |segment: &str| {
            let plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            plain && !segment.is_empty() && segment != "." && segment != ".."
        };
        if text.len() <= MAX_BYTES && text.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PathError::Malformed { found: text.chars().take(64).collect() })
        }
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["pki", "team/pki", "web-1", "a.b_c"] {
            assert_eq!(good.parse::<PathName>().unwrap().as_str(), good);
        }
        for bad in ["", "/", "/pki", "pki/", "a//b", ".", "..", "a/../sys", "a b", "a?b", "a#b", "a%2fb", "ä", "a\r\nb"] {
            assert!(matches!(bad.parse::<PathName>(), Err(PathError::Malformed { .. })), "{bad:?}");
        }
        assert!("a".repeat(256).parse::<PathName>().is_ok());
        assert!("a".repeat(257).parse::<PathName>().is_err());
        assert!(PathName::segment("web").is_ok());
        assert!(matches!(PathName::segment("web/x"), Err(PathError::Segments { .. })));
    }
}
