//! The CA is away for long, or everything was off for longer than everything lives.

use std::time::Duration;

use runtime::clock::Clock;
use tests::{Runbook, RunbookHost, RunbookMachine, RunbookStep, TestBed, eventually};

use crate::house::{House, MINUTE, PATIENCE, TTL};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Nothing of the node has ended, by its own clock.
async fn nothing_has_ended(house: &House, when: &str) {
    let now = pki::Timestamp::from(house.agent_clock.now()).unix_seconds();
    let status = house.status().await;
    let lasts = |end: Option<prost_types::Timestamp>| end.is_some_and(|end| u64::try_from(end.seconds).unwrap() >= now);
    assert!(lasts(status.svid_expires_at), "the agent's own SVID, {when}");
    for identity in &status.identities {
        assert!(identity.state == "available" && lasts(identity.expires_at), "{when}: {identity:?}");
    }
}

/// Waits until the agent's own SVID was renewed too.
async fn is_fresh(house: &House) {
    eventually("the agent's own SVID to be renewed", async || {
        let end = house.status().await.svid_expires_at?.seconds;
        let now = pki::Timestamp::from(house.agent_clock.now());
        (u64::try_from(end).ok()? > now.plus(TTL * 9 / 10).unix_seconds()).then_some(())
    })
    .await;
}

/// What is renewed is renewed after 45 to 55 % of its life: whoever has just renewed bears an absence of half of it, and who was about to, the
/// worst moment for the CA to go, one of three eighths, with room for the waits between two tries.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_ca_is_away_for_half_of_a_life_nothing_ends_and_it_heals() {
    let mut house = House::start().await;
    for (about_to_renew, away) in [(false, TTL / 2), (true, TTL * 3 / 8)] {
        // In step, with a leaf that was issued just now.
        let leaves = house.leaves();
        house.pass(TTL * 56 / 100);
        house.leaf_after(leaves).await;
        house.in_step().await;
        is_fresh(&house).await;
        if about_to_renew {
            let now = pki::Timestamp::from(house.agent_clock.now()).unix_seconds();
            let due = house.identity().await.renew_at.expect("it is told").seconds;
            house.pass(Duration::from_secs(u64::try_from(due).unwrap().saturating_sub(now + 1)));
        }
        let leaves = house.leaves();
        house.stop_ca().await;
        for part in 1..=6 {
            house.pass(away / 6);
            tokio::time::sleep(Duration::from_millis(300)).await;
            nothing_has_ended(&house, &format!("after {part} sixths of {away:?}")).await;
        }
        house.start_ca().await.unwrap();
        for _ in 0..12 {
            house.pass(MINUTE / 3);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        house.leaf_after(leaves).await;
        house.in_step().await;
        nothing_has_ended(&house, "when it is back").await;
    }
    house.verify_and_stop().await;
}

/// docs/runbooks/everything-expired: thirty days, in which the issuing CA and every SVID have ended. Nobody makes authorities here but the operator.
#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_days_off_everything_is_back_by_the_documented_commands() {
    let mut house = House::start().await;
    house.stop_ca().await;
    house.ca_config.rotation.automatic = false;
    house.ca_config.reattest_window = DAY * 40;
    house.pass(DAY * 30);
    house.start_ca().await.unwrap();
    let bed = TestBed::new();
    let machine = RunbookMachine::new(&bed, &house.ca_config.admin_socket.clone(), &house.agent_admin, &[]);
    let own = async |step: &RunbookStep| {
        if step.seen.iter().any(|seen| seen == "ready") {
            // It looks once a second.
            eventually("the CA to be ready", async || house.is_ready().await.then_some(())).await;
        }
        if step.host == RunbookHost::Ca && step.command == "signet node list" {
            // "Agents come back by themselves": once the wait is over that they are in.
            house.pass(PATIENCE);
            house.in_step().await;
        }
        false
    };
    let page = Runbook::read("everything-expired");
    page.run(&machine, own).await;
    nothing_has_ended(&house, "after the last command").await;
    house.verify_and_stop().await;
}
