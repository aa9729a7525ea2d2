//! Which entries match, and which is nearest.

use std::collections::BTreeSet;

use identity::{Selector, SpiffeId};
use pki::Timestamp;
use proptest::prelude::*;

use super::super::matching::{match_entries, nearest_miss};
use crate::entry::{Entry, EntryId};

fn selectors(values: &[&str]) -> BTreeSet<Selector> {
    values.iter().map(|value| Selector::parse(value).unwrap()).collect()
}

fn entry(id: &str, created_at: u64, wanted: &[&str]) -> Entry {
    Entry {
        id: EntryId::parse(id).unwrap(),
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/{id}")).unwrap(),
        selectors: selectors(wanted),
        dns_names: Vec::new(),
        ttl_seconds: 0,
        hint: String::new(),
        expires_at: None,
        alias: None,
        revoked: false,
        federates_with: BTreeSet::new(),
        created_at: Timestamp::from_unix_seconds(created_at),
        account: None,
    }
}

#[test]
fn an_entry_matches_when_the_process_has_all_its_selectors() {
    let entries = [
        entry("both", 1, &["unix:uid:7", "unix:path:/web"]),
        entry("one", 2, &["unix:uid:7"]),
        entry("other", 3, &["unix:uid:70"]),
        entry("nothing", 4, &[]),
    ];
    let matched = |values: &[&str]| {
        let ids: Vec<_> = match_entries(&entries, &selectors(values)).map(|entry| entry.id.to_string()).collect();
        ids
    };
    assert_eq!(matched(&["unix:uid:7", "unix:path:/web", "unix:gid:9"]), ["both", "one"]);
    assert_eq!(matched(&["unix:uid:7"]), ["one"]);
    assert_eq!(matched(&["unix:path:/web"]), [""; 0]);
    assert_eq!(matched(&[]), [""; 0], "an entry without selectors matches nobody");
}

#[test]
fn the_nearest_miss_lacks_the_fewest_and_is_the_oldest_of_those() {
    let entries = [
        entry("far", 1, &["unix:uid:7", "unix:gid:7", "unix:path:/web"]),
        entry("young", 9, &["unix:uid:1", "unix:path:/web"]),
        entry("old", 5, &["unix:uid:1", "unix:gid:7"]),
        entry("matches", 2, &["unix:uid:1"]),
    ];
    let own = selectors(&["unix:uid:1", "unix:gid:1"]);
    let nearest = nearest_miss(&entries, &own).unwrap();
    assert_eq!(nearest.entry.id.as_str(), "old");
    assert_eq!(nearest.missing, [&Selector::parse("unix:gid:7").unwrap()]);
    assert_eq!(nearest_miss(&entries[3..], &own), None);
    assert_eq!(nearest_miss(&[], &own), None);
}

proptest! {
    /// Against a second formulation: membership one by one.
    #[test]
    fn matching_is_the_subset_relation(wanted in prop::collection::btree_set(0..6_u32, 0..4), own in prop::collection::btree_set(0..6_u32, 0..6)) {
        let as_selectors = |numbers: &BTreeSet<u32>| -> BTreeSet<Selector> {
            numbers.iter().map(|number| Selector::parse(&format!("unix:uid:{number}")).unwrap()).collect()
        };
        let mut entry = entry("e", 1, &[]);
        entry.selectors = as_selectors(&wanted);
        let own_selectors = as_selectors(&own);
        let expected = !wanted.is_empty() && wanted.iter().all(|number| own.contains(number));
        let entries = [entry];
        prop_assert_eq!(match_entries(&entries, &own_selectors).count() == 1, expected);
        let missing = nearest_miss(&entries, &own_selectors).map_or(0, |miss| miss.missing.len());
        prop_assert_eq!(missing, wanted.difference(&own).count());
    }
}
