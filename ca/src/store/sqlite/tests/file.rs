//! The file: its mode, its settings, its schema version.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::*;
use crate::store::IssuanceStore;
use crate::store::sqlite::open::{self, OpenError};

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn the_file_and_what_sqlite_puts_beside_it_are_for_the_owner_alone() {
    let fixture = Fixture::new().unwrap();
    fixture.token(1, "n1").await.unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&fixture.directory.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_file_that_others_may_read_is_refused_and_one_made_private_again_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    drop(SqliteStore::open(&path).unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::Permissions { mode: 0o640, .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(SqliteStore::open(&path).is_ok());
}

#[test]
fn a_link_in_place_of_the_file_and_a_directory_open_to_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    drop(SqliteStore::open(&path).unwrap());
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(SqliteStore::open(&link), Err(OpenError::NotOurs { .. })));
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::Directory(_))));
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(SqliteStore::open(&path).is_ok());
}

#[test]
fn each_setting_that_durability_stands_on_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let tampered = |sql: &str| {
        let connection = open::writable(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        open::check_settings(&path, &connection)
    };
    assert!(tampered("").is_ok());
    for (sql, setting) in [
        ("PRAGMA synchronous = NORMAL", "synchronous"),
        ("PRAGMA synchronous = OFF", "synchronous"),
        ("PRAGMA foreign_keys = OFF", "foreign_keys"),
        ("PRAGMA journal_mode = DELETE", "journal_mode"),
    ] {
        let error = tampered(sql).unwrap_err();
        assert!(matches!(&error, OpenError::Setting { setting: found, .. } if *found == setting), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("../schema_1.sql")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let sql = "INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at)
               VALUES (?1, x'07', 'spiffe://example.org/web', 'n1', 'attestation', 9, 8)";
    connection.execute(sql, [serial(1).as_bytes()]).unwrap();
    drop(connection);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let known = store.issued(serial(1)).await.unwrap().unwrap();
    assert_eq!((known.tbs_der, known.reason.as_str(), known.provenance), (vec![7], "attestation", None));
    store.persist(Intent { provenance: Some(provenance()), ..intent(2) }).await.unwrap();
    assert_eq!(store.issued(serial(2)).await.unwrap().unwrap().provenance, Some(provenance()));
    let version: i64 = Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(version).unwrap(), open::MIGRATIONS.len());
}

#[test]
fn a_schema_of_a_later_build_is_refused_naming_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    drop(SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let later = open::MIGRATIONS.len() + 1;
    connection.pragma_update(None, "user_version", i64::try_from(later).unwrap()).unwrap();
    drop(connection);
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found, .. } if found == later), "{error}");
    assert!(error.to_string().contains(&format!("schema version {later}, this build knows up to {}", later - 1)), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    std::fs::write(&path, "not a database, but long enough to be looked at as if it were one").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::Database { .. })));
}
