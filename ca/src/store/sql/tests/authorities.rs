//! The lifecycle of authorities and their rotations: kept over restarts, by one writer at a time, with an event for each change.

use std::sync::Arc;

use super::*;
use crate::authority::lifecycle::gate::{Accepted, Gate};
use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};
use crate::authority::lifecycle::{Adopted, AuthorityKind, AuthorityName, Event, Lifecycle, Material, Slot, apply};
use crate::store::{AuthorityStore, Fence, ReplicaStore};

fn name(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

fn material(name: AuthorityName) -> Material {
    let mut key = [0; 32];
    (key[0], key[1]) = (name.kind.as_str().len().try_into().unwrap(), name.number.try_into().unwrap());
    let not_after = (name.kind != AuthorityKind::Jwt).then(|| at(1000));
    Material { key, public_der: vec![key[0], key[1]], not_before: at(0), not_after }
}

fn adopt(text: &str) -> Event {
    let name = name(text);
    Event::Adopt(Adopted { name, material: material(name) })
}

fn made(text: &str) -> Event {
    let name = name(text);
    Event::Made { name, material: material(name) }
}

/// What an event makes of a state.
fn after(state: &Lifecycle, event: Event, now: u64) -> Lifecycle {
    apply(state, event, at(now)).unwrap().state
}

/// A whole life: a root, an issuing CA and a JWT key, and the rotation of the root with all that it brings.
fn whole_life() -> Vec<Event> {
    let open = || Gate::Open;
    vec![
        adopt("root-1"),
        adopt("issuer-1"),
        adopt("jwt-1"),
        Event::Published { sequence: 7 },
        Event::Prepare(AuthorityKind::Jwt),
        made("jwt-2"),
        Event::Prepare(AuthorityKind::Root),
        made("root-2"),
        made("issuer-2"),
        Event::Published { sequence: 8 },
        Event::Activate { name: name("root-2"), gate: open() },
        Event::Taint(name("root-1")),
        Event::Published { sequence: 9 },
        Event::Revoke { name: name("root-1"), gate: open() },
        Event::Destroyed(name("root-1")),
        Event::Destroyed(name("issuer-1")),
        Event::Prepare(AuthorityKind::Issuer),
        Event::Revoke { name: name("issuer-3"), gate: open() },
    ]
}

/// The fence of the process that is the replica of the tests, and leads: what it took at its first write.
async fn leading(fixture: &Fixture) -> Fence {
    let store = &fixture.store;
    let registration = registration("ca-1", 1);
    let (own, lead) = (store.replicas().await.unwrap(), store.lead().await.unwrap());
    if let (Some(own), Some(lead)) = (own.first(), lead) {
        return Fence { replica: registration.replica, epoch: own.lease.epoch, lead: Some(lead.epoch) };
    }
    let epoch = store.register(registration.clone(), None, at(0)).await.unwrap();
    let fence = Fence { replica: registration.replica, epoch, lead: None };
    Fence { lead: Some(store.take_lead(fence.clone(), None, at(0)).await.unwrap()), ..fence }
}

/// What happened to authorities. Where others may write, the leases of the process are events too.
async fn told_of(fixture: &Fixture) -> Vec<AuditRecord> {
    let mut events = fixture.events().await;
    events.retain(|event| !matches!(event.kind.as_str(), "replica_registered" | "lead_taken"));
    events
}

async fn store(fixture: &Fixture, before: &Lifecycle, after: &Lifecycle, now: u64) -> Result<(), StoreError> {
    let fence = leading(fixture).await;
    fixture.store.store_lifecycle(fence, Arc::new(before.clone()), Arc::new(after.clone()), None, OPERATOR, at(now)).await
}

#[tokio::test]
async fn every_state_of_a_life_comes_back_after_a_restart_as_it_was_stored() {
    let Some(mut fixture) = Fixture::new() else { return };
    let mut state = fixture.store.lifecycle().await.unwrap();
    assert_eq!(state, Lifecycle::default());
    for (event, now) in whole_life().into_iter().zip(1..) {
        let next = after(&state, event.clone(), now);
        assert_ne!(next, state, "{event:?} changes nothing here");
        store(&fixture, &state, &next, now).await.unwrap();
        fixture = fixture.reopened();
        assert_eq!(fixture.store.lifecycle().await.unwrap(), next, "after {event:?}");
        state = next;
    }
    let slots: Vec<_> = state.authorities().map(|authority| format!("{} {}", authority.name, authority.slot)).collect();
    let wanted = [
        "root-1 revoked",
        "root-2 active",
        "issuer-1 revoked",
        "issuer-2 active",
        "issuer-3 revoked",
        "jwt-1 active",
        "jwt-2 prepared",
    ];
    assert_eq!(slots, wanted);
}

#[tokio::test]
async fn each_change_of_an_authority_is_an_event_of_the_same_transaction_and_no_change_is_none() {
    let Some(fixture) = Fixture::new() else { return };
    let mut state = Lifecycle::default();
    for (event, now) in whole_life().into_iter().zip(1..) {
        let next = after(&state, event, now);
        store(&fixture, &state, &next, now).await.unwrap();
        state = next;
    }
    store(&fixture, &state, &state, 50).await.unwrap();
    let events = told_of(&fixture).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
            let field = |field: &str| body.get(field).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            let parts = [field("authority"), field("from"), field("to"), field("bundle_sequence")];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            (event.kind.as_str(), parts.join(" "))
        })
        .collect();
    let moved = |text: &str| ("authority_moved", text.to_owned());
    let published = |text: &str| ("authority_published", text.to_owned());
    let wanted = vec![
        moved("root-1 active"),
        moved("issuer-1 active"),
        moved("jwt-1 active"),
        published("root-1 7"),
        published("jwt-1 7"),
        moved("jwt-2 making"),
        moved("jwt-2 making prepared"),
        moved("root-2 making"),
        moved("issuer-2 making"),
        moved("root-2 making prepared"),
        moved("issuer-2 making prepared"),
        published("root-2 8"),
        published("jwt-2 8"),
        moved("root-1 active old"),
        moved("root-2 prepared active"),
        moved("issuer-1 active old"),
        moved("issuer-2 prepared active"),
        ("authority_tainted", "root-1".to_owned()),
        ("authority_tainted", "issuer-1".to_owned()),
        ("authority_taint_published", "root-1 9".to_owned()),
        ("authority_taint_published", "issuer-1 9".to_owned()),
        moved("root-1 old revoked"),
        moved("issuer-1 old revoked"),
        ("authority_key_destroyed", "root-1".to_owned()),
        ("authority_key_destroyed", "issuer-1".to_owned()),
        moved("issuer-3 making"),
        moved("issuer-3 making revoked"),
    ];
    assert_eq!(told, wanted);
    let body = r#"{"actor":"operator","authority":"issuer-1","from":"active","key":"0601"#;
    assert!(events[15].body.starts_with(body), "{}", events[15].body);
    assert!(events[15].body.ends_with(r#""not_after":"2023-11-14T22:30:00Z","parent":"root-1","to":"old","uid":1000}"#));
}

#[tokio::test]
async fn of_two_who_know_the_same_state_one_is_told_that_it_has_changed_and_stores_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    let begin = after(&Lifecycle::default(), adopt("root-1"), 1);
    store(&fixture, &Lifecycle::default(), &begin, 1).await.unwrap();
    let (one, other) = (after(&begin, adopt("issuer-1"), 2), after(&begin, adopt("jwt-1"), 2));
    store(&fixture, &begin, &one, 2).await.unwrap();
    let events = told_of(&fixture).await.len();
    let changed = StoreError::Changed { what: "lifecycle of the", name: "authorities".to_owned() };
    assert_eq!(store(&fixture, &begin, &other, 2).await, Err(changed.clone()));
    // Also one who never read it.
    assert_eq!(store(&fixture, &Lifecycle::default(), &other, 2).await, Err(changed));
    assert_eq!((fixture.store.lifecycle().await.unwrap(), told_of(&fixture).await.len()), (one, events));

    // And when both come at once.
    let begin = fixture.store.lifecycle().await.unwrap();
    let (one, other) = (after(&begin, adopt("jwt-1"), 3), after(&begin, Event::Prepare(AuthorityKind::Root), 3));
    let (first, second) = tokio::join!(store(&fixture, &begin, &one, 3), store(&fixture, &begin, &other, 3));
    assert_eq!([&first, &second].iter().filter(|outcome| outcome.is_ok()).count(), 1, "{first:?} {second:?}");
    let wanted = if first.is_ok() { one } else { other };
    assert_eq!(fixture.store.lifecycle().await.unwrap(), wanted);
}

