//! What an agent that restarts while its CA is away still knows, and what it still serves.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::{Agent, AgentOptions, Ca, CaOptions, Process, Requirement, SdsClient, TestBed, WorkloadClient, eventually, needs};
use tonic::Code;

const ENTITLED: u32 = 10_021;

struct Bed {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    program: PathBuf,
}

impl Bed {
    /// An agent with one entry, for another user than the test's own.
    async fn new(keys: impl FnOnce(&TestBed) -> String) -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions::default()).await;
        let options = AgentOptions { keys: keys(&bed), ..AgentOptions::default() };
        let agent = Agent::launch(&bed, &ca, "node-1", &ca.create_token("node-1"), options).await;
        agent.ready().await;
        let program = bed.path().join("workload-fetch");
        // By a process of its own: a fork of this one at the wrong moment would keep the copy open for writing, and so unstartable.
        let copied = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_workload-fetch")]).arg(&program).status();
        assert!(copied.unwrap().success());
        Self { bed, ca, agent, program }
    }

    async fn entry(&self, path: &str) -> String {
        let before = self.serials();
        let entry = self.ca.create_entry(&format!("spiffe://example.org{path}"), &[&format!("unix:uid:{ENTITLED}")], "node-1");
        eventually("its identity to be held", async || (self.serials().len() == before.len() + 1).then_some(())).await;
        entry
    }

    /// The entries on disk.
    fn stored_entries(&self) -> Vec<u8> {
        std::fs::read(self.agent.state_dir().join("entries.bin")).unwrap_or_default()
    }

    /// Serials of the identities that the agent holds.
    fn serials(&self) -> Vec<String> {
        let status = self.agent.operate(&["agent", "status"]).ok().json();
        let identities = status["identities"].as_array().unwrap();
        let held = identities.iter().filter(|identity| identity["state"] == "available");
        held.map(|identity| identity["serial"].as_str().unwrap().to_owned()).collect()
    }

    /// The first line of a client of the entitled user, which ends by itself when it is refused.
    async fn ask(&self) -> Value {
        let mut command = Command::new(&self.program);
        command.arg(self.agent.api_socket()).arg("60").uid(ENTITLED).gid(ENTITLED);
        let mut caller = Process::start("caller", &mut command, self.bed.path());
        serde_json::from_str(&caller.first_line().await).unwrap()
    }

    /// What the test's own process, which is entitled to nothing, is told.
    async fn refusal(&self) -> Code {
        let client = WorkloadClient::connect(&self.agent.api_socket()).await.unwrap();
        client.fetch_x509_svids().await.expect_err("this user has no entry").code()
    }
}

/// A secret file beside the state directory.
fn encrypted(bed: &TestBed) -> String {
    let key = bed.write("svid-cache-key", &"0123456789abcdef".repeat(2));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    format!("svid_cache = \"encrypted\"\nsvid_cache_key_file = \"{}\"", key.display())
}

/// E5: by the entries of the last sync the agent still tells a caller without an identity from one whose identity is not there.
#[tokio::test(flavor = "multi_thread")]
async fn e5_after_a_restart_without_its_ca_the_agent_knows_who_is_entitled() {
    if !needs("e5_after_a_restart_without_its_ca_the_agent_knows_who_is_entitled", Requirement::Root) {
        return;
    }
    let mut bed = Bed::new(|_| String::new()).await;
    bed.entry("/web").await;
    let svids = bed.ask().await;
    assert_eq!(svids["svids"][0]["id"], "spiffe://example.org/web");
    assert_eq!(bed.refusal().await, Code::PermissionDenied);
    bed.ca.kill_hard().await;
    bed.agent.process.stop().await;
    assert!(!bed.agent.state_dir().join("svids.sealed").exists(), "no key of a workload is on a disk unless that is asked for");
    bed.agent.start_again().await;
    assert_eq!(bed.refusal().await, Code::PermissionDenied, "the entries are known as the last sync left them");
    let said = bed.ask().await;
    assert_eq!(said["code"], "Unavailable", "{said}");
    assert!(said["message"].as_str().unwrap().contains("spiffe://example.org/web"), "{said}");

    bed.agent.process.stop().await;
    std::fs::remove_file(bed.agent.state_dir().join("entries.bin")).unwrap();
    bed.agent.start_again().await;
    assert_eq!(bed.refusal().await, Code::Unavailable, "and without them nobody is denied");
    bed.ca.start_again().await;
    eventually("the entries to be known", async || (bed.refusal().await == Code::PermissionDenied).then_some(())).await;
}

