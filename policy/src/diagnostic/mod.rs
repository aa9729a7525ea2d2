//! What is said of an object to who wrote it: where, what, why it matters and what to do, under a code that never changes.

mod code;

use std::fmt;

use crate::document::Position;

pub use code::Code;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is wrong, yet something is not as it looks.
    Note,
    /// The object counts as written, which is probably not what is meant.
    Warning,
    /// The object does not count as written.
    Error,
    /// An object that would hold for the whole mesh does not count at all.
    Alarm,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Alarm => "alarm",
        })
    }
}

/// Of which object something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The document in the text, from 1.
    pub document: usize,
    /// Such as `AuthorizationPolicy`; empty when it cannot be read.
    pub kind: String,
    /// The namespace; empty for an object of the cluster, or when it cannot be read.
    pub namespace: String,
    /// The name; empty when it cannot be read.
    pub name: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.namespace.as_str(), self.name.as_str()) {
            ("", _, _) | (_, _, "") => write!(f, "document {}", self.document),
            (kind, "", name) => write!(f, "{kind} {name}"),
            (kind, namespace, name) => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

/// One thing that is said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of fault it is. Why it matters and what to do hang on it.
    pub code: Code,
    /// How bad it is here: as the code has it, or milder where the place or a switch makes it so.
    pub severity: Severity,
    /// Of which object.
    pub subject: Subject,
    /// The path of the field, such as `spec.rules[2].from[0].source.principals`; empty for the object itself.
    pub field: String,
    /// Where in the text; absent when it is said of no text.
    pub at: Option<Position>,
    /// What is wrong, with what was met (clipped).
    pub what: String,
}

impl fmt::Display for Diagnostic {
    /// In one line: `error[unknown-field] AuthorizationPolicy a/b, spec.ruls (line 6, column 3): ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {}", self.severity, self.code, self.subject)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        if let Some(at) = self.at.filter(|at| at.line > 0) {
            write!(f, " ({at})")?;
        }
        write!(f, ": {}; {}; {}", self.what, self.code.why(), self.code.advice())
    }
}

/// What is found in one object while it is read.
#[derive(Debug)]
pub(crate) struct Findings {
    subject: Subject,
    name_at: Position,
    diagnostics: Vec<Diagnostic>,
    refused: bool,
}

/// Diagnostics told of one object: who wrote a thousand mistakes mends these first.
const MAX_DIAGNOSTICS: usize = 100;

impl Findings {
    pub(crate) fn new(subject: Subject) -> Self {
        Self { subject, name_at: Position::default(), diagnostics: Vec::new(), refused: false }
    }

    /// The same, knowing where the name of the object stands.
    pub(crate) fn named_at(self, name_at: Position) -> Self {
        Self { name_at, ..self }
    }

    /// Says what is wrong with the name of the object.
    pub(crate) fn add_to_name(&mut self, code: Code, what: impl Into<String>) {
        self.add(code, self.name_at, "metadata.name", what);
    }

    pub(crate) fn add(&mut self, code: Code, at: Position, field: &str, what: impl Into<String>) {
        self.add_as(code, code.severity(), at, field, what);
    }

    /// As [`Self::add`], with another severity than that of the code.
    pub(crate) fn add_as(&mut self, code: Code, severity: Severity, at: Position, field: &str, what: impl Into<String>) {
        self.refused |= severity >= Severity::Error;
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            let subject = self.subject.clone();
            self.diagnostics.push(Diagnostic {
                code,
                severity,
                subject,
                field: field.to_owned(),
                at: Some(at),
                what: what.into(),
            });
        }
    }

    /// Whether what is said means that the object does not count as written.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// Whether it is refused and nothing more will be told of it.
    pub(crate) fn is_full(&self) -> bool {
        self.refused && self.diagnostics.len() >= MAX_DIAGNOSTICS
    }

    /// Whether something of this kind was said.
    pub(crate) fn has(&self, code: Code) -> bool {
        self.diagnostics.iter().any(|one| one.code == code)
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}

/// A text of the user's as it may stand in a message: escaped, in quotes, its first 64 characters.
pub(crate) fn quoted(text: &str) -> String {
    let clipped: String = text.chars().take(64).collect();
    let more = if clipped.len() < text.len() { "..." } else { "" };
    format!("{clipped:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_one_line_with_all_that_is_known() {
        let subject = Subject { document: 2, kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: "web".into() };
        let mut findings = Findings::new(subject);
        findings.add(Code::UnknownField, Position { line: 6, column: 3 }, "spec.ruls", "\"ruls\" is no field here");
        assert!(findings.refused());
        let told = findings.into_diagnostics().remove(0).to_string();
        let start =
            "error[unknown-field] AuthorizationPolicy shop/web, spec.ruls (line 6, column 3): \"ruls\" is no field here; ";
        assert!(told.starts_with(start), "{told}");
        assert!(told.ends_with(Code::UnknownField.advice()), "{told}");
    }

    #[test]
    fn a_warning_refuses_nothing_and_no_object_is_told_of_for_ever() {
        let mut findings = Findings::new(Subject { document: 1, ..Subject::default() });
        findings.add(Code::SelectorEmpty, Position::default(), "", "it is empty");
        assert!(!findings.refused());
        for _ in 0..1000 {
            findings.add(Code::Syntax, Position::default(), "", "no");
        }
        assert!(findings.refused());
        let told = findings.into_diagnostics();
        assert_eq!(told.len(), MAX_DIAGNOSTICS);
        assert!(told.iter().all(|one| one.to_string().contains(" document 1: ")));
    }

    #[test]
    fn texts_of_users_are_escaped_and_clipped() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"x".repeat(65)), format!("\"{}\"...", "x".repeat(64)));
    }

    #[test]
    fn codes_are_distinct_and_tell_everything() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.as_str().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-')), "{code}");
            assert!(!code.why().is_empty() && !code.advice().is_empty(), "{code}");
        }
    }
}