#[tokio::test]
async fn no_authority_leaves_the_store_and_none_becomes_another() {
    let Some(fixture) = Fixture::new() else { return };
    let root = after(&Lifecycle::default(), adopt("root-1"), 1);
    let both = after(&root, adopt("issuer-1"), 1);
    store(&fixture, &Lifecycle::default(), &both, 1).await.unwrap();
    let other_key = both.authorities().cloned().map(|mut authority| {
        authority.material.as_mut().unwrap().key = [9; 32];
        authority
    });
    for bad in [root, Lifecycle::restore(other_key).unwrap()] {
        assert!(matches!(store(&fixture, &both, &bad, 2).await, Err(StoreError::Unavailable(_))), "{bad:?}");
    }
    assert_eq!(fixture.store.lifecycle().await.unwrap(), both);
    assert_eq!(told_of(&fixture).await.len(), 2);
}

#[tokio::test]
async fn a_row_that_no_sequence_of_events_makes_refuses_the_whole() {
    for tampering in [
        "UPDATE authorities SET slot = 'active' WHERE kind = 'jwt'",
        "UPDATE authorities SET parent = 9 WHERE kind = 'issuer'",
        "UPDATE authorities SET tainted_at = 5 WHERE kind = 'root' AND slot = 'active'",
        "UPDATE authorities SET key = x'00' WHERE kind = 'root' AND number = 1",
        "UPDATE authorities SET key = NULL, public_der = NULL, not_before = NULL WHERE kind = 'root' AND slot = 'active'",
        "UPDATE authorities SET since = -1 WHERE kind = 'root'",
    ] {
        let Some(fixture) = Fixture::new() else { return };
        let mut state = Lifecycle::default();
        for (event, now) in whole_life().into_iter().zip(1..) {
            state = after(&state, event, now);
        }
        store(&fixture, &Lifecycle::default(), &state, 20).await.unwrap();
        fixture.tamper(tampering);
        assert!(matches!(fixture.store.lifecycle().await, Err(StoreError::Unavailable(_))), "{tampering}");
        // And nothing is stored on top of it.
        assert!(matches!(store(&fixture, &state, &state, 21).await, Err(StoreError::Unavailable(_))), "{tampering}");
    }
}

