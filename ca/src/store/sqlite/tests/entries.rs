//! Registration entries.

use std::time::Duration;

use super::*;
use crate::store::{Change, EntryStore, StoreHealth};

#[tokio::test]
async fn entries_come_back_whole_in_their_order_after_a_restart() {
    let fixture = Fixture::new();
    let spec = NewEntry {
        ttl: Some(Duration::from_secs(3600)),
        dns_names: vec!["web.example.org".parse().unwrap()],
        ..entry("web", "n1", &["unix:uid:1000", "unix:path:/bin/a\nb\"c", "unix:uid:1000"])
    };
    let made = fixture.store.create_entry(entry_id(9), spec, OPERATOR, at(1)).await.unwrap();
    assert_eq!(made.spec.selectors.len(), 2, "sorted, without repeats");
    let second = fixture.store.create_entry(entry_id(1), entry("api", "n2", &["unix:uid:1"]), OPERATOR, at(2)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.entries(None).await.unwrap(), [made.clone(), second.clone()]);
    assert_eq!(fixture.store.entries(Some(node("n2"))).await.unwrap(), [second]);
    assert_eq!(fixture.store.entry(entry_id(9)).await.unwrap(), made);
}

#[tokio::test]
async fn the_same_identity_selectors_and_parent_twice_is_refused_naming_the_one_there() {
    let fixture = Fixture::new();
    let create = |number, spec| fixture.store.create_entry(entry_id(number), spec, OPERATOR, at(0));
    create(1, entry("web", "n1", &["unix:uid:1", "unix:gid:2"])).await.unwrap();
    let twin = create(2, entry("web", "n1", &["unix:gid:2", "unix:uid:1"])).await.unwrap_err();
    assert_eq!(twin, StoreError::Exists { what: "entry", name: entry_id(1).to_string() });
    for other in [
        entry("web", "n2", &["unix:uid:1", "unix:gid:2"]),
        entry("web", "n1", &["unix:uid:1"]),
        entry("api", "n1", &["unix:uid:1", "unix:gid:2"]),
    ] {
        let number = 10 + u8::try_from(fixture.store.entries(None).await.unwrap().len()).unwrap();
        create(number, other).await.unwrap();
    }
    assert_eq!(fixture.kinds().await.len(), 4, "a refusal leaves no event");
}

#[tokio::test]
async fn a_deleted_entry_is_gone_told_and_audited_with_what_it_said() {
    let fixture = Fixture::new();
    let mut changes = fixture.store.changes();
    fixture.store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    fixture.store.delete_entry(entry_id(1), OPERATOR, at(1)).await.unwrap();
    let gone = StoreError::NotFound { what: "entry", name: entry_id(1).to_string() };
    assert_eq!(fixture.store.entry(entry_id(1)).await.unwrap_err(), gone);
    assert_eq!(fixture.store.delete_entry(entry_id(1), OPERATOR, at(1)).await.unwrap_err(), gone);
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(node("n1")));
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(node("n1")));
    assert!(changes.try_recv().is_err());
    let events = fixture.events().await;
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["entry_created", "entry_deleted"]);
    assert_eq!(
        events[1].body,
        format!(
            r#"{{"actor":"operator","dns_names":[],"entry":"{}","parent":"n1","selectors":["unix:uid:1"],"spiffe_id":"spiffe://example.org/web","uid":1000}}"#,
            entry_id(1)
        )
    );
}
