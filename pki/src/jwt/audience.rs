//! Who a token is for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest audience, in bytes.
pub const MAX_AUDIENCE_BYTES: usize = 512;

/// The most audiences of one token.
pub const MAX_AUDIENCES: usize = 16;

/// One audience: 1 to [`MAX_AUDIENCE_BYTES`] bytes without control characters, compared byte for byte (RFC 7519 section 4.1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(Arc<str>);

/// Why a text is no audience, or a list no set of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// Empty.
    #[error("an audience is empty")]
    Empty,
    /// Over [`MAX_AUDIENCE_BYTES`].
    #[error("an audience has {found} bytes, at most {MAX_AUDIENCE_BYTES} are allowed")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
    /// A control character.
    #[error("an audience holds the control character {found:?}")]
    Control {
        /// The first one.
        found: char,
    },
    /// None, or more than [`MAX_AUDIENCES`].
    #[error("a token is for 1 to {MAX_AUDIENCES} audiences, found {found}")]
    Count {
        /// How many.
        found: usize,
    },
}

impl Audience {
    /// Parses an audience.
    ///
    /// # Errors
    /// [`AudienceError`] when it is empty, too long, or holds a control character.
    pub fn parse(text: &str) -> Result<Self, AudienceError> {
        if text.is_empty() {
            return Err(AudienceError::Empty);
        }
        if text.len() > MAX_AUDIENCE_BYTES {
            return Err(AudienceError::TooLong { found: text.len() });
        }
        match text.chars().find(|character| character.is_control()) {
            Some(found) => Err(AudienceError::Control { found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The audience as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Audience {
    type Err = AudienceError;

    fn from_str(text: &str) -> Result<Self, AudienceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audience({})", self.0)
    }
}

/// 1 to [`MAX_AUDIENCES`] audiences, sorted, each once: two requests for the same set are the same request. `Clone` is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudienceSet(Arc<[Audience]>);

impl AudienceSet {
    /// Sorts, and drops repeats.
    ///
    /// # Errors
    /// [`AudienceError::Count`], counted before repeats are dropped.
    pub fn new(audiences: impl IntoIterator<Item = Audience>) -> Result<Self, AudienceError> {
        let mut audiences: Vec<Audience> = audiences.into_iter().collect();
        if audiences.is_empty() || audiences.len() > MAX_AUDIENCES {
            return Err(AudienceError::Count { found: audiences.len() });
        }
        audiences.sort();
        audiences.dedup();
        Ok(Self(audiences.into()))
    }

    /// Parses each, then as [`Self::new`].
    ///
    /// # Errors
    /// [`AudienceError`]; one bad audience refuses the whole.
    pub fn parse<T: AsRef<str>>(audiences: &[T]) -> Result<Self, AudienceError> {
        if audiences.is_empty() || audiences.len() > MAX_AUDIENCES {
            return Err(AudienceError::Count { found: audiences.len() });
        }
        let parsed = audiences.iter().map(|audience| Audience::parse(audience.as_ref())).collect::<Result<Vec<_>, _>>()?;
        Self::new(parsed)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Audience> {
        self.0.iter()
    }

    /// Whether the audience is one of them.
    #[must_use]
    pub fn contains(&self, audience: &Audience) -> bool {
        self.0.binary_search(audience).is_ok()
    }
}

/// As a list, for people.
impl fmt::Display for AudienceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, audience) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{:?}", audience.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_one_and_of_a_set() {
        for (text, error) in [
            ("", AudienceError::Empty),
            (&"a".repeat(513), AudienceError::TooLong { found: 513 }),
            ("a\nb", AudienceError::Control { found: '\n' }),
            ("a\u{85}", AudienceError::Control { found: '\u{85}' }),
        ] {
            assert_eq!(Audience::parse(text), Err(error));
        }
        assert!(Audience::parse(&"a".repeat(512)).is_ok());
        let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        assert_eq!(AudienceSet::parse(&many), Err(AudienceError::Count { found: 17 }));
        assert_eq!(AudienceSet::parse::<&str>(&[]), Err(AudienceError::Count { found: 0 }));
        assert_eq!(AudienceSet::parse(&["a", ""]), Err(AudienceError::Empty));
        assert!(AudienceSet::parse(&many[..16]).is_ok());
    }

    #[test]
    fn order_and_repeats_do_not_count() {
        let set = AudienceSet::parse(&["b", "a", "b"]).unwrap();
        assert_eq!(set, AudienceSet::parse(&["a", "b"]).unwrap());
        assert_eq!(set.to_string(), r#""a", "b""#);
        assert!(set.contains(&"b".parse().unwrap()) && !set.contains(&"c".parse().unwrap()));
    }
}
