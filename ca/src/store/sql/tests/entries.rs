//! Registration entries.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::records::{EntryEdit, Outstanding};
use crate::store::{Change, EntryFilter, EntryStore, StoreHealth};

#[tokio::test]
async fn entries_come_back_whole_in_their_order_after_a_restart() {
    let Some(fixture) = Fixture::new() else { return };
    let spec = NewEntry {
        ttl: Some(Duration::from_secs(3600)),
        dns_names: vec!["web.example.org".parse().unwrap()],
        hint: Hint::parse("internal").unwrap(),
        expires_at: Some(at(50)),
        federates_with: [identity::TrustDomain::parse("other.org").unwrap()].into(),
        ..entry("web", "n1", &["unix:uid:1000", "unix:path:/bin/a\nb\"c", "unix:uid:1000"])
    };
    let made = fixture.store.create_entry(entry_id(9), spec, OPERATOR, at(1)).await.unwrap();
    assert_eq!((made.spec.selectors.len(), made.revision), (2, 1), "sorted, without repeats");
    let second = fixture.store.create_entry(entry_id(1), entry("api", "n2", &["unix:uid:1"]), OPERATOR, at(2)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.entries(EntryFilter::All).await.unwrap(), [made.clone(), second.clone()]);
    assert_eq!(fixture.store.entries(EntryFilter::Node(node("n2"))).await.unwrap(), [second]);
    assert_eq!(fixture.store.entry(entry_id(9)).await.unwrap(), made);
}

#[tokio::test]
async fn the_same_identity_selectors_and_parent_twice_is_refused_naming_the_one_there() {
    let Some(fixture) = Fixture::new() else { return };
    let create = |number, spec| fixture.store.create_entry(entry_id(number), spec, OPERATOR, at(0));
    create(1, entry("web", "n1", &["unix:uid:1", "unix:gid:2"])).await.unwrap();
    let twin = create(2, entry("web", "n1", &["unix:gid:2", "unix:uid:1"])).await.unwrap_err();
    assert_eq!(twin, StoreError::Exists { what: "entry", name: entry_id(1).to_string() });
    for other in [
        entry("web", "n2", &["unix:uid:1", "unix:gid:2"]),
        entry("web", "n1", &["unix:uid:1"]),
        entry("api", "n1", &["unix:uid:1", "unix:gid:2"]),
    ] {
        let number = 10 + u8::try_from(fixture.store.entries(EntryFilter::All).await.unwrap().len()).unwrap();
        create(number, other).await.unwrap();
    }
    assert_eq!(fixture.kinds().await.len(), 4, "a refusal leaves no event");
}

#[tokio::test]
async fn a_deleted_entry_is_gone_told_and_audited_with_what_it_said() {
    let Some(fixture) = Fixture::new() else { return };
    let mut changes = fixture.store.changes();
    fixture.store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    fixture.store.delete_entry(entry_id(1), OPERATOR, at(1)).await.unwrap();
    let gone = StoreError::NotFound { what: "entry", name: entry_id(1).to_string() };
    assert_eq!(fixture.store.entry(entry_id(1)).await.unwrap_err(), gone);
    assert_eq!(fixture.store.delete_entry(entry_id(1), OPERATOR, at(1)).await.unwrap_err(), gone);
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(Arc::from([node("n1")])));
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(Arc::from([node("n1")])));
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

