//! What a certificate costs in syncs, alone and in company.

use std::sync::Arc;

use tests::{Ca, CaOptions, Requirement, Strace, TestBed, attested_connection, issue, needs};
use tokio::task::JoinSet;

/// Calls of each caller.
const CALLS: usize = 12;

/// Syncs of the log for each certificate, with so many callers at once.
async fn syncs_per_certificate(bed: &TestBed, ca: &Ca, callers: usize) -> f64 {
    let node = format!("node-of-{callers}");
    let (connection, _attested) = attested_connection(ca, &node).await;
    let connection = Arc::new(connection);
    let entry = ca.create_entry(&format!("spiffe://example.org/of-{callers}"), &["unix:uid:0"], &node);
    let log = ca.state_dir().join("store.db-wal");
    // Each sync takes longer than on the slowest disk, so that the figure hangs neither on the disk of this machine nor on how fast it asks.
    let strace = Strace::inject(bed.path(), ca.process.id(), &log, "fsync,fdatasync", "delay_enter=60000").await;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (connection, entry) = (connection.clone(), entry.clone());
        tasks.spawn(async move {
            for _ in 0..CALLS {
                issue(&connection, &[&entry]).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let syncs = strace.faults();
    strace.detach().await;
    let certificates = callers * CALLS;
    ratio(syncs, certificates)
}

fn ratio(syncs: usize, certificates: usize) -> f64 {
    let [syncs, certificates] = [syncs, certificates].map(|count| f64::from(u32::try_from(count).unwrap()));
    syncs / certificates
}

/// A certificate takes two writes: its intent, which its answer waits for, and its result row, which nobody does.
#[tokio::test(flavor = "multi_thread")]
async fn the_more_ask_at_once_the_fewer_syncs_a_certificate_takes() {
    let name = "the_more_ask_at_once_the_fewer_syncs_a_certificate_takes";
    if !(needs(name, Requirement::Strace) && needs(name, Requirement::Root)) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let alone = syncs_per_certificate(&bed, &ca, 1).await;
    let eight = syncs_per_certificate(&bed, &ca, 8).await;
    let many = syncs_per_certificate(&bed, &ca, 64).await;
    println!("syncs for each certificate: {alone:.2} alone, {eight:.2} with 8 callers, {many:.2} with 64");
    // What is measured is half of it and less; the bounds leave room for a machine that does little at once.
    assert!(alone >= 1.0, "one caller shares its sync with nobody: {alone}");
    assert!(eight <= alone * 0.75, "{eight} with 8 callers, {alone} with one");
    assert!(many <= eight * 0.75, "{many} with 64 callers, {eight} with 8");
}
