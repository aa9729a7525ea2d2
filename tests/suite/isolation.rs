//! One caller never gets what is another's.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;
use tests::{Agent, Ca, CaOptions, Process, Requirement, SdsClient, TestBed, eventually, needs};

const USERS: [u32; 2] = [10_001, 10_002];

/// P10: two users, a warm cache, each asking for both identities by name: each gets its own and silence for the other's.
#[tokio::test(flavor = "multi_thread")]
async fn p10_two_callers_with_a_warm_cache_get_their_own_keys_only() {
    if !needs("p10_two_callers_with_a_warm_cache_get_their_own_keys_only", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let ids = USERS.map(|uid| format!("spiffe://example.org/user/{uid}"));
    for (uid, id) in USERS.iter().zip(&ids) {
        ca.create_entry(id, &[&format!("unix:uid:{uid}")], "node-1");
    }
    eventually("both identities to be in the cache", async || {
        (agent.metric("signet_agent_identities{state=\"available\"}").await == Some(2.0)).then_some(())
    })
    .await;
    let program = bed.path().join("sds-fetch");
    // By a process of its own: a fork of this one at the wrong moment would keep the copy open for writing, and so unstartable.
    assert!(
        Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_sds-fetch")]).arg(&program).status().unwrap().success()
    );
    let callers: Vec<_> = USERS
        .iter()
        .map(|uid| {
            let mut command = Command::new(&program);
            command.arg(agent.api_socket()).arg("600").args(["default", &ids[0], &ids[1], "ROOTCA"]).uid(*uid).gid(*uid);
            Process::start(&format!("caller-{uid}"), &mut command, bed.path())
        })
        .collect();
    for (caller, own) in callers.iter().zip(&ids) {
        let all = ["default", own, "ROOTCA"].map(|name| format!("\"name\":\"{name}\""));
        eventually("a caller's own secrets", async || all.iter().all(|name| caller.stdout().contains(name)).then_some(())).await;
    }
    let refused = "signet_sds_unanswered_names_total{reason=\"not_the_callers\"}";
    eventually("the other's name to be judged for both", async || (agent.metric(refused).await == Some(2.0)).then_some(())).await;
    for (caller, own) in callers.into_iter().zip(&ids) {
        let said = caller.stdout();
        let secrets: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .flat_map(|answer| answer["secrets"].as_array().unwrap().clone())
            .collect();
        let with_key: Vec<_> = secrets.iter().filter(|secret| secret["has_key"] == true).collect();
        assert!(with_key.iter().any(|secret| secret["name"] == "default"), "{said}");
        assert!(with_key.iter().any(|secret| secret["name"] == own.as_str()), "{said}");
        assert!(with_key.iter().all(|secret| secret["id"] == own.as_str()), "another's key was given: {said}");
        assert!(secrets.iter().any(|secret| secret["name"] == "ROOTCA" && secret["validates"] == true), "{said}");
    }
}

/// P10: another program under the same path, of the same user, is another program.
#[tokio::test(flavor = "multi_thread")]
async fn p10_a_swapped_binary_under_the_same_path_gets_nothing() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let program = bed.path().join("web");
    // By processes of their own: a fork of this one at the wrong moment would keep the copy open for writing, and so unstartable.
    let install = |with: &str| {
        let script = format!("cp \"$1\" \"$2.new\" && printf '{with}' >> \"$2.new\" && mv \"$2.new\" \"$2\" && sha256sum \"$2\"");
        let output =
            Command::new("sh").args(["-c", &script, "sh", env!("CARGO_BIN_EXE_sds-fetch")]).arg(&program).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let digest = install("");
    let selectors = [format!("unix:path:{}", program.display()), format!("unix:sha256:{digest}")];
    ca.create_entry("spiffe://example.org/web", &selectors.each_ref().map(String::as_str), "node-1");
    eventually("the identity to be held", async || {
        (agent.metric("signet_agent_identities{state=\"available\"}").await == Some(1.0)).then_some(())
    })
    .await;
    let start = |name: &str| {
        let mut command = Command::new(&program);
        command.arg(agent.api_socket()).arg("600").arg("default");
        Process::start(name, &mut command, bed.path())
    };
    let has_key = |caller: &Process| caller.stdout().contains("\"has_key\":true");
    let gets_its_key = async |name: &str| {
        let caller = start(name);
        eventually("the program that was meant to get its key", async || has_key(&caller).then_some(())).await;
    };
    let count = async |name: &str| agent.metric(name).await.unwrap();
    let (asked, hashed) =
        ("signet_sds_unanswered_names_total{reason=\"no_identity\"}", "signet_workload_executables_hashed_total");
    gets_its_key("meant").await;
    let swapped = install("x");
    assert_ne!(swapped, digest);
    let before = (count(asked).await, count(hashed).await);
    let caller = start("swapped");
    eventually("the swapped program to have asked", async || (count(asked).await > before.0).then_some(())).await;
    assert!(count(hashed).await > before.1, "it was told apart by its content");
    assert!(!has_key(&caller), "another program under the same path");
    drop(caller);
    assert_eq!(install(""), digest);
    gets_its_key("meant-again").await;
}

/// A name that is not there yet is answered the moment it is, and never before by an empty answer.
#[tokio::test(flavor = "multi_thread")]
async fn p10_a_name_is_answered_the_moment_its_entry_is_made() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe(&["default"]).await.unwrap();
    let silence = tokio::time::timeout(std::time::Duration::from_secs(1), stream.next()).await;
    assert!(silence.is_err(), "a caller without an entry was answered: {silence:?}");
    let uid = nix::unistd::getuid();
    ca.create_entry("spiffe://example.org/late", &[&format!("unix:uid:{uid}")], "node-1");
    let answer = tokio::time::timeout(std::time::Duration::from_secs(60), stream.next()).await.expect("an answer").unwrap();
    assert_eq!(answer.secrets.len(), 1);
    assert!(answer.secrets[0].key_pem.is_some());
}
