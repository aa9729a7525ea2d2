//! A fleet of simulated agents: how long a root rotation takes until all have acknowledged the new bundle, and until it is over; how long they
//! take to come back after a restart of the CA.

use std::time::Duration;

use proto::v1;
use runtime::clock::{Clock, SystemClock};
use tests::{Ca, CaOptions, FleetAddresses, SimulatedFleet, TestBed, authority_admin, eventually_within};

use crate::cpu;
use crate::figures::Figures;

/// How many agents.
const FLEETS: [usize; 3] = [50, 500, 2000];
const LIMIT: Duration = Duration::from_secs(600);
/// A fleet attests in one go here, which no fleet does.
const NO_RATES: &str = "[limits]\nattestations_per_minute = 1000000\n[rotation]\nautomatic = false\n";

pub(crate) async fn measure(figures: &mut Figures) {
    for size in FLEETS {
        fleet(size, figures).await;
    }
}

async fn fleet(size: usize, figures: &mut Figures) {
    let bed = TestBed::new();
    let options = CaOptions { log_level: "info".to_owned(), extra: NO_RATES.to_owned(), ..CaOptions::default() };
    let mut ca = Ca::start(&bed, options).await;
    let clock = SystemClock::shared();
    let mut fleet = SimulatedFleet::attest(&ca, size).await;
    fleet.connect(FleetAddresses::Many);
    connected(&fleet, size).await;

    ca.kill_hard().await;
    eventually_within("all streams to have ended", LIMIT, async || (fleet.connected() == 0).then_some(())).await;
    let begin = clock.boottime();
    ca.start_again().await;
    connected(&fleet, size).await;
    let back = clock.boottime() - begin;
    let memory = cpu::resident(ca.process.id()) / (1024 * 1024);
    figures.row(
        &format!("{size} simulated agents back after a restart of the CA"),
        &seconds(back),
        &format!("below 30 s is wanted; the CA has {memory} MiB resident then, below 512 is wanted"),
    );

    let (acknowledged, over) = rotation(&ca, &fleet, size, clock.as_ref()).await;
    figures.row(
        &format!("root rotation, {size} simulated agents: all have acknowledged the new root"),
        &seconds(acknowledged),
        &format!("the whole rotation {}, {} SVIDs renewed", seconds(over), fleet.renewals()),
    );
    assert_eq!(fleet.timeouts(), 0, "{:?}", fleet.faults());
}

/// Begins a rotation of the root; says how long it took until all had the bundle with the new one, and until it was over.
async fn rotation(ca: &Ca, fleet: &SimulatedFleet, size: usize, clock: &dyn Clock) -> (Duration, Duration) {
    let mut admin = authority_admin(ca).await;
    let before =
        admin.show_authorities(v1::ShowAuthoritiesRequest { revoked: false }).await.unwrap().into_inner().bundle_sequence;
    let begin = clock.boottime();
    let request = v1::StartRotationRequest { kind: v1::AuthorityKind::Root.into(), accepted: None, natural: false };
    let mut reports = admin.start_rotation(request).await.unwrap().into_inner();
    // By the agents' own word: reports come when something changed, and each second.
    let acknowledged = async {
        eventually_within("all agents to have the new bundle", LIMIT, async || {
            (fleet.acknowledged(before + 1) == size).then_some(())
        })
        .await;
        clock.boottime() - begin
    };
    let over = async {
        loop {
            let report = reports.message().await.unwrap().expect("the last report has an outcome");
            if !report.outcome.is_empty() {
                assert_eq!((report.outcome.as_str(), report.probes_failed), ("completed", 0), "{report:?}");
                return clock.boottime() - begin;
            }
        }
    };
    tokio::join!(acknowledged, over)
}

async fn connected(fleet: &SimulatedFleet, size: usize) {
    eventually_within("all agents to be connected", LIMIT, async || (fleet.connected() == size).then_some(())).await;
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
