//! A CA whose clock was wrong from its start, when there is nothing to compare it with.

use runtime::clock::Clock;

use crate::house::{DAYS, House, PATIENCE, TTL};

#[tokio::test(flavor = "multi_thread")]
async fn certificates_from_the_future_are_refused_by_the_node_and_the_way_back_is_an_operators() {
    let mut house = House::start().await;
    let (held, issued) = (house.identity().await, house.issued().await);
    house.stop_ca().await;
    house.ca_clock.set_wall(house.ca_clock.now() + DAYS);
    house.start_ca().await.expect("it may have been off for two days");
    // Its own certificate begins in two days, for all that the node knows.
    house.agent_clock.advance(TTL * 6 / 10);
    house.warns("begins at").await;
    let kept = house.identity().await;
    assert_eq!((kept.state.as_str(), &kept.serial), ("available", &held.serial), "{kept:?}");
    assert_eq!(house.issued().await, issued, "the node asked for nothing");

    house.stop_ca().await;
    house.ca_clock.set_wall(house.ca_clock.now() - DAYS);
    house.ca_clock.advance(TTL * 6 / 10);
    let refused = house.start_ca().await.expect_err("it has issued in two days from now");
    assert!(matches!(refused, ca::StartError::Clock(_)), "{refused}");
    assert!(refused.to_string().contains("signet ca accept-clock"), "{refused}");
    ca::accept_clock(&house.ca_config, &*house.ca_clock).await.unwrap();
    house.start_ca().await.unwrap();
    house.pass(PATIENCE);
    house.in_step().await;
    assert_ne!(house.identity().await.serial, held.serial, "renewed before its end");
    house.verify_and_stop().await;
}
