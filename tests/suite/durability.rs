//! What a crash leaves behind, what it must not take away, and what a failing disk must not lead to.

mod faults;
mod group_commit;
mod order;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::{Agent, Ca, CaConnection, CaOptions, TestBed, attested_connection, eventually, issue};
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
    println!("P13: {}", kill_under_load(8).await);
}

/// The same for long.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_p13_every_certificate_a_client_holds_survives_50_times_kill_9_in_the_ledger() {
    println!("P13: {}", kill_under_load(50).await);
}

/// Kills the CA `rounds` times while 16 clients ask for certificates, each time after another number of them; says what was found.
async fn kill_under_load(rounds: usize) -> String {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let (_connection, attested) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    let mut held = BTreeSet::from([attested.svid.leaf().serial().to_string()]);
    for round in 0..rounds {
        let svid = Some(attested.svid.clone());
        let connection = Arc::new(CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, svid).await.unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let (connection, entry, count) = (connection.clone(), entry.clone(), count.clone());
            clients.spawn(async move {
                let mut serials = Vec::new();
                while let Ok(svids) = issue(&connection, &[&entry, &entry]).await {
                    serials.extend(svids.iter().map(|svid| svid.leaf().serial().to_string()));
                    count.fetch_add(svids.len(), Ordering::SeqCst);
                }
                serials
            });
        }
        let enough = 40 + round * 53 % 160;
        eventually("a load of certificates", async || (count.load(Ordering::SeqCst) >= enough).then_some(())).await;
        ca.kill_hard().await;
        held.extend(clients.join_all().await.into_iter().flatten());
        ca.start_again().await;
    }
    assert!(held.len() > rounds * 40, "each serial is new");
    let ledger: BTreeSet<_> = ca.recorded_serials().into_iter().collect();
    let lost: Vec<_> = held.difference(&ledger).collect();
    assert!(lost.is_empty(), "{} of {} certificates are not in the ledger: {lost:?}", lost.len(), held.len());
    assert!(ca.operate(&["audit", "verify"]).ok().stdout.contains("events"));
    // Recorded, and in nobody's hands as far as the CA knows: they can be named, which is what a ledger is for.
    let listed = || -> BTreeSet<String> {
        let orphans = ca.operate(&["audit", "orphans"]).ok().json();
        orphans.as_array().unwrap().iter().map(|orphan| orphan["name"].as_str().unwrap().to_owned()).collect()
    };
    // The result of the certificate that the last start made for itself comes a moment later.
    let orphans = eventually("the verb to name what the chain shows without a result", async || {
        let shown = ca.unanswered_serials();
        (listed() == shown.iter().cloned().collect()).then_some(shown)
    })
    .await;
    assert!(!orphans.is_empty(), "a kill under load leaves some");
    let never_answered = orphans.iter().filter(|serial| !held.contains(*serial)).count();
    format!(
        "killed {rounds} times; {} certificates held, {} in the ledger; {} without a result: {never_answered} that nobody holds, {} \
         whose result row was lost with the process; the first of them: {:?}",
        held.len(),
        ledger.len(),
        orphans.len(),
        orphans.len() - never_answered,
        &orphans[..orphans.len().min(5)]
    )
}
