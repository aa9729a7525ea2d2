//! The audit log against what agents keep of it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Agent, Ca, CaOptions, Cli, CliOutput, TestBed, eventually};

/// A checkpoint at each look, once a second, at which there are new events.
fn eager() -> CaOptions {
    CaOptions { extra: "[audit]\ncheckpoint_events = 1\n".to_owned(), ..CaOptions::default() }
}

/// The sequence of the last event now.
fn last_event(ca: &Ca) -> u64 {
    ca.operate(&["audit", "tail", "-n", "1"]).ok().json()[0]["sequence"].as_u64().unwrap()
}

/// What the agent keeps, once that covers this event.
async fn kept(agent: &Agent, sequence: u64) -> Value {
    eventually("the agent to keep a checkpoint", async || {
        let output = agent.operate(&["agent", "checkpoint"]);
        let covers = output.code == 0 && output.json()["sequence"].as_u64().unwrap() >= sequence;
        covers.then(|| output.json())
    })
    .await
}

fn exported(bed: &TestBed, name: &str, checkpoint: &Value) -> PathBuf {
    bed.write(name, &checkpoint.to_string())
}

fn verify(ca: &Ca, store: Option<&Path>, further: &[&str]) -> CliOutput {
    match store {
        None => ca.operate(&[&["audit", "verify"], further].concat()),
        Some(store) => Cli::run(&[&["audit", "verify", "-o", "json", "--store", store.to_str().unwrap()], further].concat()),
    }
}

fn kinds(output: &CliOutput) -> Vec<String> {
    let document = output.json();
    let findings = document["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// Every file of the store, so that nothing is brought back from a log beside it.
fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        match std::fs::copy(from.join(name), to.join(name)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_file(to.join(name)).ok();
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_holds_the_log_against_what_agents_keep_by_the_ca_and_without_it() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, eager()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let other = Agent::start(&bed, &ca, "node-2").await;
    let status = ca.operate(&["status"]).ok().json();
    let key = status["audit_key"].as_str().unwrap().to_owned();
    let end = last_event(&ca);
    let (one, two) = (kept(&agent, end).await, kept(&other, end).await);
    assert_eq!(one["trust_domain"], "example.org");
    assert_eq!(one["refused"], Value::Null);
    let both = exported(&bed, "both.json", &Value::Array(vec![one.clone(), two]));
    let state_file = agent.state_dir().join("audit-checkpoint.json");
    let shown = ["--checkpoint", both.to_str().unwrap(), state_file.to_str().unwrap(), "--key", &key];
    let store = ca.state_dir().join("store.db");
    for store in [None, Some(store.as_path())] {
        let verdict = verify(&ca, store, &shown).ok().json();
        assert_eq!((&verdict["holds"], &verdict["shown"]), (&Value::Bool(true), &Value::from(3)), "{verdict}");
        assert!(verdict["covered_until"].as_u64().unwrap() >= end, "{verdict}");
        assert_eq!(verdict["keys"][0], key.as_str());
        let wrong = verify(&ca, store, &["--key", &"0".repeat(64)]);
        assert_eq!(wrong.code, 1, "{}", wrong.stdout);
        assert!(kinds(&wrong).iter().all(|kind| kind == "checkpoint_of_another_key"), "{}", wrong.stdout);
    }
    // What was changed on its way is no checkpoint.
    let mut forged = one;
    forged["sequence"] = Value::from(1);
    let forged = exported(&bed, "forged.json", &forged);
    let refused = verify(&ca, None, &["--checkpoint", forged.to_str().unwrap()]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("signature"), "{}", refused.stderr);

    let none = ca.operate(&["audit", "orphans", "--since", "24h"]);
    eventually("each intent to have its result", async || {
        (ca.operate(&["audit", "orphans"]).ok().json() == Value::Array(Vec::new())).then_some(())
    })
    .await;
    assert_eq!(none.code, 0, "{}", none.stderr);
    let offline = Cli::run(&["audit", "orphans", "--jwt", "-o", "json", "--store", store.to_str().unwrap()]).ok().json();
    assert_eq!(offline, Value::Array(Vec::new()));
}

/// The store is put back as it was some events ago. The chain holds by itself; the CA learns of it from its first agent, the agent from
/// the CA, and the auditor from what the agent keeps. Workloads are served and certificates issued throughout.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_back_is_found_by_the_ca_the_agent_and_the_auditor() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, eager()).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    let _covered = kept(&agent, last_event(&ca)).await;
    let backup = bed.path().join("backup");
    ca.process.stop().await;
    copy_store(&ca.state_dir(), &backup);

    ca.start_again().await;
    ca.ready().await;
    let _token = ca.create_token("lost");
    let newest = kept(&agent, last_event(&ca)).await;
    let newest = exported(&bed, "newest.json", &newest);
    let shown = ["--checkpoint", newest.to_str().unwrap()];
    let _holds = verify(&ca, None, &shown).ok();
    ca.process.stop().await;
    copy_store(&backup, &ca.state_dir());

    ca.start_again().await;
    ca.ready().await;
    let warning = eventually("the CA to be told by its agent", async || {
        let status = ca.operate(&["status"]).ok().json();
        status["warnings"].as_array().unwrap().iter().find_map(|warning| {
            let warning = warning.as_str().unwrap();
            warning.contains("node-1").then(|| warning.to_owned())
        })
    })
    .await;
    assert!(warning.contains("backup"), "{warning}");
    assert!(ca.metrics().await.contains("signet_ca_audit_forks 1\n"));
    let _holds = verify(&ca, None, &[]).ok();
    for store in [None, Some(ca.state_dir().join("store.db"))] {
        let found = verify(&ca, store.as_deref(), &shown);
        assert_eq!(found.code, 1, "{}", found.stdout);
        assert!(["chain_rebuilt", "ends_before_checkpoint"].contains(&kinds(&found)[0].as_str()), "{}", found.stdout);
    }

    let refused = eventually("the agent to refuse what contradicts", async || {
        let refused = agent.operate(&["agent", "checkpoint"]).ok().json()["refused"].clone();
        refused["why"].as_str().map(str::to_owned)
    })
    .await;
    assert!(refused.contains("that is kept"), "{refused}");
    assert!(agent.metric("signet_agent_alarms_total{kind=\"checkpoint_refused\"}").await.unwrap() >= 1.0);
    eventually("readiness to warn of it", async || {
        let (code, text) = agent.readiness().await;
        assert_eq!(code, 200, "{text}");
        text.contains("warning: a checkpoint of the CA's audit chain was refused").then_some(())
    })
    .await;
    // A restart forgets neither.
    let before = std::fs::read(agent.state_dir().join("audit-checkpoint.json")).unwrap();
    agent.process.stop().await;
    agent.start_again().await;
    agent.ready().await;
    assert_eq!(agent.operate(&["agent", "checkpoint"]).ok().json()["refused"]["why"], refused.as_str());
    assert_eq!(std::fs::read(agent.state_dir().join("audit-checkpoint.json")).unwrap(), before);

    assert_eq!(ca.operate(&["audit", "acknowledge-fork"]).ok().json()["acknowledged"], 1);
    assert_eq!(ca.operate(&["audit", "acknowledge-fork"]).code, 3);
    let end = last_event(&ca);
    eventually("checkpoints to be signed again", async || {
        (ca.operate(&["status"]).ok().json()["audit_checkpoint"]["sequence"].as_u64().unwrap() >= end).then_some(())
    })
    .await;
}
