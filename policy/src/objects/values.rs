//! Values that objects are made of.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::diagnostic::{Code, Findings, quoted};
use crate::document::{Cursor, Fields};

/// Values in one list at most.
const MAX_VALUES: usize = 10_000;

/// What a field wants and what it does not want: any of the first, none of the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<T> {
    /// One of these, unless there are none.
    pub values: Vec<T>,
    /// None of these.
    pub not_values: Vec<T>,
}

impl<T> Default for Match<T> {
    fn default() -> Self {
        Self { values: Vec::new(), not_values: Vec::new() }
    }
}

impl<T> Match<T> {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }

    /// Reads both lists; each text is made a value, or said to be none.
    pub(super) fn read(
        fields: &Fields<'_>,
        names: (&'static str, &'static str),
        findings: &mut Findings,
        mut value: impl FnMut(&Cursor<'_>, &str, &mut Findings) -> Option<T>,
    ) -> Self {
        let mut list = |name| -> Vec<T> {
            let texts = texts(fields, name, MAX_VALUES, findings);
            texts.iter().filter_map(|(cursor, text)| value(cursor, text, findings)).collect()
        };
        Self { values: list(names.0), not_values: list(names.1) }
    }
}

/// The texts of a list, none of which may be empty.
pub(super) fn texts<'a>(
    fields: &Fields<'a>,
    name: &'static str,
    most: usize,
    findings: &mut Findings,
) -> Vec<(Cursor<'a>, &'a str)> {
    let items = fields.items(name, most, findings);
    let mut texts = Vec::with_capacity(items.len());
    for cursor in items {
        if cursor.node.is_null() {
            cursor.fault(findings, Code::NullItem, "the item is null");
        } else if let Some(text) = cursor.text(findings) {
            if text.is_empty() {
                cursor.fault(findings, Code::EmptyText, "the text is empty");
            }
            texts.push((cursor, text));
        }
    }
    texts
}

/// A string pattern as it was written: exact, `abc*`, `*abc`, or `*`. A `*` at the front wins over one at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatternText(String);

impl PatternText {
    /// Of which every text is one: a `*` elsewhere is a character.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads one, and warns where a star is a character.
    pub(super) fn read(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<Self> {
        if has_literal_star(text) {
            cursor.fault(findings, Code::LiteralStar, format!("{} has a * that is a character", quoted(text)));
        }
        Some(Self::new(text))
    }
}

impl fmt::Display for PatternText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn has_literal_star(text: &str) -> bool {
    text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text).contains('*')
}

/// A path as it was written: a pattern, or a template with `{*}` and `{**}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathText {
    /// A string pattern.
    Pattern(PatternText),
    /// A template: `{*}` is one segment, `{**}` any number of them.
    Template(String),
}

impl PathText {
    pub(super) fn read(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<Self> {
        if !text.contains(['{', '}']) {
            return PatternText::read(cursor, text, findings).map(Self::Pattern);
        }
        if let Err(why) = check_template(text) {
            cursor.fault(findings, Code::BadPathTemplate, format!("{}: {why}", quoted(text)));
            return None;
        }
        Some(Self::Template(text.to_owned()))
    }
}

/// Istio's `CheckValidPathTemplate`, over the characters that Envoy's URI template takes.
fn check_template(text: &str) -> Result<(), &'static str> {
    let Some(path) = text.strip_prefix('/') else { return Err("it does not begin with /") };
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut ended = false;
    for segment in path.split('/') {
        if matches!(segment, "{*}" | "{**}") {
            if ended {
                return Err("something follows {**}");
            }
            ended = segment == "{**}";
        } else if segment.contains(['{', '}']) {
            return Err("{ and } stand only in the segments {*} and {**}");
        } else if ended {
            return Err("something follows {**}");
        } else if segment.is_empty() {
            return Err("a segment is empty");
        } else if !segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)) {
            return Err("a character can stand in no segment");
        }
    }
    Ok(())
}

/// A range of IP addresses, an address among them. An IPv4 address that is mapped into IPv6 is one of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// The lowest address.
    address: IpAddr,
    /// How many leading bits are compared: 0 to 32, or to 128.
    prefix: u8,
}

impl IpBlock {
    /// Reads an address or a CIDR range, whose host bits are dropped. Absent when it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) => {
                text.parse::<u8>().ok().filter(|prefix| *prefix <= bits)?
            }
            Some(_) => return None,
            None => bits,
        };
        match address {
            IpAddr::V4(v4) => Some(Self::v4(v4, prefix)),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if prefix >= 96 => Some(Self::v4(v4, prefix - 96)),
                // It holds more than addresses of IPv4.
                Some(_) | None => {
                    let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or_default();
                    Some(Self { address: IpAddr::V6((u128::from(v6) & mask).into()), prefix })
                }
            },
        }
    }

    fn v4(address: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or_default();
        Self { address: IpAddr::V4((u32::from(address) & mask).into()), prefix }
    }

    /// The lowest address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits are compared.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    pub(super) fn read(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<Self> {
        let block = Self::parse(text);
        if block.is_none() && !text.is_empty() {
            cursor.fault(findings, Code::BadAddress, format!("{} is no address and no range", quoted(text)));
        }
        block
    }
}

