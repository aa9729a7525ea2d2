//! What the corpora have in common: how an expected refusal is named, and where files lie.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// The name of an error's variant as the corpora write it: `CsrError::Key(Der(Trailing))`. Of facts only those are kept that say
/// which rule it was: a position and a source.
pub(crate) fn variant<E: Debug>(error: &E) -> String {
    let kind = std::any::type_name::<E>().rsplit("::").next().unwrap_or_default();
    format!("{kind}::{}", path(&format!("{error:?}")))
}

fn path(debug: &str) -> String {
    let end = debug.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(debug.len());
    let (name, rest) = debug.split_at(end);
    if let Some(inside) = rest.strip_prefix('(') {
        return format!("{name}({})", path(inside));
    }
    let Some(fields) = rest.strip_prefix(" { ") else { return name.to_owned() };
    let facts: Vec<_> = ["position", "source"]
        .into_iter()
        .filter_map(|field| {
            let at = fields.find(&format!("{field}: "))?;
            Some(path(&fields[at + field.len() + 2..]))
        })
        .collect();
    if facts.is_empty() { name.to_owned() } else { format!("{name} {{ {} }}", facts.join(", ")) }
}

/// An error's text goes to logs and to strangers: it must be short, and hold nothing that steers a terminal or ends a line.
pub(crate) fn assert_fit_for_a_log(case: &str, text: &str) {
    assert!(text.len() <= 2048, "{case}: its error has {} bytes", text.len());
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(steers), "{case}: its error holds a control character: {text:?}");
}

/// A folder of `pki/testdata`.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// The files of a folder, by name.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn variants_are_named_with_what_says_which_rule_it_was() {
    use pki::{CsrError, DerError, SvidError};
    assert_eq!(variant(&CsrError::Structure), "CsrError::Structure");
    assert_eq!(variant(&CsrError::Der(DerError::Trailing { bytes: 1 })), "CsrError::Der(Trailing)");
    let position = pki::ChainPosition::Intermediate(2);
    assert_eq!(variant(&SvidError::IntermediateKeyUsage { position }), "SvidError::IntermediateKeyUsage { Intermediate(2) }");
}
