//! A whole fleet at once: simulated agents, each a task over the real protocol, come back after the CA was restarted, from many addresses and
//! from one.

#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::time::Duration;

use runtime::clock::SystemClock;
use tests::{Ca, CaOptions, FleetAddresses, SimulatedFleet, TestBed, eventually_within};

/// What the CA may have in memory, however many come.
const MOST_KIB: u64 = 512 * 1024;
/// How long it may take until all are back: 30 s are wanted, and a machine may be slow.
const LIMIT: Duration = Duration::from_secs(120);

/// Rates of a fleet that attests in one go, which no fleet does.
const NO_RATES: &str = "[limits]\nattestations_per_minute = 1000000\n";

/// What whoever runs a fleet of ten thousand behind one address sets (docs/limits.md): with the 64 places of the default they are back, and
/// after 38 s.
const BEHIND_ONE_ADDRESS: &str = "connections_per_address = 1024\n";

async fn storm(size: usize, limits: &str) {
    let bed = TestBed::new();
    let options = CaOptions { log_level: "info".to_owned(), extra: format!("{NO_RATES}{limits}"), ..CaOptions::default() };
    let mut ca = Ca::start(&bed, options).await;
    let clock = SystemClock::shared();
    let begin = clock.boottime();
    let mut fleet = SimulatedFleet::attest(&ca, size).await;
    println!("{size} nodes attested in {:.1} s", (clock.boottime() - begin).as_secs_f64());
    for addresses in [FleetAddresses::Many, FleetAddresses::One] {
        fleet.connect(addresses);
        back(&ca, &fleet, size).await;
        ca.kill_hard().await;
        eventually_within("all streams to have ended", LIMIT, async || (fleet.connected() == 0).then_some(())).await;
        let (begin, tries) = (clock.boottime(), fleet.tries());
        ca.start_again().await;
        let most = back(&ca, &fleet, size).await;
        println!(
            "{size} agents from {addresses:?}: back {:.1} s after the restart, {} tries, CA at most {} MiB",
            (clock.boottime() - begin).as_secs_f64(),
            fleet.tries() - tries,
            most / 1024
        );
        assert!(most < MOST_KIB, "{most} KiB");
        assert_eq!(fleet.timeouts(), 0, "{:?}", fleet.faults());
        fleet.disconnect().await;
    }
    renewals_are_spread(&fleet, size);
}

/// Waits until every agent has a stream on which everything came, by their own word and the CA's; says how much memory the CA had at the most.
async fn back(ca: &Ca, fleet: &SimulatedFleet, size: usize) -> u64 {
    let mut most = 0;
    eventually_within("all agents to be connected", LIMIT, async || {
        most = most.max(ca.process.resident_kib());
        (fleet.connected() == size).then_some(())
    })
    .await;
    eventually_within("the CA to count them", LIMIT, async || {
        let streams = format!("signet_ca_sync_streams {size}");
        ca.metrics().await.lines().any(|line| *line == streams).then_some(())
    })
    .await;
    most
}

/// What was issued in one go is not renewed in one go: moments of renewal lie within a twentieth of its life around half of it, and no tenth of
/// that span has more than twice its share.
fn renewals_are_spread(fleet: &SimulatedFleet, size: usize) {
    const PARTS: usize = 10;
    let mut histogram = [0_usize; PARTS];
    for svid in fleet.svids() {
        let life = svid.leaf().not_after().since(svid.issued()).as_secs();
        let after = svid.renew_at().since(svid.issued()).as_secs();
        // From 45 to 55 % of its life, in thousandths of it.
        let place = after * 1000 / life;
        assert!((449..=551).contains(&place), "renewed after {after} of {life} s");
        let part = usize::try_from(place.saturating_sub(450) / 10).unwrap().min(PARTS - 1);
        histogram[part] += 1;
    }
    assert!(histogram.iter().all(|count| *count <= 2 * size / PARTS), "{histogram:?} of {size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_500_comes_back_from_many_addresses_and_from_one() {
    storm(500, "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_fleet_of_2000_comes_back_from_many_addresses_and_from_one() {
    storm(2000, "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_fleet_of_10000_comes_back_from_many_addresses_and_from_one() {
    storm(10_000, BEHIND_ONE_ADDRESS).await;
}
