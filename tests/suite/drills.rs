//! `signet drill` and `signet authority` as an operator types them: the whole sequence, stragglers, leaving and coming back, the way back, and
//! a CA that is restarted in the middle.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::authority_admin_client::AuthorityAdminClient;
use serde_json::Value;
use tests::{Agent, Ca, CaOptions, CliOutput, Process, TestBed, eventually, signet_binary};
use tonic::Code;

/// How long the end of a drill may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The documents of an output, one a line; a line that is not whole yet is not there.
fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[track_caller]
fn ended(output: &CliOutput, code: i32, event: &str) -> Value {
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    let last = events(&output.stdout).pop().unwrap_or_else(|| panic!("no event: {}", output.stderr));
    assert_eq!(last["event"], event, "{last}");
    last
}

#[track_caller]
fn refused(output: &CliOutput, reason: &str) -> String {
    assert_eq!(output.code, 3, "{}{}", output.stdout, output.stderr);
    let document: Value = serde_json::from_str(&output.stderr).unwrap_or_else(|error| panic!("{error} in {:?}", output.stderr));
    let why = document["why"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains(reason), "{reason} is missing in {document}");
    why
}

/// Name and slot of each authority.
#[track_caller]
fn slots(ca: &Ca, further: &[&str]) -> Vec<(String, String)> {
    let shown = ca.operate(&[&["authority", "show"], further].concat()).ok().json();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    shown["authorities"].as_array().unwrap().iter().map(|one| (text(one, "name"), text(one, "slot"))).collect()
}

#[track_caller]
fn slot(ca: &Ca, name: &str) -> String {
    slots(ca, &["--all"]).into_iter().find(|(other, _)| other == name).map(|(_, slot)| slot).unwrap_or_default()
}

/// A drill in another terminal.
fn watcher(bed: &TestBed, ca: &Ca, name: &str, words: &[&str]) -> Process {
    let mut command = Command::new(signet_binary());
    command.arg("drill").args(words).args(["-o", "json", "--socket"]).arg(ca.admin_socket());
    Process::start(name, &mut command, bed.path())
}

/// Waits until a drill says that it awaits this node, for this kind of thing.
async fn awaits(watcher: &Process, node: &str) {
    eventually("the drill to name its straggler", async || {
        let told = events(&watcher.stdout()).pop()?;
        told["waiting"].as_array()?.iter().any(|wait| wait["nodes"].to_string().contains(node)).then_some(())
    })
    .await;
}

