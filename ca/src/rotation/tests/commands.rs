//! Single transitions and whole rotations, as operators ask for them.

use super::*;
use crate::authority::lifecycle::Event;
use crate::authority::lifecycle::gate::Waiting;
use identity::NodeName;

pub(super) fn agent(node: &str, acknowledged: u64) -> AgentFacts {
    AgentFacts {
        node: NodeName::parse(node).unwrap(),
        connected: true,
        acknowledged,
        streams_behind: 0,
        files_behind: 0,
        files_written_at: None,
        svids_tainted: 0,
    }
}

#[tokio::test]
async fn a_root_is_prepared_activated_tainted_and_revoked_by_hand() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    bed.with_driver(async |running| {
        let handle = &running.handle;
        let first = running.bundle.borrow().sequence();
        bed.agents.lock().unwrap().push(agent("n1", first));
        let prepared = handle.prepare(AuthorityKind::Root, OPERATOR).await.unwrap();
        assert_eq!((prepared.names.as_slice(), prepared.unchanged), (&[name("root-2"), name("issuer-2")][..], false));
        assert_eq!(running.bundle.borrow().authorities().len(), 2);
        assert!(prepared.view.bundle_sequence > first);
        // Again: nothing new.
        let again = handle.prepare(AuthorityKind::Root, OPERATOR).await.unwrap();
        assert_eq!((again.names.len(), again.unchanged), (2, true));

        // Its agent has not acknowledged, so it does not sign; unless it is accepted by name.
        let refused = handle.activate(name("root-2"), Accepted::default(), OPERATOR).await.unwrap_err();
        let CommandError::Refused(Refusal::Gate { waits, .. }) = refused else { panic!("{refused}") };
        assert!(matches!(waits.as_slice(), [Waiting::Agents { .. }]), "{waits:?}");
        assert_eq!(slot(&running.lifecycle(), "root-1"), Some(Slot::Active));
        bed.agents.lock().unwrap()[0].acknowledged = running.bundle.borrow().sequence();
        handle.activate(name("root-2"), Accepted::default(), OPERATOR).await.unwrap();
        assert!(running.authority.borrow().root() == running.bundle.borrow().authorities().last().unwrap());

        handle.taint(name("root-1"), OPERATOR).await.unwrap();
        assert_eq!(running.bundle.borrow().tainted_keys().len(), 2, "the root and its issuing CA");
        let waits = handle.revoke(name("root-1"), Accepted::default(), OPERATOR).await.unwrap_err();
        assert!(matches!(waits, CommandError::Refused(Refusal::Gate { .. })), "{waits}");
        bed.agents.lock().unwrap()[0].acknowledged = running.bundle.borrow().sequence();
        handle.revoke(name("root-1"), Accepted::default(), OPERATOR).await.unwrap();
        let bundle = Arc::clone(&running.bundle.borrow());
        assert_eq!((bundle.authorities().len(), bundle.tainted_keys().len()), (1, 0));
        assert!(!bed.config.state_dir.join("root-key.pem").exists());
        assert!(bed.config.state_dir.join("roots/0002/root-key.pem").exists());
    })
    .await;
    // And a start finds it so.
    bed.with_driver(async |running| {
        assert_eq!(slot(&running.lifecycle(), "root-2"), Some(Slot::Active));
        assert_eq!(running.bundle.borrow().authorities(), [running.authority.borrow().root().clone()]);
    })
    .await;
}

