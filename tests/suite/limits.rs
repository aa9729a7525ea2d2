//! What the CA lets one peer take: each limit as it is met, one over, and by others unharmed (docs/limits.md).

mod crowd;
mod descriptors;
mod padded;
mod sizes;
mod unauthenticated;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey, build_request};
use proto::v1;
use proto::v1::batch_issue_response::item::Outcome;
use tests::{Ca, CaConnection, CaOptions, Provisioner, TestBed, attested_connection, eventually, issue};
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn options(limits: &str) -> CaOptions {
    CaOptions { extra: format!("[limits]\n{limits}\n"), ..CaOptions::default() }
}

/// A counter or gauge of the CA by its line in `/metrics`, such as `limits_reached_total{limit="csr_bytes"}`.
async fn metric(ca: &Ca, line: &str) -> u64 {
    let text = ca.metrics().await;
    let value = text.lines().find_map(|found| found.strip_prefix(&format!("signet_ca_{line} ")));
    value.unwrap_or_else(|| panic!("no {line} in:\n{text}")).parse().unwrap()
}

/// Waits until it is so: what is counted may be seen by a peer a moment before.
async fn comes_to(ca: &Ca, line: &str, value: u64) {
    eventually(&format!("{line} to be {value}"), async || (metric(ca, line).await == value).then_some(())).await;
}

async fn reached(ca: &Ca, limit: &str) -> u64 {
    metric(ca, &format!("limits_reached_total{{limit=\"{limit}\"}}")).await
}

fn csr() -> Vec<u8> {
    build_request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), None).unwrap()
}

