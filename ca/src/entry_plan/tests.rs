use std::time::Duration;

use identity::{AliasName, NodeName, SpiffeId};

use super::*;
use crate::records::{ClusterObject, Hint};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn spec(path: &str, node: &str, uid: u32) -> NewEntry {
    NewEntry {
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
        selectors: vec![format!("unix:uid:{uid}").parse().unwrap()],
        parent: Parent::Node(NodeName::parse(node).unwrap()),
        ttl: None,
        dns_names: Vec::new(),
        hint: Hint::default(),
        federates_with: BTreeSet::new(),
        expires_at: None,
    }
}

fn id(number: u8) -> EntryId {
    EntryId::from_random([number; 16])
}

fn stored(number: u8, spec: NewEntry) -> Entry {
    Entry { id: id(number), spec, created_at: at(1), revision: 1 }
}

fn wanted(spec: NewEntry) -> Wanted {
    Wanted { id: None, spec }
}

fn on(node: &str) -> Scope {
    Scope { parent: Some(Parent::Node(NodeName::parse(node).unwrap())), path_prefix: None, cluster: None }
}

/// Such as `+/web` (created), `~1` (updated), `-2` (deleted), `=3` (kept), each by the first byte of its id.
fn told(plan: &EntryPlan) -> Vec<String> {
    let first = |entry: &Entry| entry.id.as_str().get(1..2).unwrap().to_owned();
    let text = |change: &EntryChange| match change {
        EntryChange::Create { spec, .. } => format!("+{}", spec.spiffe_id.path()),
        EntryChange::Update { before, .. } => format!("~{}", first(before)),
        EntryChange::Delete { entry, .. } => format!("-{}", first(entry)),
        EntryChange::Keep(entry) => format!("={}", first(entry)),
    };
    plan.changes.iter().map(text).collect()
}

#[test]
fn each_stored_entry_is_left_changed_deleted_or_kept_and_what_is_missing_is_made() {
    let ttl = |spec: NewEntry| NewEntry { ttl: Some(Duration::from_secs(60)), ..spec };
    let there = || {
        vec![
            stored(1, spec("/a", "n1", 1)),
            stored(2, spec("/b", "n1", 1)),
            stored(3, spec("/c", "n1", 1)),
            stored(4, spec("/z", "n2", 1)),
        ]
    };
    let document = || vec![wanted(spec("/a", "n1", 1)), wanted(ttl(spec("/b", "n1", 1))), wanted(spec("/d", "n1", 1))];
    let pruned = plan(there(), &on("n1"), document(), true, at(5)).unwrap();
    assert_eq!((told(&pruned), pruned.unchanged), (vec!["-3".to_owned(), "~2".to_owned(), "+/d".to_owned()], 1));
    let careful = plan(there(), &on("n1"), document(), false, at(5)).unwrap();
    assert_eq!(told(&careful), ["=3", "~2", "+/d"]);
    assert_eq!(careful.version, pruned.version);
    let again = plan(there(), &Scope::default(), Vec::new(), true, at(5)).unwrap();
    assert_eq!(told(&again), ["-1", "-2", "-3", "-4"]);
}

#[test]
fn the_same_identity_with_other_selectors_is_a_change_while_it_is_plain_which_one_is_meant() {
    let one = plan(vec![stored(1, spec("/a", "n1", 1))], &on("n1"), vec![wanted(spec("/a", "n1", 2))], true, at(5)).unwrap();
    assert_eq!(told(&one), ["~1"]);
    let two = vec![stored(1, spec("/a", "n1", 1)), stored(2, spec("/a", "n1", 2))];
    // One of the two is as wanted, so the other one is meant.
    let clear =
        plan(two.clone(), &on("n1"), vec![wanted(spec("/a", "n1", 1)), wanted(spec("/a", "n1", 3))], true, at(5)).unwrap();
    assert_eq!((told(&clear), clear.unchanged), (vec!["~2".to_owned()], 1));
    let unclear = plan(two.clone(), &on("n1"), vec![wanted(spec("/a", "n1", 3))], true, at(5)).unwrap();
    assert_eq!(told(&unclear), ["-1", "-2", "+/a"]);
    let named = Wanted { id: Some(id(2)), spec: spec("/a", "n1", 3) };
    assert_eq!(told(&plan(two, &on("n1"), vec![named], true, at(5)).unwrap()), ["-1", "~2"]);
}

#[test]
fn a_scope_is_a_parent_and_a_path_below_which_whole_segments_count() {
    let below = Scope { parent: None, path_prefix: Some("/team-a".to_owned()), cluster: None };
    for (path, covered) in [("/team-a", true), ("/team-a/web", true), ("/team-ab", false), ("/x/team-a", false)] {
        assert_eq!(below.covers(&spec(path, "n1", 1)), covered, "{path}");
    }
    let both = Scope { path_prefix: Some("/a".to_owned()), ..on("n1") };
    assert!(both.covers(&spec("/a", "n1", 1)) && !both.covers(&spec("/a", "n2", 1)) && !both.covers(&spec("/b", "n1", 1)));
    let alias = Parent::Alias(AliasName::parse("n1").unwrap());
    assert!(!on("n1").covers(&NewEntry { parent: alias, ..spec("/a", "n1", 1) }), "an alias is no node");
}