/// Reads a port that stands as a text: 0 to 65535.
pub(super) fn port(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<u16> {
    let port = text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    if port.is_none() && !text.is_empty() {
        cursor.fault(findings, Code::BadPort, format!("{} is no port", quoted(text)));
    }
    port
}

/// Reads a port that stands as a number: 1 to 65535.
pub(super) fn port_number(cursor: &Cursor<'_>, findings: &mut Findings) -> Option<u16> {
    let number = cursor.integer(findings)?;
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    if port.is_none() {
        cursor.fault(findings, Code::BadPort, format!("{number} is no port"));
    }
    port
}

/// A service account and its namespace (Istio `source.serviceAccounts`), compared in any trust domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccountName {
    /// The namespace: that of the policy, unless it is written.
    pub namespace: String,
    /// The account.
    pub name: String,
}

impl ServiceAccountName {
    /// Istio's limit of one value, in bytes.
    const MAX_BYTES: usize = 320;

    pub(super) fn read(cursor: &Cursor<'_>, text: &str, own_namespace: &str, findings: &mut Findings) -> Option<Self> {
        let (namespace, name) = text.split_once('/').unwrap_or((own_namespace, text));
        let why = if text.len() > Self::MAX_BYTES {
            "it is too long"
        } else if text.contains('*') {
            "it has a *"
        } else if name.contains('/') {
            "it has more than one /"
        } else if namespace.is_empty() || name.is_empty() {
            "a part is empty"
        } else {
            return Some(Self { namespace: namespace.to_owned(), name: name.to_owned() });
        };
        if !text.is_empty() {
            cursor.fault(findings, Code::BadServiceAccount, format!("{}: {why}", quoted(text)));
        }
        None
    }
}

/// Reads a pattern of trust domains: one `*` at most, at an end, and no `/`.
pub(super) fn trust_domain(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<PatternText> {
    if text.contains('/') || has_literal_star(text) {
        cursor.fault(findings, Code::BadTrustDomain, format!("{} is no pattern of trust domains", quoted(text)));
        return None;
    }
    Some(PatternText::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_pattern_at_one_end_and_a_character_elsewhere() {
        for (text, literal) in
            [("*", false), ("a", false), ("*a", false), ("a*", false), ("a*b", true), ("*a*", true), ("**", true), ("a**", true)]
        {
            assert_eq!(has_literal_star(text), literal, "{text}");
        }
    }

    #[test]
    fn templates_are_as_istio_takes_them() {
        for text in ["/{*}", "/{**}", "/a/{*}/b/{**}", "/{*}/{*}/", "/a-._~%20/{*}"] {
            assert_eq!(check_template(text), Ok(()), "{text}");
        }
        for text in [
            "{*}",
            "a/{*}",
            "/{**}/{*}",
            "/{**}/{**}",
            "/{**}/a",
            "/{a}",
            "/{*",
            "/a{*}",
            "/{*}a",
            "/{***}",
            "/*/{*}",
            "/a*/{*}",
            "/{*}//a",
            "/{*}/a b",
            "/{*}/ä",
        ] {
            assert!(check_template(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_canonical() {
        for (text, address, prefix) in [
            ("10.1.2.3", "10.1.2.3", 32),
            ("10.1.2.3/8", "10.0.0.0", 8),
            ("10.1.2.3/0", "0.0.0.0", 0),
            ("2001:db8::1", "2001:db8::1", 128),
            ("2001:db8::1/32", "2001:db8::", 32),
            ("::1/0", "::", 0),
            ("::ffff:10.0.0.1", "10.0.0.1", 32),
            ("::ffff:10.1.2.3/104", "10.0.0.0", 8),
            ("::ffff:10.1.2.3/96", "0.0.0.0", 0),
            ("::ffff:10.1.2.3/95", "::fffe:0:0", 95),
        ] {
            let block = IpBlock::parse(text).unwrap();
            assert_eq!((block.address().to_string().as_str(), block.prefix()), (address, prefix), "{text}");
        }
        for text in
            ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "::/129", "a", "10.0.0.0/8/8", "010.0.0.1"]
        {
            assert_eq!(IpBlock::parse(text), None, "{text}");
        }
    }
}
