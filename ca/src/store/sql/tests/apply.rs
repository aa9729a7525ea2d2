//! Documents of entries, applied in one transaction.

use super::*;
use crate::entry_plan::{EntryChange, PlanError, Scope, ScopeVersion, Wanted};
use crate::store::{Apply, ApplyError, Change, EntryFilter, EntryStore, StoreHealth};

fn on_n1() -> Scope {
    Scope { parent: Some(Parent::Node(node("n1"))), path_prefix: None, cluster: None }
}

fn document(wanted: Vec<NewEntry>, expected_version: Option<ScopeVersion>) -> Apply {
    let new_ids = (0_u8..).take(wanted.len()).map(|number| entry_id(100 + number)).collect();
    let wanted = wanted.into_iter().map(|spec| Wanted { id: None, spec }).collect();
    Apply { scope: on_n1(), wanted, prune: true, expected_version, fence: None, new_ids }
}

async fn paths(fixture: &Fixture) -> Vec<String> {
    let entries = fixture.store.entries(EntryFilter::All).await.unwrap();
    entries.into_iter().map(|entry| format!("{}{}", entry.spec.parent, entry.spec.spiffe_id.path())).collect()
}

#[tokio::test]
async fn a_document_creates_updates_and_deletes_in_one_commit_with_an_event_each() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    for (number, path, by) in [(1, "old", "n1"), (2, "kept", "n1"), (3, "changed", "n1"), (4, "elsewhere", "n2")] {
        store.create_entry(entry_id(number), entry(path, by, &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    }
    store.persist(Intent { reason: Reason::Entry(entry_id(1)), not_after: at(70), ..intent(1) }).await.unwrap();
    let wanted =
        vec![entry("kept", "n1", &["unix:uid:1"]), entry("changed", "n1", &["unix:uid:2"]), entry("new", "n1", &["unix:uid:3"])];
    let as_wanted = wanted.iter().map(|spec| Wanted { id: None, spec: spec.clone() }).collect();
    let dry = store.plan_entries(on_n1(), as_wanted, true, at(1)).await.unwrap();
    assert_eq!((dry.changes.len(), dry.unchanged), (3, 1));
    assert_eq!(paths(&fixture).await.len(), 4, "a dry run changes nothing");
    let (commits, mut changes) = (store.commits(), store.changes());
    let done = store.apply_entries(document(wanted, Some(dry.version.clone())), OPERATOR, at(1)).await.unwrap();
    assert_eq!(store.commits(), commits + 1);
    assert_eq!(paths(&fixture).await, ["node n1/kept", "node n1/changed", "node n2/elsewhere", "node n1/new"]);
    let [
        EntryChange::Delete { entry: gone, outstanding },
        EntryChange::Update { before, after },
        EntryChange::Create { made, .. },
    ] = done.changes.as_slice()
    else {
        panic!("{:?}", done.changes)
    };
    assert_eq!((gone.id.clone(), outstanding.map(|left| left.until)), (entry_id(1), Some(at(70))));
    assert_eq!((before.revision, after.revision, &after.id), (1, 2, &entry_id(3)));
    assert_eq!(made.as_ref().map(|made| made.revision), Some(1));
    let kinds = fixture.kinds().await;
    assert_eq!(kinds[kinds.len() - 3..], ["entry_deleted", "entry_updated", "entry_created"]);
    while let Ok(change) = changes.try_recv() {
        assert_eq!(change, Change::Entries(std::sync::Arc::from([node("n1")])));
    }
}

#[tokio::test]
async fn a_document_planned_over_another_state_is_refused_whole_and_planned_anew_it_is_taken() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    let plan = async || store.plan_entries(on_n1(), Vec::new(), true, at(1)).await.unwrap().version;
    let apply = async |version| store.apply_entries(document(Vec::new(), Some(version)), OPERATOR, at(1)).await;
    let before = plan().await;
    // What is outside of the scope does not matter; what is inside does.
    store.create_entry(entry_id(2), entry("web", "n2", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    assert_eq!(plan().await, before);
    store.create_entry(entry_id(3), entry("meanwhile", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    let refused = apply(before).await.unwrap_err();
    assert!(matches!(refused, ApplyError::Store(StoreError::Changed { what: "scope", .. })), "{refused}");
    assert_eq!(paths(&fixture).await.len(), 3);
    apply(plan().await).await.unwrap();
    assert_eq!(paths(&fixture).await, ["node n2/web"]);
}

#[tokio::test]
async fn a_fault_in_the_midst_undoes_all_of_the_document() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    let bad = Apply {
        new_ids: vec![entry_id(9)],
        ..document(vec![entry("a", "n1", &["unix:uid:1"]), entry("b", "n1", &["unix:uid:1"])], None)
    };
    assert!(store.apply_entries(bad, OPERATOR, at(1)).await.is_err());
    assert_eq!(paths(&fixture).await, ["node n1/web"]);
    assert_eq!(fixture.kinds().await, ["entry_created"]);
    let outside =
        store.apply_entries(document(vec![entry("a", "n2", &["unix:uid:1"])], None), OPERATOR, at(1)).await.unwrap_err();
    assert!(matches!(outside, ApplyError::Plan(PlanError::OutsideScope { number: 1, .. })), "{outside}");
}
