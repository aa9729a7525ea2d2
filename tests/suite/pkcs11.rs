//! A CA whose keys lie in a PKCS #11 token, of a SoftHSM: made there, used, rotated and destroyed, with a token that fails.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::{Timestamp, TrustBundle};
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{
    Agent, Ca, CaConnection, CaOptions, Cli, CliOutput, Requirement, SoftHsm, TOKEN_PIN, TestBed, TokenFault,
    attested_connection, eventually_within, http_get, issue, needs,
};

/// How long anything may take that waits for a token.
const LIMIT: Duration = Duration::from_secs(60);

fn configure(bed: &TestBed, keys: String) -> PathBuf {
    Ca::configure(bed, "ca", "127.0.0.1:0", &CaOptions { extra: keys, ..CaOptions::default() })
}

fn ca_command(token: &SoftHsm, verb: &str, config: &Path) -> CliOutput {
    token.signet(&["ca", verb, "--config", config.to_str().unwrap(), "-o", "json"])
}

async fn run(bed: &TestBed, token: &SoftHsm) -> Ca {
    Ca::run_under(&token.words(), bed.path(), "ca", "example.org").await
}

/// A CA made and run in a fresh token.
async fn start(bed: &TestBed) -> (SoftHsm, PathBuf, Ca) {
    let token = SoftHsm::new(bed);
    let config = configure(bed, token.keys_table("pkcs11", "signet"));
    let _made = ca_command(&token, "init", &config).ok();
    let ca = run(bed, &token).await;
    (token, config, ca)
}

/// Whether a leaf is issued, which the root vouches for then.
async fn issues(ca: &Ca, connection: &CaConnection, entry: &str) -> bool {
    let Ok(svids) = issue(connection, &[entry]).await else { return false };
    let root = std::fs::read(ca.root_certificate()).unwrap();
    let bundle = TrustBundle::from_pem(identity::TrustDomain::parse("example.org").unwrap(), &root, 1).unwrap();
    svids[0].verify(&bundle, Timestamp::from(SystemClock::shared().now())).unwrap();
    true
}

/// The sample of a metric.
async fn sample(ca: &Ca, name: &str) -> u64 {
    let metrics = ca.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{name} is not in {metrics}")).parse().unwrap()
}

async fn faults(ca: &Ca, kind: &str) -> u64 {
    sample(ca, &format!("signet_ca_token_faults_total{{kind=\"{kind}\"}}")).await
}

async fn until_readiness_says(ca: &Ca, status: u16, words: &str) {
    eventually_within(&format!("readiness {status} with {words:?}"), LIMIT, async || {
        let answer = http_get(ca.telemetry(), "/readyz").await;
        (answer.status == status && answer.body.contains(words)).then_some(())
    })
    .await;
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Files that hold a private key, by name.
fn with_private_keys(directory: &Path) -> Vec<String> {
    let holds = |path: &PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains("PRIVATE KEY-----");
    let name = |path: PathBuf| path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
    files(directory).into_iter().filter(holds).map(name).collect()
}

#[track_caller]
fn key_places(ca: &Ca) -> Vec<(String, String)> {
    let shown = ca.operate(&["authority", "show"]).ok().json();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_else(|| panic!("{key} in {one}")).to_owned();
    shown["authorities"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "key_place"))).collect()
}

