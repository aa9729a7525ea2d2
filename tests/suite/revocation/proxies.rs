//! Programs that know nothing of Signet: Envoy in both of its validator modes, nginx with `crl.pem`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::{
    Agent, AgentOptions, Ca, CaOptions, Cli, Envoy, HttpService, Requirement, TestBed, Traffic, TrafficShape, eventually,
    eventually_within, http_get, needs,
};

use super::{Bearer, MINE, listed, own_uid, revoked_serials, serial, served};
use crate::envoy_pair::{self, API, WEB, inbound_bootstrap, outbound};

const OTHER: &str = "spiffe://example.org/other";
/// The agent's configuration for Envoy's plain validator.
const PLAIN: &str = "[sds]\nvalidation_context = \"trusted-ca\"\n";

/// A CA, an agent, and the Envoy of `api`, which lets in `web`, `other` and this process.
struct House {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    server: Envoy,
    _service: HttpService,
}

impl House {
    async fn new(agent: &str) -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions::default()).await;
        Self::of(bed, ca, agent).await
    }

    async fn of(bed: TestBed, ca: Ca, agent: &str) -> Self {
        let options = AgentOptions { extra: agent.to_owned(), ..AgentOptions::default() };
        let agent = Agent::start_with(&bed, &ca, "node-1", options).await;
        for (name, id) in [("web", WEB), ("api", API), ("other", OTHER)] {
            ca.create_entry(id, &[&format!("unix:path:{}", Envoy::program(&bed, name).display())], "node-1");
        }
        let service = HttpService::start().await;
        let bootstrap = inbound_bootstrap(API, service.address, &[WEB, OTHER, MINE], &agent.api_socket());
        let server = Envoy::start(&bed, "api", &bootstrap).await;
        server.ready().await;
        Self { bed, ca, agent, server, _service: service }
    }

    /// An Envoy that carries connections to `api`, and where it takes them.
    async fn client(&self, name: &str, id: &str) -> (Envoy, std::net::SocketAddr) {
        outbound(&self.bed, name, id, self.server.listener("inbound").await, API, &self.agent, "tcp").await
    }
}

