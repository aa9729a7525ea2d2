//! What happens by the calendar.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn an_issuing_ca_is_replaced_at_half_of_its_life_and_the_old_one_goes_when_nothing_rests_on_it() {
    let bed = Bed::new("").await;
    bed.with_driver(async |running| {
        running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Active)).await;
        bed.clock.advance(DAY * 14);
        running.until(|view| view.at >= start_time().plus(DAY * 14)).await;
        assert_eq!(running.lifecycle().of(AuthorityKind::Issuer).count(), 1);
        bed.clock.advance(DAY * 2);
        let view = running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Revoked)).await;
        assert_eq!(slot(&view.lifecycle, "issuer-2"), Some(Slot::Active));
        assert_eq!(running.authority.borrow().certificate().not_after().since(bed.now()).as_secs(), 30 * 86_400 - 1);
        assert_eq!(running.bundle.borrow().authorities().len(), 1, "the root stays");
    })
    .await;
}

#[tokio::test]
async fn by_a_clock_that_leapt_nothing_is_due_and_no_gate_opens() {
    let bed = Bed::new("").await;
    bed.with_driver(async |running| {
        running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Active)).await;
        let leapt = start_time().plus(DAY * 20);
        bed.clock.set_wall(SystemTime::from(leapt));
        running.until(|view| view.at >= leapt).await;
        let refused = running.handle.prepare(AuthorityKind::Jwt, OPERATOR).await.err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|refused| refused.contains("leapt")), "{refused:?}");
        assert_eq!(running.lifecycle().authorities().count(), 3);
        // It is believed in the end.
        bed.clock.advance(Duration::from_secs(301));
        running.until(|view| slot(&view.lifecycle, "issuer-2") == Some(Slot::Active)).await;
    })
    .await;
}

#[tokio::test]
async fn what_an_operator_does_by_hand_is_left_to_him() {
    let bed = Bed::new("[rotation]\nautomatic = false\n").await;
    bed.with_driver(async |running| {
        running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Active)).await;
        bed.clock.advance(DAY * 25);
        let until = bed.now();
        running.until(|view| view.at >= until).await;
        assert_eq!(running.lifecycle().authorities().count(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_issuing_ca_that_has_ended_is_followed_by_another_when_the_root_is_at_hand() {
    let bed = Bed::new("").await;
    bed.with_driver(async |_| ()).await;
    bed.clock.advance(DAY * 40);
    bed.with_driver(async |running| {
        let view = running.until(|view| slot(&view.lifecycle, "issuer-2") == Some(Slot::Active)).await;
        assert_eq!(view.faults, Vec::<String>::new());
        assert!(running.authority.borrow().certificate().is_valid_at(bed.now()));
    })
    .await;
}

#[tokio::test]
async fn a_root_that_has_ended_is_followed_by_another_with_its_issuing_ca() {
    let bed = Bed::new("").await;
    bed.with_driver(async |_| ()).await;
    bed.clock.advance(DAY * 4000);
    bed.with_driver(async |running| {
        let view = running.until(|view| slot(&view.lifecycle, "root-2") == Some(Slot::Active)).await;
        assert_eq!(slot(&view.lifecycle, "issuer-2"), Some(Slot::Active));
        assert!(running.authority.borrow().root().is_valid_at(bed.now()));
    })
    .await;
}

#[tokio::test]
async fn without_the_key_of_its_root_nothing_is_begun_that_cannot_be_done() {
    let bed = Bed::new("").await;
    std::fs::remove_file(bed.config.state_dir.join("root-key.pem")).unwrap();
    bed.with_driver(async |running| {
        running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Active)).await;
        bed.clock.advance(DAY * 20);
        let until = bed.now();
        let view = running.until(|view| view.at >= until).await;
        assert!(view.rotation(AuthorityKind::Issuer).is_none());
        assert_eq!(view.lifecycle.authorities().count(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_jwt_key_is_replaced_when_it_has_signed_for_long_enough() {
    let bed = Bed::new("[rotation]\njwt_key_life = \"10d\"\n").await;
    bed.with_driver(async |running| {
        running.until(|view| slot(&view.lifecycle, "jwt-1") == Some(Slot::Active)).await;
        let first = running.jwt.borrow().key_id().clone();
        bed.clock.advance(DAY * 10);
        running.until(|view| slot(&view.lifecycle, "jwt-1") == Some(Slot::Revoked)).await;
        assert_ne!(*running.jwt.borrow().key_id(), first);
        assert_eq!(running.bundle.borrow().jwt_authorities().len(), 1);
        assert!(!bed.config.jwt_key_path().exists());
    })
    .await;
}

/// Receivers take so many tainted keys and no more, and nothing rests on what has ended.
#[tokio::test]
async fn a_tainted_key_leaves_the_bundle_when_its_ca_has_ended() {
    let bed = Bed::new("[rotation]\npropagation_hold = \"0s\"\n").await;
    let first = bed
        .with_driver(async |running| {
            let first = running.authority.borrow().certificate().public_key().fingerprint();
            running.handle.start(AuthorityKind::Issuer, Pace::Taint, Accepted::default(), OPERATOR).await.unwrap();
            running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Revoked)).await;
            first
        })
        .await;
    let steps = Steps::logged();
    let (store, journal, _materials) = bed.open(&steps).await;
    let tainted_at = async |now| {
        let bundle = bundle_of(journal.state(), None, &bed.config.trust_domain, (&*store, &steps), now).await.unwrap();
        bundle.tainted_keys().contains(&first)
    };
    assert!(tainted_at(bed.now()).await, "leaves of it may be about");
    assert!(!tainted_at(bed.now().plus(Duration::from_secs(31 * 86_400))).await);
}
