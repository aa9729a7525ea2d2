//! High-water marks: the latest issuance, and bundle sequences, over restarts, restores and clocks that were set.

use std::sync::Arc;

use super::*;
use crate::issuance_clock::ClockFault;
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::store::{BundleStore, IssuanceStore};

const DAYS: u64 = 48 * 3600;

fn intent_at(number: u64, seconds: u64) -> Intent {
    Intent { now: at(DAYS + seconds), ..intent(number) }
}

fn behind(now: u64) -> String {
    ClockFault::Behind { now: at(DAYS + now), latest: at(DAYS + 1000) }.to_string()
}

fn token_at(seconds: u64) -> JwtIntent {
    JwtIntent {
        subject: SpiffeId::parse("spiffe://example.org/web").unwrap(),
        audiences: pki::AudienceSet::parse(&["db".to_owned()]).unwrap(),
        key_id: pki::KeyId::parse("k1").unwrap(),
        key: [4; 32],
        expires_at: at(DAYS + seconds + 300),
        signing_input: hash(1),
        caller: "n1".to_owned(),
        reason: Reason::Attestation,
        now: at(DAYS + seconds),
    }
}

#[tokio::test]
async fn nothing_is_recorded_further_than_minutes_before_the_latest_issuance_not_even_after_a_restart() {
    let Some(fixture) = Fixture::new() else { return };
    assert_eq!(fixture.store.latest_issuance().await.unwrap(), Timestamp::from_unix_seconds(0));
    fixture.store.persist(intent_at(1, 1000)).await.unwrap();
    fixture.store.persist(intent_at(2, 700)).await.expect("five minutes are tolerated");
    assert_eq!(fixture.store.latest_issuance().await.unwrap(), at(DAYS + 1000), "the mark does not follow the clock back");
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.latest_issuance().await.unwrap(), at(DAYS + 1000));
    let refused = fixture.store.persist(intent_at(3, 699)).await.unwrap_err();
    assert!(refused.to_string().contains(&behind(699)), "{refused}");
    let refused = fixture.store.persist_jwt(token_at(699)).await.unwrap_err();
    assert!(refused.to_string().contains(&behind(699)), "{refused}");
    assert_eq!(fixture.kinds().await.len(), 2, "neither left a row");
    fixture.store.persist_jwt(token_at(1500)).await.unwrap();
    assert_eq!(fixture.store.latest_issuance().await.unwrap(), at(DAYS + 1500), "a token counts like a certificate");
}

#[tokio::test]
async fn an_operator_who_accepts_the_clock_is_on_record_and_issuance_goes_on() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent_at(1, 1000)).await.unwrap();
    fixture.store.persist(intent(2)).await.unwrap_err();
    assert_eq!(fixture.store.accept_clock(OPERATOR, at(0)).await.unwrap(), at(DAYS + 1000));
    fixture.store.persist(intent(2)).await.unwrap();
    let event = fixture.events().await.into_iter().find(|event| event.kind == "clock_accepted").unwrap();
    assert_eq!(event.body, format!(r#"{{"actor":"operator","latest_issuance":"{}","uid":1000}}"#, at(DAYS + 1000)));
}

#[tokio::test]
async fn a_bundle_sequence_never_goes_back_whatever_the_clock_says_and_over_a_restored_store() {
    let Some(fixture) = Fixture::new() else { return };
    let ours: identity::TrustDomain = "example.org".parse().unwrap();
    let publish = async |fixture: &Fixture, content, now| {
        fixture.store.bundle_sequence(ours.clone(), hash(content), Arc::default(), at(now)).await.unwrap()
    };
    let first = publish(&fixture, 1, DAYS).await;
    let back = publish(&fixture, 2, 0).await;
    assert!(back > first, "the clock went back by two days: {back} after {first}");
    let fixture = fixture.reopened();
    assert_eq!(publish(&fixture, 2, 0).await, back, "a restart publishes nothing new");
}
