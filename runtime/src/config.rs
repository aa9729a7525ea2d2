//! Reading TOML whole: every fault at once, unknown keys refused.
//!
//! A [`Document`] remembers which keys were asked for; [`Document::finish`] then refuses every other one. So the reader of a
//! key is also its declaration, and no second list of keys can fall behind.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::private_files::read_bounded;

mod hint;
mod value;

use value::{Element, Entry, Table, Value};

/// The most bytes of a configuration file.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// All faults of a file, each whole: `file:line: key: what`. `Display` gives one per line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// A TOML document being read; remembers which keys were asked for.
#[derive(Debug)]
pub struct Document {
    name: String,
    table: Table,
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Keys asked for, by the dotted path of their table ("" is the top level).
    asked: BTreeMap<String, BTreeSet<&'static str>>,
    /// Line (0 when the fault has no place in the file) and text.
    faults: Vec<(usize, String)>,
}

/// One table of it. Faults go to the document.
#[derive(Debug)]
pub struct Section<'a> {
    document: &'a Document,
    path: String,
    table: Option<&'a Table>,
}

impl Document {
    /// Parses; `name` stands in front of every fault.
    ///
    /// # Errors
    /// Every syntax error, each with line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let table = value::parse(text)
            .map_err(|faults| ConfigErrors(faults.into_iter().map(|fault| format!("{name}:{fault}")).collect()))?;
        Ok(Self { name: name.to_owned(), table, seen: RefCell::default() })
    }

    /// Reads the file (at most [`MAX_CONFIG_BYTES`]) and parses it.
    ///
    /// # Errors
    /// One fault when the file cannot be read, else as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let one = |what: String| ConfigErrors(vec![what]);
        let bytes = read_bounded(path, MAX_CONFIG_BYTES).map_err(|error| one(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| one(format!("{}: not UTF-8: {error}", path.display())))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// A document without any key, for a configuration that comes from flags alone.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), table: Table::new(), seen: RefCell::default() }
    }

    /// The top level.
    #[must_use]
    pub fn root(&self) -> Section<'_> {
        self.seen.borrow_mut().asked.entry(String::new()).or_default();
        Section { document: self, path: String::new(), table: Some(&self.table) }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// The faults collected so far plus every key that nobody asked for, with the nearest known key as a hint, in the order
    /// of their lines; those without a line (missing keys) come first.
    pub fn finish(self) -> Result<(), ConfigErrors> {
        let Seen { asked, mut faults } = self.seen.take();
        refuse_unknown("", &self.table, &asked, &mut faults);
        if faults.is_empty() {
            return Ok(());
        }
        faults.sort();
        let faults = faults.into_iter().map(|(line, text)| match line {
            0 => format!("{}: {text}", self.name),
            line => format!("{}:{line}: {text}", self.name),
        });
        Err(ConfigErrors(faults.collect()))
    }
}

impl<'a> Section<'a> {
    /// A table below, empty when absent.
    #[must_use]
    pub fn section(&self, key: &'static str) -> Section<'a> {
        let table = self.look_up(key, "a table", |value| if let Value::Table(table) = value { Some(table) } else { None });
        let path = dotted(&self.path, key);
        self.document.seen.borrow_mut().asked.entry(path.clone()).or_default();
        Section { document: self.document, path, table }
    }

    /// The tables of an array of tables (`[[key]]`), in their order; absent = empty.
    #[must_use]
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let elements =
            self.look_up(key, "a list of tables", |value| if let Value::List(list) = value { Some(list) } else { None });
        let mut sections = Vec::new();
        for (index, Element { line, value }) in elements.into_iter().flatten().enumerate() {
            let path = indexed(&dotted(&self.path, key), index);
            let Value::Table(table) = value else {
                self.record(*line, format!("{path}: expected a table, found {}", value.description()));
                continue;
            };
            self.document.seen.borrow_mut().asked.entry(path.clone()).or_default();
            sections.push(Section { document: self.document, path, table: Some(table) });
        }
        sections
    }

