//! Nodes: who becomes one, who comes back, who does not.

use std::sync::Arc;
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey};
use proto::v1;
use tests::{
    Agent, AgentOptions, Ca, CaConnection, CaOptions, TestBed, attested_connection, bare_connection, eventually, hello, issue,
    on_this_machine,
};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

const SHORT: &str = "6s";

fn short_lived() -> CaOptions {
    CaOptions { agent_ttl: SHORT.to_owned(), leaf_ttl: SHORT.to_owned(), ..CaOptions::default() }
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// P7, first part: the one that may come back.
#[tokio::test(flavor = "multi_thread")]
async fn p07_an_agent_that_was_off_past_its_expiry_comes_back_by_itself() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, short_lived()).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    agent.process.stop().await;
    std::fs::remove_file(bed.path().join("node-1-token")).unwrap();
    let before = agent_serial(&ca, "node-1");
    lapse(&ca, "node-1").await;
    agent.start_again().await;
    agent.ready().await;
    assert_ne!(agent_serial(&ca, "node-1"), before, "it came back with a certificate of its own");
}

/// P7, second part: evicted, banned, and a stranger with a copied SVID stay out; the unbanned twin returns with a new token.
#[tokio::test(flavor = "multi_thread")]
async fn p07_evicted_and_banned_nodes_stay_out_and_so_does_a_copied_svid() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, short_lived()).await;
    let mut evicted = Agent::start(&bed, &ca, "evicted").await;
    let mut banned = Agent::start(&bed, &ca, "banned").await;
    let mut copied = Agent::start(&bed, &ca, "copied").await;
    for agent in [&mut evicted, &mut banned, &mut copied] {
        agent.process.stop().await;
        std::fs::remove_file(bed.path().join(format!("{}-token", agent.node))).unwrap();
    }
    let _done = ca.operate(&["node", "evict", "evicted"]).ok();
    let _done = ca.operate(&["node", "ban", "banned"]).ok();
    // The thief has every file of the node but its two keys, and puts keys of its own in their place.
    let stranger = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap().to_pkcs8_pem();
    std::fs::write(copied.state_dir().join("node-key.pem"), stranger.as_bytes()).unwrap();
    let svid = copied.state_dir().join("agent-svid.pem");
    let text = std::fs::read_to_string(&svid).unwrap();
    let (before, rest) = text.split_once("-----BEGIN PRIVATE KEY-----").unwrap();
    let (_key, after) = rest.split_once("-----END PRIVATE KEY-----\n").unwrap();
    std::fs::write(&svid, format!("{before}{}{after}", stranger.as_str())).unwrap();
    lapse(&ca, "copied").await;
    let outcomes: [(&mut Agent, &[&str]); 3] =
        [(&mut evicted, &["MUST_REATTEST", "token"]), (&mut banned, &["BANNED", "banned"]), (&mut copied, &["key"])];
    for (agent, reasons) in outcomes {
        agent.start_again().await;
        let node = agent.node.clone();
        eventually(&format!("{node} to say why it is out"), async || {
            let (status, text) = agent.readiness().await;
            assert_ne!(status, 200, "{node} came back");
            let why = if agent.process.is_running() { text } else { agent.process.stderr() };
            reasons.iter().any(|reason| why.contains(reason)).then_some(())
        })
        .await;
    }
    let _done = ca.operate(&["node", "unban", "banned"]).ok();
    banned.process.kill_hard().await;
    std::fs::remove_dir_all(banned.state_dir()).unwrap();
    drop(Agent::start(&bed, &ca, "banned").await);
}

/// P7, third part: who has a node's public key, or its SVID, and not the node key, does not come in its place.
#[tokio::test(flavor = "multi_thread")]
async fn p07_only_the_node_key_re_attests_a_node() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let (node_key, stranger) =
        (PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let first = bare_connection(&ca, &token).await.unwrap().attest(&token.token, &node_key).await.unwrap();
    let connection = bare_connection(&ca, &token).await.unwrap();
    let refused = connection.reattest(stranger.public_key(), &stranger).await.expect_err("an unknown key");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "MUST_REATTEST"));
    let refused = connection.reattest(node_key.public_key(), &stranger).await.expect_err("the node's name with another's proof");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PROOF_INVALID"));
    let again = connection.reattest(node_key.public_key(), &node_key).await.expect("the node itself");
    assert_eq!((again.node.as_str(), again.svid.id()), ("node-1", first.svid.id()));
    assert_ne!(again.svid.leaf().serial(), first.svid.leaf().serial());
}

