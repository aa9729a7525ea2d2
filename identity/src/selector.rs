//! Selectors: the facts about a process that an entry asks for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text_serde;

/// The longest selector, in bytes: `unix:path:` and the longest path of Linux.
const MAX_SELECTOR_BYTES: usize = 4096 + 16;

/// One fact about a process, `unix:<kind>:<value>`, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<str>);

/// What a `unix` selector speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorKind {
    /// `unix:uid:<number>`: the effective user of the process.
    Uid,
    /// `unix:gid:<number>`: its effective group.
    Gid,
    /// `unix:user:<name>`: the name of that user on this node.
    User,
    /// `unix:group:<name>`: the name of that group on this node.
    Group,
    /// `unix:path:<absolute path>`: its executable.
    Path,
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not of a kind that an agent can read.
    #[error("\"{found}\" is no selector; known are unix:uid:N, unix:gid:N, unix:user:NAME, unix:group:NAME and unix:path:/FILE")]
    Unknown {
        /// The text met (its first 64 bytes at most).
        found: String,
    },
    /// The value does not fit its kind.
    #[error("the value of {kind} is malformed: expected {want}")]
    Value {
        /// Such as `unix:uid`.
        kind: SelectorKind,
        /// What would be right.
        want: &'static str,
    },
    /// Over the longest.
    #[error("the selector has {found} bytes, at most {MAX_SELECTOR_BYTES} are allowed")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
}

impl SelectorKind {
    /// Every kind, in the order in which people expect them.
    pub const ALL: [Self; 5] = [Self::Uid, Self::Gid, Self::User, Self::Group, Self::Path];

    /// Such as `unix:uid`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "unix:uid",
            Self::Gid => "unix:gid",
            Self::User => "unix:user",
            Self::Group => "unix:group",
            Self::Path => "unix:path",
        }
    }

    fn check(self, value: &str) -> Result<(), SelectorError> {
        let (fits, want) = match self {
            Self::Uid | Self::Gid => {
                let canonical = value.parse::<u32>().is_ok_and(|number| number.to_string() == value);
                (canonical, "a decimal number without leading zeros, at most 4294967295")
            }
            Self::User | Self::Group => {
                (!value.is_empty() && !value.contains([':', '\0', '\n']), "a name as in the account database")
            }
            Self::Path => (value.starts_with('/') && !value.contains('\0'), "an absolute path"),
        };
        if fits { Ok(()) } else { Err(SelectorError::Value { kind: self, want }) }
    }
}

impl fmt::Display for SelectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Selector {
    /// Makes a selector of a kind.
    ///
    /// # Errors
    /// [`SelectorError`] when the value does not fit the kind or is too long.
    pub fn new(kind: SelectorKind, value: &str) -> Result<Self, SelectorError> {
        kind.check(value)?;
        let text = format!("{kind}:{value}");
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(SelectorError::TooLong { found: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// Parses `unix:<kind>:<value>`.
    ///
    /// # Errors
    /// [`SelectorError`] when the kind is unknown or the value does not fit it.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let known =
            SelectorKind::ALL.into_iter().find_map(|kind| Some((kind, text.strip_prefix(kind.as_str())?.strip_prefix(':')?)));
        match known {
            Some((kind, value)) => Self::new(kind, value),
            None => Err(SelectorError::Unknown { found: text.chars().take(64).collect() }),
        }
    }

    /// The whole selector.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

text_serde!(Selector);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_each_kind_and_keeps_the_text() {
        for text in ["unix:uid:0", "unix:gid:4294967295", "unix:user:web", "unix:group:www-data", "unix:path:/usr/bin/env: odd"] {
            assert_eq!(Selector::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_unknown_kinds_and_values_that_do_not_fit() {
        for text in ["", "uid:0", "unix:uid", "unix:uids:0", "k8s:ns:a", "unix:"] {
            assert!(matches!(Selector::parse(text), Err(SelectorError::Unknown { .. })), "{text}");
        }
        for text in
            ["unix:uid:", "unix:uid:-1", "unix:uid:01", "unix:uid:4294967296", "unix:user:", "unix:user:a:b", "unix:path:bin"]
        {
            assert!(matches!(Selector::parse(text), Err(SelectorError::Value { .. })), "{text}");
        }
        assert!(matches!(Selector::parse(&format!("unix:path:/{}", "a".repeat(5000))), Err(SelectorError::TooLong { .. })));
    }
}