#[tokio::test]
async fn a_change_counts_up_is_told_and_audited_with_both_states_and_only_over_the_revision_expected() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let made = store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    let mut changes = store.changes();
    let update = |expected, edit: EntryEdit| store.update_entry(entry_id(1), expected, edit, OPERATOR, at(1));
    let edit =
        EntryEdit { ttl: Some(Some(Duration::from_secs(60))), hint: Some(Hint::parse("db").unwrap()), ..EntryEdit::default() };
    let stale = update(Some(2), edit.clone()).await.unwrap_err();
    assert_eq!(stale, StoreError::Changed { what: "entry", name: entry_id(1).to_string() });
    let changed = update(Some(1), edit.clone()).await.unwrap();
    assert_eq!((changed.revision, changed.spec.ttl, changed.spec.hint.as_str()), (2, Some(Duration::from_secs(60)), "db"));
    assert_eq!((&changed.spec.selectors, changed.created_at), (&made.spec.selectors, made.created_at));
    assert_eq!(changes.try_recv().unwrap(), Change::Entries(Arc::from([node("n1")])));
    // The same again is no change.
    assert_eq!(update(None, edit).await.unwrap(), changed);
    assert!(changes.try_recv().is_err());
    let back = EntryEdit { ttl: Some(None), selectors: Some(vec!["unix:uid:2".parse().unwrap()]), ..EntryEdit::default() };
    assert_eq!(update(None, back).await.unwrap().revision, 3);
    assert_eq!(fixture.kinds().await, ["entry_created", "entry_updated", "entry_updated"]);
    let body: serde_json::Value = serde_json::from_str(&fixture.events().await[2].body).unwrap();
    assert_eq!((&body["before"]["ttl_seconds"], &body["after"]["ttl_seconds"]), (&60.into(), &serde_json::Value::Null));
    assert_eq!((&body["before"]["selectors"][0], &body["after"]["selectors"][0]), (&"unix:uid:1".into(), &"unix:uid:2".into()));
    // Not into what another entry says.
    store.create_entry(entry_id(2), entry("web", "n1", &["unix:uid:9"]), OPERATOR, at(2)).await.unwrap();
    let taken = EntryEdit { selectors: Some(vec!["unix:uid:9".parse().unwrap()]), ..EntryEdit::default() };
    assert_eq!(update(None, taken).await.unwrap_err(), StoreError::Exists { what: "entry", name: entry_id(2).to_string() });
}

#[tokio::test]
async fn an_entry_past_its_end_gives_way_to_one_that_says_the_same_and_is_forgotten_with_an_event() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let ending = |end| NewEntry { expires_at: Some(at(end)), ..entry("web", "n1", &["unix:uid:1"]) };
    store.create_entry(entry_id(1), ending(10), OPERATOR, at(0)).await.unwrap();
    let twin = store.create_entry(entry_id(2), ending(30), OPERATOR, at(9)).await.unwrap_err();
    assert!(matches!(twin, StoreError::Exists { .. }), "{twin}");
    store.create_entry(entry_id(2), ending(30), OPERATOR, at(10)).await.unwrap();
    assert_eq!(fixture.kinds().await, ["entry_created", "entry_expired", "entry_created"]);
    assert_eq!(store.purge_expired_entries(at(29), at(29)).await.unwrap(), 0);
    assert_eq!(store.entries(EntryFilter::All).await.unwrap().len(), 1);
    assert_eq!(store.purge_expired_entries(at(30), at(40)).await.unwrap(), 1);
    assert!(store.entries(EntryFilter::All).await.unwrap().is_empty());
    assert_eq!(fixture.events().await[3].kind, "entry_expired");
}

#[tokio::test]
async fn the_deletion_says_until_when_what_was_issued_lives() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    for number in [1, 2, 3] {
        store.create_entry(entry_id(number), entry(&format!("e{number}"), "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    }
    for (number, of, not_after) in [(1, 1, at(100)), (2, 1, at(300)), (3, 1, at(49)), (4, 2, at(900)), (5, 3, at(49))] {
        let reason = Reason::Entry(entry_id(of));
        store.persist(Intent { not_after, reason, ..intent(number) }).await.unwrap();
    }
    let outstanding = async |number| store.delete_entry(entry_id(number), OPERATOR, at(50)).await.unwrap().1;
    assert_eq!(outstanding(1).await, Some(Outstanding { count: 2, until: at(300) }));
    assert_eq!(outstanding(2).await, Some(Outstanding { count: 1, until: at(900) }));
    assert_eq!(outstanding(3).await, None);
}