/// An eviction or a ban ends what is open, in under a second.
#[tokio::test(flavor = "multi_thread")]
async fn p07_an_eviction_ends_an_open_stream_within_a_second() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    for (node, verb, code) in [("gone", "evict", Code::Unauthenticated), ("barred", "ban", Code::PermissionDenied)] {
        let (connection, _attested) = attested_connection(&ca, node).await;
        let first = v1::SyncRequest { message: Some(v1::sync_request::Message::Hello(hello())) };
        let requests = futures_util::StreamExt::chain(tokio_stream::iter([first]), tokio_stream::pending());
        let mut stream = connection.node().sync(requests).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        let second = on_this_machine(Duration::from_secs(1), || drop(ca.operate(&["status"])));
        let _done = ca.operate(&["node", verb, node]).ok();
        let end = tokio::time::timeout(second, async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                }
            }
        });
        let status = end.await.expect("the stream ends within a second").expect("with a reason");
        assert_eq!(status.code(), code, "{status:?}");
    }
}

/// P8: one token, 64 keys at once, one node; and the key that won may ask again.
#[tokio::test(flavor = "multi_thread")]
async fn p08_of_64_parallel_uses_of_a_token_exactly_one_makes_a_node() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let mut uses = JoinSet::new();
    for _ in 0..64 {
        let connection = bare_connection(&ca, &token).await.unwrap();
        let token = token.token.clone();
        uses.spawn(async move {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let outcome = connection.attest(&token, &key).await;
            (key, outcome)
        });
    }
    let mut winners = Vec::new();
    for (key, outcome) in uses.join_all().await {
        match outcome {
            Ok(node) => winners.push((key, node)),
            Err(status) => assert_eq!(reason(&status), "TOKEN_USED", "{status:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let (key, first) = winners.remove(0);
    let again = bare_connection(&ca, &token).await.unwrap().attest(&token.token, &key).await.expect("the same key may retry");
    assert_eq!((again.node.as_str(), again.svid.id()), ("node-1", first.svid.id()));
    let nodes = ca.operate(&["node", "list"]).ok().json();
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes}");
}

/// An operator ends a token that nobody used, and one by which its key could come back; the one beside them is as good as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_join_token_lets_nobody_in_and_another_one_does() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let key = || PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let [kept, open, used] = ["node-1", "node-2", "node-3"].map(|node| ca.create_token(node));
    let used_key = key();
    for what in ["a token is good", "and its key may retry"] {
        let connection = bare_connection(&ca, &used).await.unwrap();
        connection.attest(&used.token, &used_key).await.expect(what);
    }
    let listed = || ca.operate(&["token", "list"]).ok().json();
    let standing = || {
        let listed = listed();
        let told =
            listed.as_array().unwrap().iter().map(|token| (token["node"].as_str().unwrap().to_owned(), token["used"] == true));
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    };
    let so = |node: &str, used: bool| (node.to_owned(), used);
    assert_eq!(standing(), [so("node-1", false), so("node-2", false), so("node-3", true)]);

    for (node, token, key) in [("node-2", &open, key()), ("node-3", &used, used_key)] {
        let listed = listed();
        let listed = listed.as_array().unwrap().iter().find(|token| token["node"] == node).unwrap();
        let revoked = ca.operate(&["token", "revoke", listed["id"].as_str().unwrap()]).ok().json();
        assert_eq!((&revoked["node"], &revoked["id"]), (&node.into(), &listed["id"]), "{revoked}");
        let refused = bare_connection(&ca, token).await.unwrap().attest(&token.token, &key).await.expect_err("it was revoked");
        assert_eq!(reason(&refused), "TOKEN_EXPIRED", "{refused:?}");
        assert!(refused.message().contains("an operator revoked it"), "{refused:?}");
        let again = ca.operate(&["token", "revoke", listed["id"].as_str().unwrap()]);
        assert!(again.code == 3 && again.stderr.contains("TOKEN_NOT_FOUND"), "{again:?}");
    }
    assert_eq!(standing(), [so("node-1", false)]);
    bare_connection(&ca, &kept).await.unwrap().attest(&kept.token, &key()).await.expect("the other one is as it was");
    let nodes = ca.operate(&["node", "list"]).ok().json();
    let names: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["node-1", "node-3"], "who joined by a token stays");
    let events = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json();
    let revoked = events.as_array().unwrap().iter().filter(|event| event["kind"] == "token_revoked");
    assert_eq!(revoked.count(), 2);
}

