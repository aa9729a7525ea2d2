//! An agent whose identities are signed by the PKI secrets engine of a server of ours that speaks the documented API of Vault and OpenBao.

use std::time::Duration;

use proto::workload;
use runtime::clock::SystemClock;
use tests::{
    Agent, Cli, SdsClient, TestBed, VAULT_ROLE_ID, VAULT_SECRET_ID, VaultMood, VaultServer, WorkloadClient, eventually,
    eventually_within,
};
use tonic::Code;

const ID: &str = "spiffe://example.org/web";

/// A machine that is five times slower waits this long for a deadline of 15 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// Writes the configuration of an agent with the one identity, shown to every process of this user; says what was written.
fn configure(bed: &TestBed, server: &VaultServer, name: &str, more: &str) -> String {
    let (at, uid, lines) = (bed.path().display(), nix::unistd::getuid(), server.lines());
    bed.write("bundle.pem", &server.trust_bundle());
    let secret = bed.write_private("secret-id", VAULT_SECRET_ID);
    let content = format!(
        "trust_domain = \"example.org\"\nstate_dir = \"{at}/{name}-state\"\nprovider = \"vault\"\n\
         api_socket = \"{at}/{name}-public/api.sock\"\nadmin_socket = \"{at}/{name}-admin.sock\"\n\
         [telemetry]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n\
         [vault]\n{lines}trust_bundle = \"{at}/bundle.pem\"\nrole = \"web\"\n\
         [vault.auth]\nmethod = \"approle\"\nrole_id = \"{VAULT_ROLE_ID}\"\nsecret_id_file = \"{}\"\n\
         [[vault.identity]]\nspiffe_id = \"{ID}\"\nselectors = [\"unix:uid:{uid}\"]\n{more}\n",
        secret.display(),
    );
    bed.write(&format!("{name}.toml"), &content);
    content
}

async fn agent(bed: &TestBed, server: &VaultServer, name: &str, more: &str) -> Agent {
    configure(bed, server, name, more);
    Agent::run(bed.path(), name).await
}

/// The serial of the one identity, when it is held.
fn serial(agent: &Agent) -> Option<String> {
    let status = agent.operate(&["agent", "status"]).ok().json();
    let serial = status["identities"][0]["serial"].as_str()?;
    (!serial.is_empty()).then(|| serial.to_owned())
}

fn last_error(agent: &Agent) -> String {
    let status = agent.operate(&["agent", "status"]).ok().json();
    status["identities"][0]["last_error"].as_str().unwrap_or_default().to_owned()
}

async fn told(agent: &Agent, words: &str) {
    eventually_within(&format!("{words:?} to be told"), PATIENCE, async || last_error(agent).contains(words).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_served_by_sds_and_workload_api_and_renewed() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let agent = agent(&bed, &server, "node-1", "ttl = \"6s\"\ndns = [\"web.example.org\"]").await;
    agent.ready().await;

    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = sds.subscribe(&["default"]).await.unwrap();
    let first = stream.next().await.unwrap();
    assert!(first.secrets[0].chain_pem.is_some());
    stream.acknowledge(&first).await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let svids = client.fetch_x509_svids().await.unwrap();
    let [svid] = svids.as_slice() else { panic!("one identity") };
    assert_eq!(svid.svid.id().as_str(), ID);
    assert_eq!(svid.svid.leaf().dns_sans(), ["web.example.org"]);
    svid.svid.verify(&svid.bundle, SystemClock::shared().now().into()).unwrap();
    assert_eq!(svid.bundle.to_pem(), server.trust_bundle());

    assert_ne!(stream.next().await.unwrap().version, first.version, "renewals are pushed");
    assert!(server.count("/sign/web") >= 2);
    assert_eq!(server.count("/login"), 1);
    let call = server.calls().into_iter().find(|call| call.path == "pki/sign/web").unwrap();
    assert_eq!((call.body["ttl"].as_str(), call.body["exclude_cn_from_sans"].as_bool()), (Some("6s"), Some(true)));
    let signed = agent.metric("signet_agent_vault_calls_total{call=\"sign\",outcome=\"ok\"}").await.unwrap();
    assert!(signed >= 2.0, "{signed}");
}

/// What such a server cannot give is told as absent, and a call for it is refused with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_cannot_give_is_told_and_never_made_up() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let agent = agent(&bed, &server, "node-1", "").await;
    agent.ready().await;
    let status = agent.operate(&["agent", "status"]).ok().json();
    assert_eq!(status["provider"], "vault");
    assert_eq!(status["absent"], serde_json::json!(["entry sync", "bundle push", "revocation", "JWT-SVID"]));
    // Ready is who was signed for once; what was signed is held a moment later.
    agent.holds(1).await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    assert_eq!(client.fetch_x509_svids().await.unwrap().len(), 1);
    let ask = workload::JwtsvidRequest { audience: vec!["db".to_owned()], spiffe_id: String::new() };
    let refused = client.service().fetch_jwtsvid(client.request(ask)).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unimplemented | Code::Unavailable), "{refused:?}");
}

