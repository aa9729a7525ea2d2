//! A TOML document with the line of everything in it, owned.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) type Table = BTreeMap<String, Entry>;

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key_line: usize,
    pub(super) element: Element,
}

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    String(String),
    /// `None` when it has no place in 64 bits; with the digits as written.
    Integer(Option<i64>, String),
    Boolean(bool),
    List(Vec<Element>),
    Table(Table),
    /// What no key takes: floating-point numbers and dates.
    Other(&'static str),
}

impl Value {
    pub(super) fn description(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(..) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(description) => description,
        }
    }
}

/// Parses a text. Every syntax error is returned as `line:column: what`, lines and columns counted from 1.
pub(super) fn parse(text: &str) -> Result<Table, Vec<String>> {
    let places = Places { text, line_starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect() };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(places.table(table.get_ref()));
    }
    let faults = errors.iter().map(|error| match error.span() {
        Some(span) => format!("{}: {}", places.line_and_column(span.start), error.message()),
        None => error.message().to_owned(),
    });
    Err(faults.collect())
}

struct Places<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
}

impl Places<'_> {
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn line_and_column(&self, offset: usize) -> String {
        let line = self.line(offset);
        let before =
            self.line_starts.get(line.saturating_sub(1)).and_then(|start| self.text.get(*start..offset)).unwrap_or_default();
        format!("{line}:{}", before.chars().count() + 1)
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| {
            (key.get_ref().clone().into_owned(), Entry { key_line: self.line(key.span().start), element: self.element(value) })
        });
        entries.collect()
    }

    fn element(&self, spanned: &Spanned<DeValue<'_>>) -> Element {
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(digits) => {
                Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok(), digits.to_string())
            }
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(elements) => Value::List(elements.iter().map(|element| self.element(element)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other("a floating-point number"),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Element { line: self.line(spanned.span().start), value }
    }
}
