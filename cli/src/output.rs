//! Standard output: tables for people, one JSON document for programs. Nothing else in this crate writes there.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use pki::Timestamp;
use serde_json::Value;

use crate::failure::Failure;
use crate::output_format::OutputFormat;

/// A result in both its forms.
#[derive(Debug)]
pub(crate) struct Answer {
    text: String,
    json: Value,
}

impl Answer {
    /// A table with a header line, or `empty` when it has no rows.
    pub(crate) fn table(columns: &[&str], rows: Vec<Vec<String>>, empty: &str, json: Value) -> Self {
        if rows.is_empty() {
            return Self::text(empty, json);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(columns.iter().map(|name| name.to_uppercase()));
        table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>()));
        Self::text(table.trim_fmt(), json)
    }

    /// Pairs of a name and what it is, one a line.
    pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>, json: Value) -> Self {
        Self::text(facts_text(facts), json)
    }

    /// A text that is already laid out.
    pub(crate) fn text(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json }
    }

    /// Adds another part below, in the text alone.
    #[must_use]
    pub(crate) fn with_text(mut self, below: &str) -> Self {
        if !below.is_empty() {
            self.text.push_str("\n\n");
            self.text.push_str(below);
        }
        self
    }

    /// Writes the form asked for.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn print(&self, format: OutputFormat) -> Result<(), Failure> {
        match format {
            OutputFormat::Table => print_line(&self.text),
            OutputFormat::Json | OutputFormat::Yaml => print_line(&format.document(&self.json)),
        }
    }

    /// The text form, for tests and for `dev`.
    pub(crate) fn as_text(&self) -> &str {
        &self.text
    }

    /// The JSON form.
    #[cfg(test)]
    pub(crate) fn as_json(&self) -> &Value {
        &self.json
    }
}

/// Lays pairs out in two columns.
pub(crate) fn facts_text<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(facts.into_iter().map(|(name, value)| vec![name.to_owned(), printable(&value)]));
    table.trim_fmt()
}

/// Writes one line (or several) to standard output and flushes, so that a program that waits for it gets it now.
///
/// # Errors
/// When standard output cannot be written. A reader that went away is no error: it has seen enough.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed("cannot write to standard output").because(error)),
    }
}

/// Says, to a person who looks on, what is being done now; the next line takes its place.
pub(crate) fn print_passing(text: &str) {
    if io::stdout().is_terminal() {
        let mut out = io::stdout().lock();
        // Nothing depends on it: the line that follows tells of a standard output that is gone.
        drop(write!(out, "{text}").and_then(|()| out.flush()));
    }
}

/// What a line begins with to take the place of a passing one.
pub(crate) fn over_passing() -> &'static str {
    if io::stdout().is_terminal() { "\r\u{1b}[K" } else { "" }
}

/// A colour for one word, when a person looks on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// Beside the point.
    Quiet,
}

/// The word in its colour when standard output is a terminal, else the bare word.
pub(crate) fn toned(word: &str, tone: Tone) -> String {
    use clap::builder::styling::{AnsiColor, Style};
    if !io::stdout().is_terminal() {
        return word.to_owned();
    }
    let style = match tone {
        Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        Tone::Quiet => Style::new().dimmed(),
    };
    format!("{style}{word}{style:#}")
}

/// A protobuf time as RFC 3339, or `-`.
pub(crate) fn time_text(time: Option<&prost_types::Timestamp>) -> String {
    timestamp(time).map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// A protobuf time as a JSON string, or null.
pub(crate) fn time_json(time: Option<&prost_types::Timestamp>) -> Value {
    timestamp(time).map_or(Value::Null, |time| Value::String(time.to_string()))
}

fn timestamp(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    u64::try_from(time?.seconds).ok().map(Timestamp::from_unix_seconds)
}

/// The text without control characters: what a service sends must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// `-` for nothing.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_aligns_its_columns_and_says_when_it_is_empty() {
        let answer = Answer::table(&["id", "name"], vec![vec!["1".into(), "x\u{1b}[31m".into()]], "none", json!([]));
        let lines: Vec<_> = answer.as_text().lines().map(str::trim_end).collect();
        assert_eq!(lines, [" ID  NAME", " 1   x\u{fffd}[31m"]);
        assert_eq!(Answer::table(&["id"], Vec::new(), "none", json!([])).as_text(), "none");
    }

    #[test]
    fn times_are_rfc_3339_or_absent() {
        let time = prost_types::Timestamp { seconds: 1_795_172_400, nanos: 7 };
        assert_eq!(time_text(Some(&time)), "2026-11-20T11:00:00Z");
        assert_eq!(time_json(None), Value::Null);
        assert_eq!(time_text(Some(&prost_types::Timestamp { seconds: -1, nanos: 0 })), "-");
    }
}