/// What was revoked is in no cache any more, and one from before, put back in its place, gives it to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn w_a_sealed_cache_gives_nothing_of_a_revoked_identity() {
    if !needs("w_a_sealed_cache_gives_nothing_of_a_revoked_identity", Requirement::Root) {
        return;
    }
    let mut bed = Bed::new(encrypted).await;
    for path in ["/web", "/lost"] {
        bed.entry(path).await;
    }
    let cached = async |bed: &Bed, count: f64| {
        eventually(&format!("{count} identities in the cache"), async || {
            (bed.agent.metric("signet_agent_svid_cache_identities").await == Some(count)).then_some(())
        })
        .await;
    };
    cached(&bed, 2.0).await;
    let both = bed.ask().await["svids"].clone();
    let ids = |svids: &Value| {
        let mut ids: Vec<_> = svids.as_array().unwrap().iter().map(|svid| svid["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&both), ["spiffe://example.org/lost", "spiffe://example.org/web"]);
    let (file, copy) = (bed.agent.state_dir().join("svids.sealed"), bed.bed.path().join("svids.sealed"));
    std::fs::copy(&file, &copy).unwrap();
    // Both come out of the cache, as long as they may.
    bed.agent.process.stop().await;
    bed.ca.kill_hard().await;
    bed.agent.start_again().await;
    assert_eq!(ids(&bed.ask().await["svids"]), ids(&both));
    bed.ca.start_again().await;

    let before = bed.stored_entries();
    let _revoked = bed.ca.operate(&["revoke", "--spiffe-id", "spiffe://example.org/lost"]).ok();
    cached(&bed, 1.0).await;
    eventually("the revocation to be stored", async || (bed.stored_entries() != before).then_some(())).await;
    bed.ca.kill_hard().await;
    for from_before in [false, true] {
        bed.agent.process.kill_hard().await;
        if from_before {
            std::fs::copy(&copy, &file).unwrap();
        }
        bed.agent.start_again().await;
        assert_eq!(ids(&bed.ask().await["svids"]), ["spiffe://example.org/web"], "a cache from before: {from_before}");
    }
}

/// With the sealed cache, an agent that restarts while the CA is down serves what it held, over both APIs; without its secret, or
/// for an entry that is gone, it does not.
#[tokio::test(flavor = "multi_thread")]
async fn w_a_sealed_cache_serves_over_a_restart_without_the_ca() {
    if !needs("w_a_sealed_cache_serves_over_a_restart_without_the_ca", Requirement::Root) {
        return;
    }
    let mut bed = Bed::new(encrypted).await;
    bed.entry("/web").await;
    let gone = bed.entry("/gone").await;
    let own = format!("unix:uid:{}", nix::unistd::getuid());
    let _sds = bed.ca.create_entry("spiffe://example.org/proxy", &[&own], "node-1");
    eventually("three identities in the cache", async || {
        (bed.agent.metric("signet_agent_svid_cache_identities").await == Some(3.0)).then_some(())
    })
    .await;
    let _deleted = bed.ca.operate(&["entry", "delete", &gone]).ok();
    let before = eventually("the entry to be gone", async || {
        let serials = bed.serials();
        (serials.len() == 2).then_some(serials)
    })
    .await;
    let knows_it = |stored: &[u8]| stored.windows(5).any(|part| part == b"/gone");
    eventually("that to be stored", async || (!knows_it(&bed.stored_entries())).then_some(())).await;
    let web = bed.ask().await["svids"][0].clone();
    bed.ca.kill_hard().await;
    bed.agent.process.kill_hard().await;

    bed.agent.start_again().await;
    let said = bed.ask().await;
    assert_eq!(said["svids"], Value::Array(vec![web]), "the same SVID, and nothing of the entry that is gone");
    assert_eq!(bed.serials(), before);
    let mut sds = SdsClient::connect(&bed.agent.api_socket()).await.unwrap();
    let secrets = sds.subscribe(&["default"]).await.unwrap().next().await.unwrap().secrets;
    assert!(secrets[0].key_pem.is_some(), "SDS is served from the same state");

    bed.agent.process.stop().await;
    let key = bed.bed.path().join("svid-cache-key");
    std::fs::write(&key, "another secret of thirty-two bytes").unwrap();
    bed.agent.start_again().await;
    let said = bed.ask().await;
    assert_eq!(said["code"], "Unavailable", "a cache that does not open serves nobody, and stops nobody: {said}");
    assert!(bed.agent.metric("signet_agent_alarms_total{kind=\"svid_cache_unusable\"}").await.is_some_and(|count| count >= 1.0));
    bed.ca.start_again().await;
    eventually("the CA to be back", async || bed.ask().await["svids"].is_array().then_some(())).await;
}
