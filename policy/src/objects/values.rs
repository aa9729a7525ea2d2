//! Values that objects are made of.

use std::fmt;

use crate::diagnostic::{Code, Findings, Severity, quoted};
use crate::document::{Cursor, Fields};
use crate::path::PathPattern;
use crate::pattern::{AccountPattern, AddressRange, Pattern, RequestPrincipalPattern, parse_port};

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
            if let Some(list) = fields.get(name).filter(Cursor::is_empty_list) {
                let what = format!("{name} is empty and asks for nothing");
                findings.add_as(Code::EmptyList, Severity::Warning, list.node.at, &list.path, what);
            }
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

/// Reads a value by its parser. Of an empty text, it was said that it is empty.
pub(super) fn parsed<T, E: fmt::Display>(
    parse: impl Fn(&str) -> Result<T, E>,
    code: Code,
) -> impl Fn(&Cursor<'_>, &str, &mut Findings) -> Option<T> {
    move |cursor, text, findings| {
        if text.is_empty() {
            return None;
        }
        let value = parse(text);
        if let Err(error) = &value {
            cursor.fault(findings, code, format!("{}: {error}", quoted(text)));
        }
        value.ok()
    }
}

/// Reads a pattern, and warns where a star is a character.
pub(super) fn pattern(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<Pattern> {
    warn_of_literal_star(cursor, text, findings);
    Pattern::parse(text).ok()
}

fn warn_of_literal_star(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) {
    if Pattern::parse(text).is_ok_and(|pattern| pattern.has_literal_star()) {
        cursor.fault(findings, Code::LiteralStar, format!("{} has a * that is a character", quoted(text)));
    }
}

/// Reads a pattern of identities, before which `spiffe://` is implied.
pub(super) fn principal(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<Pattern> {
    if text.starts_with("spiffe://") {
        cursor.fault(findings, Code::SpiffePrefix, format!("{} begins with spiffe://", quoted(text)));
    }
    pattern(cursor, text, findings)
}

/// Reads a pattern of the principals of tokens.
pub(super) fn request_principal(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<RequestPrincipalPattern> {
    warn_of_literal_star(cursor, text, findings);
    RequestPrincipalPattern::parse(text).ok()
}

/// Reads a pattern of paths.
pub(super) fn path(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<PathPattern> {
    if !text.contains(['{', '}']) {
        warn_of_literal_star(cursor, text, findings);
    }
    parsed(PathPattern::parse, Code::BadPathTemplate)(cursor, text, findings)
}

/// Reads an address or a range.
pub(super) fn address(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<AddressRange> {
    parsed(AddressRange::parse, Code::BadAddress)(cursor, text, findings)
}

/// Reads a service account, alone or behind its namespace.
pub(super) fn account(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<AccountPattern> {
    parsed(AccountPattern::parse, Code::BadServiceAccount)(cursor, text, findings)
}

/// Reads a port that stands as a text: 0 to 65535.
pub(super) fn port(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<u16> {
    parsed(parse_port, Code::BadPort)(cursor, text, findings)
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

/// Reads a pattern of trust domains: one `*` at most, at an end, and no `/`.
pub(super) fn trust_domain(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) -> Option<Pattern> {
    let pattern = Pattern::parse(text).ok()?;
    if text.contains('/') || pattern.has_literal_star() {
        cursor.fault(findings, Code::BadTrustDomain, format!("{} is no pattern of trust domains", quoted(text)));
        return None;
    }
    Some(pattern)
}
