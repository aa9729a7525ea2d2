//! A plugged-in authority whose files change while the CA runs: whole sets alone, roots in steps, and nothing that leaves somebody behind.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber,
    Timestamp, TrustBundle, certificates_to_pem, prepare_authority,
};
use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaOptions, TestBed, eventually, eventually_within};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Some lives of a leaf, on a slow machine.
const LEAVES_END: Duration = Duration::from_secs(120);

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

type Pair = (Certificate, PrivateKey);

fn authority(issuer: Option<&Pair>, days: u32, number: u8) -> Pair {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let spec = AuthoritySpec {
        role: if issuer.is_some() { AuthorityRole::Issuer } else { AuthorityRole::Root },
        trust_domain: &TrustDomain::parse("example.org").unwrap(),
        public_key: key.public_key(),
        lifetime: DAY * days,
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let unsigned = prepare_authority(&spec, issuer.map(|(certificate, _)| certificate)).unwrap();
    let certificate = unsigned.sign(issuer.map_or(&key, |(_, key)| key)).unwrap();
    (certificate, key)
}

const NAMES: [&str; 4] = ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"];

/// A directory as Kubernetes mounts a secret: names that are links through one link, which is swapped.
struct Secret {
    folder: PathBuf,
    versions: u32,
}

impl Secret {
    fn new(bed: &TestBed) -> Self {
        let folder = bed.path().join("cacerts");
        std::fs::create_dir(&folder).unwrap();
        for name in NAMES {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        Self { folder, versions: 0 }
    }

    fn put(&mut self, issuer: &Pair, roots: &[&Certificate]) {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        let place = self.folder.join(&version);
        std::fs::create_dir(&place).unwrap();
        let contents = [
            certificates_to_pem([&issuer.0]),
            issuer.1.to_pkcs8_pem().to_string(),
            certificates_to_pem(roots.iter().copied()),
            certificates_to_pem([&issuer.0]),
        ];
        for (name, content) in NAMES.into_iter().zip(contents) {
            std::fs::write(place.join(name), content).unwrap();
            std::fs::set_permissions(place.join(name), PermissionsExt::from_mode(0o600)).unwrap();
        }
        symlink(version, self.folder.join("..new")).unwrap();
        std::fs::rename(self.folder.join("..new"), self.folder.join("..data")).unwrap();
    }
}

async fn start(bed: &TestBed, secret: &Secret) -> Ca {
    let extra = format!("[authority]\ndirectory = \"{}\"\n[rotation]\npropagation_hold = \"0s\"", secret.folder.display());
    let (leaf_ttl, agent_ttl) = ("20s".to_owned(), "20s".to_owned());
    let _config = Ca::configure(bed, "ca", "127.0.0.1:0", &CaOptions { leaf_ttl, agent_ttl, extra, ..CaOptions::default() });
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    ca.ready().await;
    ca
}

fn signs(ca: &Ca, issuer: &Certificate) -> bool {
    ca.operate(&["status"]).ok().json()["certificates"].to_string().contains(&issuer.serial().to_string())
}

/// The roots that an agent has.
fn roots_of(agent: &Agent) -> Vec<Certificate> {
    let stored = std::fs::read(agent.state_dir().join("bundle.json")).unwrap();
    TrustBundle::from_jwks(TrustDomain::parse("example.org").unwrap(), &stored).unwrap().authorities().to_vec()
}

async fn has_roots(agent: &Agent, roots: &[&Certificate], limit: Duration) {
    eventually_within("the agent to have these roots", limit, async || {
        let found = roots_of(agent);
        (found.len() == roots.len() && roots.iter().all(|root| found.contains(root))).then_some(())
    })
    .await;
}

async fn warned_of(ca: &Ca, words: &str) -> String {
    eventually(&format!("a warning of {words:?}"), async || {
        let warnings = ca.operate(&["status"]).ok().json()["warnings"].to_string();
        warnings.contains(words).then_some(warnings)
    })
    .await
}

async fn count(ca: &Ca, outcome: &str) -> u64 {
    let name = format!("signet_ca_upstream_authorities_total{{upstream=\"files\",outcome=\"{outcome}\"}} ");
    let metrics = ca.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name.as_str())).unwrap_or_else(|| panic!("{name} in {metrics}"));
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_of_a_directory_change_in_steps_and_one_step_is_refused_with_the_way_out() {
    let bed = TestBed::new();
    let mut secret = Secret::new(&bed);
    let (a, b) = (authority(None, 3650, 1), authority(None, 3650, 2));
    let (under_a, under_b) = (authority(Some(&a), 365, 3), authority(Some(&b), 365, 4));
    secret.put(&under_a, &[&a.0]);
    let ca = start(&bed, &secret).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    has_roots(&agent, &[&a.0], Duration::from_secs(30)).await;

    // A -> B: refused, told once, and the CA goes on with A.
    secret.put(&under_b, &[&b.0]);
    let warning = warned_of(&ca, "Put both into the file of roots").await;
    assert!(warning.contains("in one step"), "{warning}");
    assert!(signs(&ca, &under_a.0));
    // The warning comes first; what is on record may wait for a slow disk.
    eventually("the refusal to be on record", async || {
        let audit = ca.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
        (audit.contains("upstream_authority_refused") && audit.contains("Put both")).then_some(())
    })
    .await;
    assert_eq!((count(&ca, "refused").await, count(&ca, "taken").await), (1, 0));
    assert!(ca.metrics().await.contains("signet_ca_upstream_fault 1"));
    let show = ca.operate(&["authority", "show"]).ok().json();
    assert!(show["faults"].to_string().contains("Put both") && show["upstream"]["kind"] == "files", "{show}");
    assert!(show["levels"][0]["next_action"].to_string().contains("whoever fills"), "{show}");
    let drill = ca.operate(&["drill", "upstream"]);
    assert!(drill.code == 3 && drill.stderr.contains("put a new set there"), "{}", drill.stderr);

    // A -> A+B, and the issuing CA under B with it: the bundle goes first, and what signs changes over behind it.
    secret.put(&under_b, &[&a.0, &b.0]);
    has_roots(&agent, &[&a.0, &b.0], Duration::from_secs(30)).await;
    eventually("the issuing CA under B to sign", async || signs(&ca, &under_b.0).then_some(())).await;
    assert_eq!((count(&ca, "refused").await, count(&ca, "taken").await), (1, 1), "told once");
    assert!(ca.metrics().await.contains("signet_ca_upstream_fault 0"));

    // A+B -> B: not while certificates rest on A, and by itself when the last one has ended.
    secret.put(&under_b, &[&b.0]);
    warned_of(&ca, "certificates rest on it until").await;
    assert_eq!(roots_of(&agent).len(), 2);
    has_roots(&agent, &[&b.0], LEAVES_END).await;
    eventually("the last fault to be gone", async || {
        ca.operate(&["authority", "show"]).ok().json()["faults"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(count(&ca, "refused").await, 2);
    agent.ready().await;
    let audit = ca.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
    assert!(audit.contains("upstream_authority_taken"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_root_waits_for_a_node_that_is_away_until_it_is_given_up() {
    let bed = TestBed::new();
    let mut secret = Secret::new(&bed);
    let (a, b) = (authority(None, 3650, 1), authority(None, 3650, 2));
    let (under_a, under_b) = (authority(Some(&a), 365, 3), authority(Some(&b), 365, 4));
    secret.put(&under_a, &[&a.0]);
    let ca = start(&bed, &secret).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    agent.process.stop().await;

    secret.put(&under_b, &[&a.0, &b.0]);
    let warning = warned_of(&ca, "waits until everybody has the bundle").await;
    assert!(warning.contains("node-1"), "{warning}");
    assert!(signs(&ca, &under_a.0));
    let _evicted = ca.operate(&["node", "evict", "node-1"]).ok();
    eventually("the issuing CA under B to sign", async || signs(&ca, &under_b.0).then_some(())).await;
}
