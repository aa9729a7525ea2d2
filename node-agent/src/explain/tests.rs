use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn node() -> NodeName {
    NodeName::parse("n1").unwrap()
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn wire(id: &str, path: &str, selectors: &[&str]) -> v1::Entry {
    v1::Entry {
        id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org{path}"),
        selectors: selectors.iter().map(|&text| text.to_owned()).collect(),
        parent_node: "n1".to_owned(),
        created_at: Some(prost_types::Timestamp { seconds: 5, nanos: 0 }),
        ..v1::Entry::default()
    }
}

fn held(entries: impl IntoIterator<Item = v1::Entry>) -> Entries {
    let read = |entry| Entry::from_wire(entry, &domain(), &node()).unwrap();
    entries.into_iter().map(read).map(|entry| (entry.id.clone(), Arc::new(entry))).collect()
}

fn own(texts: &[&str]) -> BTreeSet<Selector> {
    texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
}

fn paths(entries: &[v1::Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.spiffe_id.strip_prefix("spiffe://example.org").unwrap()).collect()
}

/// With these edits: what matches, and what is said about the edits.
fn after(edits: Vec<v1::Entry>, selector_edits: Vec<v1::SelectorEdit>) -> Result<(Vec<String>, Vec<String>), EditError> {
    let entries = held([wire("e1", "/web", &["unix:uid:7"]), wire("e2", "/api", &["unix:uid:7", "unix:gid:7"])]);
    let before = entries.clone();
    let (changed, notes) = edited(&entries, edits, selector_edits, &domain(), &node())?;
    assert_eq!(entries, before);
    let outlook = outlook(&changed, &own(&["unix:uid:7", "unix:path:/web"]), Some(&node()), at(10));
    Ok((paths(&outlook.matched).into_iter().map(str::to_owned).collect(), notes))
}

fn selector_edit(entry_id: &str, add: &[&str], remove: &[&str]) -> v1::SelectorEdit {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    v1::SelectorEdit { entry_id: entry_id.to_owned(), add: texts(add), remove: texts(remove) }
}

#[test]
fn what_matches_is_told_in_the_agents_order_and_what_has_ended_apart() {
    let end = |entry: v1::Entry, end| v1::Entry { expires_at: Some(prost_types::Timestamp { seconds: end, nanos: 0 }), ..entry };
    let entries = held([
        wire("e2", "/second", &["unix:uid:7"]),
        wire("e1", "/first", &["unix:uid:7"]),
        end(wire("e3", "/over", &["unix:uid:7"]), 10),
        end(wire("e4", "/not-yet-over", &["unix:uid:7"]), 11),
        wire("e5", "/other", &["unix:uid:8"]),
    ]);
    let told = outlook(&entries, &own(&["unix:uid:7"]), Some(&node()), at(10));
    assert_eq!(
        (paths(&told.matched), paths(&told.ended), told.entries),
        (vec!["/first", "/second", "/not-yet-over"], vec!["/over"], 4)
    );
    assert_eq!(told.nearest_miss, None);
    let nobody = outlook(&entries, &own(&["unix:uid:9"]), Some(&node()), at(10));
    let miss = nobody.nearest_miss.unwrap();
    assert_eq!((miss.entry.unwrap().id.as_str(), miss.missing), ("e1", vec!["unix:uid:7".to_owned()]));
}

#[test]
fn an_edited_entry_takes_the_place_of_the_one_it_means_or_stands_beside() {
    assert_eq!(after(vec![], vec![]).unwrap().0, ["/web"]);
    let stricter = wire("", "/web", &["unix:uid:7", "unix:gid:9"]);
    assert_eq!(after(vec![stricter], vec![]).unwrap().0, [""; 0]);
    let by_id = wire("e2", "/api", &["unix:path:/web"]);
    assert_eq!(after(vec![by_id], vec![]).unwrap().0, ["/web", "/api"]);
    let another = wire("", "/new", &["unix:uid:7"]);
    assert_eq!(after(vec![another], vec![]).unwrap().0, ["/web", "/new"], "a new entry is the youngest");
}

#[test]
fn selectors_are_added_to_and_taken_from_an_entry_that_the_node_has() {
    assert_eq!(after(vec![], vec![selector_edit("e2", &["unix:path:/web"], &["unix:gid:7"])]).unwrap().0, ["/web", "/api"]);
    assert_eq!(after(vec![], vec![selector_edit("e1", &["unix:gid:9"], &[])]).unwrap().0, [""; 0]);
    let refused = |edit| after(vec![], vec![edit]).unwrap_err();
    assert!(matches!(refused(selector_edit("e9", &[], &[])), EditError::UnknownEntry(_)));
    assert!(matches!(refused(selector_edit("e1", &[], &["unix:gid:7"])), EditError::AbsentSelector { .. }));
    assert!(matches!(refused(selector_edit("e1", &[], &["unix:uid:7"])), EditError::NoSelectorLeft(_)));
    assert!(matches!(refused(selector_edit("e1", &["uid:7"], &[])), EditError::Selector(_)));
}

#[test]
fn what_is_not_this_nodes_is_told_and_what_is_no_entry_is_refused() {
    let elsewhere = v1::Entry { parent_node: "n2".to_owned(), ..wire("", "/new", &["unix:uid:7"]) };
    let (matched, notes) = after(vec![elsewhere], vec![]).unwrap();
    assert_eq!(matched, ["/web"]);
    assert!(notes[0].contains("node n2"), "{notes:?}");
    let by_alias =
        v1::Entry { parent_node: String::new(), parent_alias: "fleet".to_owned(), ..wire("", "/new", &["unix:uid:7"]) };
    let (matched, notes) = after(vec![by_alias], vec![]).unwrap();
    assert_eq!(matched, ["/web", "/new"]);
    assert!(notes[0].contains("only the CA knows"), "{notes:?}");
    for bad in [wire("", "/signet/x", &["unix:uid:7"]), wire("", "/x", &[])] {
        assert!(matches!(after(vec![bad], vec![]), Err(EditError::Entry { number: 1, .. })));
    }
}
