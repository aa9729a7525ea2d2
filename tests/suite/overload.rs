//! Peers that take and do not give.

use std::time::Duration;

use tests::{Ca, CaOptions, TestBed, attested_connection};
use tokio::net::TcpStream;

/// P11: silence costs the silent.
#[tokio::test(flavor = "multi_thread")]
async fn p11_500_silent_peers_do_not_delay_a_good_one() {
    let bed = TestBed::new();
    let extra = "[limits]\nhandshake_deadline = \"60s\"\n".to_owned();
    let ca = Ca::start(&bed, CaOptions { extra, ..CaOptions::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(TcpStream::connect(ca.address).await.expect("the CA accepts"));
    }
    // Who is served before the handshake deadline was not waiting for the silent ones to be thrown out.
    let good = tokio::time::timeout(Duration::from_secs(45), attested_connection(&ca, "node-1"));
    let (_connection, attested) = good.await.expect("a good peer is served while 500 silent ones hold on");
    assert_eq!(attested.node, "node-1");
    drop(silent);
}
