//! What a crash leaves behind, and what it must not take away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::{Agent, Ca, CaOptions, TestBed, attested_connection, eventually, issue};
use tokio::task::JoinSet;

/// P6: after a restart the same root, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn p06_a_restarted_ca_has_the_same_root_and_has_lost_nothing() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    let unused = ca.create_token("node-2");
    let view = |ca: &Ca| {
        let status = ca.operate(&["status"]).ok().json();
        (status["root_fingerprint"].clone(), status["bundle_sequence"].clone(), ca.operate(&["entry", "list"]).ok().json())
    };
    let (before, recorded) = (view(&ca), ca.recorded_serials());
    ca.kill_hard().await;
    ca.start_again().await;
    assert_eq!(view(&ca), before);
    let after = ca.recorded_serials();
    assert_eq!(after[..recorded.len()], recorded, "the ledger only grew");
    assert!(ca.operate(&["audit", "verify"]).ok().stdout.contains("events"));
    // The agent heals by itself, an entry made before still answers, and so does a token.
    eventually("the agent to be connected again", async || {
        (agent.metric("signet_agent_sync_connected").await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(ca.operate(&["entry", "show", &entry]).ok().json()["spiffe_id"], "spiffe://example.org/web");
    let late = Agent::launch(&bed, &ca, "node-2", &unused, tests::AgentOptions::default()).await;
    late.ready().await;
}

/// P13: whatever a client holds is in the ledger, though the CA was killed in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn p13_every_certificate_a_client_holds_survives_kill_9_in_the_ledger() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, attested) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    let connection = Arc::new(connection);
    let held = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let (connection, entry, held) = (connection.clone(), entry.clone(), held.clone());
        clients.spawn(async move {
            let mut serials = Vec::new();
            while let Ok(svids) = issue(&connection, &[&entry, &entry]).await {
                serials.extend(svids.iter().map(|svid| svid.leaf().serial().to_string()));
                held.fetch_add(svids.len(), Ordering::SeqCst);
            }
            serials
        });
    }
    eventually("a load of certificates", async || (held.load(Ordering::SeqCst) >= 2000).then_some(())).await;
    ca.kill_hard().await;
    let mut serials: BTreeSet<_> = clients.join_all().await.into_iter().flatten().collect();
    serials.insert(attested.svid.leaf().serial().to_string());
    assert!(serials.len() > 2000, "each serial is new");
    ca.start_again().await;
    let ledger: BTreeSet<_> = ca.recorded_serials().into_iter().collect();
    let lost: Vec<_> = serials.difference(&ledger).collect();
    assert!(lost.is_empty(), "{} of {} certificates are not in the ledger: {lost:?}", lost.len(), serials.len());
    println!("P13: {} certificates held, {} in the ledger", serials.len(), ledger.len());
}
