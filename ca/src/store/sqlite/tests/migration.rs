//! From a store of an earlier build.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::*;
use crate::store::{EntryFilter, EntryStore};

/// A file as the first build left it.
fn first_schema(path: &std::path::Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(include_str!("../schema_1.sql")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    connection
}

#[tokio::test]
async fn entries_of_the_first_schema_are_kept_whole_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let old = first_schema(&path);
    old.execute_batch(&format!(
        r#"INSERT INTO entries (position, id, spiffe_id, selectors, parent, ttl_seconds, dns_names, created_at) VALUES
           (3, '{a}', 'spiffe://example.org/web', '["unix:uid:1"]', 'n1', 60, '["web.local"]', 1700000005),
           (7, '{b}', 'spiffe://example.org/api', '["unix:uid:2"]', 'n2', NULL, '[]', 1700000006);
           INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at)
           VALUES (x'01', x'00', 'spiffe://example.org/web', 'n1', 'entry {a}', 1700000900, 1700000000);"#,
        a = entry_id(1),
        b = entry_id(2),
    ))
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    let [web, api]: [_; 2] = store.entries(EntryFilter::All).await.unwrap().try_into().unwrap();
    let spec = NewEntry {
        ttl: Some(std::time::Duration::from_secs(60)),
        dns_names: vec!["web.local".parse().unwrap()],
        ..entry("web", "n1", &["unix:uid:1"])
    };
    assert_eq!((web.id, web.spec, web.created_at, web.revision), (entry_id(1), spec.clone(), at(5), 1));
    assert_eq!((api.id, api.spec), (entry_id(2), entry("api", "n2", &["unix:uid:2"])));
    // The constraint came with them, and so did what was issued.
    let twin = store.create_entry(entry_id(3), spec, OPERATOR, at(7)).await.unwrap_err();
    assert_eq!(twin, StoreError::Exists { what: "entry", name: entry_id(1).to_string() });
    let (_, outstanding) = store.delete_entry(entry_id(1), OPERATOR, at(8)).await.unwrap();
    assert_eq!(outstanding.map(|left| left.until), Some(at(900)));
}

#[test]
fn a_step_that_fails_leaves_the_schema_that_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let old = first_schema(&path);
    // In the way of the step.
    old.execute_batch("CREATE TABLE entries_anew (x INTEGER)").unwrap();
    assert!(SqliteStore::open(&path).is_err());
    let version: i64 = old.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let aliases: i64 = old.query_row("SELECT count(*) FROM sqlite_master WHERE name = 'aliases'", [], |row| row.get(0)).unwrap();
    assert_eq!((version, aliases), (2, 0), "the step was taken in part");
    old.execute_batch("DROP TABLE entries_anew").unwrap();
    assert!(SqliteStore::open(&path).is_ok());
}
