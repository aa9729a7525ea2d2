//! A CA that has no file descriptor left.

use std::time::Duration;

use runtime::clock::SystemClock;
use tests::{Ca, CaConnection, TestBed, attested_connection, eventually, eventually_within, issue};
use tokio::net::TcpStream;

use super::{metric, options};

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_open_connections_go_on_and_newcomers_follow_without_a_restart() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("handshake_deadline = \"60s\"")).await;
    let (connection, agent) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let served = async || issue(&connection, &[&entry]).await.expect("an open connection goes on").len();
    assert_eq!(served().await, 1);
    // What the harness asked before is closed by now, or will be.
    let base = ca.process.open_descriptors();
    ca.process.limit_descriptors(base + 6);

    // Peers that say nothing hold what is left: they make room, one at each try.
    let (clock, mut silent) = (SystemClock::shared(), Vec::new());
    let short_since = clock.boottime();
    for _ in 0..20 {
        silent.push(TcpStream::connect(ca.address).await.unwrap());
    }
    eventually("the shortage", async || ca.process.stderr().contains("accepting connections is failing").then_some(())).await;
    assert_eq!(served().await, 1);
    let svid = || Some(agent.svid.clone());
    let open = async || CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, svid()).await.ok();
    let newcomer = eventually_within("a newcomer among silent ones", Duration::from_secs(60), open).await;
    assert_eq!(issue(&newcomer, &[&entry]).await.expect("the newcomer is served").len(), 1);
    drop((silent, newcomer));

    // Peers that finished their handshake make no room; the CA waits, and takes newcomers when some have left.
    eventually("the silent ones to be gone", async || (ca.process.open_descriptors() <= base).then_some(())).await;
    ca.process.limit_descriptors(base + 3);
    let mut holding = Vec::new();
    while let Ok(Some(held)) = tokio::time::timeout(Duration::from_secs(5), open()).await {
        holding.push(held);
        assert!(holding.len() < 16, "the limit has no effect");
    }
    assert_eq!(served().await, 1);
    holding.clear();
    let newcomer = eventually_within("a newcomer after the shortage", Duration::from_secs(60), open).await;
    assert_eq!(issue(&newcomer, &[&entry]).await.expect("the newcomer is served").len(), 1);
    ca.process.limit_descriptors(1024);
    ca.ready().await;
    assert!(metric(&ca, "handshakes_total{outcome=\"evicted_silent\"}").await > 0, "they were closed, and not by their deadline");
    // Ten tries in a second and no more: a shortage must not take the processor too.
    let most = (clock.boottime() - short_since).as_millis() / 100 + 1;
    let failures = metric(&ca, "accept_failures_total").await;
    assert!(failures > 0 && u128::from(failures) <= most, "{failures} tries, at most {most} in this time");
}