#[tokio::test]
async fn a_rotation_waits_for_stragglers_goes_on_with_them_and_can_be_undone_before_the_taint() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    bed.with_driver(async |running| {
        let handle = &running.handle;
        bed.agents.lock().unwrap().push(agent("n1", 1));
        handle.start(AuthorityKind::Root, Pace::Taint, Accepted::default(), OPERATOR).await.unwrap();
        let view =
            running.until(|view| view.rotation(AuthorityKind::Root).is_some_and(|standing| !standing.waits.is_empty())).await;
        let standing = view.rotation(AuthorityKind::Root).unwrap();
        assert_eq!((standing.phase, standing.outcome), (Phase::Distribute, None));
        assert_eq!(slot(&view.lifecycle, "root-1"), Some(Slot::Active));

        handle.abort(AuthorityKind::Root, OPERATOR).await.unwrap();
        let is_over =
            |view: &Arc<RotationView>| view.rotation(AuthorityKind::Root).is_some_and(|standing| !standing.is_under_way());
        let view = running.until(is_over).await;
        assert_eq!(view.rotation(AuthorityKind::Root).unwrap().outcome, Some(Outcome::RolledBack));
        assert_eq!(["root-1", "root-2"].map(|name| slot(&view.lifecycle, name)), [Some(Slot::Active), Some(Slot::Revoked)]);
        assert!(!bed.config.state_dir.join("roots/0002/root-key.pem").exists());
        let none = handle.abort(AuthorityKind::Root, OPERATOR).await.unwrap_err();
        assert_eq!(none, CommandError::NoRotation(AuthorityKind::Root));

        // Another one, in which the straggler is accepted by name while it is under way.
        handle.start(AuthorityKind::Root, Pace::Taint, Accepted::default(), OPERATOR).await.unwrap();
        let nodes = [NodeName::parse("n1").unwrap()].into();
        handle.start(AuthorityKind::Root, Pace::Taint, Accepted { nodes, ..Accepted::default() }, OPERATOR).await.unwrap();
        let view = running.until(is_over).await;
        assert_eq!(view.rotation(AuthorityKind::Root).unwrap().outcome, Some(Outcome::Completed));
        assert_eq!(slot(&view.lifecycle, "root-3"), Some(Slot::Active));
        let late = handle.abort(AuthorityKind::Root, OPERATOR).await.unwrap_err();
        assert_eq!(late, CommandError::NoRotation(AuthorityKind::Root));
    })
    .await;
}

#[tokio::test]
async fn an_issuing_ca_needs_the_key_of_its_root_and_says_where() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    let key = bed.config.state_dir.join("root-key.pem");
    let elsewhere = bed.config.state_dir.join("elsewhere.pem");
    std::fs::rename(&key, &elsewhere).unwrap();
    bed.with_driver(async |running| {
        let refused = running.handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap_err().to_string();
        assert!(refused.contains("root-key.pem") && refused.contains("signet ca issuer renew"), "{refused}");
        let refused = running.handle.start(AuthorityKind::Issuer, Pace::Taint, Accepted::default(), OPERATOR).await;
        assert!(matches!(refused, Err(CommandError::Failed(_))));
        assert_eq!(running.lifecycle().of(AuthorityKind::Issuer).count(), 1, "nothing was decided");
        std::fs::rename(&elsewhere, &key).unwrap();
        let made = running.handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap();
        assert_eq!(made.names, [name("issuer-2")]);
    })
    .await;
}

#[tokio::test]
async fn whoever_finds_the_authorities_changed_does_nothing_and_ends() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    let (running, driver) = bed.start(Arc::new(LoggedSteps)).await;
    let script = async {
        let view = running.until(|view| view.lifecycle.get(name("root-1")).is_some_and(|root| root.published_in.is_some())).await;
        let jwt = view.lifecycle.get(name("jwt-1")).unwrap().published_in;
        assert!(jwt.is_some());
        // Another process, which decides something.
        let other = bed.store();
        let mut journal = Journal::open(other, Steps::logged(), running.tenure.clone()).await.unwrap();
        journal.happen(Event::Prepare(AuthorityKind::Jwt), OPERATOR, bed.now()).await.unwrap();
        let refused = running.handle.prepare(AuthorityKind::Root, OPERATOR).await.err();
        assert!(matches!(refused, Some(CommandError::Store(StoreError::Changed { .. }))), "{refused:?}");
    };
    let (ended, ()) = tokio::join!(driver, script);
    assert!(matches!(ended, Err(DriverError::Fenced(_))), "{ended:?}");
    assert!(!bed.config.state_dir.join("roots").exists(), "nothing was made");
}

