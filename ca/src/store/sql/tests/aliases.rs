//! Node aliases, and the entries that hang on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::records::NodeAlias;
use crate::store::{AliasStore, Change, EntryFilter, EntryStore, StoreHealth};

fn name(text: &str) -> AliasName {
    AliasName::parse(text).unwrap()
}

fn nodes(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| node(name)).collect()
}

fn of_alias(path: &str, alias: &str) -> NewEntry {
    NewEntry { parent: Parent::Alias(name(alias)), ..entry(path, "unused", &["unix:uid:1"]) }
}

async fn held(fixture: &Fixture, by: &str) -> Vec<String> {
    let held = fixture.store.node_entries(node(by)).await.unwrap();
    held.entries().iter().map(|entry| entry.spec.spiffe_id.path().to_owned()).collect()
}

#[tokio::test]
async fn the_members_of_an_alias_have_its_entries_and_others_do_not() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    store.create_alias(name("web"), nodes(&["n1", "n2"]), OPERATOR, at(0)).await.unwrap();
    // A node of the alias's name is another thing.
    store.create_entry(entry_id(1), entry("own", "web", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    let mut changes = store.changes();
    store.create_entry(entry_id(2), of_alias("shared", "web"), OPERATOR, at(1)).await.unwrap();
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(Arc::from([node("n1"), node("n2")])));
    store.create_entry(entry_id(3), entry("first", "n1", &["unix:uid:1"]), OPERATOR, at(2)).await.unwrap();
    assert_eq!(held(&fixture, "n1").await, ["/shared", "/first"]);
    assert_eq!(held(&fixture, "n2").await, ["/shared"]);
    assert_eq!(held(&fixture, "n3").await, Vec::<String>::new());
    assert_eq!(held(&fixture, "web").await, ["/own"]);
    assert_eq!(store.node_entries(node("n1")).await.unwrap().memberships().aliases, BTreeSet::from([name("web")]));
    assert_eq!(store.entries(EntryFilter::Alias(name("web"))).await.unwrap().len(), 1);
    assert_eq!(store.entries(EntryFilter::All).await.unwrap().len(), 3);
}

#[tokio::test]
async fn who_comes_and_who_goes_is_told_and_nobody_else() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    store.create_alias(name("web"), nodes(&["n1", "n2"]), OPERATOR, at(0)).await.unwrap();
    store.create_entry(entry_id(1), of_alias("shared", "web"), OPERATOR, at(0)).await.unwrap();
    let mut changes = store.changes();
    // n1 is there already, and n9 was never.
    let changed = store.change_alias(name("web"), nodes(&["n1", "n3"]), nodes(&["n2", "n9"]), OPERATOR, at(1)).await.unwrap();
    let want = NodeAlias { name: name("web"), nodes: nodes(&["n1", "n3"]), created_at: at(0), entries: 1 };
    assert_eq!(changed, want);
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(Arc::from([node("n2"), node("n3")])));
    assert_eq!((held(&fixture, "n2").await.len(), held(&fixture, "n3").await.len()), (0, 1));
    // Nothing new: nobody is told, and nothing is recorded.
    store.change_alias(name("web"), nodes(&["n1"]), nodes(&["n2"]), OPERATOR, at(2)).await.unwrap();
    assert!(changes.try_recv().is_err());
    assert_eq!(fixture.kinds().await, ["node_alias_created", "entry_created", "node_alias_changed"]);
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.aliases().await.unwrap(), [want]);
}

#[tokio::test]
async fn an_alias_is_deleted_with_its_entries_only_when_told() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let missing = store.create_entry(entry_id(1), of_alias("shared", "web"), OPERATOR, at(0)).await.unwrap_err();
    assert_eq!(missing, StoreError::NotFound { what: "node alias", name: "web".to_owned() });
    store.create_alias(name("web"), nodes(&["n1"]), OPERATOR, at(0)).await.unwrap();
    let twice = store.create_alias(name("web"), nodes(&[]), OPERATOR, at(0)).await.unwrap_err();
    assert!(matches!(twice, StoreError::Exists { what: "node alias", .. }), "{twice}");
    store.create_entry(entry_id(1), of_alias("shared", "web"), OPERATOR, at(0)).await.unwrap();
    let in_use = store.delete_alias(name("web"), false, OPERATOR, at(1)).await.unwrap_err();
    assert_eq!(in_use, StoreError::InUse { alias: name("web"), entries: 1 });
    assert_eq!(held(&fixture, "n1").await.len(), 1);
    let mut changes = store.changes();
    assert_eq!(store.delete_alias(name("web"), true, OPERATOR, at(2)).await.unwrap().len(), 1);
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(Arc::from([node("n1")])));
    assert!(held(&fixture, "n1").await.is_empty());
    assert!(store.aliases().await.unwrap().is_empty());
    assert_eq!(fixture.kinds().await[2..], ["entry_deleted", "node_alias_deleted"]);
    // An empty one goes without further words.
    store.create_alias(name("web"), nodes(&["n1"]), OPERATOR, at(3)).await.unwrap();
    assert!(store.delete_alias(name("web"), false, OPERATOR, at(3)).await.unwrap().is_empty());
}