/// Whatever the role adds, and whatever is not for this key under this bundle, is served to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_the_one_asked_for_is_refused() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    for (index, (mood, words)) in [
        (VaultMood::WrongKey, "the private key does not belong to the leaf certificate"),
        (VaultMood::OtherUri, "it names spiffe://example.org/other, asked for was spiffe://example.org/web"),
        (VaultMood::ExtraDns, "bears the DNS name extra.example.org, which was not asked for"),
        (VaultMood::ExtraAddress, "bears an address, a mail box or a name of another kind, which was not asked for"),
        (VaultMood::ForeignChain, "no authority of the trust domain example.org issued this chain"),
        (VaultMood::LongLife, "the role gives longer lives than are asked for"),
    ]
    .into_iter()
    .enumerate()
    {
        server.set(mood);
        let agent = agent(&bed, &server, &format!("node-{index}"), "ttl = \"1h\"").await;
        told(&agent, words).await;
        assert_eq!(serial(&agent), None, "{mood:?}");
        server.set(VaultMood::Well);
        eventually_within("a good answer to be taken", PATIENCE, async || serial(&agent)).await;
    }
}

/// A server that cannot or will not takes nothing from anybody, and is told in words.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stays_while_the_server_does_not_serve() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    // It is not renewed within the test, however slow the machine is.
    let agent = agent(&bed, &server, "node-1", "ttl = \"1h\"").await;
    agent.ready().await;
    let held = eventually("the first certificate", async || serial(&agent)).await;
    for (mood, words) in [
        (VaultMood::Sealed, "unseal it"),
        (VaultMood::Denies, "pki/sign/web: permission denied"),
        (VaultMood::Redirects, "redirects are not followed"),
        (VaultMood::Busy { status: 429, times: 1000, seconds: Some(1) }, "too many requests"),
        (VaultMood::Silent, "was not there after 15s"),
    ] {
        server.set(mood);
        // Another agent is the one who asks now; the first is served from what it has.
        let late = Agent::run(bed.path(), &second(&bed, &server, words)).await;
        told(&late, words).await;
        assert_eq!(serial(&agent).as_ref(), Some(&held), "{mood:?}");
        server.set(VaultMood::Well);
        eventually_within("the server to be asked again", PATIENCE, async || serial(&late)).await;
    }
}

fn second(bed: &TestBed, server: &VaultServer, words: &str) -> String {
    let name: String = words.chars().filter(char::is_ascii_alphabetic).collect();
    configure(bed, server, &name, "");
    name
}

/// The operator's file is the bundle: a root that the server names adds nothing, one that is put there counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_counts_when_the_operator_puts_it_into_the_bundle() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let agent = agent(&bed, &server, "node-1", "ttl = \"8s\"").await;
    agent.ready().await;
    let old = server.trust_bundle();
    server.change_root();
    eventually_within("the new root to be refused", PATIENCE, async || (!last_error(&agent).is_empty()).then_some(())).await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    bed.write("bundle.pem", &format!("{old}{}", server.trust_bundle()));
    let svid = eventually_within("both roots to be served", PATIENCE, async || {
        let svids = client.fetch_x509_svids().await.ok()?;
        svids.into_iter().find(|svid| svid.bundle.authorities().len() == 2)
    });
    let svid = svid.await;
    svid.svid.verify(&svid.bundle, SystemClock::shared().now().into()).unwrap();
    bed.write("bundle.pem", "nothing");
    eventually("a file that is no bundle to change nothing", async || {
        let client = WorkloadClient::connect(&agent.api_socket()).await.ok()?;
        (client.fetch_x509_svids().await.ok()?.first()?.bundle.authorities().len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_what_would_keep_the_agent_from_starting() {
    let bed = TestBed::new();
    let server = VaultServer::start(&bed).await;
    let good = configure(&bed, &server, "node-1", "");
    let check = || Cli::run(&["agent", "check", "--config", bed.path().join("node-1.toml").to_str().unwrap(), "-o", "json"]);
    assert_eq!(check().code, 0);
    assert!(server.calls().is_empty(), "a check sends nothing");
    for (from, to, words) in [
        ("bundle.pem", "no-bundle.pem", "no-bundle.pem"),
        ("vault-roots.pem", "no-roots.pem", "vault.roots"),
        ("role = \"web\"\n", "", "role"),
    ] {
        bed.write("node-1.toml", &good.replacen(from, to, 1));
        let refused = check();
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.code != 0 && said.contains(words), "{words}: {said}");
    }
    bed.write("node-1.toml", &good);
    std::fs::remove_file(bed.path().join("secret-id")).unwrap();
    let warned = check();
    let said = format!("{}{}", warned.stdout, warned.stderr);
    assert!(warned.code == 0 && said.contains("secret_id_file"), "whoever puts it there may come later: {said}");
}
