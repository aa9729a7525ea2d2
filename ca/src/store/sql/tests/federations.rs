use identity::TrustDomain;

use super::*;
use crate::federation::StoredFederation;
use crate::store::{Change, FederationStore, StoreHealth};

async fn sequence(fixture: &Fixture) -> Option<u64> {
    let stored = fixture.store.federations().await.unwrap();
    stored.into_iter().next().unwrap().document.map(|document| document.sequence)
}

#[tokio::test]
async fn relationships_come_back_whole_in_their_order_after_a_restart_until_they_are_removed() {
    let Some(fixture) = Fixture::new() else { return };
    let spiffe = federation("other.org");
    let trust_domain = TrustDomain::parse("a.org").unwrap();
    let endpoint = BundleEndpoint::new(&trust_domain, "https://bundles.a.org/b?c", None).unwrap();
    let web = Federation { trust_domain, endpoint, created_at: at(9) };
    let document = foreign_document(7, "\u{0}not even text");
    let mut changes = fixture.store.changes();
    fixture.store.add_federation(spiffe.clone(), Some(document.clone()), OPERATOR, at(1)).await.unwrap();
    assert_eq!(changes.try_recv(), Ok(Change::Federations));
    fixture.store.add_federation(web.clone(), None, OPERATOR, at(9)).await.unwrap();
    let twin = fixture.store.add_federation(web.clone(), Some(document.clone()), OPERATOR, at(9)).await.unwrap_err();
    assert_eq!(twin, StoreError::Exists { what: "federation", name: "a.org".to_owned() });

    let fixture = fixture.reopened();
    let web = StoredFederation { federation: web, document: None };
    let spiffe = StoredFederation { federation: spiffe, document: Some(document) };
    assert_eq!(fixture.store.federations().await.unwrap(), [web.clone(), spiffe.clone()]);
    let name = spiffe.federation.trust_domain;
    fixture.store.remove_federation(name.clone(), OPERATOR, at(10)).await.unwrap();
    assert_eq!(fixture.store.federations().await.unwrap(), [web]);
    let gone = fixture.store.remove_federation(name, OPERATOR, at(10)).await.unwrap_err();
    assert_eq!(gone, StoreError::NotFound { what: "federation", name: "other.org".to_owned() });
    let kinds = fixture.kinds().await;
    assert_eq!(kinds, ["federation_added", "foreign_bundle_taken", "federation_added", "federation_removed"]);
}

#[tokio::test]
async fn a_bundle_is_kept_for_the_relationship_that_it_was_asked_for_and_never_goes_back() {
    let Some(fixture) = Fixture::new() else { return };
    let federation = federation("other.org");
    fixture.store.add_federation(federation.clone(), Some(foreign_document(5, "five")), OPERATOR, at(1)).await.unwrap();
    let keep = async |federation: &Federation, sequence: u64, content: &str| {
        let document = foreign_document(sequence, content);
        let kept = fixture.store.keep_foreign_bundle(federation.clone(), document, at(20)).await;
        assert!(matches!(kept, Ok(()) | Err(StoreError::Changed { .. })), "{kept:?}");
        kept.is_ok()
    };
    assert!(keep(&federation, 6, "six").await);
    let events = fixture.events().await.len();
    assert!(keep(&federation, 6, "six").await, "the same changes nothing");
    assert_eq!(fixture.events().await.len(), events, "and is not told again");
    assert!(!keep(&federation, 6, "another six").await, "one sequence, two contents");
    assert!(!keep(&federation, 5, "five").await && !keep(&federation, 0, "none").await, "it goes back");
    assert_eq!(sequence(&fixture).await, Some(6));

    // One that was added anew, with another endpoint or at another time, is another relationship.
    let later = Federation { created_at: at(2), ..federation.clone() };
    let web = BundleEndpoint::new(&federation.trust_domain, federation.endpoint.url.as_str(), None).unwrap();
    let web = Federation { endpoint: web, ..federation.clone() };
    let other = crate::store::sql::support::federation("third.org");
    for replaced in [&later, &web, &other] {
        assert!(!keep(replaced, 9, "nine").await);
    }
    assert!(keep(&federation, 9, "nine").await);
    assert_eq!(sequence(&fixture).await, Some(9));
}

#[tokio::test]
async fn a_publisher_that_writes_no_sequence_may_change_its_bundle() {
    let Some(fixture) = Fixture::new() else { return };
    let federation = federation("other.org");
    fixture.store.add_federation(federation.clone(), None, OPERATOR, at(1)).await.unwrap();
    for content in ["one", "two"] {
        fixture.store.keep_foreign_bundle(federation.clone(), foreign_document(0, content), at(2)).await.unwrap();
        let [stored]: [_; 1] = fixture.store.federations().await.unwrap().try_into().unwrap();
        assert_eq!(stored.document.unwrap().json, content.as_bytes());
    }
}
