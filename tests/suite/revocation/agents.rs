//! What agents and the CA do about it: nothing is served or issued until the identity, or the node, is restored.

use std::time::Duration;

use proto::workload;
use serde_json::Value;
use tests::{
    Agent, Ca, CaOptions, CliOutput, SdsClient, TestBed, WorkloadClient, attested_connection, eventually, eventually_within,
    http_get, issue,
};
use tonic::Code;

use super::{MINE, listed, own_uid, revoked_serials, serial, served};

const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn why(output: &CliOutput) -> String {
    assert_eq!(output.code, 3, "{}{}", output.stdout, output.stderr);
    let document: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    document["why"].as_str().unwrap_or_default().to_owned()
}

async fn jwt(client: &WorkloadClient) -> Result<(), Code> {
    let request = workload::JwtsvidRequest { audience: vec!["db".to_owned()], spiffe_id: String::new() };
    client.service().fetch_jwtsvid(client.request(request)).await.map(drop).map_err(|status| status.code())
}

fn kinds(ca: &Ca) -> Vec<String> {
    let events = ca.operate(&["audit", "tail", "-n", "100000"]).ok().json();
    events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_is_served_and_issued_nothing_until_it_is_restored() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    ca.create_entry(MINE, &[&own_uid()], "node-1");
    let (client, mut stream, svids) = served(&agent).await;
    let first = serial(&svids[0]);
    assert_eq!(jwt(&client).await, Ok(()), "as long as it may");
    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut secrets = sds.subscribe(&["default"]).await.unwrap();
    let answer = secrets.next().await.unwrap();
    secrets.acknowledge(&answer).await;
    // Another node that has an entry of the same name: what is denied is the name.
    let (far, _) = attested_connection(&ca, "node-2").await;
    let entry = ca.create_entry(MINE, &[&own_uid()], "node-2");
    let twin = issue(&far, &[&entry]).await.unwrap().remove(0).leaf().serial().to_string();

    let revoked = ca.operate(&["revoke", "--spiffe-id", MINE]).ok().json();
    assert_eq!((&revoked["identity_denied"], &revoked["certificates_total"]), (&true.into(), &2.into()), "{revoked}");
    let ended = tokio::time::timeout(LIMIT, stream.next()).await.expect("the stream ends").unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    assert_eq!(client.fetch_x509_svids().await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(jwt(&client).await, Err(Code::PermissionDenied), "the one that was kept is not given either");
    let refusal = issue(&far, &[&entry]).await.unwrap_err();
    assert!(refusal.code() == Code::PermissionDenied && refusal.message().contains("revoke"), "{refusal:?}");
    let mut sorted = revoked_serials(&ca);
    sorted.sort();
    let mut both = vec![first.clone(), twin];
    both.sort();
    assert_eq!(sorted, both);
    assert_eq!(listed(&ca)["identities"][0]["spiffe_id"], MINE);
    assert_eq!(ca.operate(&["entry", "show", &entry]).ok().json()["revoked"], true);

    // A restart of the agent, or of its peer, is no way around; the stream that is open stays so, and gets nothing.
    let quiet = tokio::time::timeout(Duration::from_secs(2), secrets.next()).await;
    assert!(quiet.is_err(), "SDS streams stay open: {quiet:?}");
    agent.process.stop().await;
    agent.start_again().await;
    agent.ready().await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    assert_eq!(client.fetch_x509_svids().await.unwrap_err().code(), Code::PermissionDenied);

    let restored = ca.operate(&["unrevoke", "--spiffe-id", MINE]).ok().json();
    assert_eq!(restored["changed"], true);
    assert_eq!(ca.operate(&["unrevoke", "--spiffe-id", MINE]).ok().json()["changed"], false);
    let (client, _stream, svids) = served(&agent).await;
    assert_ne!(serial(&svids[0]), first, "what was revoked stays so");
    assert!(revoked_serials(&ca).contains(&first));
    assert_eq!(jwt(&client).await, Ok(()));
    assert!(issue(&far, &[&entry]).await.is_ok());
    assert_eq!(ca.operate(&["entry", "show", &entry]).ok().json()["revoked"], false);
    let told = kinds(&ca);
    assert!(told.iter().any(|kind| kind.contains("revoke")) && told.iter().any(|kind| kind.contains("restored")), "{told:?}");
    let _whole = ca.operate(&["audit", "verify"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_cut_off_with_all_that_it_has_and_comes_back_by_a_new_token() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, node) = attested_connection(&ca, "node-2").await;
    let entry = ca.create_entry(MINE, &[&own_uid()], "node-2");
    let leaf = issue(&connection, &[&entry]).await.unwrap().remove(0).leaf().serial().to_string();
    let (bystander, _) = attested_connection(&ca, "node-1").await;
    let other = ca.create_entry("spiffe://example.org/other", &[&own_uid()], "node-1");
    let spared = issue(&bystander, &[&other]).await.unwrap().remove(0).leaf().serial().to_string();

    let revoked = ca.operate(&["revoke", "--node", "node-2", "--reason", "key-compromise"]).ok().json();
    assert_eq!((&revoked["node_banned"], &revoked["certificates_total"]), (&true.into(), &2.into()), "{revoked}");
    let serials = revoked_serials(&ca);
    let own = node.svid.leaf().serial().to_string();
    assert!(serials.contains(&leaf) && serials.contains(&own) && !serials.contains(&spared), "{serials:?}");
    assert!(issue(&connection, &[&entry]).await.is_err(), "the node is cut off");
    assert!(issue(&bystander, &[&other]).await.is_ok());
    let refused = why(&ca.operate(&["token", "create", "--node", "node-2"]));
    assert!(refused.contains("NODE_BANNED"), "{refused}");

    assert_eq!(ca.operate(&["unrevoke", "--node", "node-2"]).ok().json()["changed"], true);
    let (connection, _) = attested_connection(&ca, "node-2").await;
    assert!(issue(&connection, &[&entry]).await.is_ok(), "it attests anew");
    assert!(revoked_serials(&ca).contains(&leaf));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_may_be_deleted_with_what_was_issued_for_it() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let gone = ca.create_entry(MINE, &[&own_uid()], "node-1");
    let kept = ca.create_entry(MINE, &["unix:uid:1"], "node-1");
    let serials: Vec<_> =
        issue(&connection, &[&gone, &kept]).await.unwrap().iter().map(|svid| svid.leaf().serial().to_string()).collect();
    let deleted = ca.operate(&["entry", "delete", &gone, "--revoke", "--reason", "cessation-of-operation"]).ok().json();
    assert_eq!((&deleted["certificates_revoked"], &deleted["certificates_valid"]), (&1.into(), &0.into()), "{deleted}");
    assert_eq!(revoked_serials(&ca), [serials[0].as_str()]);
    assert_eq!(listed(&ca)["certificates"][0]["reason"], "cessation-of-operation");
    assert!(issue(&connection, &[&kept]).await.is_ok(), "the identity may be had by another entry");
    let by_entry = ca.operate(&["revoke", "--entry", &kept]).ok().json();
    assert_eq!(by_entry["certificates_total"], 2, "{by_entry}");
}

/// What is revoked stands on a list that other programs read, at once and after a restart of the CA.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_served_over_http_and_read_by_openssl() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry(MINE, &[&own_uid()], "node-1");
    let serial = issue(&connection, &[&entry]).await.unwrap().remove(0).leaf().serial().to_string();
    let text = async |ca: &Ca| {
        let lists = eventually("lists over HTTP", async || {
            let answer = http_get(ca.telemetry(), "/crl").await;
            (answer.status == 200 && answer.body.matches("BEGIN X509 CRL").count() == 2).then_some(answer.body)
        })
        .await;
        let mut text = String::new();
        for list in lists.split_inclusive("-----END X509 CRL-----\n").filter(|list| list.contains("BEGIN")) {
            let file = bed.write("list.pem", list);
            let read = std::process::Command::new("openssl").args(["crl", "-noout", "-text", "-in"]).arg(file).output().unwrap();
            assert!(read.status.success(), "{read:?}");
            text.push_str(&String::from_utf8_lossy(&read.stdout));
        }
        text.to_lowercase()
    };
    let before = text(&ca).await;
    assert!(before.contains("crl number") && before.contains("authority key identifier"), "{before}");
    assert!(!before.contains(&serial), "it is not there before: {before}");
    for list in listed(&ca)["status"]["lists"].as_array().unwrap() {
        let path = format!("/crl/{}.crl", list["issuer_key"].as_str().unwrap());
        assert_eq!(http_get(ca.telemetry(), &path).await.status, 200, "{path}");
    }
    assert_eq!(http_get(ca.telemetry(), "/crl/00.crl").await.status, 404);
    let _revoked = ca.operate(&["revoke", "--serial", &serial, "--reason", "superseded"]).ok();
    eventually_within("the serial on the list", LIMIT, async || text(&ca).await.contains(&serial).then_some(())).await;
    assert!(text(&ca).await.contains("superseded"));
    ca.kill_hard().await;
    ca.start_again().await;
    assert!(text(&ca).await.contains(&serial), "it was stored before it was told");
    let status = ca.operate(&["status"]).ok().json();
    assert_eq!((&status["revocation"]["complete"], &status["revocation"]["certificates"]), (&true.into(), &1.into()), "{status}");
}
