//! Time that passes: in small parts as it mostly does, and at once as after a suspend, of which no timer but that of the time since boot
//! knows.

use std::time::Duration;

use crate::house::{House, MINUTE, TTL};

#[tokio::test(flavor = "multi_thread")]
async fn through_hours_each_renewal_is_in_its_window_and_there_is_none_beside() {
    let house = House::start().await;
    let issued = house.issued().await;
    let mut leaf = house.leaf_after(0).await;
    let mut leaves = house.leaves();
    let step = MINUTE * 2;
    for _ in 0..105 {
        house.pass(step);
        // A look at the agent after its next tick: by then what was due is done.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if house.identity().await.renew_at.is_some_and(|at| u64::try_from(at.seconds).unwrap() <= now(&house)) {
            house.leaf_after(leaves).await;
        }
        while house.leaves() > leaves {
            let next = house.leaf_after(leaves).await;
            // From the issuance of the one to that of the next: notBefore is dated back by the same minute in both.
            let age = next.not_before().since(leaf.not_before());
            assert!(age >= TTL * 44 / 100, "renewed early, after {age:?}");
            assert!(age <= TTL * 56 / 100 + step, "renewed late, after {age:?}");
            (leaf, leaves) = (next, leaves + 1);
        }
    }
    let renewals = house.issued().await - issued;
    assert!((6..=8).contains(&renewals), "{renewals} in three and a half hours of half-hour renewals");
    assert_eq!(leaves, renewals + 1);
    house.verify_and_stop().await;
}

fn now(house: &House) -> u64 {
    use runtime::clock::Clock;
    pki::Timestamp::from(house.agent_clock.now()).unix_seconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_suspend_what_is_due_is_renewed_at_once_and_once_and_later_renewals_are_on_time() {
    let house = House::start().await;
    let (issued, leaves) = (house.issued().await, house.leaves());
    // Shorter than the life: the SVID stays until the new one is there.
    house.pass(MINUTE * 40);
    house.leaf_after(leaves).await;
    house.in_step().await;
    assert_eq!(house.issued().await, issued + 1);
    // The next is on time, though the timers of the process know of none of this.
    house.pass(MINUTE * 25);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.issued().await, issued + 1, "before its window");
    house.pass(MINUTE * 9);
    house.leaf_after(leaves + 1).await;
    house.in_step().await;
    assert_eq!(house.issued().await, issued + 2);
    house.verify_and_stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspend_past_the_end_withdraws_the_old_before_the_new_is_there() {
    let house = House::start().await;
    let (held, leaves, issued) = (house.identity().await, house.leaves(), house.issued().await);
    house.pass(MINUTE * 60 * 17);
    // The CA needs a moment for its own certificate; until then the node is refused and waits, for which time must pass.
    tests::eventually("a new SVID", async || {
        house.pass(Duration::from_millis(500));
        (house.leaves() > leaves).then_some(())
    })
    .await;
    let next = house.leaf_after(leaves).await;
    house.in_step().await;
    assert_ne!(house.identity().await.serial, held.serial);
    assert!(next.not_after().unix_seconds() > now(&house));
    assert!(house.issued().await <= issued + 2);
    house.verify_and_stop().await;
}
