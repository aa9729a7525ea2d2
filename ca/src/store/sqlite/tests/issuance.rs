//! The ledger of certificates.

use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::store::{BundleStore, IssuanceStore, StoreHealth};

#[tokio::test]
async fn an_intent_and_its_result_are_on_disk_with_an_event_each() {
    let fixture = Fixture::new();
    fixture.store.persist(intent(1)).await.unwrap();
    assert_eq!(fixture.store.issued_count().await.unwrap(), 0, "intended is not issued");
    fixture.store.record_result(serial(1), vec![7; 40], at(1)).await.unwrap();
    // The same result again says nothing new.
    fixture.store.record_result(serial(1), vec![7; 40], at(2)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.issued_count().await.unwrap(), 1);
    assert_eq!(fixture.kinds().await, ["certificate_intended", "certificate_signed"]);
    let row: (Vec<u8>, Vec<u8>, String) = rusqlite::Connection::open(fixture.path())
        .unwrap()
        .query_row("SELECT tbs_der, certificate_der, reason FROM issuance", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(row, (intent(1).tbs_der, vec![7; 40], "attestation".to_owned()));
}

#[tokio::test]
async fn a_serial_is_used_once_and_has_one_result() {
    let fixture = Fixture::new();
    fixture.store.persist(intent(1)).await.unwrap();
    let again = fixture.store.persist(intent(1)).await.unwrap_err();
    assert!(again.to_string().contains(&serial(1).to_string()), "{again}");
    fixture.store.persist(intent(2)).await.unwrap();
    fixture.store.record_result(serial(1), vec![7], at(1)).await.unwrap();
    let other = fixture.store.record_result(serial(1), vec![8], at(1)).await.unwrap_err();
    assert!(matches!(other, StoreError::Exists { what: "certificate", .. }));
    let unknown = fixture.store.record_result(serial(3), vec![8], at(1)).await.unwrap_err();
    assert!(matches!(unknown, StoreError::NotFound { what: "certificate", .. }));
    assert_eq!(fixture.kinds().await, ["certificate_intended", "certificate_intended", "certificate_signed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_intents_at_once_share_commits_and_are_all_there_after_a_restart() {
    const INTENTS: u64 = 400;
    let fixture = Fixture::new();
    let before = fixture.store.commits();
    let results = join_all((0..INTENTS).map(|number| fixture.store.persist(intent(number)))).await;
    assert!(results.iter().all(Result::is_ok));
    let commits = fixture.store.commits() - before;
    assert!((1..INTENTS).contains(&commits), "{commits} commits");
    let fixture = fixture.reopened();
    assert_eq!(fixture.kinds().await.len(), usize::try_from(INTENTS).unwrap());
    assert_eq!(fixture.store.audit_verify().await.unwrap().fault, None);
    assert_eq!(*fixture.store.audit_head().borrow(), INTENTS);
}

#[tokio::test]
async fn a_bundle_keeps_its_sequence_until_its_content_changes() {
    let fixture = Fixture::new();
    let ours: identity::TrustDomain = "example.org".parse().unwrap();
    let sequence = |domain: &identity::TrustDomain, content| fixture.store.bundle_sequence(domain.clone(), hash(content), at(0));
    assert_eq!(sequence(&ours, 1).await.unwrap(), 1);
    assert_eq!(sequence(&ours, 1).await.unwrap(), 1);
    assert_eq!(sequence(&ours, 2).await.unwrap(), 2);
    assert_eq!(sequence(&ours, 1).await.unwrap(), 3, "never back");
    assert_eq!(sequence(&"other.org".parse().unwrap(), 1).await.unwrap(), 1);
    assert_eq!(fixture.kinds().await, ["bundle_published"; 4]);
}

#[tokio::test]
async fn the_store_is_used_as_one_object() {
    let fixture = Fixture::new();
    let store: Arc<dyn crate::store::Store> = Arc::new(fixture.store);
    store.persist(intent(1)).await.unwrap();
    assert_eq!(store.audit_after(0, 9).await.unwrap().len(), 1);
    assert_eq!(*store.failure().borrow(), None);
}

#[tokio::test]
async fn the_line_of_a_certificate_is_kept_and_audited_and_one_that_does_not_read_back_is_an_error() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.issued(serial(1)).await.unwrap(), None);
    let reason = Reason::Renewal { presented: serial(9) };
    fixture.store.persist(Intent { provenance: Some(provenance()), reason, ..intent(1) }).await.unwrap();
    fixture.store.persist(intent(2)).await.unwrap();
    let fixture = fixture.reopened();
    let known = fixture.store.issued(serial(1)).await.unwrap().unwrap();
    assert_eq!((known.provenance, known.tbs_der), (Some(provenance()), intent(1).tbs_der));
    assert_eq!(known.reason, format!("renewal {}", serial(9)));
    assert_eq!(fixture.store.issued(serial(2)).await.unwrap().unwrap().provenance, None);
    let events = fixture.events().await;
    for part in ["\"token_issuer\":\"https://issuer.example\"", "\"token_subject\":\"s\"", "\"line_start\":"] {
        assert!(events[0].body.contains(part), "{}", events[0].body);
        assert!(!events[1].body.contains(part), "{}", events[1].body);
    }
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    connection.execute_batch("UPDATE issuance SET grounds = '{}' WHERE grounds IS NOT NULL").unwrap();
    assert!(matches!(fixture.store.issued(serial(1)).await, Err(StoreError::Unavailable(_))));
}
