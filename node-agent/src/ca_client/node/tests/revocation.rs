//! Revocation lists, as a node meets them.

use super::*;

impl Bed {
    /// The CA tells these lists from now on.
    fn revoke(&self, revoked: &[&X509Svid], sequence: u64) {
        let lists = self.ca.authority.wire_lists(revoked, sequence, self.clock.now().into());
        self.ca.answer(|answers| answers.revocation = Some(lists));
    }
}

fn sequence(running: &Running) -> u64 {
    running.views.borrow().revocation.as_ref().map_or(0, |lists| lists.sequence())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_svid_on_a_list_is_renewed_at_once_with_another_key() {
    let bed = Bed::new().await;
    bed.revoke(&[], 1);
    let running = bed.start();
    bed.ready(&running).await;
    assert!(bed.ca.seen().features.iter().any(|feature| feature == "revocation"));
    bed.until("the lists are taken", || sequence(&running) == 1).await;
    let before = running.statuses.borrow().svid.clone().unwrap();
    bed.revoke(&[&before], 2);
    bed.until("the SVID is another", || running.serial() != before.leaf().serial().to_string()).await;
    let after = running.statuses.borrow().svid.clone().unwrap();
    assert_ne!(before.key().public_key(), after.key().public_key());
    bed.ready(&running).await;
    assert_eq!((bed.ca.seen().renewals, bed.ca.seen().reattestations), (1, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_known_after_a_restart_and_do_not_go_back_by_it() {
    let bed = Bed::new().await;
    let stranger = bed.ca.authority.svid(&bed.ca.authority.id("/web"), Duration::from_secs(600), bed.clock.now().into());
    bed.revoke(&[&stranger], 4);
    let running = bed.start();
    bed.ready(&running).await;
    bed.until("the lists are taken", || sequence(&running) == 4).await;
    running.stop().await;

    bed.revoke(&[], 3);
    let again = bed.start_again();
    assert_eq!(sequence(&again), 4, "known before the CA answers");
    bed.ready(&again).await;
    assert!(again.views.borrow().revocation.as_ref().unwrap().is_revoked(stranger.leaf()), "an older word is not taken");
    bed.revoke(&[], 5);
    bed.until("a newer one is", || sequence(&again) == 5).await;
    assert!(!again.views.borrow().revocation.as_ref().unwrap().is_revoked(stranger.leaf()));
    again.stop().await;
}
