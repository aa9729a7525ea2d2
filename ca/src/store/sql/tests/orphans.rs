//! Intents without a result.

use pki::{KeyAlgorithm, KeyId};

use super::*;
use crate::issuance::LedgerError;
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::store::{AuditReader, IssuanceStore, Orphan, OrphanCursor, OrphanKind};

async fn all(store: &impl AuditReader, kind: OrphanKind, since: u64) -> Vec<Orphan> {
    let (mut found, mut next) = (Vec::new(), Some(OrphanCursor::since(at(since))));
    while let Some(from) = next {
        let page = store.orphans(kind, from).await.unwrap();
        assert!(page.orphans.len() <= 256);
        found.extend(page.orphans);
        next = page.next;
    }
    found
}

fn names(orphans: &[Orphan]) -> Vec<&str> {
    orphans.iter().map(|orphan| orphan.name.as_str()).collect()
}

#[tokio::test]
async fn an_answered_intent_is_no_orphan_and_the_others_are_listed_by_their_time() {
    let Some(fixture) = Fixture::new() else { return };
    for (number, time) in [(1, 20), (2, 10), (3, 30)] {
        fixture.store.persist(Intent { now: at(time), ..intent(number) }).await.unwrap();
    }
    let (one, two, three) = (serial(1).to_string(), serial(2).to_string(), serial(3).to_string());
    assert_eq!(names(&all(&fixture.store, OrphanKind::X509, 0).await), [&two, &one, &three]);
    fixture.store.record_result(serial(1), vec![1], at(31)).await.unwrap();
    let left = all(&fixture.store, OrphanKind::X509, 0).await;
    assert_eq!(names(&left), [&two, &three]);
    let want = ("spiffe://example.org/web", "n1", "attestation", at(10), at(3600));
    let Orphan { kind: _, name: _, subject, caller, reason, intended_at, not_after } = &left[0];
    assert_eq!((subject.as_str(), caller.as_str(), reason.as_str(), *intended_at, *not_after), want);
    assert_eq!(names(&all(&fixture.store, OrphanKind::X509, 10).await).len(), 2);
    assert_eq!(names(&all(&fixture.store, OrphanKind::X509, 11).await), [&three]);
    assert_eq!(names(&all(&fixture.store, OrphanKind::X509, 31).await), Vec::<&str>::new());
    if let Some(file) = fixture.file() {
        assert_eq!(all(&file, OrphanKind::X509, 0).await, left);
    }
}

#[tokio::test]
async fn more_orphans_than_a_page_holds_come_once_each_also_within_one_second() {
    let Some(fixture) = Fixture::new() else { return };
    for number in 1..=600 {
        fixture.store.persist(Intent { now: at(number / 300), ..intent(number) }).await.unwrap();
    }
    let found = all(&fixture.store, OrphanKind::X509, 0).await;
    let distinct: std::collections::BTreeSet<_> = names(&found).into_iter().collect();
    assert_eq!((found.len(), distinct.len()), (600, 600));
}

#[tokio::test]
async fn intents_of_jwt_svids_are_read_from_the_log() {
    let Some(fixture) = Fixture::new() else { return };
    let key = pki::JwtKey::new(pki::PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
    let intend = async |number: u8, time: u64| -> Result<(), LedgerError> {
        let intent = JwtIntent {
            subject: SpiffeId::parse("spiffe://example.org/web").unwrap(),
            audiences: pki::AudienceSet::parse(&["api"]).unwrap(),
            key_id: KeyId::clone(key.key_id()),
            key: [4; 32],
            expires_at: at(300),
            signing_input: [number; 32],
            caller: "n1".to_owned(),
            reason: Reason::Attestation,
            now: at(time),
        };
        fixture.store.persist_jwt(intent).await
    };
    intend(1, 5).await.unwrap();
    fixture.store.persist(intent(1)).await.unwrap();
    intend(2, 10).await.unwrap();
    let found = all(&fixture.store, OrphanKind::Jwt, 0).await;
    assert_eq!(names(&found), ["01".repeat(32), "02".repeat(32)]);
    assert_eq!((found[0].not_after, found[0].intended_at), (at(300), at(5)));
    assert_eq!(all(&fixture.store, OrphanKind::Jwt, 6).await.len(), 1);
}