#[tokio::test]
async fn whoever_lost_its_lease_stores_nothing_makes_nothing_and_ends() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    let (running, driver) = bed.start(Arc::new(LoggedSteps)).await;
    let script = async {
        running.until(|view| view.lifecycle.get(name("jwt-1")).is_some_and(|jwt| jwt.published_in.is_some())).await;
        let (store, held) = (bed.store(), running.tenure.fence());
        // Another process of this replica, which has done nothing yet: the authorities are as they were.
        let taken = bed.tenure(&store).await.fence();
        assert!(taken.epoch > held.epoch && taken.lead > held.lead, "{taken:?} after {held:?}");
        let before = store.lifecycle().await.unwrap();
        let refused = running.handle.start(AuthorityKind::Jwt, Pace::Taint, Accepted::default(), OPERATOR).await.err();
        assert!(matches!(refused, Some(CommandError::Store(StoreError::Fenced { .. }))), "{refused:?}");
        assert_eq!((store.lifecycle().await.unwrap(), store.rotations().await.unwrap()), (before, vec![]));
    };
    let (ended, ()) = tokio::join!(driver, script);
    assert!(matches!(ended, Err(DriverError::Fenced(StoreError::Fenced { .. }))), "{ended:?}");
    assert!(!bed.config.state_dir.join("jwt-keys").exists(), "nothing was made");
}

#[tokio::test]
async fn what_is_still_signing_is_not_revoked() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    bed.with_driver(async |running| {
        let handle = &running.handle;
        handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap();
        // As an issuance that has taken its snapshot.
        let begun = Arc::clone(&running.authority.borrow());
        handle.activate(name("issuer-2"), Accepted::default(), OPERATOR).await.unwrap();
        let refused = handle.revoke(name("issuer-1"), Accepted::default(), OPERATOR).await.unwrap_err();
        assert!(matches!(refused, CommandError::Failed(_)), "{refused}");
        drop(begun);
        handle.revoke(name("issuer-1"), Accepted::default(), OPERATOR).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_single_step_gives_up_is_in_the_record_behind_it() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    bed.with_driver(async |running| {
        let handle = &running.handle;
        bed.agents.lock().unwrap().push(agent("n1", 1));
        handle.prepare(AuthorityKind::Root, OPERATOR).await.unwrap();
        let accepted = Accepted { nodes: [NodeName::parse("n1").unwrap()].into(), ..Accepted::default() };
        handle.activate(name("root-2"), accepted.clone(), OPERATOR).await.unwrap();
        // It is so already: nothing more was given up.
        handle.activate(name("root-2"), accepted, OPERATOR).await.unwrap();
    })
    .await;
    let events = bed.store().audit_after(0, 1_000).await.unwrap();
    let given_up: Vec<_> = events.iter().filter(|event| event.kind == "authority_losses_accepted").collect();
    let [event] = given_up.as_slice() else { panic!("{given_up:?}") };
    assert!(
        event.body.contains(r#""accepted_nodes":["n1"]"#) && event.body.contains(r#""authority":"root-2""#),
        "{}",
        event.body
    );
    assert!(event.body.contains(r#""uid":7"#), "{}", event.body);
}

#[tokio::test]
async fn the_key_of_an_issuing_ca_is_destroyed_only_after_its_last_revocation_list_is_signed() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    let key = bed.config.state_dir.join("authority/0001/ca-key.pem");
    bed.with_driver(async |running| {
        let handle = &running.handle;
        handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap();
        handle.activate(name("issuer-2"), Accepted::default(), OPERATOR).await.unwrap();
        bed.unsigned.lock().unwrap().push(name("issuer-1"));
        // It is revoked, and stays so; what is left to do is told.
        drop(handle.revoke(name("issuer-1"), Accepted::default(), OPERATOR).await);
        let waits = |view: &Arc<RotationView>| view.faults.iter().any(|fault| fault.contains("until its last revocation list"));
        let view = running.until(waits).await;
        assert_eq!(slot(&view.lifecycle, "issuer-1"), Some(Slot::Revoked));
        assert!(key.exists() && !view.lifecycle.get(name("issuer-1")).unwrap().destroyed);
        bed.unsigned.lock().unwrap().clear();
        bed.clock.advance(Duration::from_secs(61));
        running.until(|view| view.lifecycle.get(name("issuer-1")).is_some_and(|issuer| issuer.destroyed)).await;
        assert!(!key.exists());
    })
    .await;
}