#[test]
fn what_does_not_fit_is_refused_by_its_own_error() {
    let there = || vec![stored(1, spec("/a", "n1", 1)), stored(2, spec("/b", "n1", 1)), stored(3, spec("/c", "n2", 1))];
    let refusal = |wanted: Vec<Wanted>, prune| plan(there(), &on("n1"), wanted, prune, at(5)).unwrap_err();
    let by_id = |number, spec| Wanted { id: Some(id(number)), spec };
    let outside = refusal(vec![wanted(spec("/a", "n1", 1)), wanted(spec("/a", "n2", 1))], true);
    assert!(matches!(outside, PlanError::OutsideScope { number: 2, .. }), "{outside}");
    let twice = refusal(vec![wanted(spec("/a", "n1", 1)), wanted(spec("/a", "n1", 1))], true);
    assert_eq!(twice, PlanError::Twice { first: 1, second: 2 });
    let twice = refusal(vec![by_id(1, spec("/a", "n1", 1)), by_id(1, spec("/a", "n1", 2))], true);
    assert_eq!(twice, PlanError::Twice { first: 1, second: 2 });
    // Another node's entry cannot be told from one that is not there.
    for number in [3, 9] {
        let unknown = refusal(vec![by_id(number, spec("/a", "n1", 1))], true);
        assert_eq!(unknown, PlanError::UnknownId { number: 1, id: id(number) });
    }
    let moved = refusal(vec![by_id(1, spec("/b", "n1", 1))], true);
    assert!(matches!(moved, PlanError::AnotherEntry { number: 1, .. }), "{moved}");
    let two = || vec![stored(1, spec("/a", "n1", 1)), stored(2, spec("/a", "n1", 2))];
    let into_the_other = || vec![by_id(1, spec("/a", "n1", 2))];
    let taken = plan(two(), &on("n1"), into_the_other(), false, at(5)).unwrap_err();
    assert_eq!(taken, PlanError::Taken { number: 1, id: id(2) });
    assert_eq!(told(&plan(two(), &on("n1"), into_the_other(), true, at(5)).unwrap()), ["-2", "~1"]);
}

#[test]
fn an_entry_whose_end_is_over_is_not_made_and_one_that_is_there_can_be_given_that_end() {
    let over = NewEntry { expires_at: Some(at(5)), ..spec("/a", "n1", 1) };
    let made = plan(Vec::new(), &on("n1"), vec![wanted(over.clone())], true, at(4)).unwrap();
    assert_eq!((told(&made), made.ended), (vec!["+/a".to_owned()], 0));
    let late = plan(Vec::new(), &on("n1"), vec![wanted(over.clone())], true, at(5)).unwrap();
    assert_eq!((told(&late), late.ended), (vec![], 1));
    let there = plan(vec![stored(1, spec("/a", "n1", 1))], &on("n1"), vec![wanted(over)], true, at(5)).unwrap();
    assert_eq!((told(&there), there.ended), (vec!["~1".to_owned()], 0));
}

#[test]
fn the_version_of_a_scope_changes_with_every_entry_and_revision_in_it_and_not_with_their_order() {
    let (a, b) = (stored(1, spec("/a", "n1", 1)), stored(2, spec("/b", "n1", 1)));
    let version = |entries: &[&Entry]| ScopeVersion::of(entries.iter().copied());
    assert_eq!(version(&[&a, &b]), version(&[&b, &a]));
    let changed = Entry { revision: 2, ..a.clone() };
    let all = [version(&[]), version(&[&a]), version(&[&b]), version(&[&a, &b]), version(&[&changed, &b])];
    let different: BTreeSet<_> = all.iter().map(ScopeVersion::as_str).collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(ScopeVersion::from_text(version(&[&a]).as_str()), version(&[&a]));
    assert_ne!(ScopeVersion::from_text(&format!("{}x", version(&[&a]).as_str())), version(&[&a]));
}

#[test]
fn what_objects_of_a_cluster_ask_for_is_in_the_scope_of_that_cluster_and_in_no_other() {
    let of_object = |cluster: &str| {
        let [cluster, namespace, name, uid] = [cluster, "shop", "web", "u1"].map(str::to_owned);
        NewEntry {
            parent: Parent::Object(Box::new(ClusterObject { cluster, namespace, name, uid })),
            ..spec("/ns/shop/web", "n1", 1)
        }
    };
    let east = Scope { cluster: Some("east".to_owned()), ..Scope::default() };
    assert!(east.covers(&of_object("east")) && !east.covers(&of_object("west")) && !east.covers(&spec("/ns/shop/web", "n1", 1)));
    let Parent::Object(object) = of_object("east").parent else { unreachable!() };
    for scope in [
        Scope::default(),
        on("n1"),
        Scope { path_prefix: Some("/ns".to_owned()), ..Scope::default() },
        Scope { parent: Some(Parent::Object(object)), ..Scope::default() },
    ] {
        assert!(!scope.covers(&of_object("east")), "{scope:?}");
    }
}
