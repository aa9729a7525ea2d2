use super::*;

const WHOLE: &str = "\
scope:
  node: n1
  path_prefix: /team-a
entries:
  - spiffe_id: spiffe://example.org/team-a/web
    selectors: [unix:uid:1000, 'unix:path:/usr/bin/web: odd']
    ttl: 1h30m
    dns_names:
      - web.example.org
    hint: internal
    expires_at: 2027-01-31T12:00:00Z
  - spiffe_id: spiffe://example.org/team-a/api
    id: 8f14e45fceea167a5a36dedd4bea2543
    alias: fleet
    selectors: [unix:user:api]
";

#[test]
fn a_whole_document_is_read_and_an_entry_without_a_parent_has_that_of_the_scope() {
    let document = EntryDocument::parse(WHOLE).unwrap();
    let scope = document.scope.as_ref().unwrap().to_wire();
    assert_eq!((scope.parent_node.as_str(), scope.path_prefix.as_str(), scope.everything), ("n1", "/team-a", false));
    let [web, api]: [_; 2] = document.wanted().try_into().unwrap();
    let web = web.entry.unwrap();
    assert_eq!((web.parent_node.as_str(), web.parent_alias.as_str(), web.ttl_seconds), ("n1", "", 5400));
    assert_eq!((web.selectors.len(), web.dns_names.len(), web.hint.as_str()), (2, 1, "internal"));
    assert_eq!(web.expires_at.unwrap().seconds, 1_801_396_800);
    let (id, api) = (api.id, api.entry.unwrap());
    assert_eq!((id.len(), api.parent_node.as_str(), api.parent_alias.as_str(), api.ttl_seconds), (32, "", "fleet", 0));
}

#[test]
fn json_is_read_as_well() {
    let json = r#"{"scope": {"everything": true}, "entries": [
        {"spiffe_id": "spiffe://t/web", "node": "n1", "selectors": ["unix:uid:1"], "ttl": "60s"}]}"#;
    let document = EntryDocument::parse(json).unwrap();
    assert!(document.scope.as_ref().unwrap().everything);
    assert_eq!(document.wanted().len(), 1);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (from, to, line, word) in [
        ("    hint:", "    hints:", 10, "hints"),
        ("  node: n1", "  nodes: n1", 2, "nodes"),
        ("unix:user:api", "unix:users:api", 15, "unix:users"),
        ("spiffe://example.org/team-a/web", "spiffe://example.org/team-a/", 5, "path"),
        ("2027-01-31T12:00:00Z", "tomorrow", 11, "2027-01-31T12:00:00Z"),
        ("ttl: 1h30m", "ttl: 500ms", 7, "whole number of seconds"),
        ("    hint: internal", "    hint: a\n    hint: b", 11, "hint"),
    ] {
        assert!(WHOLE.contains(from));
        let why = EntryDocument::parse(&WHOLE.replace(from, to)).unwrap_err();
        assert!(why.contains(&format!("line {line}")) && why.contains(word), "{to}: {why}");
        assert!(!why.contains('\n'), "{why}");
    }
}

#[test]
fn what_would_cost_too_much_or_mean_two_things_is_refused() {
    let billion: String =
        (1..9).map(|level| format!("  a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(9))).collect();
    let bomb = format!("scope:\n  a0: &a0 [x]\n{billion}entries: []\n");
    let deep = format!("scope: {{}}\nentries: {}{}", "[".repeat(5000), "]".repeat(5000));
    let merged = WHOLE.replace("  node: n1", "  <<: { node: n1 }");
    for (name, text) in [("bomb", bomb), ("deep", deep), ("merge key", merged), ("two documents", format!("{WHOLE}---\n{WHOLE}"))]
    {
        assert!(EntryDocument::parse(&text).is_err(), "{name}");
    }
    let tagged = WHOLE.replace("hint: internal", "hint: !secret internal");
    assert!(EntryDocument::parse(&tagged).is_err());
}

#[test]
fn a_document_that_is_too_large_is_refused_before_it_is_parsed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entries.yaml");
    std::fs::write(&path, WHOLE).unwrap();
    assert_eq!(EntryDocument::read(&path).unwrap().entries.len(), 2);
    let padded = format!("{WHOLE}#{}", "x".repeat(MAX_BYTES));
    std::fs::write(&path, padded).unwrap();
    let refused = EntryDocument::read(&path).unwrap_err();
    assert!(refused.one_line().contains("is too long"), "{refused}");
}

#[test]
fn what_is_written_is_read_back_as_the_same() {
    let scope = DocumentScope { node: Some(NodeName::parse("n1").unwrap()), ..DocumentScope::default() };
    let entry = v1::Entry {
        id: "8f14e45fceea167a5a36dedd4bea2543".to_owned(),
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned(), "unix:path:/opt/a b: #c\"'".to_owned(), "unix:user:no".to_owned()],
        parent_node: "n1".to_owned(),
        ttl_seconds: 5461,
        dns_names: vec!["web.example.org".to_owned()],
        hint: "yes: [no] # true".to_owned(),
        expires_at: Some(prost_types::Timestamp { seconds: 1_801_396_800, nanos: 0 }),
        ..v1::Entry::default()
    };
    let by_alias =
        v1::Entry { parent_node: String::new(), parent_alias: "fleet".to_owned(), hint: "1e3".to_owned(), ..entry.clone() };
    let entries = [&entry, &by_alias].map(|entry| DocumentEntry::of(entry, &scope).unwrap());
    assert_eq!((entries[0].node.as_ref(), entries[1].alias.as_ref().map(AliasName::as_str)), (None, Some("fleet")));
    let document = EntryDocument { scope: Some(scope), entries: entries.to_vec() };
    let text = document.to_yaml().unwrap();
    assert_eq!(EntryDocument::parse(&text).unwrap_or_else(|why| panic!("{why} in:\n{text}")), document);
}
