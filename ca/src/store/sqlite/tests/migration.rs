//! From a store of an earlier build.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::*;
use crate::authority::lifecycle::Lifecycle;
use crate::authority::lifecycle::gate::Leaves;
use crate::store::sqlite::open::MIGRATIONS;
use crate::store::{AuditReader, AuthorityStore, EntryFilter, EntryStore, IssuanceStore, OrphanCursor, OrphanKind, ReplicaStore};

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
           VALUES (x'01', x'00', 'spiffe://example.org/web', 'n1', 'entry {a}', 1700000900, 1700000000);
           INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at, certificate_der, answered_at)
           VALUES (x'02', x'00', 'spiffe://example.org/api', 'n1', 'entry {b}', 1700000900, 1700000000, x'0707', 1700000001);"#,
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
    assert_eq!(store.issued_count().await.unwrap(), 1, "of two intents one was answered");
    let orphans = store.orphans(OrphanKind::X509, OrphanCursor::since(at(0))).await.unwrap().orphans;
    assert_eq!(orphans.iter().map(|orphan| orphan.name.as_str()).collect::<Vec<_>>(), ["01"]);
    let two = || SerialNumber::from_bytes(&[2]).unwrap();
    assert_eq!(store.record_result(two(), vec![7, 7], at(9)).await, Ok(()), "its result came with it");
    assert!(store.record_result(two(), vec![8], at(9)).await.is_err());
    let (_, outstanding) = store.delete_entry(entry_id(1), OPERATOR, at(8)).await.unwrap();
    assert_eq!(outstanding.map(|left| left.until), Some(at(900)));
}

#[tokio::test]
async fn what_was_issued_before_the_ledger_said_by_whom_counts_for_every_ca_and_tokens_are_found_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let old = first_schema(&path);
    for (version, step) in (2_u32..).zip(&MIGRATIONS[1..6]) {
        old.execute_batch(step).unwrap();
        old.pragma_update(None, "user_version", version).unwrap();
    }
    old.execute_batch(
        r#"INSERT INTO issuance (serial, tbs_der, subject, caller, reason, not_after, intended_at) VALUES
           (x'01', x'00', 'spiffe://example.org/web', 'n1', 'entry 1', 1700000900, 1700000000),
           (x'02', x'00', 'spiffe://example.org/web', 'n1', 'entry 1', 1700000950, 1700000001),
           (x'03', x'00', 'spiffe://example.org', 'ca init', 'authority', 1700009999, 1700000001),
           (x'04', x'00', 'spiffe://example.org/signet/ca/a', 'ca', 'serving', 1700009999, 1700000001);
           INSERT INTO audit (sequence, time, kind, body, previous, hash) VALUES
           (1, 0, 'jwt_svid_intended', '{"expires_at":"2023-11-14T22:20:00Z","kid":"k1"}', x'', x''),
           (2, 0, 'jwt_svid_intended', '{"expires_at":"2023-11-14T22:25:00Z","kid":"k1"}', x'', x''),
           (3, 0, 'jwt_svid_intended', 'tampered with', x'', x''),
           (4, 0, 'node_attested', '{"expires_at":"2023-11-14T23:25:00Z","kid":"k2"}', x'', x'');"#,
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    let key = [1; 32];
    let leaves = async |now| store.leaves(vec![key], at(now)).await.unwrap()[&key];
    assert_eq!(leaves(900).await, Leaves { held: 2, unexpired: 2, last_end: Some(at(950)), ..Leaves::default() });
    assert_eq!(leaves(901).await, Leaves { held: 1, unexpired: 1, last_end: Some(at(950)), ..Leaves::default() });
    assert_eq!(leaves(951).await, Leaves::default());
    let [k1, k2] = ["k1", "k2"].map(|text| pki::KeyId::parse(text).unwrap());
    assert_eq!(store.tokens_until(vec![k1.clone(), k2]).await.unwrap(), [(k1, at(700))].into());
    assert_eq!(store.lifecycle().await.unwrap(), Lifecycle::default());
    assert!(store.rotations().await.unwrap().is_empty() && store.acknowledged().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_issued_for_an_entry_is_still_known_to_be_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let old = first_schema(&path);
    for (version, step) in (2_u32..).zip(&MIGRATIONS[1..8]) {
        old.execute_batch(step).unwrap();
        old.pragma_update(None, "user_version", version).unwrap();
    }
    old.execute_batch(&format!(
        r#"INSERT INTO entries (id, spiffe_id, selectors, parent_node, dns_names, hint, created_at, revision)
           VALUES ('{a}', 'spiffe://example.org/web', '["unix:uid:1"]', 'n1', '[]', '', 1700000000, 1);
           INSERT INTO issuance (position, serial, tbs_der, subject, caller, reason, not_after, intended_at) VALUES
           (1, x'01', x'00', 'spiffe://example.org/web', 'n1', 'entry {a}', 1700000900, 1700000000),
           (2, x'02', x'00', 'spiffe://example.org/web', 'n1', 'entry {a}', 1700000950, 1700000001),
           (3, x'03', x'00', 'spiffe://example.org/web', 'n1', 'attestation', 1700000990, 1700000001);
           INSERT INTO leaves (issuer_key, not_after, position, holder) VALUES
           (x'07', 1700000900, 1, x'01'), (x'08', 1700000950, 2, x'01'), (x'08', 1700000990, 3, x'02');"#,
        a = entry_id(1),
    ))
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    let (_, outstanding) = store.delete_entry(entry_id(1), OPERATOR, at(8)).await.unwrap();
    assert_eq!(outstanding.map(|left| (left.count, left.until)), Some((2, at(950))));
}

#[tokio::test]
async fn authorities_and_their_rotations_of_before_there_were_replicas_are_those_of_the_one_that_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let old = first_schema(&path);
    for (version, step) in (2_u32..).zip(&MIGRATIONS[1..12]) {
        old.execute_batch(step).unwrap();
        old.pragma_update(None, "user_version", version).unwrap();
    }
    old.execute_batch(
        "INSERT INTO replicas (name, serial_byte, address, seen_at) VALUES ('ca-1', 1, 'a:1', 1700000000);
         INSERT INTO authorities (kind, number, parent, slot, since, key, public_der, not_before, not_after, destroyed) VALUES
         ('root', 1, NULL, 'active', 1700000000, zeroblob(32), x'01', 1700000000, 1700009000, 0),
         ('issuer', 1, 1, 'active', 1700000000, zeroblob(32), x'02', 1700000000, 1700009000, 0);
         INSERT INTO rotations VALUES ('root', 1, 1700000001, 'natural', 0, '[]', 0, 0, 0), ('issuer', 1, 1700000002, 'taint', 0, '[\"n1\"]', 7, 1, 0);",
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    let state = store.lifecycle().await.unwrap();
    let names: Vec<_> = state.authorities().map(|authority| authority.name.to_string()).collect();
    assert_eq!((names.join(" ").as_str(), state.others().count()), ("root-1 issuer-1", 0));
    let rotations = store.rotations().await.unwrap();
    let told: Vec<_> = rotations.iter().map(|rotation| (rotation.from.to_string(), rotation.started_at)).collect();
    assert_eq!(told, [("root-1".to_owned(), at(1)), ("issuer-1".to_owned(), at(2))]);
    assert_eq!((rotations[1].accepted.leaves, rotations[1].accepted.tokens), (7, true));
    assert!(store.replicas().await.unwrap().is_empty(), "it is put on record at its next start");
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
