//! Identities on disk: whole whatever happens, for whom they are meant, and left alone when something is missing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pki::{PrivateKey, Timestamp, X509Svid};
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{Agent, AgentOptions, Ca, CaOptions, Requirement, TestBed, eventually, needs};

const ID: &str = "spiffe://example.org/app";

fn set(directory: &Path, more: &str) -> AgentOptions {
    let directory = directory.display();
    let extra = format!("[[files]]\nname = \"app\"\nspiffe_id = \"{ID}\"\ndirectory = \"{directory}\"\n{more}\n");
    AgentOptions { extra, ..AgentOptions::default() }
}

async fn start(bed: &TestBed, ca: &Ca, options: AgentOptions) -> Agent {
    let agent = Agent::launch(bed, ca, "node-1", &ca.create_token("node-1"), options).await;
    agent.ready().await;
    agent
}

/// The serial of a set that is whole: key and chain are a pair, and there are roots. By the one link, as a careful program reads.
fn whole(directory: &Path) -> Option<String> {
    let set: PathBuf = directory.join(std::fs::read_link(directory.join("..data")).ok()?);
    let read = |name: &str| std::fs::read(set.join(name));
    let (key, chain, roots) = (read("key.pem"), read("cert-chain.pem"), read("root-cert.pem"));
    // A set that was replaced and is being removed between two reads: the next look finds the newer one.
    let (Ok(key), Ok(chain), Ok(roots)) = (key, chain, roots) else {
        let now = std::fs::read_link(directory.join("..data")).map(|link| directory.join(link));
        assert!(now.is_ok_and(|now| now != set), "{} is not whole", set.display());
        return None;
    };
    let key = PrivateKey::from_pem(&key).expect("the key is whole");
    let chain = pki::certificates_from_pem(&chain).expect("the chain is whole");
    assert!(!pki::certificates_from_pem(&roots).expect("the roots are whole").is_empty());
    let svid = X509Svid::new(chain, key, Timestamp::from(SystemClock::shared().now())).expect("key and chain are a pair");
    Some(svid.leaf().serial().to_string())
}

async fn newer_than(directory: &Path, serial: Option<&str>) -> String {
    eventually("a newer set", async || whole(directory).filter(|found| Some(found.as_str()) != serial)).await
}

fn status(agent: &Agent) -> Value {
    agent.operate(&["agent", "status"]).ok().json()["file_sets"][0].clone()
}

/// Killed at odd moments around a switch, the agent always leaves a whole set, and the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_set_is_there_whenever_the_agent_is_killed() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let certs = bed.path().join("certs");
    ca.create_entry(ID, &["signet:file:app"], "node-1");
    let mut agent = start(&bed, &ca, set(&certs, "")).await;
    let mut serial = newer_than(&certs, None).await;
    for round in 0..6_u64 {
        agent.process.kill_hard().await;
        assert!(whole(&certs).is_some(), "round {round}");
        agent.start_again().await;
        if round % 2 == 0 {
            // As soon as something new lies there, half written or not.
            let sets = || std::fs::read_dir(&certs).unwrap().count();
            let before = sets();
            eventually("a switch to begin", async || (sets() != before || whole(&certs)? != serial).then_some(())).await;
        } else {
            serial = newer_than(&certs, Some(&serial)).await;
        }
    }
    agent.process.kill_hard().await;
    // Before the start: what it writes at once is the newer set already.
    let last = whole(&certs);
    agent.start_again().await;
    newer_than(&certs, last.as_deref()).await;
    let left = eventually("old sets to be gone", async || {
        let names = std::fs::read_dir(&certs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names.filter(|name| name.starts_with("..")).collect();
        (names.len() == 2).then_some(names)
    });
    left.await;
}

/// Owner and modes are those asked for, and a withdrawn entry or a CA that is away takes nothing from a running program.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_their_owners_and_outlive_the_ca_and_the_entry() {
    if !needs("files_are_their_owners_and_outlive_the_ca_and_the_entry", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let certs = bed.path().join("certs");
    let agent =
        start(&bed, &ca, set(&certs, "owner = \"nobody\"\ngroup = \"12345\"\nformats = [\"pem\", \"combined-pem\"]")).await;
    // The agent has the identity, for a process: that alone writes nothing.
    let uid = nix::unistd::getuid();
    let for_process = ca.create_entry(ID, &[&format!("unix:uid:{uid}")], "node-1");
    eventually("the identity to be held", async || {
        (agent.metric("signet_agent_identities{state=\"available\"}").await == Some(1.0)).then_some(())
    })
    .await;
    let why = eventually("the status to say why nothing is written", async || {
        status(&agent)["trouble"].as_str().filter(|why| why.contains("signet:file:app")).map(str::to_owned)
    });
    why.await;
    assert!(!certs.exists());
    let _deleted = ca.operate(&["entry", "delete", &for_process]).ok();
    let entry = ca.create_entry(ID, &["signet:file:app"], "node-1");
    let serial = newer_than(&certs, None).await;
    for (name, mode) in [("key.pem", 0o600), ("combined.pem", 0o600), ("cert-chain.pem", 0o644), ("root-cert.pem", 0o644)] {
        let metadata = std::fs::metadata(certs.join(name)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (mode, 65_534, 12_345), "{name}");
        let reads = |user: &str| {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), "--regid=54321", "--clear-groups", "cat"]).arg(certs.join(name));
            command.output().unwrap().status.success()
        };
        assert!(reads("65534"), "its owner reads {name}");
        assert_eq!(reads("10001"), mode == 0o644, "another user and {name}");
    }
    // The set lies there a moment before the agent says so.
    eventually("the set to be shown as current", async || {
        (agent.metric("signet_files_sets{state=\"current\"}").await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(status(&agent)["serial"], serial.as_str());

    let _deleted = ca.operate(&["entry", "delete", &entry]).ok();
    eventually("the set to be shown as withdrawn", async || {
        (agent.metric("signet_files_sets{state=\"withdrawn\"}").await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(whole(&certs), Some(serial.clone()), "it lives out its time");
    ca.kill_hard().await;
    eventually("the agent to notice", async || (agent.metric("signet_agent_sync_connected").await == Some(0.0)).then_some(()))
        .await;
    assert_eq!(whole(&certs), Some(serial.clone()));
    ca.start_again().await;
    ca.create_entry(ID, &["signet:file:app"], "node-1");
    newer_than(&certs, Some(&serial)).await;
    eventually("the set to be current", async || (status(&agent)["state"] == "current").then_some(())).await;
}

/// A directory in which others could lay links is refused by `agent check` and written to by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_may_change_is_refused_with_the_reason() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let certs = bed.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let open = |mode| std::fs::set_permissions(&certs, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let token = ca.create_token("node-1");
    let config = Agent::configure(&bed, &ca, "node-1", &token, set(&certs, ""));
    let check = || tests::Cli::run(&["agent", "check", "--config", config.to_str().unwrap()]);
    open(0o777);
    let refused = check();
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("files app") && refused.stderr.contains("chmod go-w"), "{}", refused.stderr);
    let agent = Agent::run(bed.path(), "node-1").await;
    ca.create_entry(ID, &["signet:file:app"], "node-1");
    eventually("the failure to be shown", async || {
        (agent.metric("signet_files_sets{state=\"not_written\"}").await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(std::fs::read_dir(&certs).unwrap().count(), 0);
    open(0o755);
    let _good = check().ok();
    eventually("the set to be written at the next try", async || whole(&certs)).await;
}
