//! The ledger of certificates.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::audit_walk::verify;
use crate::records::{EntryId, Held};
use crate::store::sql::columns::first;
use crate::store::sql::connection::Row;
use crate::store::{BundleStore, IssuanceResult, IssuanceStore, StoreHealth};

#[tokio::test]
async fn an_intent_and_its_result_are_on_disk_with_an_event_each() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    assert_eq!(fixture.store.issued_count().await.unwrap(), 0, "intended is not issued");
    fixture.store.record_result(serial(1), vec![7; 40], at(1)).await.unwrap();
    // The same result again says nothing new.
    fixture.store.record_result(serial(1), vec![7; 40], at(2)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.issued_count().await.unwrap(), 1);
    assert_eq!(fixture.kinds().await, ["certificate_intended", "certificate_signed"]);
    let row = fixture.by_hand(|connection| {
        let sql = "SELECT tbs_der, certificate_der, reason FROM issuance JOIN issuance_results USING (position)";
        let read = |row: &Row<'_>| Ok((row.get("tbs_der")?, row.get("certificate_der")?, row.get("reason")?));
        first::<(Vec<u8>, Vec<u8>, String)>(connection, sql, (), read).unwrap().unwrap()
    });
    assert_eq!(row, (intent(1).tbs_der, vec![7; 40], "attestation".to_owned()));
}

#[tokio::test]
async fn a_serial_is_used_once_and_has_one_result() {
    let Some(fixture) = Fixture::new() else { return };
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

#[tokio::test]
async fn results_that_are_recorded_as_one_stay_but_for_those_that_are_refused() {
    let Some(fixture) = Fixture::new() else { return };
    for number in 1..=3 {
        fixture.store.persist(intent(number)).await.unwrap();
    }
    fixture.store.record_result(serial(2), vec![2], at(1)).await.unwrap();
    let result = |number, byte| IssuanceResult { serial: serial(number), certificate_der: vec![byte], now: at(1) };
    let results = vec![result(1, 1), result(2, 9), result(4, 4), result(3, 3), result(3, 3)];
    let refused = fixture.store.record_results(results).await.unwrap();
    assert!(
        matches!(&refused[..], [(two, StoreError::Exists { .. }), (four, StoreError::NotFound { .. })]
            if *two == serial(2) && *four == serial(4)),
        "{refused:?}"
    );
    assert_eq!(fixture.store.issued_count().await.unwrap(), 3);
    assert_eq!(fixture.kinds().await[3..], ["certificate_signed"; 3]);
    assert_eq!(verify(&fixture.store, vec![], vec![], |_, _| ()).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_intents_at_once_share_commits_and_are_all_there_after_a_restart() {
    const INTENTS: u64 = 400;
    let Some(fixture) = Fixture::new() else { return };
    let before = fixture.store.commits();
    let results = join_all((0..INTENTS).map(|number| fixture.store.persist(intent(number)))).await;
    assert!(results.iter().all(Result::is_ok));
    let commits = fixture.store.commits() - before;
    assert!((1..INTENTS).contains(&commits), "{commits} commits");
    let fixture = fixture.reopened();
    assert_eq!(fixture.kinds().await.len(), usize::try_from(INTENTS).unwrap());
    assert_eq!(verify(&fixture.store, vec![], vec![], |_, _| ()).await.unwrap().findings, []);
    assert_eq!(*fixture.store.audit_head().borrow(), INTENTS);
}

#[tokio::test]
async fn a_bundle_keeps_its_sequence_until_its_content_changes() {
    let Some(fixture) = Fixture::new() else { return };
    let ours: identity::TrustDomain = "example.org".parse().unwrap();
    let sequence = |domain: &identity::TrustDomain, content| {
        fixture.store.bundle_sequence(domain.clone(), hash(content), Arc::default(), at(0))
    };
    let first = sequence(&ours, 1).await.unwrap();
    assert_eq!(first, at(0).unix_seconds());
    assert_eq!(sequence(&ours, 1).await.unwrap(), first);
    assert_eq!(sequence(&ours, 2).await.unwrap(), first + 1);
    assert_eq!(sequence(&ours, 1).await.unwrap(), first + 2, "never back");
    assert_eq!(sequence(&"other.org".parse().unwrap(), 1).await.unwrap(), first);
    assert_eq!(fixture.kinds().await, ["bundle_published"; 4]);
}

#[tokio::test]
async fn the_store_is_used_as_one_object() {
    let Some(fixture) = Fixture::new() else { return };
    let store: Arc<dyn crate::store::Store> = Arc::new(fixture.store);
    store.persist(intent(1)).await.unwrap();
    assert_eq!(store.audit_after(0, 9).await.unwrap().len(), 1);
    assert_eq!(*store.state().borrow(), crate::store::StoreState::Well);
}

#[tokio::test]
async fn the_line_of_a_certificate_is_kept_and_audited_and_one_that_does_not_read_back_is_an_error() {
    let Some(fixture) = Fixture::new() else { return };
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
    fixture.tamper("UPDATE issuance SET grounds = '{}' WHERE grounds IS NOT NULL");
    assert!(matches!(fixture.store.issued(serial(1)).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn what_a_caller_holds_for_an_entry_is_its_own_last_answer_that_has_not_long_ended() {
    let Some(fixture) = Fixture::new() else { return };
    let [web, db] =
        ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"].map(|id| EntryId::parse(id).unwrap());
    let held = async |caller: &str, now| {
        let entries = [&web, &db].map(|entry| (entry.clone(), intent(1).subject)).to_vec();
        fixture.store.held(caller.to_owned(), entries, at(now)).await.unwrap()
    };
    let made = |number, caller: &str, entry: &EntryId, from, to| Intent {
        caller: caller.to_owned(),
        reason: Reason::Entry(entry.clone()),
        now: at(from),
        not_after: at(to),
        ..intent(number)
    };
    // Two of web for n1, a later one for another node, and one of db that was never answered.
    let intents = [
        made(1, "n1", &web, 100, 200),
        made(2, "n1", &web, 150, 300),
        made(3, "n2", &web, 160, 900),
        made(4, "n1", &db, 100, 800),
    ];
    for (number, intent) in (1..).zip(intents) {
        fixture.store.persist(intent).await.unwrap();
        if number != 4 {
            fixture.store.record_result(serial(number), vec![7; 40], at(170)).await.unwrap();
        }
    }
    let expected = |from, to| HashMap::from([(web.clone(), Held { issued_at: at(from), not_after: at(to) })]);
    assert_eq!(held("n1", 180).await, expected(150, 300));
    assert_eq!(held("n2", 180).await, expected(160, 900));
    assert_eq!(held("n1", 300 + 3600).await, expected(150, 300), "an hour after its end");
    assert_eq!(held("n1", 301 + 3600).await, HashMap::new());
    assert_eq!(held("n3", 180).await, HashMap::new());
}
