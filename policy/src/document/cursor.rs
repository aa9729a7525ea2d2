//! Fields read out of a tree: by name in either spelling, of the kind that is wanted, with the path for who has to mend them.

use super::nearest::nearest;
use super::{Node, Position, Value};
use crate::diagnostic::{Code, Findings, quoted};

/// A node and the path that leads to it, such as `spec.rules[2].from[0].source`.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

/// The fields of a message that are there, each under its name in camelCase.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    at: Position,
    path: String,
    found: Vec<(&'static str, &'a Node)>,
}

/// Fields of one message that are looked at for what may be meant by them: with more of them, anything may be.
const MAX_MISSPELT: usize = 100;

impl<'a> Cursor<'a> {
    /// Begins at the top of an object.
    pub(crate) fn new(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    pub(crate) fn fault(&self, findings: &mut Findings, code: Code, what: impl Into<String>) {
        findings.add(code, self.node.at, &self.path, what);
    }

    /// A list that is there and holds nothing, which to most readers is the same as absent.
    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::List(items) if items.is_empty())
    }

    fn wrong_kind(&self, findings: &mut Findings, wanted: &str) {
        let found = match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, plain: false } => format!("the text {}", quoted(text)),
            Value::Scalar { text, plain: true } => text.chars().take(64).collect(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        };
        self.fault(findings, Code::WrongType, format!("{wanted} is wanted, {found} is there"));
    }

    /// The fields of a message, of which no other may be there. Both `camelCase` and `snake_case` are read (ProtoJSON).
    pub(crate) fn fields(&self, known: &[&'static str], findings: &mut Findings) -> Fields<'a> {
        let mut fields = Fields { at: self.node.at, path: self.path.clone(), found: Vec::new() };
        let Value::Map(entries) = &self.node.value else {
            self.wrong_kind(findings, "a map");
            return fields;
        };
        for entry in entries {
            let camel = camel_case(&entry.key);
            let Some(name) = known.iter().find(|name| **name == camel) else {
                if findings.is_full() {
                    continue;
                }
                let meant = nearest(&camel, known).map(|name| format!("; {name} may be meant")).unwrap_or_default();
                let what = format!("{} is no field here{meant}", quoted(&entry.key));
                findings.add(Code::UnknownField, entry.at, &below(&self.path, &entry.key), what);
                continue;
            };
            if fields.found.iter().any(|(found, _)| found == name) {
                let what = format!("{name} is there in both spellings");
                findings.add(Code::FieldTwice, entry.at, &below(&self.path, name), what);
                continue;
            }
            fields.found.push((name, &entry.value));
        }
        fields
    }

    /// Whether a field that does not exist may stand here for one that does: its name is close to it, or to none.
    pub(crate) fn may_misspell(&self, name: &str, known: &[&'static str]) -> bool {
        let Value::Map(entries) = &self.node.value else { return true };
        let names = entries.iter().map(|entry| camel_case(&entry.key));
        let mut unknown = names.filter(|camel| !known.contains(&camel.as_str())).enumerate();
        unknown.any(|(index, camel)| index >= MAX_MISSPELT || nearest(&camel, known).is_none_or(|meant| meant == name))
    }

    /// The items of a list, at most as many as said.
    pub(crate) fn items(&self, most: usize, findings: &mut Findings) -> Vec<Self> {
        let Value::List(items) = &self.node.value else {
            self.wrong_kind(findings, "a list");
            return Vec::new();
        };
        if items.len() > most {
            self.fault(findings, Code::TooManyItems, format!("{} items are there, at most {most} are allowed", items.len()));
            return Vec::new();
        }
        let cursors = items.iter().enumerate();
        cursors.map(|(index, node)| Self { node, path: format!("{}[{index}]", self.path) }).collect()
    }

    /// The entries of a map with keys of the user's.
    pub(crate) fn entries(&self, findings: &mut Findings) -> Vec<(&'a str, Self)> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_kind(findings, "a map");
            return Vec::new();
        };
        let cursor = |key: &str, node| Self { node, path: format!("{}[{}]", self.path, quoted(key)) };
        entries.iter().map(|entry| (entry.key.as_str(), cursor(&entry.key, &entry.value))).collect()
    }

    /// A text. What Kubernetes would take for a number or a boolean (YAML 1.1) has to stand in quotes.
    pub(crate) fn text(&self, findings: &mut Findings) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, plain } if !plain || !reads_as_another_kind(text) => Some(text),
            Value::Scalar { text, .. } => {
                let what = format!("a text is wanted, {} without quotes is a number or a boolean", quoted(text));
                self.fault(findings, Code::WrongType, what);
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_kind(findings, "a text");
                None
            }
        }
    }

    /// One of some words. `ON` and `OFF` need no quotes here: what is meant is plain.
    pub(crate) fn word<T: Copy>(&self, words: &[(&'static str, T)], findings: &mut Findings) -> Option<T> {
        let Some(text) = self.node.text() else {
            self.wrong_kind(findings, "a word");
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.fault(findings, Code::UnknownValue, format!("{} is none of {}", quoted(text), known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A whole number, without quotes or, as ProtoJSON allows, within them.
    pub(crate) fn integer(&self, findings: &mut Findings) -> Option<i64> {
        let number = self.node.text().and_then(|text| text.parse::<i64>().ok());
        if number.is_none() {
            self.wrong_kind(findings, "a whole number");
        }
        number
    }

    /// A boolean, without quotes, in the one spelling that all readers share.
    pub(crate) fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                self.wrong_kind(findings, "true or false");
                None
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// A field that is there and not null, which in ProtoJSON is the same as absent.
    pub(crate) fn get(&self, name: &'static str) -> Option<Cursor<'a>> {
        self.written(name).filter(|cursor| !cursor.node.is_null())
    }

    /// A field that is there, were it null: `mtls:` alone says something.
    pub(crate) fn written(&self, name: &'static str) -> Option<Cursor<'a>> {
        let (_, node) = self.found.iter().find(|(found, _)| *found == name)?;
        Some(Cursor { node, path: below(&self.path, name) })
    }

    /// Which of some fields are there and not null.
    pub(crate) fn those_of(&self, names: &[&'static str]) -> Vec<&'static str> {
        names.iter().copied().filter(|name| self.get(name).is_some()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.iter().all(|(_, node)| node.is_null())
    }

    /// Says what is wrong with a field, be it there or missing.
    pub(crate) fn fault(&self, findings: &mut Findings, code: Code, name: &'static str, what: impl Into<String>) {
        let at = self.found.iter().find(|(found, _)| *found == name).map_or(self.at, |(_, node)| node.at);
        findings.add(code, at, &below(&self.path, name), what);
    }

    /// Says what is wrong with the message.
    pub(crate) fn fault_of_all(&self, findings: &mut Findings, code: Code, what: impl Into<String>) {
        findings.add(code, self.at, &self.path, what);
    }

    /// The text of a field; empty when it is absent.
    pub(crate) fn text(&self, name: &'static str, findings: &mut Findings) -> String {
        self.get(name).and_then(|cursor| cursor.text(findings)).unwrap_or_default().to_owned()
    }

    /// A boolean field; false when it is absent.
    pub(crate) fn boolean(&self, name: &'static str, findings: &mut Findings) -> bool {
        self.get(name).and_then(|cursor| cursor.boolean(findings)).unwrap_or_default()
    }

    /// The items of a list; none when it is absent.
    pub(crate) fn items(&self, name: &'static str, most: usize, findings: &mut Findings) -> Vec<Cursor<'a>> {
        self.get(name).map(|cursor| cursor.items(most, findings)).unwrap_or_default()
    }
}

fn below(path: &str, name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// `match_labels` -> `matchLabels`, as ProtoJSON names fields.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        if character == '_' && !camel.is_empty() {
            upper = true;
        } else if upper {
            camel.push(character.to_ascii_uppercase());
            upper = false;
        } else {
            camel.push(character);
        }
    }
    camel
}

/// Whether YAML 1.1, in which Kubernetes reads, takes a plain scalar for something that is no text.
fn reads_as_another_kind(text: &str) -> bool {
    let boolean = ["true", "false", "yes", "no", "on", "off", "y", "n"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let sign = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = sign.strip_prefix('.').unwrap_or(sign);
    let special = [".inf", ".nan"].iter().any(|word| sign.eq_ignore_ascii_case(word));
    let prefixed = sign.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || sign.strip_prefix("0o").is_some_and(|octal| octal.bytes().all(|byte| byte.is_ascii_digit()));
    let number =
        digits.starts_with(|first: char| first.is_ascii_digit()) && (sign.replace('_', "").parse::<f64>().is_ok() || prefixed);
    boolean || special || number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_name() {
        for (written, name) in [
            ("matchLabels", "matchLabels"),
            ("match_labels", "matchLabels"),
            ("remote_ip_blocks", "remoteIpBlocks"),
            ("_a", "_a"),
            ("a_", "a"),
        ] {
            assert_eq!(camel_case(written), name);
        }
    }

    #[test]
    fn what_kubernetes_reads_as_another_kind_is_no_text() {
        for text in
            ["80", "-1", "+1", "1.5", ".5", "1e3", "0x1F", "0o17", ".inf", "-.Inf", ".NaN", "1_000", "yes", "On", "TRUE", "n"]
        {
            assert!(reads_as_another_kind(text), "{text}");
        }
        for text in
            ["10.0.0.1", "1.2.3.4/8", "v1", "infinity", "nan", "cluster.local/ns/a/sa/b", "*", "-", "2019-01-01T00:00:00Z", "0xg"]
        {
            assert!(!reads_as_another_kind(text), "{text}");
        }
    }
}
