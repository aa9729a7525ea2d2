//! Texts -> trees, and what is bounded.

use proptest::prelude::*;

use super::*;

fn tree(text: &str) -> Node {
    let documents = read(text, &Limits::default());
    let [Document { root: Some(root), faults, .. }] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(*faults, []);
    root.clone()
}

fn codes(text: &str, limits: &Limits) -> Vec<(usize, Option<Code>)> {
    read(text, limits).iter().map(|document| (document.index, document.faults.first().map(|fault| fault.code))).collect()
}

/// The tree as one line, plain scalars without quotes.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Null => "~".to_owned(),
        Value::Scalar { text, plain: true } => text.clone(),
        Value::Scalar { text, plain: false } => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| format!("{}:{}", entry.key, shown(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
        }
    }
}

#[test]
fn every_style_is_one_tree() {
    for (text, tree_text) in [
        ("a: 1\nb: [c, 'd', \"e\\n\"]\n", r#"{a:1 b:[c "d" "e\n"]}"#),
        ("{\"a\": 1, \"b\": [true, null, \"\\u00e4\"]}", r#"{a:1 b:[true ~ "ä"]}"#),
        ("a: |\n  b\n  c\nd: >-\n  e\n  f\n", r#"{a:"b\nc\n" d:"e f"}"#),
        ("a:\n- b:\n    c\n- ~\n-\n", "{a:[{b:c} ~ ~]}"),
        ("? a\n: b\n", "{a:b}"),
        ("a: # comment\n  b # comment\n", "{a:b}"),
        ("--- {a: b}\n...\n", "{a:b}"),
        ("a: yes\nb: ON\nc: 0x1F\n", "{a:yes b:ON c:0x1F}"),
    ] {
        assert_eq!(shown(&tree(text)), tree_text, "{text}");
    }
}

#[test]
fn a_node_knows_where_it_stands() {
    let documents = read("---\n# comment\n---\na:\n  - b\n  - c: d\n", &Limits::default());
    let root = documents[0].root.as_ref().unwrap();
    assert_eq!((documents[0].index, root.at), (2, Position { line: 4, column: 1 }));
    let Value::List(items) = &root.get("a").unwrap().value else { panic!("{root:?}") };
    let places: Vec<String> = items.iter().map(|item| item.at.to_string()).collect();
    assert_eq!(places, ["line 5, column 5", "line 6, column 5"]);
    let Value::Map(entries) = &items[1].value else { panic!("{items:?}") };
    assert_eq!((entries[0].at.column, entries[0].value.at.column), (5, 8));
}

#[test]
fn a_malformed_document_leaves_the_others_alone() {
    let found = codes("a: 1\n---\n[\n---\n{a: 1, a: 2}\n---\n*x\n---\nb: 2\n", &Limits::default());
    let expected = [None, Some(Code::Syntax), Some(Code::DuplicateKey), Some(Code::Anchor), None];
    assert_eq!(found, (1..).zip(expected).collect::<Vec<_>>());
}

/// At the limit it is read, one further it is not.
#[test]
fn limits_hold_exactly() {
    let at = Limits { bytes: 13, depth: 3, nodes: 6, documents: 2 };
    for (fits, passes, code) in [
        ("a: bcdefghijk", "a: bcdefghijkl", Code::TextTooLarge),
        ("[[[a]]]", "[[[[a]]]]", Code::TooDeep),
        ("- - - a", "- - - - a", Code::TooDeep),
        ("[a,a,a,a,a]", "[a,a,a,a,a,a]", Code::TooManyNodes),
        ("--- 1\n--- 2", "---\n---\n---\n", Code::TooManyDocuments),
    ] {
        assert!(codes(fits, &at).iter().all(|(_, code)| code.is_none()), "{fits}: {:?}", codes(fits, &at));
        assert_eq!(codes(passes, &at).first().map(|(_, code)| *code), Some(Some(code)), "{passes}");
    }
}

/// What costs a reader without bounds much time or memory (CVE-2026-48042 for nesting).
#[test]
fn hostile_texts_cost_little() {
    let many = |text: &str, times| text.repeat(times);
    for text in [
        many("[", 1 << 20),
        many("{a: ", 1 << 18),
        many("- ", 1 << 20),
        many("a: &a [*a]\n", 1 << 10),
        many("? ", 1 << 20),
        many("'", 1 << 20),
        many("a\n", 1 << 20),
        many("a: ", 1 << 18),
        many("!", 1 << 20),
        many("#\n", 1 << 20),
        many("k: |\n", 1 << 18),
        many("\u{feff}", 1 << 16),
        many("[a, ", 1 << 18),
        (0..50_000).map(|number| format!("k{number}: 1\n")).collect(),
    ] {
        let _ = read(&text, &Limits::default());
    }
    let documents = read(&many("---\n[\n", 100_000), &Limits::default());
    assert_eq!(documents.len(), 100_000);
    let faults = &read(&format!("[{}]", many("*a, ", 1_000)), &Limits::default())[0].faults;
    assert!(faults.len() <= 21, "{}", faults.len());
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "[-a-c:{}\\[\\],\"'&*!|>#%?~ \n\t\u{0}\u{85}\u{2028}\u{1f600}.]{0,80}") {
        for document in read(&text, &Limits { bytes: 64, depth: 4, nodes: 20, documents: 4 }) {
            prop_assert!(document.root.is_some() || !document.faults.is_empty());
            prop_assert!(document.index >= 1);
        }
    }

    /// Whatever a text is made of, its documents are those of its parts.
    #[test]
    fn documents_do_not_see_one_another(parts in prop::collection::vec("[-a:{}\\[\\]\"'& \n]{1,20}", 1..4)) {
        let joined: String = parts.iter().map(|part| format!("---\n{part}\n")).collect();
        let roots = |text: &str| read(text, &Limits::default()).into_iter().map(|one| one.root.map(|root| shown(&root))).collect::<Vec<_>>();
        let alone: Vec<_> = parts.iter().flat_map(|part| roots(&format!("---\n{part}\n"))).collect();
        prop_assert_eq!(roots(&joined), alone);
    }
}