/// A proof made for one connection is worth nothing on another.
#[tokio::test(flavor = "multi_thread")]
async fn p08_a_proof_from_another_connection_is_refused() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let (one, mut other) = (bare_connection(&ca, &token).await.unwrap(), bare_connection(&ca, &token).await.unwrap());
    other.exporter = one.exporter;
    let refused = other.attest(&token.token, &key).await.expect_err("a moved proof is refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PROOF_INVALID"));
    assert!(one.attest(&token.token, &key).await.is_ok());
}

/// P9: the token stays where it is when the CA is not the one that was named.
#[tokio::test(flavor = "multi_thread")]
async fn p09_with_a_wrong_fingerprint_the_token_never_leaves_the_machine() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let wrong = "00".repeat(32);
    let relay = crate::relay::RecordingRelay::start(ca.address).await;
    let options = AgentOptions { fingerprint: Some(wrong.clone()), ca_address: Some(relay.address), ..AgentOptions::default() };
    let mut agent = Agent::launch(&bed, &ca, "node-1", &token, options).await;
    let status = agent.process.exit(Duration::from_secs(60)).await;
    assert!(!status.success());
    let said = agent.process.stderr();
    assert!(said.contains(&wrong) && said.contains(&token.ca_fingerprint), "both fingerprints are shown: {said}");
    let refused = relay.bytes_after_first_flight().await;
    // The twin through the same relay does speak, and the token was still good for it.
    let relay = crate::relay::RecordingRelay::start(ca.address).await;
    let options = AgentOptions { ca_address: Some(relay.address), ..AgentOptions::default() };
    let agent = Agent::launch(&bed, &ca, "node-1", &token, options).await;
    agent.ready().await;
    let spoken = relay.bytes_after_first_flight().await;
    // After its hello the refusing agent sends an alert and nothing else; a request with the token takes far more.
    assert!(refused < 64, "the agent sent {refused} bytes to a CA it did not know");
    assert!(spoken > 500, "the twin sent {spoken} bytes only: this measure would see nothing");
}

/// P12: a workload is neither CA nor agent.
#[tokio::test(flavor = "multi_thread")]
async fn p12_a_workload_svid_can_play_neither_ca_nor_agent() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (good, _node) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    let workload = Arc::new(issue(&good, &[&entry]).await.expect("an agent fetches for its entries").remove(0));

    let token = ca.create_token("node-2");
    let open = async |svid| CaConnection::open(ca.address, "example.org", &token.ca_fingerprint, svid).await.unwrap();
    let as_workload = open(Some(workload.clone())).await;
    let refused = issue(&as_workload, &[&entry]).await.expect_err("a workload may not fetch");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_AN_AGENT"));
    let refused = as_workload.node().renew_agent(v1::RenewAgentRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_AN_AGENT"));
    let first = v1::SyncRequest { message: Some(v1::sync_request::Message::Hello(hello())) };
    let answer = as_workload.node().sync(tokio_stream::iter([first])).await;
    let refused = match answer {
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_AN_AGENT"));
    // Without a certificate the node services are closed as well.
    let refused = issue(&open(None).await, &[&entry]).await.expect_err("nobody may not fetch");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "MUST_REATTEST"));

    // As a server it is no CA: the agent goes away before it says anything.
    let impostor = crate::relay::Impostor::start(workload, &ca).await;
    let options = AgentOptions { ca_address: Some(impostor.address), ..AgentOptions::default() };
    let agent = Agent::launch(&bed, &ca, "node-2", &token, options).await;
    let failure = impostor.handshake_failure().await;
    assert!(failure.contains("alert") || failure.contains("Alert"), "the agent refuses by an alert: {failure}");
    assert_ne!(agent.readiness().await.0, 200);
}

fn agent_serial(ca: &Ca, node: &str) -> String {
    let nodes = ca.operate(&["node", "list"]).ok().json();
    let node = nodes.as_array().and_then(|nodes| nodes.iter().find(|record| record["node"] == node)).cloned();
    node.and_then(|record| record["serial"].as_str().map(str::to_owned)).expect("the node is listed with its serial")
}

/// Waits until the node's certificate has lapsed, by the CA's own record.
async fn lapse(ca: &Ca, node: &str) {
    let expiry = {
        let nodes = ca.operate(&["node", "list"]).ok().json();
        let record = nodes.as_array().and_then(|nodes| nodes.iter().find(|record| record["node"] == node)).cloned();
        let text = record.and_then(|record| record["svid_expires_at"].as_str().map(str::to_owned));
        text.expect("the node is listed with its expiry")
    };
    let clock = runtime::clock::SystemClock::shared();
    eventually("the agent's SVID to lapse", async || (pki::Timestamp::from(clock.now()).to_string() > expiry).then_some(()))
        .await;
}
