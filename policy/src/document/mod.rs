//! Documents of users: text -> bounded trees with positions.
//!
//! YAML 1.2, of which JSON is a part, in one stream of documents as `kubectl` takes it. Nothing is read that two readers could read
//! differently: no anchors, aliases, merge keys, tags or duplicate keys. A document that is malformed takes no other one down.

mod cursor;
mod nearest;
mod stream;
mod tree;

use std::fmt;

use crate::diagnostic::Code;

pub(crate) use cursor::{Cursor, Fields};

/// How much is read at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Lists and maps within one another, in one document.
    pub depth: usize,
    /// Scalars, lists and maps, in one document.
    pub nodes: usize,
    /// Documents in the text.
    pub documents: usize,
}

impl Default for Limits {
    /// 64 MiB in 200,000 documents, each 32 deep and of 100,000 nodes: an object in Kubernetes has 1.5 MiB at most.
    fn default() -> Self {
        Self { bytes: 64 << 20, depth: 32, nodes: 100_000, documents: 200_000 }
    }
}

/// A place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What is in a document. What a plain scalar means is for its field to say, since YAML 1.1 reads `ON` as a boolean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar {
        text: String,
        /// Without quotes, so that it may be a number or a boolean.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

impl Node {
    /// The value under a key, as it is spelled.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a scalar, in quotes or not.
    pub(crate) fn text(&self) -> Option<&str> {
        let Value::Scalar { text, .. } = &self.value else { return None };
        Some(text)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

/// Why a document, or a part of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Position,
    pub(crate) code: Code,
    pub(crate) what: String,
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Its place in the text, from 1; empty documents count.
    pub(crate) index: usize,
    /// What was read, also where there are faults, so that it can be said whose they are. Absent when nothing could be.
    pub(crate) root: Option<Node>,
    /// When there is one, nothing in the tree may be relied on but its name.
    pub(crate) faults: Vec<Fault>,
}

/// Reads a text, which ends where a limit of the whole is passed. Empty documents are left out.
pub(crate) fn read(text: &str, limits: &Limits) -> Vec<Document> {
    let whole = |code, what| vec![Document { index: 1, root: None, faults: vec![Fault { at: Position::default(), code, what }] }];
    if text.len() > limits.bytes {
        let what = format!("the text has {} bytes, at most {} are read", text.len(), limits.bytes);
        return whole(Code::TextTooLarge, what);
    }
    let chunks = stream::split(text);
    if chunks.len() > limits.documents {
        let what = format!("the text has {} documents, at most {} are read", chunks.len(), limits.documents);
        return whole(Code::TooManyDocuments, what);
    }
    let documents = chunks.into_iter().map(|chunk| tree::read(&chunk, limits));
    documents.filter(|document| document.root.is_some() || !document.faults.is_empty()).collect()
}

#[cfg(test)]
mod tests;
