//! What is remembered, when the file fails.

use std::sync::Arc;

use super::*;
use crate::store::EntryStore;

#[tokio::test]
async fn after_a_fault_the_file_is_asked_until_it_was_opened_anew() {
    let fixture = Fixture::new().unwrap();
    let store = &fixture.store;
    let first = fixture.store.node_entries(node("n1")).await.unwrap();
    assert!(Arc::ptr_eq(&fixture.store.node_entries(node("n1")).await.unwrap(), &first));
    store.writer.write(|unit| Ok::<_, StoreError>(unit.connection().control("ROLLBACK")?)).await.unwrap_err();
    // The writer tries to recover at once, which may be over by now.
    store.writer.recover().await;
    store.create_entry(entry_id(1), entry("web", "n1", &["unix:uid:1"]), OPERATOR, at(0)).await.unwrap();
    let after = fixture.store.node_entries(node("n1")).await.unwrap();
    assert_eq!(after.entries().len(), 1);
    assert!(Arc::ptr_eq(&fixture.store.node_entries(node("n1")).await.unwrap(), &after), "it is remembered again");
}