/// An identity is revoked: both ends refuse it, its own Envoy goes on with what it has, and others notice nothing.
async fn an_identity_is_refused_and_others_are_not(agent: &str) {
    let house = House::new(agent).await;
    let (web, of_web) = house.client("web", WEB).await;
    let (other, of_other) = house.client("other", OTHER).await;
    assert_eq!(http_get(of_web, "/").await.status, 200);
    let shape = TrafficShape { kept: 3, every: Duration::from_millis(200), fresh_every: Duration::from_millis(50), streams: 0 };
    let traffic = Traffic::start(of_other, shape).await;
    let revoke = ["revoke", "--spiffe-id", WEB, "--reason", "key-compromise"];

    let planned = house.ca.operate(&[&revoke[..], &["--dry-run"]].concat()).ok().json();
    assert_eq!((&planned["identity_denied"], &planned["dry_run"]), (&true.into(), &true.into()), "{planned}");
    assert!(revoked_serials(&house.ca).is_empty() && listed(&house.ca)["identities"] == serde_json::json!([]));
    assert_eq!(http_get(of_web, "/").await.status, 200, "a dry run changes nothing");

    let before = envoy_pair::serial(&web).await;
    let revoked = house.ca.operate(&revoke).ok().json();
    assert_eq!(revoked["certificates_total"], planned["certificates_total"], "what was planned: {revoked}");
    eventually("the revoked client to be refused", async || (http_get(of_web, "/").await.status != 200).then_some(())).await;
    for _ in 0..20 {
        assert_ne!(http_get(of_web, "/").await.status, 200, "it stays so");
    }
    assert!(house.server.stat("ssl.fail_verify_error").await >= 20, "for its certificate, not for anything else");
    assert_eq!(envoy_pair::serial(&web).await, before, "it shows what it has, and got nothing more");
    // Lists that were not good for every chain would have refused everybody.
    let answered = traffic.seen().answered;
    eventually("the other client to go on", async || (traffic.seen().answered > answered + 40).then_some(())).await;

    let restored = house.ca.operate(&["unrevoke", "--spiffe-id", WEB]).ok().json();
    assert_eq!(restored["changed"], true);
    eventually_within("the restored client to be served", Duration::from_secs(60), async || {
        (http_get(of_web, "/").await.status == 200).then_some(())
    })
    .await;
    assert_ne!(envoy_pair::serial(&web).await, before, "by a new certificate");
    let report = traffic.stop().await;
    assert_eq!((report.failed, report.failures.as_slice()), (0, [].as_slice()), "{report:?}");

    // And a server: its clients refuse it.
    let _revoked = house.ca.operate(&["revoke", "--spiffe-id", API]).ok();
    eventually("the revoked server to be refused", async || (http_get(of_other, "/").await.status != 200).then_some(())).await;
    eventually("that to be counted", async || (other.stat("ssl.fail_verify_error").await > 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_is_refused_by_envoys_spiffe_validator_and_others_are_not() {
    if needs("a_revoked_identity_is_refused_by_envoys_spiffe_validator_and_others_are_not", Requirement::Envoy) {
        an_identity_is_refused_and_others_are_not("").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_is_refused_by_envoys_plain_validator_and_others_are_not() {
    if needs("a_revoked_identity_is_refused_by_envoys_plain_validator_and_others_are_not", Requirement::Envoy) {
        an_identity_is_refused_and_others_are_not(PLAIN).await;
    }
}

/// One certificate is revoked: its holder has another one at once, with another key, and the old one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_replaced_at_once_and_refused() {
    if !needs("a_revoked_certificate_is_replaced_at_once_and_refused", Requirement::Envoy) {
        return;
    }
    let house = House::new("").await;
    house.ca.create_entry(MINE, &[&own_uid()], "node-1");
    let (_client, mut stream, mut svids) = served(&house.agent).await;
    let inbound = house.server.listener("inbound").await;
    let first = svids.remove(0);
    let stolen = serial(&first);
    let key = first.svid.leaf().public_key().fingerprint();
    let thief = Bearer::new(first.svid, first.bundle, API);
    assert_eq!(thief.ask(inbound).await, 200, "as long as nobody knows");

    let revoked = house.ca.operate(&["revoke", "--serial", &stolen, "--reason", "key-compromise"]).ok().json();
    assert_eq!(revoked["certificates"][0]["serial"], stolen.as_str(), "{revoked}");
    assert_eq!((&revoked["identity_denied"], &revoked["node_banned"]), (&false.into(), &false.into()));
    let replaced = async {
        loop {
            // The news of the lists may come first.
            let next = stream.next().await.expect("the stream goes on").remove(0);
            if serial(&next) != stolen {
                return next;
            }
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(60), replaced).await.expect("another certificate");
    assert_ne!(next.svid.leaf().public_key().fingerprint(), key, "with a key that the thief has not got");
    eventually("the stolen one to be refused", async || (thief.ask(inbound).await != 200).then_some(())).await;
    let owner = Bearer::new(next.svid, next.bundle, API);
    for _ in 0..10 {
        assert_eq!((owner.ask(inbound).await, thief.ask(inbound).await), (200, 0));
    }
    assert_eq!(revoked_serials(&house.ca), [stolen.as_str()]);
    let again = house.ca.operate(&["revoke", "--serial", &stolen]).ok().json();
    assert_eq!((&again["certificates_total"], &again["revoked_before"]), (&0.into(), &1.into()), "{again}");
    let unknown = house.ca.operate(&["revoke", "--serial", "0123456789abcdef"]);
    assert_eq!(unknown.code, 3, "{}{}", unknown.stdout, unknown.stderr);
}

/// The list of a root whose key is elsewhere, good for so long, as its keeper makes it.
fn sign_elsewhere(bed: &TestBed, ca: &Ca, key: &Path, seconds: u32) {
    let config = bed.write(
        "crl.cnf",
        &format!(
            "[ca]\ndefault_ca = root\n[root]\ndatabase = {place}/index.txt\ncrlnumber = {place}/crlnumber\ndefault_md = sha256\n\
             crl_extensions = extensions\n[extensions]\nauthorityKeyIdentifier = keyid\n",
            place = bed.path().display()
        ),
    );
    let _none = bed.write("index.txt", "");
    if !bed.path().join("crlnumber").exists() {
        let _first = bed.write("crlnumber", "01\n");
    }
    let made = bed.path().join("made.pem");
    let mut command = Command::new("openssl");
    command.args(["ca", "-gencrl", "-crlsec", &seconds.to_string(), "-config"]).arg(config).arg("-keyfile").arg(key);
    let made_so = command.arg("-cert").arg(ca.root_certificate()).arg("-out").arg(&made).output().unwrap();
    assert!(made_so.status.success(), "{made_so:?}");
    std::fs::rename(made, ca.state_dir().join("ca-crl.pem")).unwrap();
}

/// Without a good list of the root, and when the one that was put there has ended, nobody is refused for that. `lists_of_all`: whether the
/// validator takes lists only when it has one of every CA, and so checks nothing without that of the root.
async fn the_list_of_the_root_comes_and_ends(agent: &str, lists_of_all: bool) {
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    let elsewhere = bed.path().join("elsewhere");
    let words = ["ca".as_ref(), "init".as_ref(), "--root-key-out".as_ref(), elsewhere.as_os_str(), "--config".as_ref()];
    let _made = Cli::run(&[&words[..], &[config.as_os_str()]].concat()).ok();
    let key = elsewhere.join("root-key.pem");
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    let house = House::of(bed, ca, agent).await;
    let (_web, of_web) = house.client("web", WEB).await;
    let (_other, of_other) = house.client("other", OTHER).await;
    let shape = TrafficShape { kept: 2, every: Duration::from_millis(200), fresh_every: Duration::from_millis(50), streams: 0 };
    let traffic = Traffic::start(of_other, shape).await;
    let is_let_in = async || http_get(of_web, "/").await.status == 200;
    let refused = async |when: &str| eventually(when, async || (!is_let_in().await).then_some(())).await;
    let goes_on = async |answers: u64| {
        let answered = traffic.seen().answered;
        eventually("the other client to go on", async || (traffic.seen().answered > answered + answers).then_some(())).await;
    };
    assert!(is_let_in().await);

    let status = listed(&house.ca)["status"].clone();
    assert!(status["complete"] == false && status["missing"].to_string().contains("ca-crl.pem"), "{status}");
    let _revoked = house.ca.operate(&["revoke", "--spiffe-id", WEB]).ok();
    eventually("the revocation to be listed", async || (!revoked_serials(&house.ca).is_empty()).then_some(())).await;
    let told = house.ca.operate(&["status"]).ok().json()["warnings"].to_string();
    assert!(told.contains("revocation") || told.contains("ca-crl.pem"), "{told}");
    if lists_of_all {
        assert!(is_let_in().await, "not checked, as is told");
    } else {
        refused("the client to be refused by the list of the issuing CA alone").await;
    }

    // Files are looked at every 15 s, and agents take lists away 30 s before they are stale.
    sign_elsewhere(&house.bed, &house.ca, &key, 80);
    eventually("the lists to be complete", async || (listed(&house.ca)["status"]["complete"] == true).then_some(())).await;
    refused("the revoked client to be refused").await;
    goes_on(40).await;

    eventually_within("the imported list to end", Duration::from_secs(180), async || {
        (listed(&house.ca)["status"]["complete"] == false).then_some(())
    })
    .await;
    // Past every delay between the CA's word and Envoy's validator.
    goes_on(200).await;
    if lists_of_all {
        eventually("what is not checked to be let in", async || is_let_in().await.then_some(())).await;
    } else {
        for _ in 0..20 {
            assert!(!is_let_in().await, "the list of the issuing CA stands");
        }
    }
    let report = traffic.stop().await;
    assert_eq!((report.failed, report.failures.as_slice()), (0, [].as_slice()), "{report:?}");
}

/// Envoy's SPIFFE validator gets no lists at all without that of the root, which is told. While there is one, what is revoked is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_missing_or_has_ended_takes_checking_away_and_nobody_is_refused() {
    if needs("a_list_that_is_missing_or_has_ended_takes_checking_away_and_nobody_is_refused", Requirement::Envoy) {
        the_list_of_the_root_comes_and_ends("", true).await;
    }
}

/// The plain validator looks at the list of the leaf's issuer alone: the root's makes no difference, and its end neither refuses nor lets in anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_root_that_has_ended_changes_nothing_for_envoys_plain_validator() {
    if needs("a_list_of_the_root_that_has_ended_changes_nothing_for_envoys_plain_validator", Requirement::Envoy) {
        the_list_of_the_root_comes_and_ends(PLAIN, false).await;
    }
}