/// The outcomes of a batch: one CSR for each of these entries.
async fn batch(connection: &CaConnection, entries: &[&str], csr: &[u8]) -> Result<Vec<Outcome>, Status> {
    let item =
        |entry: &&str| v1::batch_issue_request::Item { entry_id: (*entry).to_owned(), csr: csr.to_vec(), service_account: None };
    let request = v1::BatchIssueRequest { items: entries.iter().map(item).collect() };
    let answer = connection.node().batch_issue(request).await?.into_inner();
    Ok(answer.items.into_iter().map(|item| item.outcome.unwrap()).collect())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// That a refusal is of this code and reason, names this key, and says when to try again.
#[track_caller]
fn check_retry(status: &Status, code: Code, expected: &str, key: &str) -> Duration {
    assert_eq!((status.code(), reason(status).as_str()), (code, expected), "{status:?}");
    assert!(status.message().contains(key), "{status:?}");
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    wait.unwrap_or_else(|| panic!("no advice when to try again: {status:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_its_rate_of_certificates_and_its_excess_is_nobody_elses() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("batch_items = 10\nissuances_per_minute = 1\nissuance_burst = 10")).await;
    let (one, _) = attested_connection(&ca, "node-1").await;
    let (two, _) = attested_connection(&ca, "node-2").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let other = ca.create_entry("spiffe://example.org/db", &["unix:uid:1"], "node-2");
    let batch_of = async |connection, entry: &str, count: usize| batch(connection, &vec![entry; count], &csr()).await;
    assert!(batch_of(&one, &entry, 10).await.unwrap().iter().all(|outcome| matches!(outcome, Outcome::Svid(_))));
    let waits = [1, 2].map(|_| async {
        let refused = batch_of(&one, &entry, 2).await.unwrap_err();
        check_retry(&refused, Code::ResourceExhausted, "RATE_EXCEEDED", "[limits] issuances_per_minute = 1")
    });
    for wait in waits {
        let wait = wait.await;
        assert!(wait > Duration::from_secs(60) && wait <= Duration::from_secs(128), "two tokens and the spread: {wait:?}");
    }
    assert!(batch_of(&two, &other, 10).await.is_ok(), "another node has a rate of its own");
    assert_eq!(reached(&ca, "issuance_rate").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_try_to_attest_so_often_and_no_more() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("attestations_per_minute = 1\nattestation_burst = 3")).await;
    let mut kept = Vec::new();
    for node in ["node-1", "node-2", "node-3"] {
        kept.push(attested_connection(&ca, node).await);
    }
    let token = ca.create_token("node-4");
    let connection = CaConnection::open(ca.address, &ca.trust_domain, &token.ca_fingerprint, None).await.unwrap();
    let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let refused = connection.attest(&token.token, &node_key).await.unwrap_err();
    check_retry(&refused, Code::ResourceExhausted, "RATE_EXCEEDED", "[limits] attestations_per_minute = 1");
    let refused = connection.reattest(node_key.public_key(), &node_key).await.unwrap_err();
    check_retry(&refused, Code::ResourceExhausted, "RATE_EXCEEDED", "[limits] attestations_per_minute = 1");
    assert_eq!(reached(&ca, "attestation_rate").await, 2);
    // Who is attested is not concerned.
    assert!(batch(&kept[0].0, &[], &[]).await.is_ok());
}

/// Whatever is signed for a node is of one rate.
#[tokio::test(flavor = "multi_thread")]
async fn renewals_and_tokens_of_a_node_draw_on_the_rate_of_its_certificates() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("batch_items = 1\nissuances_per_minute = 1\nissuance_burst = 3")).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let renew = async || connection.node().renew_agent(v1::RenewAgentRequest { csr: csr() }).await.map(drop);
    let token = async || {
        let request =
            v1::IssueJwtSvidRequest { entry_id: entry.clone(), audiences: vec!["db".to_owned()], service_account: None };
        connection.node().issue_jwt_svid(request).await.map(drop)
    };
    let leaf = async || batch(&connection, &[&entry], &csr()).await.map(drop);
    for signed in [renew().await, token().await, leaf().await] {
        signed.unwrap();
    }
    for refused in [renew().await, token().await, leaf().await] {
        let refused = refused.expect_err("three were signed");
        check_retry(&refused, Code::ResourceExhausted, "RATE_EXCEEDED", "[limits] issuances_per_minute = 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_by_certificate_draw_on_the_rate_of_their_address() {
    let (bed, provisioner) = (TestBed::new(), Provisioner::new());
    let extra = format!("{}[limits]\nattestations_per_minute = 1\nattestation_burst = 2\n", provisioner.lines(&bed));
    let ca = Ca::start(&bed, CaOptions { extra, ..CaOptions::default() }).await;
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let attest = async |machine: &str| {
        let connection = CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, None).await.unwrap();
        let (certificate, key) = provisioner.issue(machine, Duration::ZERO);
        let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        connection.attest_certificate(&certificate, &key, &node_key).await
    };
    for machine in ["vm-1", "vm-2"] {
        assert_eq!(attest(machine).await.unwrap().node, machine);
    }
    let refused = attest("vm-3").await.unwrap_err();
    check_retry(&refused, Code::ResourceExhausted, "RATE_EXCEEDED", "[limits] attestations_per_minute = 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_that_floods_the_queue_is_told_when_to_come_back_and_the_others_are_served() {
    let bed = TestBed::new();
    let limits = "issuance_concurrency = 1\nissuance_queue = 8\nissuances_per_minute = 1000000";
    let ca = Ca::start(&bed, options(limits)).await;
    let (greedy, _) = attested_connection(&ca, "greedy").await;
    let (modest, _) = attested_connection(&ca, "modest").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "greedy");
    let other = ca.create_entry("spiffe://example.org/db", &["unix:uid:1"], "modest");
    assert_eq!(issue(&modest, &[&other]).await.unwrap().len(), 1);
    let csr = csr();
    let served = AtomicBool::new(false);
    let flood = async {
        let (mut issued, mut waits) = (0, Vec::new());
        // Until both kinds of answers were seen, and then on while the other asks.
        loop {
            match batch(&greedy, &[entry.as_str(); 60], &csr).await {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        match outcome {
                            Outcome::Svid(_) => issued += 1,
                            Outcome::Error(error) => {
                                assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable.into(), "OVERLOADED"));
                                assert!(error.message.contains("[limits] issuance_queue"), "{}", error.message);
                                waits.push(error.retry_after.expect("an item says when to try again"));
                            }
                        }
                    }
                }
                Err(status) => drop(check_retry(&status, Code::Unavailable, "OVERLOADED", "[limits] issuance_queue")),
            }
            if issued > 0 && waits.len() > 100 {
                waits.dedup();
                assert_eq!(waits.len(), 1, "the same identity is always told the same");
                if served.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    };
    let asks = async {
        eventually("the flood", async || (reached(&ca, "issuance_queue").await > 50).then_some(())).await;
        for _ in 0..20 {
            issue(&modest, &[&other]).await.expect("a modest node is never refused for a greedy one");
        }
        served.store(true, Ordering::Relaxed);
    };
    tokio::join!(flood, asks);
    assert_eq!(metric(&ca, "issuance_waiting").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_soon_by_the_ledger_goes_before_what_is_fresh_and_what_has_time() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("issuance_concurrency = 1\nissuance_queue = 64")).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = |name: &str, ttl: &str| {
        let id = format!("spiffe://example.org/{name}");
        ca.create_entry_with(&id, &["unix:uid:1"], "node-1", &["--ttl", ttl])
    };
    let (early, fresh, ending) = (entry("early", "1h"), entry("fresh", "1h"), entry("ending", "15s"));
    let held = issue(&connection, &[&early, &ending]).await.unwrap();
    let ends = held[1].leaf().not_after();
    let clock = runtime::clock::SystemClock::shared();
    eventually("the last third of the short one's life", async || {
        let now = pki::Timestamp::from(clock.now());
        (now >= ends || ends.since(now) <= Duration::from_secs(4)).then_some(())
    })
    .await;
    let svids = issue(&connection, &[&early, &fresh, &ending]).await.unwrap();
    let serials: Vec<_> = svids.iter().map(|svid| svid.leaf().serial().to_string()).collect();
    let recorded: Vec<_> = ca.recorded_serials().into_iter().filter(|serial| serials.contains(serial)).collect();
    let first = |serial: &String| recorded.iter().position(|found| found == serial).unwrap();
    let [early, fresh, ending] = [0, 1, 2].map(|item| first(&serials[item]));
    assert!(ending < fresh && fresh < early, "ending {ending}, fresh {fresh}, early {early} in the ledger");
}