/// A CA, and a node that was attested and is gone.
async fn with_straggler(bed: &TestBed) -> Ca {
    let ca = Ca::start(bed, CaOptions::default()).await;
    let mut agent = Agent::start(bed, &ca, "node-1").await;
    agent.process.stop().await;
    ca
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_planned_rehearsed_and_shown() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    for (kind, old, new) in [("issuer", "issuer-1", "issuer-2"), ("root", "root-1", "root-2"), ("jwt", "jwt-1", "jwt-2")] {
        let before = slots(&ca, &["--all"]);
        let plan = ca.operate(&["drill", kind, "--dry-run"]).ok().json();
        let text = plan["steps"].to_string();
        assert!(text.contains(old) && text.contains(new) && plan["refusal"].is_null(), "{plan}");
        assert_eq!(slots(&ca, &["--all"]), before, "a dry run changes nothing");

        refused(&ca.operate(&["drill", kind, "--attach"]), "NO_ROTATION");
        let last = ended(&ca.operate(&["drill", kind]), 0, "completed");
        assert_eq!((last["from"].as_str(), last["probes_failed"].as_u64()), (Some(old), Some(0)), "{last}");
        let phases = last["phases"].as_array().unwrap();
        assert!(phases.len() == 4 && phases.iter().all(|phase| phase["seconds"].is_u64()), "{last}");
        assert_eq!((slot(&ca, old).as_str(), slot(&ca, new).as_str()), ("revoked", "active"));
        assert!(!slots(&ca, &[]).iter().any(|(name, _)| name == old), "what is revoked is shown with --all alone");
        // Who comes late is told the outcome.
        ended(&ca.operate(&["drill", kind, "--attach"]), 0, "completed");
        refused(&ca.operate(&["drill", kind, "--abort"]), "NO_ROTATION");
    }
    let status = ca.operate(&["status"]).ok().json();
    let names = status["authorities"].to_string();
    assert!(["root-2", "issuer-3", "jwt-2"].iter().all(|name| names.contains(name)), "{status}");
    let outage = ca.operate(&["drill", "outage"]).ok().json();
    assert!(outage["root_ends"].is_string() && outage["issuer_ends"].is_string(), "{outage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_steps_say_what_they_did_and_refuse_with_the_way_out() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let prepared = ca.operate(&["authority", "prepare", "jwt"]).ok().json();
    assert_eq!((&prepared["authorities"][0]["name"], &prepared["unchanged"]), (&"jwt-2".into(), &false.into()));
    assert_eq!(ca.operate(&["authority", "prepare", "jwt"]).ok().json()["unchanged"], true);
    let why = refused(&ca.operate(&["authority", "taint", "jwt-1"]), "AUTHORITY_SLOT");
    assert!(why.contains("signet drill jwt"), "{why}");
    refused(&ca.operate(&["authority", "revoke", "jwt-1"]), "AUTHORITY_SLOT");
    refused(&ca.operate(&["authority", "activate", "jwt-9"]), "AUTHORITY_NOT_FOUND");
    let activated = ca.operate(&["authority", "activate", "jwt-2"]).ok().json();
    assert_eq!(activated["authorities"][0]["slot"], "active", "{activated}");
    // The way back, and forth again.
    let _back = ca.operate(&["authority", "activate", "jwt-1"]).ok();
    let _forth = ca.operate(&["authority", "activate", "jwt-2"]).ok();
    let tainted = ca.operate(&["authority", "taint", "jwt-1"]).ok().json();
    assert!(tainted["authorities"][0]["tainted_at"].is_string(), "{tainted}");
    refused(&ca.operate(&["authority", "activate", "jwt-1"]), "AUTHORITY_SLOT");
    let _revoked = ca.operate(&["authority", "revoke", "jwt-1"]).ok();
    assert_eq!(slot(&ca, "jwt-1"), "revoked");
    let kinds = ca.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
    assert!(kinds.contains("jwt-2"), "the steps are in the record");
}

/// A rotation needs the word of a node that is away: it waits, names it, is left and found again, undone, and goes on when the node is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_straggler_is_named_and_nothing_goes_on_without_giving_it_up_by_name() {
    let bed = TestBed::new();
    let ca = with_straggler(&bed).await;
    let mut first = watcher(&bed, &ca, "first", &["root"]);
    awaits(&first, "node-1").await;
    let why = refused(&ca.operate(&["authority", "activate", "root-2"]), "GATE_CLOSED");
    assert!(why.contains("--accept-node node-1"), "{why}");
    refused(&ca.operate(&["authority", "activate", "root-2", "--force", "--accept-node", "node-2"]), "GATE_CLOSED");

    // Leaving is no end, and a second terminal sees the same.
    first.signal(Signal::SIGINT);
    assert_eq!(first.exit(LIMIT).await.code(), Some(5), "{}", first.stderr());
    assert_eq!(events(&first.stdout()).pop().unwrap()["event"], "detached");
    ended(&ca.operate(&["drill", "root", "--attach", "--wait", "1s"]), 5, "detached");
    let mut second = watcher(&bed, &ca, "second", &["root", "--attach"]);
    awaits(&second, "node-1").await;

    ended(&ca.operate(&["drill", "root", "--abort"]), 0, "rolled_back");
    assert_eq!(second.exit(LIMIT).await.code(), Some(6), "{}", second.stderr());
    assert_eq!((slot(&ca, "root-1").as_str(), slot(&ca, "root-2").as_str()), ("active", "revoked"));

    // Given up: root-3 signs. Its certificate was not: the old root stays, and now there is no way back.
    let mut third = watcher(&bed, &ca, "third", &["root", "--force", "--accept-node", "node-1"]);
    eventually("the old root to be tainted", async || {
        let told = events(&third.stdout()).pop()?;
        told["waiting"].as_array()?.iter().any(|wait| wait["kind"] == "leaves").then_some(())
    })
    .await;
    assert_eq!((slot(&ca, "root-1").as_str(), slot(&ca, "root-3").as_str()), ("old", "active"));
    refused(&ca.operate(&["drill", "root", "--abort"]), "NO_WAY_BACK");
    ended(&ca.operate(&["drill", "root", "--force", "--accept-leaves", "9"]), 0, "completed");
    assert_eq!(third.exit(LIMIT).await.code(), Some(0), "{}", third.stderr());
    assert_eq!(slot(&ca, "root-1"), "revoked");
}

/// Killed in the middle, the CA takes the rotation up again, and who watched finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_drill_goes_on_over_a_restart_of_the_ca() {
    let bed = TestBed::new();
    let mut ca = with_straggler(&bed).await;
    let mut drill = watcher(&bed, &ca, "drill", &["root"]);
    awaits(&drill, "node-1").await;
    ca.kill_hard().await;
    eventually("the drill to say that the CA is away", async || {
        events(&drill.stdout()).iter().any(|event| event["event"] == "away").then_some(())
    })
    .await;
    ca.start_again().await;
    awaits(&drill, "node-1").await;
    ended(&ca.operate(&["drill", "root", "--force", "--accept-node", "node-1", "--accept-leaves", "9"]), 0, "completed");
    assert_eq!(drill.exit(LIMIT).await.code(), Some(0), "{}", drill.stderr());
    assert_eq!(events(&drill.stdout()).pop().unwrap()["to"], "root-2");
}

/// What operators do is not there for agents, whoever they are; at the socket it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_attested_agent_reaches_no_operators_service() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = tests::attested_connection(&ca, "node-1").await;
    let mut authorities = AuthorityAdminClient::new(connection.channel.clone());
    let kind = v1::AuthorityKind::Root.into();
    let start = authorities.start_rotation(v1::StartRotationRequest { kind, accepted: None, natural: false }).await;
    let show = authorities.show_authorities(v1::ShowAuthoritiesRequest { revoked: false }).await;
    let status = AdminClient::new(connection.channel.clone()).status(v1::StatusRequest {}).await;
    let refusals = [start.map(drop), show.map(drop), status.map(drop)];
    assert_eq!(refusals.map(|answer| answer.unwrap_err().code()), [Code::Unimplemented; 3]);
    assert_eq!(slots(&ca, &[]).len(), 3, "nothing was begun");
}