fn rotation(from: &str) -> Rotation {
    Rotation { from: name(from), started_at: at(5), pace: Pace::Taint, aborting: false, accepted: Accepted::default() }
}

#[tokio::test]
async fn a_rotation_of_each_kind_is_kept_over_restarts_until_it_ends() {
    let Some(fixture) = Fixture::new() else { return };
    let fence = leading(&fixture).await;
    let root = rotation("root-1");
    let issuer = Rotation { pace: Pace::Natural, ..rotation("issuer-4") };
    for rotation in [&issuer, &root] {
        fixture.store.put_rotation(fence.clone(), rotation.clone(), OPERATOR, at(5)).await.unwrap();
    }
    // The same again is no news.
    fixture.store.put_rotation(fence.clone(), root.clone(), OPERATOR, at(6)).await.unwrap();
    let accepted = Accepted { nodes: [node("n2"), node("n1")].into_iter().collect(), leaves: 3, tokens: true, files: true };
    let root = Rotation { aborting: true, accepted, ..root };
    fixture.store.put_rotation(fence.clone(), root.clone(), OPERATOR, at(7)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.store.rotations().await.unwrap(), [root, issuer.clone()]);

    fixture.store.end_rotation(fence.clone(), AuthorityKind::Root, Outcome::RolledBack, Actor::System, at(8)).await.unwrap();
    fixture.store.end_rotation(fence.clone(), AuthorityKind::Root, Outcome::RolledBack, Actor::System, at(8)).await.unwrap();
    assert_eq!(fixture.store.rotations().await.unwrap(), std::slice::from_ref(&issuer));
    fixture.store.put_rotation(fence.clone(), rotation("root-2"), Actor::System, at(9)).await.unwrap();
    assert_eq!(fixture.store.rotations().await.unwrap(), [rotation("root-2"), issuer]);
    let kinds: Vec<_> = told_of(&fixture).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["rotation_started", "rotation_started", "rotation_changed", "rotation_ended", "rotation_started"]);
    let events = told_of(&fixture).await;
    assert_eq!(
        events[2].body,
        r#"{"aborting":"true","accepted_files":"true","accepted_leaves":3,"accepted_nodes":["n1","n2"],"accepted_tokens":"true","actor":"operator","authority":"root-1","pace":"taint","started_at":"2023-11-14T22:13:25Z","uid":1000}"#
    );
    assert_eq!(events[3].body, r#"{"actor":"ca","authority":"root-1","outcome":"rolled_back"}"#);
}

#[tokio::test]
async fn the_name_of_a_slot_is_read_as_it_is_written() {
    // The schema has them as texts too: a new one must be added there.
    let Some(fixture) = Fixture::new() else { return };
    for (slot, number) in Slot::ALL.into_iter().zip(1..) {
        let slot = slot.as_str();
        fixture.tamper(&format!(
            "INSERT INTO authorities (kind, number, slot, since, destroyed) VALUES ('root', {number}, '{slot}', 0, 0)"
        ));
    }
}
