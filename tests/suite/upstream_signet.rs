//! Another Signet CA as upstream: the child proves itself by an SVID that the parent's agent keeps for it, and follows whatever the parent does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::SpiffeId;
use pki::{
    CaConstraints, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES,
    SerialNumber, Timestamp, X509Svid, prepare_leaf,
};
use proto::v1;
use proto::v1::upstream_client::UpstreamClient;
use tests::{Agent, AgentOptions, Ca, CaConnection, CaOptions, Cli, TestBed, attested_connection, eventually, eventually_within};
use tonic::{Code, Status};

pub(super) const CHILD: &str = "spiffe://example.org/ca/east";
/// Some lives of an issuing CA of these tests, on a slow machine.
const RENEWED: Duration = Duration::from_secs(180);

/// A parent that allows one child, and its agent, which keeps that child's identity in files.
pub(super) struct Above {
    pub(super) parent: Ca,
    pub(super) agent: Agent,
    identity: PathBuf,
}

fn parent_options() -> CaOptions {
    let extra = format!("[[downstream]]\nspiffe_id = \"{CHILD}\"\nmax_ttl = \"10m\"\n[rotation]\npropagation_hold = \"0s\"");
    CaOptions { extra, ..CaOptions::default() }
}

pub(super) async fn above(bed: &TestBed, id: &str) -> Above {
    above_with(bed, id, parent_options()).await
}

async fn above_with(bed: &TestBed, id: &str, options: CaOptions) -> Above {
    let parent = Ca::start_named(bed, "parent", options).await;
    let identity = bed.path().join("identity");
    parent.create_entry(id, &["signet:file:child"], "node-up");
    let extra = format!("[[files]]\nname = \"child\"\nspiffe_id = \"{id}\"\ndirectory = \"{}\"\n", identity.display());
    let token = parent.create_token("node-up");
    let agent = Agent::launch(bed, &parent, "node-up", &token, AgentOptions { extra, ..AgentOptions::default() }).await;
    agent.ready().await;
    eventually("the child's identity to be written", async || identity.join("..data/key.pem").exists().then_some(())).await;
    Above { parent, agent, identity }
}

/// Writes the child's configuration.
fn configure(bed: &TestBed, above: &Above, ttl: &str) -> PathBuf {
    let (leaf_ttl, agent_ttl) = ("10s".to_owned(), "10s".to_owned());
    let options = CaOptions { leaf_ttl, agent_ttl, extra: upstream_of(above, ttl), ..CaOptions::default() };
    Ca::configure(bed, "child", "127.0.0.1:0", &options)
}

/// The tables of a child's configuration that have this parent sign its issuing CAs.
pub(super) fn upstream_of(above: &Above, ttl: &str) -> String {
    format!(
        "[upstream]\nkind = \"signet\"\nttl = \"{ttl}\"\ninterval = \"1s\"\n\
         [upstream.signet]\naddress = \"{}\"\ndirectory = \"{}\"\n\
         [rotation]\npropagation_hold = \"0s\"",
        above.parent.address,
        above.identity.display()
    )
}

async fn child(bed: &TestBed, above: &Above, ttl: &str) -> Ca {
    let _config = configure(bed, above, ttl);
    let child = Ca::run(bed.path(), "child", "example.org").await;
    child.ready().await;
    child
}

pub(super) fn slot(ca: &Ca, name: &str) -> String {
    let shown = ca.operate(&["authority", "show", "--all"]).ok().json();
    let all = shown["authorities"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name);
    one.map(|one| one["slot"].as_str().unwrap().to_owned()).unwrap_or_default()
}

pub(super) async fn stands_in(ca: &Ca, name: &str, wanted: &str, limit: Duration) {
    eventually_within(&format!("{name} to be {wanted}"), limit, async || (slot(ca, name) == wanted).then_some(())).await;
}

fn root_of(ca: &Ca) -> Certificate {
    let pem = std::fs::read(ca.state_dir().join("root-cert.pem")).unwrap();
    pki::certificates_from_pem(&pem).unwrap().remove(0)
}

/// How many roots an agent has.
fn roots_of(agent: &Agent) -> usize {
    let stored = std::fs::read(agent.state_dir().join("bundle.json")).unwrap();
    let trust_domain = identity::TrustDomain::parse("example.org").unwrap();
    pki::TrustBundle::from_jwks(trust_domain, &stored).unwrap().authorities().len()
}

async fn has_roots(agent: &Agent, wanted: usize, limit: Duration) {
    eventually_within(&format!("{} to have {wanted} roots", agent.node), limit, async || {
        (roots_of(agent) == wanted).then_some(())
    })
    .await;
}

