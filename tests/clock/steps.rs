//! Clocks that are set by two days, in either direction, at the node, at the CA, and at both.

use runtime::clock::{Clock, TestClock};

use crate::house::{DAYS, House, MINUTE, Offered, PATIENCE, TTL};

fn ahead(clock: &TestClock) {
    clock.set_wall(clock.now() + DAYS);
}

fn back(clock: &TestClock) {
    clock.set_wall(clock.now() - DAYS);
}

/// Nothing comes on a new stream while the node's own clock says that what it holds is not valid.
async fn nothing_is_offered(house: &House) -> Offered {
    let offered = Offered::default();
    house.subscribe(&offered).await;
    house.agent_clock.advance(PATIENCE);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(offered.lock().unwrap().len(), 0, "{:?}", offered.lock().unwrap());
    offered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_two_days_ahead_offers_nothing_that_has_ended_says_why_and_recovers() {
    let house = House::start().await;
    let issued = house.issued().await;
    ahead(&house.agent_clock);
    tests::eventually("withdrawn", async || (house.identity().await.state == "unavailable").then_some(())).await;
    // The node cannot tell a CA that shows an old certificate from one that is played back, so it speaks to neither.
    house.warns("ended at").await;
    let late = nothing_is_offered(&house).await;
    assert!(house.issued().await <= issued + 3, "a few answers were refused before the node left");

    back(&house.agent_clock);
    house.pass(PATIENCE);
    house.in_step().await;
    tests::eventually("offered again", async || (!late.lock().unwrap().is_empty()).then_some(())).await;
    assert!(house.issued().await <= issued + 5);
    house.verify_and_stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_two_days_behind_keeps_what_it_holds_refuses_what_it_cannot_judge_and_recovers() {
    let house = House::start().await;
    let (held, issued, leaves) = (house.identity().await, house.issued().await, house.leaves());
    back(&house.agent_clock);
    let refused = house.says("begins at").await;
    assert_eq!((refused.state.as_str(), &refused.serial), ("available", &held.serial), "{refused:?}");
    // The time since boot stands still here, so one try was all.
    assert_eq!(house.issued().await, issued + 1);

    ahead(&house.agent_clock);
    house.pass(MINUTE);
    tests::eventually("nothing due", async || house.status().await.ready.then_some(())).await;
    assert_eq!((house.identity().await.serial, house.leaves()), (held.serial, leaves), "the same SVID serves on");
    assert_eq!(house.issued().await, issued + 1, "and nothing is asked for early");
    house.pass(TTL * 6 / 10);
    house.leaf_after(leaves).await;
    house.in_step().await;
    house.verify_and_stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_two_days_ahead_issues_nothing_and_the_node_keeps_its_identity_until_it_is_back() {
    let house = House::start().await;
    let (held, ledger) = (house.identity().await, house.ledger().await.len());
    ahead(&house.ca_clock);
    house.ca_says(Some("leapt ahead")).await;
    house.ca_says(Some("agents refuse the serving certificate")).await;
    // Past the renewal: the node asks, and keeps what it has.
    house.agent_clock.advance(TTL * 6 / 10);
    tests::eventually("told why", async || {
        (!house.identity().await.last_error.is_empty() || !house.status().await.connected).then_some(())
    })
    .await;
    let kept = house.identity().await;
    assert_eq!((kept.state.as_str(), &kept.serial), ("available", &held.serial), "{kept:?}");
    assert_eq!(house.ledger().await.len(), ledger, "nothing was dated by that clock");

    back(&house.ca_clock);
    house.ca_clock.advance(TTL * 6 / 10);
    house.ca_says(None).await;
    house.pass(PATIENCE);
    house.in_step().await;
    let renewed = house.identity().await;
    assert_ne!(renewed.serial, held.serial, "renewed before its end");
    house.verify_and_stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_two_days_behind_issues_nothing_into_the_past_and_goes_on_when_it_is_back() {
    let house = House::start().await;
    let (held, ledger) = (house.identity().await, house.ledger().await.len());
    back(&house.ca_clock);
    house.ca_says(Some("signet ca accept-clock")).await;
    house.agent_clock.advance(TTL * 6 / 10);
    let kept = house.says("it has issued at").await;
    assert_eq!((kept.state.as_str(), &kept.serial), ("available", &held.serial), "{kept:?}");
    assert_eq!(house.ledger().await.len(), ledger);

    ahead(&house.ca_clock);
    house.ca_clock.advance(TTL * 6 / 10);
    house.ca_says(None).await;
    house.pass(PATIENCE);
    house.in_step().await;
    assert_ne!(house.identity().await.serial, held.serial);
    house.verify_and_stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ahead_nothing_ended_is_offered_and_after_five_minutes_there_is_a_new_identity() {
    let house = House::start().await;
    let (held, issued) = (house.identity().await, house.issued().await);
    ahead(&house.agent_clock);
    ahead(&house.ca_clock);
    house.ca_says(Some("leapt ahead")).await;
    tests::eventually("withdrawn", async || (house.identity().await.state == "unavailable").then_some(())).await;
    house.ca_clock.advance(MINUTE * 5);
    house.agent_clock.advance(MINUTE * 5);
    house.ca_says(None).await;
    house.pass(PATIENCE);
    house.in_step().await;
    assert_ne!(house.identity().await.serial, held.serial);
    assert!(house.issued().await <= issued + 2, "no storm");
    house.verify_and_stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_behind_what_is_held_stays_and_counts_again_when_they_are_back() {
    let house = House::start().await;
    let (held, ledger) = (house.identity().await, house.ledger().await.len());
    back(&house.agent_clock);
    back(&house.ca_clock);
    house.ca_says(Some("signet ca accept-clock")).await;
    let kept = house.says("").await;
    assert_eq!((kept.state.as_str(), &kept.serial), ("available", &held.serial), "{kept:?}");
    drop(nothing_is_offered(&house).await);
    house.ca_clock.advance(PATIENCE);
    assert_eq!(house.ledger().await.len(), ledger, "nothing was issued into the past");

    ahead(&house.agent_clock);
    ahead(&house.ca_clock);
    house.ca_says(None).await;
    house.pass(MINUTE);
    assert_eq!(house.identity().await.serial, held.serial, "nothing is asked for early");
    house.pass(TTL * 6 / 10);
    house.in_step().await;
    assert_ne!(house.identity().await.serial, held.serial);
    house.verify_and_stop().await;
}
