//! Nodes that join by a certificate which somebody else issued, and those that must not.

use std::path::Path;
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey};
use tests::{Agent, Ca, CaOptions, Provisioner, SdsClient, TestBed, attested_connection, eventually, issue, put_provisioned};

const HOUR: Duration = Duration::from_secs(3600);

/// Starts an agent without a token; it need not become ready.
async fn launch(bed: &TestBed, ca: &Ca, name: &str, certificates: &Path) -> Agent {
    let at = bed.path().display();
    let content = format!(
        "trust_domain = \"{}\"\nstate_dir = \"{at}/{name}-state\"\nca_address = \"{}\"\ntrust_bundle = \"{}\"\n\
         api_socket = \"{at}/{name}-public/api.sock\"\nadmin_socket = \"{at}/{name}-admin.sock\"\n\
         [attestation]\ncertificate_directory = \"{}\"\n[telemetry]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n",
        ca.trust_domain,
        ca.address,
        ca.root_certificate().display(),
        certificates.display()
    );
    bed.write(&format!("{name}.toml"), &content);
    Agent::run(bed.path(), name).await
}

async fn refused(agent: &Agent, why: &str) {
    eventually(&format!("{} to be told {why}", agent.node), async || agent.readiness().await.1.contains(why).then_some(())).await;
    assert_eq!(agent.readiness().await.0, 503);
}

fn nodes(ca: &Ca) -> Vec<String> {
    let nodes = ca.operate(&["node", "list"]).ok().json();
    nodes.as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
}

fn own_uid() -> String {
    format!("unix:uid:{}", nix::unistd::getuid())
}

/// By its certificate once, by its own SVID and node key from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_joins_by_its_certificate_and_stays_without_it() {
    let (bed, provisioner) = (TestBed::new(), Provisioner::new());
    let extra = provisioner.lines(&bed);
    let ca = Ca::start(&bed, CaOptions { extra, agent_ttl: "8s".to_owned(), ..CaOptions::default() }).await;
    let certificates = provisioner.put(&bed, "certs", "vm-1", Duration::ZERO);
    let mut agent = launch(&bed, &ca, "vm-1", &certificates).await;
    agent.ready().await;
    assert_eq!(nodes(&ca), ["vm-1"]);
    ca.create_entry("spiffe://example.org/web", &[&own_uid()], "vm-1");
    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = sds.subscribe(&["default"]).await.unwrap();
    assert!(stream.next().await.unwrap().secrets[0].chain_pem.is_some());

    std::fs::remove_dir_all(&certificates).unwrap();
    let serial = || agent.operate(&["agent", "status"]).ok().json()["serial"].clone();
    let first = serial();
    eventually("the agent SVID to be renewed by itself", async || (serial() != first).then_some(())).await;
    agent.process.stop().await;
    agent.start_again().await;
    agent.ready().await;
    let audit = ca.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
    assert_eq!(audit.matches("provisioning_certificate_redeemed").count(), 1);
}

/// Each beside the same that succeeds: wrong root, past its end, another's copy, a banned name.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_an_ended_and_a_copied_certificate_attest_nobody() {
    let (bed, provisioner, stranger) = (TestBed::new(), Provisioner::new(), Provisioner::new());
    let ca = Ca::start(&bed, CaOptions { extra: provisioner.lines(&bed), ..CaOptions::default() }).await;
    let foreign = stranger.put(&bed, "foreign", "vm-1", Duration::ZERO);
    let ended = provisioner.put(&bed, "ended", "vm-1", HOUR * 2);
    let (foreign, ended) = (launch(&bed, &ca, "foreign", &foreign).await, launch(&bed, &ca, "ended", &ended).await);
    refused(&foreign, "CERTIFICATE_REFUSED").await;
    refused(&ended, "ended at").await;
    assert!(nodes(&ca).is_empty());

    let good = provisioner.put(&bed, "good", "vm-1", Duration::ZERO);
    let agent = launch(&bed, &ca, "vm-1", &good).await;
    agent.ready().await;
    // Whoever copies the directory has both keys of it, and not the node key.
    let thief = launch(&bed, &ca, "thief", &good).await;
    refused(&thief, "CERTIFICATE_USED").await;
    let other = provisioner.put(&bed, "other", "vm-1", Duration::ZERO);
    let squatter = launch(&bed, &ca, "squatter", &other).await;
    refused(&squatter, "signet node evict vm-1").await;
    assert_eq!(agent.readiness().await.0, 200, "the node on record is not disturbed");

    let _done = ca.operate(&["node", "ban", "vm-2"]).ok();
    let banned = provisioner.put(&bed, "banned", "vm-2", Duration::ZERO);
    refused(&launch(&bed, &ca, "banned", &banned).await, "BANNED").await;
    assert_eq!(nodes(&ca), ["vm-1", "vm-2"]);
}

/// A copied certificate without its key does not even leave the machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_beside_another_key_is_not_sent() {
    let (bed, provisioner) = (TestBed::new(), Provisioner::new());
    let ca = Ca::start(&bed, CaOptions { extra: provisioner.lines(&bed), ..CaOptions::default() }).await;
    let stolen = provisioner.put(&bed, "stolen", "vm-1", Duration::ZERO);
    let own_key = std::fs::read(stolen.join("key.pem")).unwrap();
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    std::fs::write(stolen.join("key.pem"), other.to_pkcs8_pem().as_bytes()).unwrap();
    let agent = launch(&bed, &ca, "vm-1", &stolen).await;
    refused(&agent, "not for the key").await;
    assert!(ca.metrics().await.contains("signet_ca_attestations_total{kind=\"certificate\",outcome=\"refused\"} 0"));
    std::fs::write(stolen.join("key.pem"), own_key).unwrap();
    agent.ready().await;
}

/// The provisioning certificate may come from this very CA, when an operator says so: a workload of one node provisions another.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_same_ca_provision_only_where_that_is_configured() {
    let bed = TestBed::new();
    let root = bed.path().join("ca-state/root-cert.pem");
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    let _made = tests::Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
    let mut ca = Ca::run(bed.path(), "ca", "example.org").await;
    let (connection, _) = attested_connection(&ca, "factory").await;
    let entry = ca.create_entry("spiffe://example.org/vm/vm-1", &["unix:uid:1"], "factory");
    let svid = issue(&connection, &[&entry]).await.unwrap().remove(0);
    let certificates = put_provisioned(&bed, "certs", svid.chain(), svid.key());
    let agent = launch(&bed, &ca, "vm-1", &certificates).await;
    refused(&agent, "[[attestation.certificate]]").await;

    ca.process.stop().await;
    let text = std::fs::read_to_string(&config).unwrap();
    let root = root.display();
    let source = format!("[[attestation.certificate]]\nroots = \"{root}\"\nnode = \"spiffe://example.org/vm/{{node}}\"\n");
    std::fs::write(&config, format!("{text}{source}")).unwrap();
    ca.start_again().await;
    agent.ready().await;
    assert_eq!(nodes(&ca), ["factory", "vm-1"]);
}
