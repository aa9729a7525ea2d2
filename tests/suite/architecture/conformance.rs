//! `docs/conformance.md` names tests: each must be there.

use std::collections::BTreeSet;

use super::{root, rust_files};

/// Rules of the standards, by the letter of their part, with how many there are.
const RULES: [(&str, usize); 9] = [("ID", 8), ("X", 11), ("V", 4), ("J", 5), ("B", 7), ("F", 1), ("E", 7), ("W", 12), ("R", 1)];

#[test]
fn every_rule_has_a_row_and_every_test_that_is_named_exists() {
    let text = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let crates = [
        "identity",
        "proto",
        "runtime",
        "pki",
        "pkcs11",
        "mtls",
        "vault",
        "kubernetes",
        "ca",
        "sds",
        "node-agent",
        "cli",
        "fuzz-targets",
        "tests",
    ];
    let tests: BTreeSet<_> = crates
        .iter()
        .flat_map(|name| rust_files(&root().join(name)))
        .flat_map(|file| {
            let source = std::fs::read_to_string(file).unwrap();
            let names =
                source.lines().filter_map(|line| line.trim().strip_prefix("async fn ").or(line.trim().strip_prefix("fn ")));
            names.filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rule, _, _, held_by] = cells[..] else { panic!("a row has four cells: {line}") };
        if rule == "rule" || rule.starts_with("---") {
            continue;
        }
        assert!(rows.insert(rule.to_owned()), "{rule} has two rows");
        if held_by == "open" || held_by.starts_with("open: ") {
            continue;
        }
        for name in held_by.split(", ") {
            let name = name.trim_matches('`');
            assert!(tests.contains(name), "{rule} is held by {name}, which is no test");
        }
    }
    let expected = RULES.iter().flat_map(|(part, count)| (1..=*count).map(move |number| format!("{part}{number}")));
    assert_eq!(rows, expected.collect());
}
