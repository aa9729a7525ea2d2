//! What is decided, as data: `*.txt` beside this file, read by `table`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a table that cannot be read fails the test")]

mod question;
mod table;

use std::collections::BTreeSet;

const TABLES: [(&str, &str); 6] = [
    ("advisories.txt", include_str!("advisories.txt")),
    ("authorization.txt", include_str!("authorization.txt")),
    ("peers.txt", include_str!("peers.txt")),
    ("tokens.txt", include_str!("tokens.txt")),
    ("v1alpha1-authentication.txt", include_str!("v1alpha1-authentication.txt")),
    ("v1alpha1-rbac.txt", include_str!("v1alpha1-rbac.txt")),
];

/// The rows of the conformance table that are decided here. Row 69 is a case of validation.
const ROWS: &[&str] = &[
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22",
    "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46",
    "47", "48", "49", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", "64", "65", "66", "67",
    "68", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "80",
];

#[test]
fn every_row_is_decided_as_it_says() {
    let mut faults = Vec::new();
    let mut decided = 0;
    let mut rows = BTreeSet::new();
    for (name, text) in TABLES {
        for case in table::read(name, text) {
            rows.extend(case.row.clone());
            for (asked, expected) in &case.questions {
                decided += 1;
                let found = question::answer(&case, asked);
                if found != *expected {
                    faults.push(format!("{name}: {}\n  {asked}\n  expected {expected}\n  found    {found}", case.title));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} of {decided}:\n{}", faults.len(), faults.join("\n"));
    let missing: Vec<_> = ROWS.iter().filter(|row| !rows.contains(**row)).collect();
    assert!(missing.is_empty(), "no case for the rows {missing:?}");
}
