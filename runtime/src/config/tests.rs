use std::num::ParseIntError;

use super::*;

fn as_is(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.to_owned())
}

fn number(text: &str) -> Result<u16, ParseIntError> {
    text.parse()
}

#[test]
fn a_good_document_gives_its_values_and_no_fault() {
    let document = Document::parse(
        "ca.toml",
        "domain = 'example.org'\nnames = ['a', 'b']\nreplica = 0x7f\nfast = true\n[leaf]\nttl = '1h 30m'\n[log]\n",
    )
    .unwrap();
    let root = document.root();
    assert_eq!(root.required("domain", as_is).as_deref(), Some("example.org"));
    assert_eq!(root.optional("absent", as_is), None);
    assert_eq!(root.list("names", as_is), ["a", "b"]);
    assert_eq!(root.integer("replica", 1..=127), Some(127));
    assert_eq!(root.boolean("fast"), Some(true));
    assert_eq!(root.section("leaf").duration("ttl"), Some(Duration::from_secs(5400)));
    assert_eq!(root.section("log").optional("format", as_is), None, "a table may be empty");
    assert_eq!(root.section("telemetry").optional("address", as_is), None, "or absent");
    document.finish().unwrap();
}

#[test]
fn a_key_can_be_asked_for_without_being_read() {
    let document = Document::parse("ca.toml", "[other]\nx = 1\n").unwrap();
    let root = document.root();
    assert_eq!((root.has("other"), root.has("another")), (true, false));
    document.finish().unwrap();
}

#[test]
fn every_fault_is_reported_at_once_with_file_line_and_key() {
    let document = Document::parse(
        "ca.toml",
        "listne = 'x'\nport = 'seventy'\nreplica = 128\nfast = 'yes'\nnames = ['1', 'x', 3]\nleaf = 7\n[log]\nformat = 1\ndomain = 'x'\n[log.deep]\n[other]\nx = 1\n",
    )
    .unwrap();
    let root = document.root();
    assert_eq!(root.required("domain", as_is), None);
    assert_eq!(root.optional("listen", as_is), None);
    assert_eq!(root.optional("port", number), None);
    assert_eq!(root.integer("replica", 1..=127), None);
    assert_eq!(root.boolean("fast"), None);
    assert_eq!(root.list("names", number), [1]);
    assert_eq!(root.section("leaf").duration("ttl"), None);
    let log = root.section("log");
    assert_eq!(log.optional("format", as_is), None);
    log.fault("format", "a fault of the caller's own");
    let ConfigErrors(faults) = document.finish().unwrap_err();
    assert_eq!(
        faults,
        [
            "ca.toml: domain: missing, and it has no default",
            "ca.toml:1: listne: unknown key (did you mean \"listen\"?)",
            "ca.toml:2: port: invalid digit found in string",
            "ca.toml:3: replica: 128 is not from 1 to 127",
            "ca.toml:4: fast: expected true or false, found a string",
            "ca.toml:5: names[1]: invalid digit found in string",
            "ca.toml:5: names[2]: expected a string, found an integer",
            "ca.toml:6: leaf: expected a table, found an integer",
            "ca.toml:8: log.format: a fault of the caller's own",
            "ca.toml:8: log.format: expected a string, found an integer",
            "ca.toml:9: log.domain: unknown key (it belongs to the top level, above the first [section])",
            "ca.toml:10: log.deep: unknown key",
            "ca.toml:11: other: unknown key",
        ]
    );
}

#[test]
fn every_syntax_error_has_its_place() {
    let ConfigErrors(faults) = Document::parse("agent.toml", "a = \nb = 1\nc = 'x\n").unwrap_err();
    assert!(faults.len() >= 2, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("agent.toml:1:")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("agent.toml:3:")), "{faults:?}");
    assert!(Document::parse("agent.toml", "a = 1\na = 2\n").is_err(), "a key given twice");
}

#[test]
fn durations_and_integers_are_read_whole_or_not_at_all() {
    let document = Document::parse("f", "a = '10'\nb = '1h x'\nc = 99999999999999999999\nd = 1.5\n").unwrap();
    let root = document.root();
    assert_eq!((root.duration("a"), root.duration("b")), (None, None));
    assert_eq!((root.integer("c", 0..=i64::MAX), root.integer("d", 0..=9)), (None, None));
    assert_eq!(document.finish().unwrap_err().0.len(), 4);
}

#[test]
fn a_file_is_read_with_bounds_and_must_be_text() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.toml");
    let missing = Document::load(&path).unwrap_err().to_string();
    assert!(missing.contains("ca.toml") && missing.contains("No such file"), "{missing}");
    std::fs::write(&path, "a = 1").unwrap();
    assert_eq!(Document::load(&path).unwrap().root().integer("a", 0..=1), Some(1));
    std::fs::write(&path, [b'#', 0xff]).unwrap();
    assert!(Document::load(&path).unwrap_err().to_string().contains("not UTF-8"));
    std::fs::write(&path, vec![b'#'; MAX_CONFIG_BYTES + 1]).unwrap();
    assert!(Document::load(&path).unwrap_err().to_string().contains("more than 1048576 bytes"));
}

#[test]
fn an_empty_document_has_no_key_and_no_fault() {
    let document = Document::empty("the command line");
    assert_eq!(document.root().required("domain", as_is), None);
    assert_eq!(document.finish().unwrap_err().0, ["the command line: domain: missing, and it has no default"]);
}

#[test]
fn an_array_of_tables_is_read_table_by_table_and_unknown_keys_in_each_are_refused() {
    let document =
        Document::parse("f", "[[rule]]\nname = \"a\"\n[[rule]]\nname = \"b\"\nnam = 1\n[rule.below]\nx = 1\n").unwrap();
    let names: Vec<_> = document
        .root()
        .sections("rule")
        .iter()
        .filter_map(|rule| rule.required("name", |name| Ok::<_, String>(name.to_owned())))
        .collect();
    assert_eq!(names, ["a", "b"]);
    let faults = document.finish().unwrap_err().to_string();
    assert!(faults.contains("f:5: rule[1].nam: unknown key") && faults.contains("rule[1].below: unknown key"), "{faults}");
    let document = Document::parse("f", "rule = [1]\n").unwrap();
    assert!(document.root().sections("rule").is_empty());
    assert!(document.finish().unwrap_err().to_string().contains("rule[0]: expected a table, found an integer"));
}
