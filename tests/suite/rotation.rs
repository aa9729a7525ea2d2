//! Authorities are rotated while everything goes on: `signet drill` and `signet authority` at a real CA, agents and Envoys.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::{
    Agent, Ca, CaOptions, Cli, CliOutput, Envoy, Requirement, TestBed, Traffic, TrafficShape, eventually, eventually_within,
    needs,
};

use crate::envoy_pair::{API, Mesh, WEB, inbound_bootstrap, serial};

/// Fifty connections that ask once a second each, ten answers that last, and a new connection ten times a second.
const FIFTY: TrafficShape =
    TrafficShape { kept: 50, every: Duration::from_secs(1), fresh_every: Duration::from_millis(100), streams: 10 };

/// Runs an operator's command beside the test: it may take as long as a rotation.
async fn operate(ca: &Ca, arguments: &[&str]) -> CliOutput {
    let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    arguments.extend(["--socket".to_owned(), ca.admin_socket().display().to_string(), "-o".to_owned(), "json".to_owned()]);
    tokio::task::spawn_blocking(move || Cli::run(&arguments)).await.unwrap()
}

/// Name and slot of each authority in force.
fn slots(ca: &Ca) -> BTreeMap<String, String> {
    let shown = ca.operate(&["authority", "show"]).ok().json();
    let text = |authority: &Value, key: &str| authority[key].as_str().unwrap().to_owned();
    let authorities = shown["authorities"].as_array().unwrap();
    authorities.iter().map(|authority| (text(authority, "name"), text(authority, "slot"))).collect()
}

/// The events of a drill, one JSON value a line.
fn events(output: &CliOutput) -> Vec<Value> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Promise 4, by real Envoys: connections that work, kept and new, notice nothing of a whole root rotation.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_rotated_under_fifty_connections_and_none_fails() {
    if needs("a_root_is_rotated_under_fifty_connections_and_none_fails", Requirement::Envoy) {
        println!("{}", a_root_is_rotated_under(FIFTY).await);
    }
}

/// The same under as many as Envoy lets through at a time unless it is told otherwise (1,024 for a cluster).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_root_is_rotated_under_a_thousand_connections_and_none_fails() {
    if needs("full_a_root_is_rotated_under_a_thousand_connections_and_none_fails", Requirement::Envoy) {
        println!("{}", a_root_is_rotated_under(TrafficShape { kept: 950, streams: 50, ..FIFTY }).await);
    }
}

/// What was seen.
async fn a_root_is_rotated_under(shape: TrafficShape) -> String {
    let mesh = Mesh::start("1h").await;
    let server = mesh.inbound(&[WEB]).await;
    let (client, entrance) = mesh.outbound_tcp("web", WEB, server.listener("inbound").await, API).await;
    let before = (serial(&server).await, serial(&client).await);
    let traffic = Traffic::start(entrance, shape).await;

    let drill = operate(&mesh.ca, &["drill", "root"]).await.ok();
    let last = events(&drill).pop().unwrap();
    assert_eq!(last["outcome"], "completed", "{last}");
    assert_eq!(slots(&mesh.ca), slots_of(&[("root-2", "active"), ("issuer-2", "active"), ("jwt-1", "active")]));
    assert!(serial(&server).await != before.0 && serial(&client).await != before.1, "both hold leaves of the new root");
    // And a while longer: what was taken away would be missed now.
    let (so_far, kept, streams) = (traffic.seen(), count(shape.kept), count(shape.streams));
    eventually_within("three more answers of each", Duration::from_secs(60), async || {
        let seen = traffic.seen();
        (seen.answered > so_far.answered + 3 * kept && seen.streamed > so_far.streamed + 3 * streams).then_some(())
    })
    .await;
    let report = traffic.stop().await;
    assert_eq!((report.failed, report.failures.as_slice()), (0, [].as_slice()), "{report:?}");
    let handshakes = server.stat("ssl.handshake").await;
    assert!(handshakes >= report.fresh + kept + streams, "{} new connections made {handshakes} handshakes", report.fresh);
    assert_eq!(server.stat("ssl.connection_error").await, 0);
    format!("root rotation: {} answers, {} lines, {handshakes} mTLS handshakes, none lost", report.answered, report.streamed)
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap()
}

