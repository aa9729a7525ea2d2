//! The CA under clocks that are set: what it refuses, what it keeps, who is told, and how it comes back.

use std::time::{Duration, SystemTime};

use proto::v1;
use runtime::clock::Clock;
use runtime::entropy::SystemEntropy;
use tonic::Code;

use crate::issuer_end::end_of;
use crate::test_agent::{TestAgent, connect, hello, reason};
use crate::test_ca::{TestCa, eventually};

const DAYS: Duration = Duration::from_secs(48 * 3600);
const HOLD: Duration = Duration::from_secs(300);

fn set(ca: &TestCa, step: impl FnOnce(SystemTime) -> SystemTime) {
    ca.clock.set_wall(step(ca.clock.now()));
}

/// Not ready because of its clock, told wherever somebody looks.
async fn told(ca: &TestCa, words: &str) {
    eventually("the status tells", async || ca.status().await.warnings.iter().any(|why| why.contains(words))).await;
    eventually("readiness and metrics tell", async || {
        let (readyz, metrics) = (ca.http("/readyz").await, ca.http("/metrics").await);
        readyz.starts_with("HTTP/1.1 503") && readyz.contains(words) && metrics.contains("\nsignet_ca_clock_untrusted 1\n")
    })
    .await;
}

async fn trusted(ca: &TestCa) {
    eventually("ready again", async || ca.status().await.ready).await;
    assert!(ca.http("/metrics").await.contains("\nsignet_ca_clock_untrusted 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_its_latest_issuance_nothing_is_issued_everything_held_stays_and_it_comes_back_by_itself() {
    let ca = TestCa::start().await;
    ca.clock.advance(DAYS * 2);
    eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= ca.clock_now()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    connection.issue(&entry.id).await.unwrap().unwrap();
    let (token, serving, before) = (ca.token("n2").await, connection.server_serial.clone(), ca.audit().await);

    set(&ca, |now| now - DAYS);
    told(&ca, "signet ca accept-clock").await;
    let refused = connection.issue(&entry.id).await.unwrap().unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (i32::from(Code::Unavailable), "CLOCK_UNTRUSTED"));
    assert_eq!(reason(&connection.renew().await.unwrap_err()), "CLOCK_UNTRUSTED");
    let ask = v1::IssueJwtSvidRequest { entry_id: entry.id.clone(), audiences: vec!["db".to_owned()], service_account: None };
    assert_eq!(reason(&connection.node().issue_jwt_svid(ask.clone()).await.unwrap_err()), "CLOCK_UNTRUSTED");
    let intents = |audit: &str| audit.lines().filter(|line| line.contains("_intended")).count();
    assert_eq!(intents(&ca.audit().await), intents(&before), "nothing was recorded, the serving certificate among it");

    set(&ca, |now| now + DAYS);
    trusted(&ca).await;
    let later = connect(&ca, None).await;
    assert_eq!(later.server_serial, serving, "the serving certificate of the right time was kept");
    let (request, _key) = later.join_request(&token, &crate::test_agent::key());
    later.attestation().attest_join_token(request).await.expect("its token was not used up meanwhile");
    connection.issue(&entry.id).await.unwrap().unwrap();
    connection.node().issue_jwt_svid(ask).await.unwrap();
}

/// The CA's own look at its clock passes, and the transaction of the intent refuses: as after `signet ca issuer renew` by a clock that
/// was ahead.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_issued_later_is_told_as_the_clocks_fault_on_every_call_and_by_readiness() {
    for jwt_first in [false, true] {
        let ca = TestCa::start().await;
        let agent = TestAgent::attest(&ca, "n1").await;
        let entry = ca.entry("/web", "n1").await;
        let connection = agent.connect(&ca).await;
        connection.issue(&entry.id).await.unwrap().unwrap();
        let ask = v1::IssueJwtSvidRequest { entry_id: entry.id.clone(), audiences: vec!["db".to_owned()], service_account: None };
        connection.node().issue_jwt_svid(ask.clone()).await.unwrap();
        eventually("ready", async || ca.status().await.ready).await;

        let ahead = "UPDATE issuance_clock SET latest = latest + 172800";
        TestCa::store(ca.directory()).execute_batch(ahead).unwrap();
        // The first refusal is the store's alone.
        let (why, message) = if jwt_first {
            let refused = connection.node().issue_jwt_svid(ask.clone()).await.unwrap_err();
            (reason(&refused), refused.message().to_owned())
        } else {
            let refused = connection.issue(&entry.id).await.unwrap().unwrap_err();
            (refused.reason, refused.message)
        };
        assert_eq!(why, "CLOCK_UNTRUSTED", "{message}");
        assert!(message.contains("did not record") && message.contains("signet ca accept-clock"), "{message}");
        told(&ca, "signet ca accept-clock").await;
        assert_eq!(reason(&connection.renew().await.unwrap_err()), "CLOCK_UNTRUSTED");

        set(&ca, |now| now + DAYS);
        told(&ca, "leapt ahead").await;
        ca.clock.advance(HOLD);
        trusted(&ca).await;
        TestAgent::attest(&ca, "n2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_leap_ahead_nothing_is_issued_forgotten_or_withdrawn_until_the_clock_is_back() {
    let ca = TestCa::start().await;
    eventually("ready", async || ca.status().await.ready).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let end = SystemTime::from(ca.clock_now().plus(Duration::from_secs(7200)));
    let ending = v1::CreateEntryRequest {
        spiffe_id: "spiffe://example.org/ending".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned()],
        parent_node: "n1".to_owned(),
        expires_at: Some(end.into()),
        ..v1::CreateEntryRequest::default()
    };
    let ending = ca.operator().await.create_entry(ending).await.unwrap().into_inner();
    let connection = agent.connect(&ca).await;
    connection.issue(&ending.id).await.unwrap().unwrap();
    let token = ca.token("n2").await;
    let fresh = connect(&ca, None).await;

    set(&ca, |now| now + DAYS);
    told(&ca, "leapt ahead").await;
    let (request, key) = fresh.join_request(&token, &crate::test_agent::key());
    assert_eq!(reason(&fresh.attestation().attest_join_token(request).await.unwrap_err()), "CLOCK_UNTRUSTED");
    drop(key);
    // Every tenth tick of a second entries that ended a day ago are forgotten: by this clock, this one did.
    tokio::time::sleep(Duration::from_millis(11_500)).await;
    let kept = ca.operator().await.get_entry(v1::GetEntryRequest { id: ending.id.clone() }).await.unwrap().into_inner();
    assert_eq!(kept, ending);

    set(&ca, |now| now - DAYS);
    trusted(&ca).await;
    agent.connect(&ca).await.issue(&ending.id).await.unwrap().unwrap();
    let (request, _key) = fresh.join_request(&token, &crate::test_agent::key());
    fresh.attestation().attest_join_token(request).await.expect("its token was not used up meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_that_lasts_is_believed_after_five_minutes_and_a_suspend_is_no_leap() {
    let ca = TestCa::start().await;
    eventually("ready", async || ca.status().await.ready).await;
    // Suspended for two days: both clocks say so, and what is due is made at once.
    let wakes = ca.clock_now().plus(DAYS);
    ca.clock.advance(DAYS);
    eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= wakes).await;
    assert!(ca.status().await.ready);

    set(&ca, |now| now + DAYS);
    told(&ca, "leapt ahead").await;
    ca.clock.advance(HOLD);
    trusted(&ca).await;
    TestAgent::attest(&ca, "n1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_issued_ahead_of_time_starts_again_only_when_the_time_has_come_or_an_operator_accepts_it() {
    let ca = TestCa::start().await;
    let (directory, clock) = ca.stop().await;
    clock.advance(DAYS);
    let ca = TestCa::over(directory, clock).await;
    let sequence = ca.status().await.bundle_sequence;
    let config = ca.config();
    let (directory, clock) = ca.stop().await;
    clock.set_wall(clock.now() - DAYS);
    let refused =
        ca::Server::bind(config.clone(), clock.clone(), std::sync::Arc::new(SystemEntropy)).await.err().expect("it is behind");
    assert!(matches!(refused, ca::StartError::Clock(_)) && refused.to_string().contains("signet ca accept-clock"), "{refused}");

    let accepted = ca::accept_clock(&config, &*clock).await.unwrap();
    assert_eq!((accepted.now, accepted.latest), (clock.now().into(), (clock.now() + DAYS).into()));
    let ca = TestCa::over(directory, clock).await;
    assert!(ca.audit().await.contains("clock_accepted"));
    assert_eq!(ca.status().await.bundle_sequence, sequence);
    assert!(ca::accept_clock(&config, &*ca.clock).await.is_err(), "a running CA has its state to itself");
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap();
    drop(agent.connect(&ca).await.sync(hello()).await.unwrap());
}
