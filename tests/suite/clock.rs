//! A CA that issued ahead of its clock, and the operator's word that heals it, through the binary. No test sets the machine's clock
//! (docs/clock.md): what a clock that was ahead leaves behind, the time of the latest issuance, is put into the store in its place.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pki::Timestamp;
use runtime::clock::SystemClock;
use tests::{Ca, CaOptions, Cli, CliOutput, Process, TestBed, attested_connection, issue, signet_binary};

const DAY: u64 = 24 * 3600;
const LIMIT: Duration = Duration::from_secs(60);

fn now() -> u64 {
    Timestamp::from(SystemClock::shared().now()).unix_seconds()
}

/// As if the CA had issued at this time.
fn issued_at(ca: &Ca, seconds: u64) {
    let store = rusqlite::Connection::open(ca.state_dir().join("store.db")).unwrap();
    store.busy_timeout(LIMIT).unwrap();
    let changed = store.execute("UPDATE issuance_clock SET latest = ?1", [i64::try_from(seconds).unwrap()]).unwrap();
    assert_eq!(changed, 1, "there is one mark");
}

fn accept_clock(config: &Path) -> CliOutput {
    Cli::run(&["ca".as_ref(), "accept-clock".as_ref(), "-o".as_ref(), "json".as_ref(), "--config".as_ref(), config.as_os_str()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_issued_ahead_of_its_clock_refuses_until_an_operator_accepts_the_clock() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let config = bed.path().join("ca.toml");
    let (connection, _node) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    assert_eq!(issue(&connection, &[&entry]).await.unwrap().len(), 1);

    // Minutes are what time synchronisation may step a clock by.
    issued_at(&ca, now() + 120);
    assert_eq!(issue(&connection, &[&entry]).await.unwrap().len(), 1);
    let ahead = now() + 2 * DAY;
    let shown = Timestamp::from_unix_seconds(ahead).to_string();
    issued_at(&ca, ahead);
    let refused = issue(&connection, &[&entry]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    let told = ca.process.stderr();
    assert!(told.contains(&shown) && told.contains("signet ca accept-clock"), "{told}");

    // Not under a CA that runs: it would go on by what it knows.
    let running = accept_clock(&config);
    assert_eq!(running.code, 1, "{}", running.stdout);
    assert!(running.stderr.contains("in use by process"), "{}", running.stderr);
    ca.process.stop().await;
    let mut command = Command::new(signet_binary());
    command.args(["ca", "run", "--config"]).arg(&config);
    let mut start = Process::start("behind", &mut command, bed.path());
    assert!(!start.exit(LIMIT).await.success());
    assert!(start.stderr().contains(&shown) && start.stderr().contains("signet ca accept-clock"), "{}", start.stderr());

    let before = now();
    let accepted = accept_clock(&config).ok().json();
    assert_eq!(accepted["latest_issuance"], shown.as_str());
    let accepted_at: Timestamp = accepted["now"].as_str().unwrap().parse().unwrap();
    assert!((before..=now()).contains(&accepted_at.unix_seconds()));
    ca.start_again().await;
    ca.ready().await;
    let (connection, _node) = attested_connection(&ca, "node-2").await;
    let entry = ca.create_entry("spiffe://example.org/web-2", &["unix:uid:1"], "node-2");
    let issued = issue(&connection, &[&entry]).await.unwrap();
    assert!(issued.iter().all(|svid| svid.leaf().is_valid_at(Timestamp::from_unix_seconds(now()))), "dated by the clock");

    let events = ca.operate(&["audit", "tail", "-n", "100"]).ok().json();
    let events: Vec<_> = events.as_array().unwrap().iter().filter(|event| event["kind"] == "clock_accepted").collect();
    assert_eq!(events.len(), 1, "{events:?}");
    let text = events[0].to_string();
    let uid = nix::unistd::getuid().to_string();
    assert!(text.contains(&uid) && (text.contains(&shown) || text.contains(&ahead.to_string())), "{text}");
    assert_eq!(ca.operate(&["audit", "verify"]).ok().json()["findings"].as_array().map(Vec::len), Some(0));
}
