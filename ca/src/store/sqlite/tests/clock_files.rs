//! High-water marks over files of earlier builds, and over restored ones.

use std::sync::Arc;

use super::*;
use crate::store::{BundleStore, IssuanceStore};

const DAYS: u64 = 48 * 3600;

fn intent_at(number: u64, seconds: u64) -> Intent {
    Intent { now: at(DAYS + seconds), ..intent(number) }
}

#[tokio::test]
async fn a_store_of_an_earlier_build_has_its_mark_from_what_it_issued() {
    let fixture = Fixture::new().unwrap();
    fixture.store.persist(intent_at(1, 0)).await.unwrap();
    fixture.store.persist(intent_at(2, 1000)).await.unwrap();
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    // As the fourth schema had it.
    let later = "DROP TABLE issuance_clock; DROP TABLE audit_checkpoints; DROP TABLE audit_forks;
                 DROP TRIGGER entry_made; DROP TRIGGER entry_changed; DROP TRIGGER entry_gone;
                 DROP TRIGGER alias_made; DROP TRIGGER alias_changed; DROP TRIGGER alias_gone;
                 DROP TRIGGER member_made; DROP TRIGGER member_changed; DROP TRIGGER member_gone; DROP TRIGGER node_changed;
                 DROP TABLE federations; ALTER TABLE entries DROP COLUMN federates_with;
                 DROP TABLE entries_generation; DROP TABLE issuance_results; DROP TABLE issuance_unanswered;
                 ALTER TABLE issuance ADD COLUMN certificate_der BLOB; ALTER TABLE issuance ADD COLUMN answered_at INTEGER;
                 CREATE INDEX issuance_unanswered ON issuance (intended_at) WHERE answered_at IS NULL;";
    connection.execute_batch(&format!("{later} PRAGMA user_version = 4")).unwrap();
    let of_authorities = ["authorities", "rotations", "leaves", "holders", "jwt_ends", "bundle_acknowledgements"];
    let of_revocations = [
        "revocations",
        "denied_identities",
        "revocation_lists",
        "revocation_sequence",
        "replicas",
        "leases",
        "issuer_requests",
        "agent_pods",
    ];
    connection.execute_batch(&of_revocations.map(|table| format!("DROP TABLE {table};")).concat()).unwrap();
    connection.execute_batch(&of_authorities.map(|table| format!("DROP TABLE {table};")).concat()).unwrap();
    assert_eq!(fixture.reopened().store.latest_issuance().await.unwrap(), at(DAYS + 1000));
}

#[tokio::test]
async fn a_bundle_sequence_never_goes_back_over_a_restored_store() {
    let fixture = Fixture::new().unwrap();
    let ours: identity::TrustDomain = "example.org".parse().unwrap();
    let publish = async |fixture: &Fixture, content, now| {
        fixture.store.bundle_sequence(ours.clone(), hash(content), Arc::default(), at(now)).await.unwrap()
    };
    let back = publish(&fixture, 2, 0).await;

    let backup = fixture.directory.path().join("backup.db");
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    connection.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    drop(connection);
    let mut lost = back;
    for content in 3..6 {
        lost = publish(&fixture, content, DAYS + 100).await;
    }
    // The disk is lost; what was published since the backup is forgotten, and the agents hold it.
    let Fixture { directory, store } = fixture;
    drop(store);
    for name in ["store.db-wal", "store.db-shm"] {
        drop(std::fs::remove_file(directory.path().join(name)));
    }
    std::fs::rename(&backup, directory.path().join("store.db")).unwrap();
    std::fs::set_permissions(directory.path().join("store.db"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).unwrap();
    let restored = Fixture { directory, store };
    let after = publish(&restored, 7, DAYS + 200).await;
    assert!(after > lost, "{after} after {lost}: agents would refuse it as a replay");
}
