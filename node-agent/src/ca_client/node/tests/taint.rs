//! Taints and new authorities, as a node meets them.

use super::*;
use crate::fakes::FakeAuthority;

fn generation(bed: &Bed) -> Arc<FakeAuthority> {
    Arc::new(FakeAuthority::new(bed.clock.now().into()))
}

fn bundle_of(generations: &[&FakeAuthority], tainted: &[Sha256Digest], sequence: u64) -> TrustBundle {
    FakeAuthority::bundle_of(generations, tainted, sequence)
}

impl Bed {
    async fn acknowledged(&self, sequence: u64) {
        self.until("the bundle is acknowledged", || self.ca.seen().acks.last().is_some_and(|ack| ack.1 == sequence)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_svid_that_rests_on_a_tainted_key_is_renewed_at_once_and_once() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    let (old, new) = (&bed.ca.authority, generation(&bed));
    // The new authority alone changes nothing about what the agent holds.
    let both = bundle_of(&[old, &new], &[], 6);
    bed.ca.rotate(&new, old, &both, bed.clock.now().into());
    bed.acknowledged(6).await;
    assert_eq!(bed.ca.seen().renewals, 0);

    let serial = running.serial();
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[old, &new], &[old.issuer_key()], 7)));
    bed.until("the SVID is another", || running.serial() != serial).await;
    bed.ready(&running).await;
    let svid = running.statuses.borrow().svid.clone().unwrap();
    assert!(svid.rests_on(&[new.root_key()].into(), &both) && !svid.rests_on(&[old.root_key()].into(), &both));
    // The taint of what it no longer rests on makes nothing due.
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[old, &new], &[old.issuer_key(), old.root_key()], 8)));
    bed.acknowledged(8).await;
    bed.clock.advance(Duration::from_secs(60));
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[&new], &[old.issuer_key(), old.root_key()], 9)));
    bed.acknowledged(9).await;
    assert_eq!(bed.ca.seen().renewals, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_follows_the_ca_from_root_to_root_over_a_restart_with_nothing_of_the_first_left() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    let (old, new) = (&bed.ca.authority, generation(&bed));
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[old, &new], &[], 6)));
    bed.acknowledged(6).await;
    // The CA shows a certificate under the new root, on each connection from now on.
    let both = bundle_of(&[old, &new], &[old.root_key()], 7);
    bed.ca.rotate(&new, &new, &both, bed.clock.now().into());
    let connections = bed.ca.seen().connections;
    bed.ca.hang_up();
    bed.until("it comes back", || bed.ca.seen().connections > connections).await;
    bed.until("it renewed its SVID", || bed.ca.seen().renewals == 1).await;
    bed.ready(&running).await;
    bed.ca.rotate(&new, &new, &bundle_of(&[&new], &[old.root_key()], 8), bed.clock.now().into());
    bed.acknowledged(8).await;
    running.stop().await;

    let again = bed.start_again();
    bed.ready(&again).await;
    assert_eq!(bed.ca.seen().reattestations, 0, "the SVID of before the restart is the one of the new root");
    assert_eq!(again.views.borrow().bundle.as_ref().unwrap().tainted_keys(), &[old.root_key()].into());
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taint_is_known_after_a_restart_while_the_ca_is_away() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    let old = &bed.ca.authority;
    // The CA tells the taint and gives nothing better.
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[old], &[old.root_key()], 6)));
    bed.until("it asks for another SVID", || bed.ca.seen().renewals > 0).await;
    running.stop().await;
    // What it was storing holds its directory for a moment more.
    let mut known = None;
    bed.until("the directory is free", || {
        known = bed.prepare(None, None).ok().map(|node| node.lifecycle.is_tainted());
        known.is_some()
    })
    .await;
    assert_eq!(known, Some(true));

    // A CA that says the same sequence without the taint is not believed, as it would be under a higher one.
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[old], &[], 6)));
    let again = bed.start_again();
    let streams = bed.ca.seen().streams;
    bed.until("it is told", || bed.ca.seen().streams > streams && again.statuses.borrow().connected).await;
    assert_eq!(again.views.borrow().bundle.as_ref().unwrap().tainted_keys(), &[old.root_key()].into());
    bed.ca.answer(|answers| answers.bundle = Some(bundle_of(&[old], &[], 7)));
    bed.until("a newer bundle takes it back", || again.views.borrow().bundle.as_ref().unwrap().tainted_keys().is_empty()).await;
    again.stop().await;
}