/// The child has an issuing CA from the parent at its first start, serves agents of its own under the parent's root, and has the next one
/// before half of its life is over; the old one goes when nothing rests on it. While the parent is away the old one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_enrols_renews_before_half_life_and_keeps_what_it_has_while_the_parent_is_away() {
    let bed = TestBed::new();
    let mut above = above(&bed, CHILD).await;
    let child = child(&bed, &above, "100s").await;
    assert_eq!(root_of(&child), root_of(&above.parent));
    let agent = Agent::start(&bed, &child, "node-down").await;
    assert_eq!(roots_of(&agent), 1);
    let ledger = above.parent.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
    assert!(ledger.contains("downstream"), "the parent recorded what it signed: {ledger}");

    stands_in(&child, "issuer-2", "active", RENEWED).await;
    let audit = child.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
    assert!(audit.contains("upstream_authority_taken"), "{audit}");
    // The parent goes away: the next renewal fails, is told, and what signs goes on; then it is made up for.
    above.parent.kill_hard().await;
    eventually_within("the failure to be told", RENEWED, async || {
        let status = child.operate(&["status"]).ok().json();
        status["warnings"].to_string().contains("upstream").then_some(())
    })
    .await;
    assert!(child.metrics().await.contains("signet_ca_upstream_fault 1"));
    agent.ready().await;
    above.parent.start_again().await;
    stands_in(&child, "issuer-3", "active", RENEWED).await;
    agent.ready().await;
    above.agent.ready().await;
}

