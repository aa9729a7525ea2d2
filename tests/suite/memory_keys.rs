//! A CA whose keys are in its memory: nothing of them on disk, and each start has another issuing CA from its parent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::TrustDomain;
use pki::{Timestamp, TrustBundle};
use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaConnection, CaOptions, Cli, TestBed, attested_connection, eventually_within, issue};

use super::upstream_signet::{Above, CHILD, above, slot, stands_in, upstream_of};

/// How long anything may take that waits for agents.
const LIMIT: Duration = Duration::from_secs(240);

fn options(above: &Above) -> CaOptions {
    let extra = format!("[keys]\nstore = \"memory\"\n{}", upstream_of(above, "10m"));
    CaOptions { leaf_ttl: "2m".to_owned(), agent_ttl: "2m".to_owned(), extra, ..CaOptions::default() }
}

/// Files below a directory that hold a private key, by name.
fn with_private_keys(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(with_private_keys(&path));
        } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("PRIVATE KEY-----") {
            found.push(path);
        }
    }
    found
}

fn run(verb: &str, config: &Path) -> tests::CliOutput {
    Cli::run(&["ca", verb, "--config", config.to_str().unwrap(), "-o", "json"])
}

/// Whether the CA's warnings have this in them, by and by.
async fn warns(ca: &Ca, words: &str) {
    eventually_within(&format!("a warning of {words:?}"), LIMIT, async || {
        ca.operate(&["status"]).ok().json()["warnings"].to_string().contains(words).then_some(())
    })
    .await;
}

/// A restart loses no agent and no leaf: what the former issuing CA signed is good by the bundle until it is renewed. Its last revocation
/// list counts on, and what it cannot name any more is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_has_another_issuing_ca_and_leaves_of_the_former_one_stay_good() {
    let bed = TestBed::new();
    let above = above(&bed, CHILD).await;
    let config = Ca::configure(&bed, "child", "127.0.0.1:0", &options(&above));
    let checked = run("check", &config).ok().json();
    assert!(checked["issuer"].is_null() && checked["ok"] == true, "{checked}");
    let mut child = Ca::run(bed.path(), "child", "example.org").await;
    child.ready().await;
    assert_eq!(with_private_keys(&child.state_dir()), [child.state_dir().join("audit-key.pem")]);
    let agent = Agent::start(&bed, &child, "node-1").await;
    let (connection, node) = attested_connection(&child, "node-2").await;
    let entry = child.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-2");
    let former = issue(&connection, &[&entry]).await.unwrap().remove(0);
    let lists = || child_lists(&child);
    eventually_within("the list of issuer-1", LIMIT, async || lists().contains("issuer-1").then_some(())).await;

    child.kill_hard().await;
    let checked = run("check", &config).ok().json();
    assert!(checked["issuer"].is_null() && checked["jwt_key_id"].is_null(), "{checked}");
    assert!(checked["key_places"]["JWT_key"].as_str().unwrap().contains("memory"), "{checked}");
    child.start_again().await;
    child.ready().await;
    assert_eq!((slot(&child, "issuer-1").as_str(), slot(&child, "issuer-2").as_str()), ("old", "active"));
    assert_eq!(slot(&child, "root-1"), "active");
    let pem = std::fs::read(child.root_certificate()).unwrap();
    let bundle = TrustBundle::from_pem(TrustDomain::parse("example.org").unwrap(), &pem, 1).unwrap();
    let now = Timestamp::from(SystemClock::shared().now());
    former.verify(&bundle, now).unwrap();
    // By the certificate of before: nobody has to attest again.
    let root = pki::certificates_from_pem(&pem).unwrap().remove(0);
    let fingerprint = data_encoding::HEXLOWER.encode(&root.fingerprint());
    let again = CaConnection::open(child.address, "example.org", &fingerprint, Some(node.svid)).await.unwrap();
    let renewed = issue(&again, &[&entry]).await.unwrap().remove(0);
    renewed.verify(&bundle, now).unwrap();
    assert_ne!(renewed.leaf().authority_key_id(), former.leaf().authority_key_id());
    agent.ready().await;

    // Nobody can put what the former one signed on a list any more, and the CA says so. Everything else goes on.
    eventually_within("the lists of both", LIMIT, async || {
        let lists = child_lists(&child);
        (lists.contains("issuer-1") && lists.contains("issuer-2")).then_some(())
    })
    .await;
    let _revoked = child.operate(&["revoke", "--serial", &renewed.leaf().serial().to_string()]).ok();
    let _revoked = child.operate(&["revoke", "--serial", &former.leaf().serial().to_string()]).ok();
    warns(&child, "the key of issuer-1 is gone").await;
    assert!(!child.operate(&["status"]).ok().stdout.contains("the key of issuer-2 is gone"));
    agent.ready().await;
    assert_eq!(with_private_keys(&child.state_dir()), [child.state_dir().join("audit-key.pem")]);
}

/// What `revocation list` tells.
fn child_lists(child: &Ca) -> String {
    child.operate(&["revocation", "list"]).ok().json()["status"]["lists"].to_string()
}

/// Without the parent there is nothing to sign with, and with it there is again; without an upstream the configuration is refused.
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_memory_need_an_upstream_at_each_start() {
    let bed = TestBed::new();
    let extra = "[keys]\nstore = \"memory\"".to_owned();
    let config = Ca::configure(&bed, "alone", "127.0.0.1:0", &CaOptions { extra, ..CaOptions::default() });
    for verb in ["check", "init", "run"] {
        let refused = run(verb, &config);
        assert_ne!(refused.code, 0, "{verb}");
        assert!(refused.stderr.contains("each start needs an [upstream]"), "{verb}: {}", refused.stderr);
    }

    let mut above = above(&bed, CHILD).await;
    let config = Ca::configure(&bed, "child", "127.0.0.1:0", &options(&above));
    let mut child = Ca::run(bed.path(), "child", "example.org").await;
    child.ready().await;
    let agent = Agent::start(&bed, &child, "node-1").await;
    let (file, phrase) = (bed.path().join("child.backup"), bed.write_private("phrase", "a passphrase of a test\n"));
    let [file, phrase, socket] = [&file, &phrase, &child.admin_socket()].map(|path| path.to_str().unwrap().to_owned());
    let made = Cli::run(&["ca", "backup", &file, "--passphrase-file", &phrase, "--socket", &socket, "-o", "json"]).ok().json();
    let saved = made["backup"]["authorities"].as_array().unwrap();
    let places: Vec<_> = saved.iter().map(|one| (one["name"].as_str().unwrap(), one["key_is"].as_str().unwrap())).collect();
    assert_eq!(places, [("root-1", "elsewhere"), ("issuer-1", "memory"), ("jwt-1", "memory")]);
    child.process.stop().await;
    above.parent.kill_hard().await;
    let refused = run("run", &config);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("upstream") && !refused.stderr.contains("signet ca init"), "{}", refused.stderr);
    above.parent.start_again().await;
    child.start_again().await;
    child.ready().await;
    agent.ready().await;
    // The former one goes as soon as nobody holds anything of it.
    stands_in(&child, "issuer-1", "revoked", LIMIT).await;
    above.agent.ready().await;
}
