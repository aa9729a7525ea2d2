//! DNS names as they may stand in a certificate: RFC 5280 section 4.2.1.6, preferred name syntax of RFC 1034 section 3.5.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text_serde;

/// A DNS name for a `dNSName` SAN: lower case, at most 253 bytes, labels of 1 to 63 bytes, no wildcard, no final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// Why a text is not a DNS name that Signet certifies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// Empty or over 253 bytes.
    #[error("the DNS name has {found} bytes, 1 to 253 are allowed")]
    Length {
        /// The length met, in bytes.
        found: usize,
    },
    /// A label that is empty, over 63 bytes, or begins or ends with a hyphen.
    #[error("the DNS name has the malformed label {found:?}")]
    Label {
        /// The label refused.
        found: String,
    },
    /// A character outside `a-z 0-9 -` in a label.
    #[error("the DNS name holds {found:?}; allowed are a-z, 0-9, '-' and '.'")]
    Character {
        /// The first character refused.
        found: char,
    },
    /// All labels numeric: it would be read as an address.
    #[error("the DNS name reads as an IP address")]
    Address,
}

impl DnsName {
    /// Parses a DNS name.
    ///
    /// # Errors
    /// [`DnsNameError`] naming the first fault.
    pub fn parse(text: &str) -> Result<Self, DnsNameError> {
        if text.is_empty() || text.len() > 253 {
            return Err(DnsNameError::Length { found: text.len() });
        }
        if let Some(found) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')) {
            return Err(DnsNameError::Character { found });
        }
        if let Some(label) = text.split('.').find(|l| l.is_empty() || l.len() > 63 || l.starts_with('-') || l.ends_with('-')) {
            return Err(DnsNameError::Label { found: label.to_owned() });
        }
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(DnsNameError::Address);
        }
        Ok(Self(text.into()))
    }

    /// The name, as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

text_serde!(DnsName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_ordinary_names() {
        for name in ["localhost", "ca.signet.svc", "a-b.example.org", "1a.example", &format!("{}.example", "a".repeat(63))] {
            assert_eq!(DnsName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_what_a_verifier_could_misread() {
        for name in
            ["", "a..b", ".a", "a.", "-a.b", "a-.b", "*.example.org", "A.example", "a_b", "a\0b", "10.0.0.1", &"a".repeat(64)]
        {
            assert!(DnsName::parse(name).is_err(), "{name:?}");
        }
        assert!(DnsName::parse(&format!("{}x", "ab.".repeat(84))).is_ok());
        assert!(DnsName::parse(&format!("{}xx", "ab.".repeat(84))).is_err());
    }
}
