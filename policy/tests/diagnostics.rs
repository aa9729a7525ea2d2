//! `docs/policy-objects.md` tells every code as the program does.

use policy::Code;
use policy::objects::Kind;

const DOCUMENT: &str = include_str!("../../docs/policy-objects.md");

#[test]
fn every_code_has_its_row_and_there_is_no_other() {
    let wanted: Vec<String> = Code::ALL
        .iter()
        .map(|code| format!("| `{code}` | {} | {} | {} |", code.severity(), code.why(), code.advice()).replace('*', "\\*"))
        .collect();
    let table = DOCUMENT.split("## What is said\n").nth(1).unwrap_or_default();
    let found: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(found, wanted, "the table should be:\n{}", wanted.join("\n"));
}

#[test]
fn every_kind_has_its_row() {
    for kind in Kind::ALL {
        let row = format!("| {kind} | `{}` ", kind.group());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