/// What a drill of upstream would do, what it does, and every level of what signs.
#[tokio::test(flavor = "multi_thread")]
async fn a_drill_of_upstream_replaces_the_issuing_ca_and_every_level_is_shown() {
    let bed = TestBed::new();
    let above = above(&bed, CHILD).await;
    let child = child(&bed, &above, "10m").await;
    let agent = Agent::start(&bed, &child, "node-down").await;
    let shown = child.operate(&["authority", "show"]).ok().json();
    assert_eq!(shown["upstream"]["kind"], "signet", "{shown}");
    assert!(shown["upstream"]["reached_at"].is_string() && shown["upstream"]["fault"].is_null(), "{shown}");
    let levels: Vec<_> = shown["levels"].as_array().unwrap().iter().map(|level| level["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["root", "issuer", "jwt"], "{shown}");
    for level in shown["levels"].as_array().unwrap() {
        assert!(!level["next_action"].as_str().unwrap().is_empty(), "{shown}");
        assert_eq!(level["not_after"].is_string(), level["level"] != "jwt", "{shown}");
    }
    assert!(shown["levels"][0]["next_action"].as_str().unwrap().contains("upstream"), "{shown}");

    let plan = child.operate(&["drill", "upstream", "--dry-run"]).ok().json();
    assert!(plan["steps"].to_string().contains("issuer-2") && plan["refusal"].is_null(), "{plan}");
    assert_eq!(slot(&child, "issuer-2"), "", "a dry run changes nothing");
    let drilled = child.operate(&["drill", "upstream"]).ok().stdout;
    assert!(drilled.lines().last().unwrap().contains("completed"), "{drilled}");
    assert_eq!((slot(&child, "issuer-1").as_str(), slot(&child, "issuer-2").as_str()), ("revoked", "active"));
    agent.ready().await;
    // Who has no upstream is told what to do instead.
    let refused = above.parent.operate(&["drill", "upstream"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("signet drill issuer"), "{}", refused.stderr);
}

/// Whom no [[downstream]] names is no CA, whatever it shows; and who is revoked is none any more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_allowed_or_is_revoked_gets_no_issuing_ca() {
    let bed = TestBed::new();
    let above = above(&bed, "spiffe://example.org/ca/west").await;
    let config = configure(&bed, &above, "80s");
    let run = || Cli::run(&["ca".as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()]);
    let refused = run();
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("is not allowed to be a CA"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("signet ca init"), "that is not the way out: {}", refused.stderr);
    assert!(above.parent.metrics().await.contains("signet_ca_downstream_authorities_total{outcome=\"signed\"} 0"));

    // The one that is allowed, once it is revoked.
    let bed = TestBed::new();
    let mut above = self::above(&bed, CHILD).await;
    // The agent would take the identity away; a thief's copy stays.
    above.agent.process.stop().await;
    let _revoked = above.parent.operate(&["revoke", "--spiffe-id", CHILD]).ok();
    let config = configure(&bed, &above, "80s");
    let refused = Cli::run(&["ca".as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("is revoked"), "{}", refused.stderr);
    assert!(above.parent.metrics().await.contains("signet_ca_downstream_authorities_total{outcome=\"signed\"} 0"));
}

/// The identity that the parent's agent keeps for the child.
fn identity_of(above: &Above) -> Arc<X509Svid> {
    let read = |name: &str| std::fs::read(above.identity.join("..data").join(name)).unwrap();
    let chain = pki::certificates_from_pem(&read("cert-chain.pem")).unwrap();
    Arc::new(X509Svid::new(chain, PrivateKey::from_pem(&read("key.pem")).unwrap(), now()).unwrap())
}

fn now() -> Timestamp {
    runtime::clock::SystemClock::shared().now().into()
}

async fn sign(connection: CaConnection, path_length: u32) -> Result<Vec<Certificate>, Status> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = pki::build_request(&key, None).unwrap();
    let message = v1::SignIssuerRequest { csr, ttl_seconds: 86_400, path_length };
    let answer = UpstreamClient::new(connection.channel).sign_issuer(message).await?.into_inner();
    let chain: Vec<_> = answer.chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    assert_eq!(chain[0].public_key(), key.public_key());
    Ok(chain)
}

/// Who calls decides, and nothing of the request but its key: at most the life that is allowed, path length 0, the name of the trust domain.
#[tokio::test(flavor = "multi_thread")]
async fn the_parent_judges_the_caller_and_gives_no_more_than_it_allows() {
    let bed = TestBed::new();
    let above = above(&bed, CHILD).await;
    let (parent, root) = (&above.parent, root_of(&above.parent));
    let fingerprint = data_encoding::HEXLOWER.encode(&root.fingerprint());
    let open = async |svid| CaConnection::open(parent.address, "example.org", &fingerprint, svid).await.unwrap();

    let chain = sign(open(Some(identity_of(&above))).await, 0).await.unwrap();
    assert_eq!((chain.len(), chain[0].uri_sans()), (1, &["spiffe://example.org".to_owned()][..]));
    assert_eq!(CaConstraints::of(&chain[0]).path_len, Some(0));
    assert!(chain[0].not_after() <= now().plus(Duration::from_secs(600)), "{}", chain[0].not_after());
    chain[0].verify_signed_by(root.public_key()).unwrap();

    let refused = sign(open(Some(identity_of(&above))).await, 1).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("path length"), "{refused:?}");
    let refused = sign(open(None).await, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let (_agent, node) = attested_connection(parent, "node-x").await;
    let refused = sign(open(Some(node.svid)).await, 0).await.unwrap_err();
    assert!(refused.code() == Code::PermissionDenied && refused.message().contains("[[downstream]]"), "{refused:?}");

    // The same name, by somebody else who has a key under the root: the ledger does not know it.
    let pem = std::fs::read(parent.state_dir().join("root-key.pem")).unwrap();
    let (root_key, key) = (PrivateKey::from_pem(&pem).unwrap(), PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let life = Duration::from_secs(3600);
    let leaf = LeafRequest {
        id: &SpiffeId::parse(CHILD).unwrap(),
        dns_names: &[],
        ip_addresses: &[],
        public_key: key.public_key(),
        ttl: None,
        serial: SerialNumber::new(ReplicaByte::new(9).unwrap(), [9; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let leaf = prepare_leaf(&LeafProfile::new(life, life).unwrap(), &leaf, &root).unwrap().sign(&root_key).unwrap();
    let forged = Arc::new(X509Svid::new(vec![leaf], key, now()).unwrap());
    let refused = sign(open(Some(forged)).await, 0).await.unwrap_err();
    assert!(refused.code() == Code::Unauthenticated && refused.message().contains("not issued by this CA"), "{refused:?}");
}

/// A child asks as often as a node may, and is told when to come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_asks_too_often_is_told_when_to_come_back() {
    let bed = TestBed::new();
    let options = parent_options();
    let extra = format!("{}\n[limits]\nbatch_items = 1\nissuances_per_minute = 1\nissuance_burst = 2\n", options.extra);
    let above = above_with(&bed, CHILD, CaOptions { extra, ..options }).await;
    let fingerprint = data_encoding::HEXLOWER.encode(&root_of(&above.parent).fingerprint());
    let ask = async || {
        let svid = Some(identity_of(&above));
        sign(CaConnection::open(above.parent.address, "example.org", &fingerprint, svid).await.unwrap(), 0).await
    };
    for _ in 0..2 {
        assert_eq!(ask().await.unwrap().len(), 1);
    }
    let refused = ask().await.unwrap_err();
    assert!(refused.code() == Code::ResourceExhausted && refused.message().contains("issuances_per_minute = 1"), "{refused:?}");
}

/// A new root at the parent: the child's agents have both before anything rests on the new one, its issuing CA changes over, and the old root
/// goes when the parent has given it up and nothing rests on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_of_the_parent_reaches_the_child_in_steps() {
    let bed = TestBed::new();
    let above = above(&bed, CHILD).await;
    let child = child(&bed, &above, "60s").await;
    let agent = Agent::start(&bed, &child, "node-down").await;
    let _prepared = above.parent.operate(&["authority", "prepare", "root"]).ok();
    has_roots(&agent, 2, RENEWED).await;
    assert_eq!(slot(&child, "root-1"), "active", "the parent does not sign under the new one yet");
    let _drill = above.parent.operate(&["drill", "root", "--wait", "1s"]);
    stands_in(&child, "root-2", "active", RENEWED).await;
    agent.ready().await;
    // The last issuing CA of the child under the old root has ended then.
    stands_in(&above.parent, "root-1", "revoked", RENEWED).await;
    has_roots(&agent, 1, RENEWED).await;
    stands_in(&child, "root-1", "revoked", RENEWED).await;
    agent.ready().await;
}
