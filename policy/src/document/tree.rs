//! Events of the YAML parser -> a tree, or the faults that make it unusable.

use std::collections::BTreeSet;

use granit_parser::{Event, Marker, Parser, ScalarStyle};

use super::stream::Chunk;
use super::{Document, Entry, Fault, Limits, Node, Position, Value};
use crate::diagnostic::{Code, quoted};

/// Faults told of one document; it is read on for its name.
const MAX_FAULTS: usize = 20;

/// A list or map that is not closed yet.
struct Open {
    at: Position,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        keys: BTreeSet<String>,
        /// The key whose value comes next.
        key: Option<(String, Position)>,
    },
}

struct Builder {
    lines_before: usize,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    faults: Vec<Fault>,
}

/// Reads one document.
pub(super) fn read(chunk: &Chunk<'_>, limits: &Limits) -> Document {
    let mut builder = Builder { lines_before: chunk.lines_before, open: Vec::new(), root: None, nodes: 0, faults: Vec::new() };
    let mut options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        // One more than is allowed: which limit it was is said by this module.
        flow_nesting_limit: limits.depth + 1,
        block_nesting_limit: limits.depth + 1,
    };
    options.set_emit_comments(false);
    let whole = builder.take(Parser::new_from_str_with_options(chunk.text, options), limits);
    let Builder { root, faults, .. } = builder;
    Document { index: chunk.index, root: if whole { root.filter(|root| !root.is_null()) } else { None }, faults }
}

impl Builder {
    /// Whether the tree is whole.
    fn take<'a>(&mut self, parser: Parser<'a, granit_parser::StrInput<'a>>, limits: &Limits) -> bool {
        for next in parser {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => {
                    let at = self.position(error.marker());
                    self.faults.push(Fault { at, code: Code::Syntax, what: error.info().to_owned() });
                    return false;
                }
            };
            let at = self.position(&span.start);
            if !self.event(event, at) {
                self.faults.push(Fault { at, code: Code::Syntax, what: "a value stands where none can".to_owned() });
                return false;
            }
            if self.nodes > limits.nodes {
                let what = format!("the document has more than {} nodes", limits.nodes);
                self.faults.push(Fault { at, code: Code::TooManyNodes, what });
                return false;
            }
            if self.open.len() > limits.depth {
                let what = format!("the document is nested more than {} deep", limits.depth);
                self.faults.push(Fault { at, code: Code::TooDeep, what });
                return false;
            }
        }
        true
    }

    fn position(&self, marker: &Marker) -> Position {
        Position { line: marker.line() + self.lines_before, column: marker.col() + 1 }
    }

    fn fault(&mut self, at: Position, code: Code, what: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { at, code, what });
        }
    }

    /// Whether the event has a place.
    fn event(&mut self, event: Event<'_>, at: Position) -> bool {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(anchor, tag.is_some(), at);
                self.scalar(&text, style, at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.properties(anchor, tag.is_some(), at);
                self.open(at, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.properties(anchor, tag.is_some(), at);
                self.open(at, Content::Map { entries: Vec::new(), keys: BTreeSet::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.fault(at, Code::Anchor, "an alias stands here".to_owned());
                self.node(Node { at, value: Value::Null })
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd | Event::Anchor(..) => true,
            // What the parser may tell some day cannot be understood today.
            _ => false,
        }
    }

    fn properties(&mut self, anchor: usize, tagged: bool, at: Position) {
        if anchor != 0 {
            self.fault(at, Code::Anchor, "an anchor is set here".to_owned());
        }
        if tagged {
            self.fault(at, Code::Tag, "a tag is set here".to_owned());
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Position) -> bool {
        let plain = style == ScalarStyle::Plain;
        let value = if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Value::Null
        } else {
            Value::Scalar { text: text.to_owned(), plain }
        };
        self.node(Node { at, value })
    }

    fn open(&mut self, at: Position, content: Content) -> bool {
        self.nodes += 1;
        self.open.push(Open { at, content });
        true
    }

    fn close(&mut self) -> bool {
        let Some(open) = self.open.pop() else { return false };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        self.nodes -= 1;
        self.node(Node { at: open.at, value })
    }

    /// Puts a whole node where it belongs.
    fn node(&mut self, node: Node) -> bool {
        self.nodes += 1;
        let at = node.at;
        let Some(open) = self.open.last_mut() else {
            return self.root.replace(node).is_none();
        };
        let fault = match &mut open.content {
            Content::List(items) => {
                items.push(node);
                None
            }
            Content::Map { entries, keys, key } => match key.take() {
                Some((key, at)) => {
                    entries.push(Entry { key, at, value: node });
                    None
                }
                None => {
                    let (text, fault) = as_key(node, keys);
                    *key = Some((text, at));
                    fault
                }
            },
        };
        if let Some((code, what)) = fault {
            self.fault(at, code, what);
        }
        true
    }
}

/// The text of a key, and what is wrong with it.
fn as_key(node: Node, keys: &mut BTreeSet<String>) -> (String, Option<(Code, String)>) {
    let Value::Scalar { text, .. } = node.value else {
        return (String::new(), Some((Code::KeyNotText, "a list, a map or nothing stands as a key".to_owned())));
    };
    let fault = if text == "<<" {
        Some((Code::MergeKey, "a merge key stands here".to_owned()))
    } else if keys.insert(text.clone()) {
        None
    } else {
        Some((Code::DuplicateKey, format!("the key {} is there twice", quoted(&text))))
    };
    (text, fault)
}