/// The positive control of the test above: the old root goes before everybody knows the new one, and that is seen. With a node that
/// hears of nothing, since one that does has renewed before anybody notices.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_root_that_goes_first_is_noticed() {
    if !needs("an_old_root_that_goes_first_is_noticed", Requirement::Envoy) {
        return;
    }
    let mesh = Mesh::start("1h").await;
    let mut far = Agent::start(&mesh.bed, &mesh.ca, "node-2").await;
    mesh.ca.create_entry(API, &[&format!("unix:path:{}", Envoy::program(&mesh.bed, "api").display())], "node-2");
    let bootstrap = inbound_bootstrap(API, mesh.service.address, &[WEB], &far.api_socket());
    let server = Envoy::start(&mesh.bed, "api", &bootstrap).await;
    server.ready().await;
    let (_client, entrance) = mesh.outbound_tcp("web", WEB, server.listener("inbound").await, API).await;
    let traffic = Traffic::start(entrance, TrafficShape { kept: 1, ..FIFTY }).await;
    far.process.kill_hard().await;

    let _prepared = operate(&mesh.ca, &["authority", "prepare", "root"]).await.ok();
    let activate = ["authority", "activate", "root-2"];
    let refused = operate(&mesh.ca, &activate).await;
    assert!(refused.code != 0 && refused.stderr.contains("node-2"), "{refused:?}");
    let accepted = ["--force", "--accept-node", "node-2"];
    eventually("node-1 to have the bundle", async || {
        (operate(&mesh.ca, &[&activate[..], &accepted[..]].concat()).await.code == 0).then_some(())
    })
    .await;
    let revoke = ["authority", "revoke", "root-1"];
    let refused = operate(&mesh.ca, &[&revoke[..], &accepted[..]].concat()).await;
    assert!(refused.code != 0 && refused.stderr.contains("certificates rest on it"), "{refused:?}");
    assert_eq!(traffic.seen().failed, 0, "{:?}", traffic.seen());
    let _revoked = operate(&mesh.ca, &[&revoke[..], &accepted[..], &["--accept-leaves", "1000"]].concat()).await.ok();
    eventually("new connections to fail", async || (traffic.seen().failed > 3).then_some(())).await;
}

/// An agent that is away holds the gate, is named, and heals without a restart of anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_straggler_holds_the_gate_and_heals() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let _present = Agent::start(&bed, &ca, "node-1").await;
    let mut absent = Agent::start(&bed, &ca, "node-2").await;
    absent.process.kill_hard().await;
    let drill = operate(&ca, &["drill", "root"]);
    let waits = async {
        eventually("the drill to wait for node-2", async || {
            let shown = ca.operate(&["authority", "show"]).ok().json();
            let rotation = shown["rotations"].as_array()?.first()?.clone();
            let waits = rotation["waiting"].to_string();
            (rotation["phase"] == "distribute" && waits.contains("node-2")).then_some(())
        })
        .await;
        assert_eq!(slots(&ca)["root-1"], "active", "nothing goes on without it");
        absent.start_again().await;
    };
    let (drill, ()) = tokio::join!(drill, waits);
    assert_eq!(events(&drill.ok()).pop().unwrap()["outcome"], "completed");
    assert_eq!(slots(&ca)["root-2"], "active");
    absent.ready().await;
}

fn slots_of(wanted: &[(&str, &str)]) -> BTreeMap<String, String> {
    wanted.iter().map(|(name, slot)| ((*name).to_owned(), (*slot).to_owned())).collect()
}