#[track_caller]
fn all_in_the_token(ca: &Ca, names: [&str; 3]) {
    let places = key_places(ca);
    assert_eq!(places.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    assert!(places.iter().all(|(_, place)| place.starts_with("the token \"signet\", CKA_ID ")), "{places:?}");
}

#[track_caller]
fn drill(ca: &Ca, kind: &str) {
    let output = ca.operate(&["drill", kind, "--wait", "60s"]).ok();
    let last: Value = serde_json::from_str(output.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), last["probes_failed"].as_u64()), (Some("completed"), Some(0)), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_made_in_the_token_and_sign_again_after_a_restart() {
    if !needs("authorities_are_made_in_the_token_and_sign_again_after_a_restart", Requirement::SoftHsm) {
        return;
    }
    let bed = TestBed::new();
    let (token, config, mut ca) = start(&bed).await;
    all_in_the_token(&ca, ["root-1", "issuer-1", "jwt-1"]);
    assert_eq!(token.objects(), 6);
    assert_eq!(with_private_keys(&ca.state_dir()), ["audit-key.pem"]);
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    assert!(issues(&ca, &connection, &entry).await);
    ca.kill_hard().await;
    ca = run(&bed, &token).await;
    let (connection, _) = attested_connection(&ca, "node-2").await;
    let entry = ca.create_entry("spiffe://example.org/api", &["unix:uid:1"], "node-2");
    assert!(issues(&ca, &connection, &entry).await);
    assert!(sample(&ca, "signet_ca_token_signatures_total").await > 3);
    ca.process.stop().await;
    let checked = ca_command(&token, "check", &config).ok().json();
    assert_eq!(checked["warnings"], serde_json::json!([]), "{checked}");
    assert!(checked["key_places"]["issuing_CA_key"].as_str().unwrap().contains("the token \"signet\""), "{checked}");
    let told = [ca.process.stdout(), ca.process.stderr()].concat();
    assert!(told.contains("signet") && !told.contains(TOKEN_PIN));
}

/// By a real agent, which follows the bundle: what it holds works after each rotation.
#[tokio::test(flavor = "multi_thread")]
async fn rotations_make_keys_in_the_token_and_destroy_those_that_go() {
    if !needs("rotations_make_keys_in_the_token_and_destroy_those_that_go", Requirement::SoftHsm) {
        return;
    }
    let bed = TestBed::new();
    let (token, config, mut ca) = start(&bed).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let uid = format!("unix:uid:{}", nix::unistd::geteuid());
    ca.create_entry("spiffe://example.org/job", &[&uid], "node-1");
    let socket = agent.api_socket();
    let fetch =
        |kind: &[&str]| Cli::run(&[&["svid", "fetch"], kind, &["-o", "json", "--api-socket", socket.to_str().unwrap()]].concat());
    let fetched = async |kind: &[&str]| {
        eventually_within("an SVID", LIMIT, async || (fetch(kind).code == 0).then_some(())).await;
    };
    fetched(&["x509"]).await;
    // First of all: tokens keep their key for as long as they are good.
    for kind in ["jwt", "issuer", "root"] {
        drill(&ca, kind);
        fetched(&["x509"]).await;
        fetched(&["jwt", "--audience", "db"]).await;
    }
    let names = key_places(&ca);
    let [(root, _), (issuer, _), (jwt, _)] = &names[..] else { panic!("three authorities are in force: {names:?}") };
    all_in_the_token(&ca, [root, issuer, jwt]);
    assert_eq!((root.as_str(), jwt.as_str()), ("root-2", "jwt-2"));
    assert_eq!(token.objects(), 6, "what was revoked is destroyed");
    assert_eq!(with_private_keys(&ca.state_dir()), ["audit-key.pem"]);

    drop(agent);
    ca.process.stop().await;
    let ca = run(&bed, &token).await;
    all_in_the_token(&ca, [root, issuer, jwt]);
    let _checked = ca_command(&token, "check", &config).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_a_missing_token_and_a_lost_key_stop_the_start_by_name() {
    if !needs("a_wrong_pin_a_missing_token_and_a_lost_key_stop_the_start_by_name", Requirement::SoftHsm) {
        return;
    }
    let bed = TestBed::new();
    let (token, config, mut ca) = start(&bed).await;
    ca.process.stop().await;
    let refused = |words: &str| {
        for verb in ["check", "run"] {
            let output = ca_command(&token, verb, &config);
            assert_eq!(output.code, 1, "{verb}: {}{}", output.stdout, output.stderr);
            assert!(output.stderr.contains(words), "{words:?} is not in: {}", output.stderr);
        }
    };
    let _good = ca_command(&token, "check", &config).ok();
    token.write_pin("wrong-pin-1");
    refused("does not take the PIN");
    assert!(!ca_command(&token, "check", &config).stderr.contains("wrong-pin-1"));
    token.write_pin(TOKEN_PIN);
    let _good = ca_command(&token, "check", &config).ok();
    configure(&bed, token.keys_table("pkcs11", "another"));
    refused("no token \\\"another\\\"");
    configure(&bed, String::new());
    refused("no token is configured");
    configure(&bed, "[keys]\nstore = \"pkcs11\"".to_owned());
    refused("[keys.pkcs11]");
    configure(&bed, token.keys_table("file", "signet"));
    let _good = ca_command(&token, "check", &config).ok();
    token.format();
    refused("holds no private key with CKA_ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_fails_while_the_ca_runs_is_told_counted_and_healed() {
    if !needs("a_token_that_fails_while_the_ca_runs_is_told_counted_and_healed", Requirement::SoftHsm) {
        return;
    }
    let bed = TestBed::new();
    let (token, _, ca) = start(&bed).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let issues = async || issues(&ca, &connection, &entry).await;
    assert!(issues().await);
    until_readiness_says(&ca, 200, "").await;
    let reopened = || sample(&ca, "signet_ca_token_reopened_total");
    assert_eq!((reopened().await, faults(&ca, "session").await), (0, 0));

    token.fail(TokenFault::SessionsClosed);
    assert!(issues().await, "sessions that ended are opened anew at once, and nobody notices");
    assert!(reopened().await >= 1 && faults(&ca, "session").await >= 1);

    token.fail(TokenFault::DeviceRemoved);
    assert!(!issues().await);
    until_readiness_says(&ca, 503, "keys").await;
    assert!(faults(&ca, "device").await >= 1);
    token.heal();
    until_readiness_says(&ca, 200, "").await;
    eventually_within("certificates again", LIMIT, async || issues().await.then_some(())).await;

    token.fail(TokenFault::SignsWrongly);
    assert!(!issues().await, "what does not verify is given to nobody");
    assert!(faults(&ca, "signature").await >= 1);
    token.heal();
    assert!(issues().await);

    // Calls that do not come back hold up nobody but those who want signatures.
    token.fail(TokenFault::Hangs);
    assert!(!issues().await);
    assert!(faults(&ca, "silent").await >= 1);
    let _status = ca.operate(&["status"]).ok();
    token.heal();
    eventually_within("certificates again", LIMIT, async || issues().await.then_some(())).await;
    until_readiness_says(&ca, 200, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_files_give_way_to_keys_in_the_token_by_rotation() {
    if !needs("keys_in_files_give_way_to_keys_in_the_token_by_rotation", Requirement::SoftHsm) {
        return;
    }
    let bed = TestBed::new();
    let token = SoftHsm::new(&bed);
    let config = configure(&bed, String::new());
    let made = ca_command(&token, "init", &config).ok().json();
    assert!(made["key_places"]["root_key"].as_str().unwrap().starts_with("file /"), "{made}");
    configure(&bed, token.keys_table("pkcs11", "signet"));
    let ca = run(&bed, &token).await;
    assert!(key_places(&ca).iter().all(|(_, place)| place.starts_with("file /")));
    assert_eq!(token.objects(), 0);
    for kind in ["root", "jwt"] {
        drill(&ca, kind);
    }
    let places = key_places(&ca);
    assert!(places.iter().all(|(_, place)| place.starts_with("the token ")), "{places:?}");
    assert_eq!((token.objects(), with_private_keys(&ca.state_dir())), (6, vec!["audit-key.pem".to_owned()]));
}
