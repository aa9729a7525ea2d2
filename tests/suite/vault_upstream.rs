//! A CA whose issuing CAs are signed by the PKI secrets engine of a server of ours that speaks the documented API of Vault and OpenBao.

use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::TrustDomain;
use pki::{TrustBundle, certificates_from_pem};
use tests::{
    Agent, Ca, CaOptions, Cli, CliOutput, TestBed, VAULT_ROLE_ID, VAULT_SECRET_ID, VaultMood, VaultServer, eventually_within,
};

/// Some lives of an issuing CA of these tests, on a slow machine.
const RENEWED: Duration = Duration::from_secs(180);

fn configure(bed: &TestBed, server: &VaultServer, ttl: &str) -> PathBuf {
    let secret = bed.write_private("secret-id", VAULT_SECRET_ID);
    let extra = format!(
        "[upstream]\nkind = \"vault\"\nttl = \"{ttl}\"\ninterval = \"1s\"\n[upstream.vault]\n{}\
         [upstream.vault.auth]\nmethod = \"approle\"\nrole_id = \"{VAULT_ROLE_ID}\"\nsecret_id_file = \"{}\"\n\
         [rotation]\npropagation_hold = \"0s\"",
        server.lines(),
        secret.display()
    );
    let (leaf_ttl, agent_ttl) = ("10s".to_owned(), "10s".to_owned());
    Ca::configure(bed, "ca", "127.0.0.1:0", &CaOptions { leaf_ttl, agent_ttl, extra, ..CaOptions::default() })
}

async fn start(bed: &TestBed, server: &VaultServer, ttl: &str) -> Ca {
    let _config = configure(bed, server, ttl);
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    ca.ready().await;
    ca
}

fn run(config: &Path) -> CliOutput {
    Cli::run(&["ca".as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()])
}

async fn stands_in(ca: &Ca, name: &str, wanted: &str) {
    eventually_within(&format!("{name} to be {wanted}"), RENEWED, async || {
        let shown = ca.operate(&["authority", "show", "--all"]).ok().json();
        let is_it = |one: &&serde_json::Value| one["name"] == name && one["slot"] == wanted;
        shown["authorities"].as_array().unwrap().iter().find(is_it).map(|_| ())
    })
    .await;
}

/// The roots that an agent has, PEM each.
fn roots_of(agent: &Agent) -> Vec<String> {
    let stored = std::fs::read(agent.state_dir().join("bundle.json")).unwrap();
    let bundle = TrustBundle::from_jwks(TrustDomain::parse("example.org").unwrap(), &stored).unwrap();
    bundle.authorities().iter().map(|root| pki::certificates_to_pem([root])).collect()
}

async fn has_roots(agent: &Agent, wanted: &[String]) {
    eventually_within("the agent to have these roots", RENEWED, async || {
        let found = roots_of(agent);
        (found.len() == wanted.len() && wanted.iter().all(|root| found.contains(root))).then_some(())
    })
    .await;
}

/// A CA has its first issuing CA from the engine, serves agents under the engine's root, and has the next one in time; while the server is
/// sealed what signs goes on, and it is made up for.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_under_vault_starts_renews_and_goes_on_while_the_server_is_sealed() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let ca = start(&bed, &server, "80s").await;
    let root = std::fs::read(ca.state_dir().join("root-cert.pem")).unwrap();
    assert_eq!(certificates_from_pem(&root).unwrap(), certificates_from_pem(server.trust_bundle().as_bytes()).unwrap());
    let asked = server.calls().into_iter().find(|call| call.path == "pki/root/sign-intermediate").unwrap();
    assert_eq!(
        (asked.body["uri_sans"].as_str(), asked.body["max_path_length"].as_u64()),
        (Some("spiffe://example.org"), Some(0))
    );
    let agent = Agent::start(&bed, &ca, "node-1").await;
    assert_eq!(roots_of(&agent), [server.trust_bundle()]);

    stands_in(&ca, "issuer-2", "active").await;
    server.set(VaultMood::Sealed);
    eventually_within("the failure to be told", RENEWED, async || {
        ca.operate(&["status"]).ok().json()["warnings"].to_string().contains("sealed").then_some(())
    })
    .await;
    agent.ready().await;
    server.set(VaultMood::Well);
    stands_in(&ca, "issuer-3", "active").await;
    agent.ready().await;
    assert_eq!(server.count("/login"), 1, "one login serves all");
}

/// What is refused at the first start ends it, in words; nothing of such an answer is kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_vault_that_does_not_verify_starts_no_ca() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let config = configure(&bed, &server, "80s");
    for (mood, words) in [
        (VaultMood::WrongKey, "does not verify and is not used"),
        (VaultMood::Denies, "pki/root/sign-intermediate: permission denied"),
        (VaultMood::Sealed, "unseal it"),
        (VaultMood::Redirects, "redirects are not followed"),
        (VaultMood::Huge, "has more than 262144 bytes"),
        (VaultMood::NoJson, "no JSON of the documented form"),
    ] {
        server.set(mood);
        let refused = run(&config);
        assert!(refused.code != 0 && refused.stderr.contains(words), "{mood:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains(VAULT_SECRET_ID));
    }
    server.set(VaultMood::Well);
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    ca.ready().await;
}

/// A new root above the engine's issuer reaches the agents before anything rests on it, and the old one goes when nothing rests on that.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_above_vaults_issuer_reaches_the_agents_in_steps() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let ca = start(&bed, &server, "60s").await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let old = server.trust_bundle();
    server.change_root();
    has_roots(&agent, &[old, server.trust_bundle()]).await;
    stands_in(&ca, "root-2", "active").await;
    agent.ready().await;
    has_roots(&agent, &[server.trust_bundle()]).await;
    agent.ready().await;
}
