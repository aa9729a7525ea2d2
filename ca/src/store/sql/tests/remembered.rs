//! What nodes have, from memory: the same as in the file after every write that changes it, and read once otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::entry_plan::{Scope, Wanted};
use crate::records::{EntryEdit, NodeEntries};
use crate::store::sql::entries;
use crate::store::sql::remembered::{Generation, Remembered};
use crate::store::{AliasStore, Apply, EntryStore, IssuanceStore, NodeStore};

async fn of(fixture: &Fixture, name: &str) -> Arc<NodeEntries> {
    fixture.store.node_entries(node(name)).await.unwrap()
}

/// What the file says, read by somebody who remembers nothing.
fn in_file(fixture: &Fixture, name: &str) -> NodeEntries {
    let node = node(name);
    fixture.by_hand(move |connection| entries::of_node(connection, &node).unwrap())
}

fn assert_same(found: &NodeEntries, want: &NodeEntries, after: &str) {
    assert_eq!((found.memberships(), found.entries()), (want.memberships(), want.entries()), "after {after}");
}

#[tokio::test]
async fn every_write_that_changes_what_a_node_has_is_seen_by_the_next_read_and_others_cost_none() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let alias: AliasName = "web".parse().unwrap();
    let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect::<BTreeSet<_>>();
    let mut before = of(&fixture, "n1").await;
    let mut seen = async |after: &str, changes: bool| {
        let now = of(&fixture, "n1").await;
        assert_same(&now, &in_file(&fixture, "n1"), after);
        assert_eq!(Arc::ptr_eq(&now, &before), !changes, "after {after}");
        assert!(Arc::ptr_eq(&of(&fixture, "n1").await, &now), "{after}: the second read is from memory");
        before = now;
    };
    seen("nothing", false).await;
    store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    seen("create_entry", true).await;
    let edit = EntryEdit { dns_names: Some(vec!["web.local".parse().unwrap()]), ..EntryEdit::default() };
    store.update_entry(entry_id(1), None, edit, OPERATOR, at(0)).await.unwrap();
    seen("update_entry", true).await;
    store.create_alias(alias.clone(), nodes(&["n1"]), OPERATOR, at(0)).await.unwrap();
    seen("create_alias", true).await;
    let of_alias = NewEntry { parent: Parent::Alias(alias.clone()), ..entry("api", "n1", &["unix:uid:2"]) };
    store.create_entry(entry_id(2), of_alias, OPERATOR, at(0)).await.unwrap();
    seen("an entry of its alias", true).await;
    store.change_alias(alias.clone(), nodes(&["n2"]), nodes(&["n1"]), OPERATOR, at(0)).await.unwrap();
    seen("leaving the alias", true).await;
    assert_eq!(of(&fixture, "n1").await.entries().len(), 1);
    store.change_alias(alias.clone(), nodes(&["n1"]), nodes(&[]), OPERATOR, at(0)).await.unwrap();
    seen("joining the alias", true).await;
    store.delete_alias(alias, true, OPERATOR, at(0)).await.unwrap();
    seen("delete_alias", true).await;
    store.create_entry(entry_id(3), ending("db", 10), OPERATOR, at(0)).await.unwrap();
    seen("an entry with an end", true).await;
    store.purge_expired_entries(at(20), at(20)).await.unwrap();
    seen("purge_expired_entries", true).await;
    store.create_entry(entry_id(4), ending("db", 10), OPERATOR, at(0)).await.unwrap();
    seen("it again", true).await;
    store.create_entry(entry_id(5), ending("db", 90), OPERATOR, at(30)).await.unwrap();
    seen("the twin of one that has ended", true).await;
    let wanted = vec![Wanted { id: None, spec: entry("mail", "n1", &["unix:uid:3"]) }];
    let document = Apply {
        scope: Scope { parent: Some(Parent::Node(node("n1"))), path_prefix: None, cluster: None },
        wanted,
        prune: true,
        expected_version: None,
        fence: None,
        new_ids: vec![entry_id(6)],
    };
    store.apply_entries(document, OPERATOR, at(40)).await.unwrap();
    seen("apply_entries", true).await;
    store.delete_entry(entry_id(6), OPERATOR, at(40)).await.unwrap();
    seen("delete_entry", true).await;

    store.persist(intent(1)).await.unwrap();
    store.record_result(serial(1), vec![7], at(40)).await.unwrap();
    store.ban_node(node("n9"), OPERATOR, at(40)).await.unwrap();
    fixture.token(1, "n1").await.unwrap();
    seen("what changes no entry", false).await;
}

fn ending(path: &str, end: u64) -> NewEntry {
    NewEntry { expires_at: Some(at(end)), ..entry(path, "n1", &["unix:uid:9"]) }
}

#[test]
fn what_was_read_of_an_earlier_generation_is_neither_given_nor_kept_over_a_later_one() {
    let (memory, one, two) = (Remembered::default(), Arc::new(NodeEntries::default()), Arc::new(NodeEntries::default()));
    memory.keep(node("n1"), &one, 2);
    assert!(Arc::ptr_eq(&memory.find(&node("n1"), 2).unwrap(), &one));
    for other in [1, 3] {
        assert!(memory.find(&node("n1"), other).is_none(), "{other}");
    }
    assert!(memory.find(&node("n2"), 2).is_none());
    // A read that began before the change and ended after it.
    memory.keep(node("n1"), &two, 1);
    assert!(Arc::ptr_eq(&memory.find(&node("n1"), 2).unwrap(), &one));
    memory.keep(node("n2"), &two, 3);
    assert!(memory.find(&node("n1"), 3).is_none() && memory.find(&node("n1"), 2).is_none());
}

#[test]
fn while_the_generation_is_not_known_nothing_is_current() {
    let generation = Generation::new(7);
    assert_eq!(generation.now(), Some(7));
    generation.forget();
    assert_eq!(generation.now(), None);
    generation.publish(8);
    assert_eq!(generation.now(), Some(8));
}