    /// An optional string, through its parser. A fault is recorded and gives `None`.
    pub fn optional<T, E: Display>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.look_up(key, "a string", as_text)?;
        self.keep(key, parse(text))
    }

    /// A required string. A fault is recorded and gives `None`; so is its absence.
    pub fn required<T, E: Display>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let present = self.entry(key).is_some();
        if !present {
            self.fault(key, "missing, and it has no default");
        }
        self.optional(key, parse)
    }

    /// An optional duration such as "24h" or "10m".
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.optional(key, |text| {
            humantime::parse_duration(text)
                .map_err(|error| format!("{text:?} is no duration such as \"24h\" or \"10m\": {error}"))
        })
    }

    /// An optional boolean.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.look_up(key, "true or false", |value| if let Value::Boolean(value) = value { Some(*value) } else { None })
    }

    /// An optional integer within a range.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let (value, written) = self.look_up(key, "an integer", |value| {
            if let Value::Integer(value, written) = value { Some((*value, written)) } else { None }
        })?;
        let within = value.filter(|value| range.contains(value));
        self.keep(key, within.ok_or_else(|| format!("{written} is not from {} to {}", range.start(), range.end())))
    }

    /// A list of strings, each through the parser; absent = empty. Each bad element is a fault of its own.
    pub fn list<T, E: Display>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let elements =
            self.look_up(key, "a list of strings", |value| if let Value::List(list) = value { Some(list) } else { None });
        let parsed = elements.into_iter().flatten().enumerate().filter_map(|(index, Element { line, value })| {
            let outcome = match as_text(value) {
                Some(text) => parse(text).map_err(|error| error.to_string()),
                None => Err(format!("expected a string, found {}", value.description())),
            };
            outcome.map_err(|what| self.record(*line, format!("{}[{index}]: {what}", dotted(&self.path, key)))).ok()
        });
        parsed.collect()
    }

    /// Whether the key is there, whatever it holds; asking makes it known, and a table below it is not looked at.
    #[must_use]
    pub fn has(&self, key: &'static str) -> bool {
        self.document.seen.borrow_mut().asked.entry(self.path.clone()).or_default().insert(key);
        self.entry(key).is_some()
    }

    /// Records a fault that concerns `key`.
    pub fn fault(&self, key: &'static str, what: impl Display) {
        let text = format!("{}: {what}", dotted(&self.path, key));
        self.record(self.entry(key).map_or(0, |entry| entry.element.line), text);
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        self.table?.get(key)
    }

    fn look_up<T>(&self, key: &'static str, wanted: &str, view: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        self.document.seen.borrow_mut().asked.entry(self.path.clone()).or_default().insert(key);
        let value = &self.entry(key)?.element.value;
        let viewed = view(value);
        if viewed.is_none() {
            self.fault(key, format_args!("expected {wanted}, found {}", value.description()));
        }
        viewed
    }

    fn keep<T, E: Display>(&self, key: &'static str, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|error| self.fault(key, error)).ok()
    }

    fn record(&self, line: usize, text: String) {
        self.document.seen.borrow_mut().faults.push((line, text));
    }
}

fn refuse_unknown(
    path: &str,
    table: &Table,
    asked: &BTreeMap<String, BTreeSet<&'static str>>,
    faults: &mut Vec<(usize, String)>,
) {
    // A table that nobody opened was refused as a key of its parent, or has the wrong type; nothing below it is looked at.
    let Some(known) = asked.get(path) else { return };
    for (name, entry) in table {
        let key = dotted(path, name);
        if !known.contains(name.as_str()) {
            let hint = hint::for_unknown(path, name, asked);
            faults.push((entry.key_line, format!("{key}: unknown key{hint}")));
        } else if let Value::Table(below) = &entry.element.value {
            refuse_unknown(&key, below, asked, faults);
        } else if let Value::List(elements) = &entry.element.value {
            for (index, element) in elements.iter().enumerate() {
                if let Value::Table(below) = &element.value {
                    refuse_unknown(&indexed(&key, index), below, asked, faults);
                }
            }
        }
    }
}

fn as_text(value: &Value) -> Option<&str> {
    if let Value::String(text) = value { Some(text) } else { None }
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn indexed(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// Reads a path that must be absolute.
///
/// # Errors
/// What is wrong with any other.
pub fn absolute_path(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("not an absolute path: what it names would depend on where the program was started")
    }
}

#[cfg(test)]
mod tests;
