//! `StringMatch` of Istio 1.1.

use crate::diagnostic::{Code, Findings};
use crate::document::Cursor;

/// How a text is compared, with case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// It is this one.
    Exact(String),
    /// It begins so.
    Prefix(String),
    /// It ends so.
    Suffix(String),
    /// The whole of it is matched by this expression, which [`StringMatch::compile`] takes.
    Regex(String),
}

/// What an expression may take once it is compiled, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl StringMatch {
    pub(super) fn read(item: &Cursor<'_>, findings: &mut Findings) -> Option<Self> {
        if item.node.is_null() {
            item.fault(findings, Code::NullItem, "the match is null");
            return None;
        }
        const NAMES: [&str; 4] = ["exact", "prefix", "suffix", "regex"];
        let fields = item.fields(&NAMES, findings);
        let [name] = fields.those_of(&NAMES)[..] else {
            item.fault(findings, Code::BadStringMatch, "it has none or several of exact, prefix, suffix and regex");
            return None;
        };
        let text = fields.text(name, findings);
        if text.is_empty() {
            fields.fault(findings, Code::EmptyText, name, "the text is empty");
        }
        if name == "regex"
            && let Err(error) = Self::compile(&text)
        {
            // The last line alone: what comes before is a picture of the expression.
            let told = error.to_string();
            fields.fault(findings, Code::BadRegex, name, told.lines().last().unwrap_or_default());
        }
        Some(match name {
            "exact" => Self::Exact(text),
            "prefix" => Self::Prefix(text),
            "suffix" => Self::Suffix(text),
            _ => Self::Regex(text),
        })
    }

    /// Compiles an expression to match the whole of a text, in time linear in it.
    ///
    /// # Errors
    /// When it is malformed, or would take too much memory.
    pub fn compile(expression: &str) -> Result<regex::Regex, regex::Error> {
        // By itself first, so that it cannot close the group around it.
        regex::RegexBuilder::new(expression).size_limit(MAX_REGEX_BYTES).build()?;
        regex::RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(MAX_REGEX_BYTES).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_the_whole_in_bounded_cost() {
        let regex = StringMatch::compile("/a|/b.*").unwrap();
        assert!(regex.is_match("/a") && regex.is_match("/bc") && !regex.is_match("/ac") && !regex.is_match("x/a"));
        // CVE-2019-14993: an expression that a backtracking matcher never ends.
        assert!(!StringMatch::compile("(a*)*b").unwrap().is_match(&"a".repeat(64 << 10)));
        for expression in ["(", "a)(b", r"(a)\1", "(?=a)", "a{1000}{1000}"] {
            assert!(StringMatch::compile(expression).is_err(), "{expression}");
        }
    }
}
