//! Two trust domains that federate: two CAs that follow each other's bundle endpoint, and workloads of both that speak mTLS.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::workload;
use serde_json::Value;
use tests::{
    Agent, Ca, CaOptions, Cli, Envoy, HttpConnection, HttpService, Requirement, TestBed, WebIssuer, WorkloadClient, eventually,
    eventually_within, needs, web_server_files,
};

const A: &str = "a.example";
const B: &str = "b.example";
const PATIENCE: Duration = Duration::from_secs(60);

/// Two CAs, each with a bundle endpoint: of `a.example` with the CA's own SVID, of `b.example` with a certificate of the web.
struct Pair {
    bed: TestBed,
    a: Ca,
    b: Ca,
}

fn options(trust_domain: &str, federation: &str) -> CaOptions {
    CaOptions { trust_domain: trust_domain.to_owned(), extra: federation.to_owned(), ..CaOptions::default() }
}

impl Pair {
    async fn start() -> Self {
        let bed = TestBed::new();
        let (certificate, key, roots) = web_server_files(&bed, "web");
        let common = format!(
            "[federation]\nmin_refresh = \"1s\"\nallow_addresses = [\"127.0.0.1\", \"::1\"]\nweb_roots = \"{}\"\n\
             [federation.endpoint]\nlisten = \"127.0.0.1:0\"\nrefresh_hint = \"1s\"\n",
            roots.display()
        );
        let a = Ca::start_named(&bed, "ca-a", options(A, &format!("{common}profile = \"https_spiffe\"\n"))).await;
        let files = format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
        let b = Ca::start_named(&bed, "ca-b", options(B, &format!("{common}profile = \"https_web\"\n{files}"))).await;
        Self { bed, a, b }
    }

    /// `b` follows `a` by SPIFFE.
    fn b_follows_a(&self) -> Value {
        let bundle = self.exported(&self.a, "a.json");
        let url = format!("https://{}/", self.a.federation.unwrap());
        let words = ["federation", "add", A, "--endpoint", &url, "--profile", "https_spiffe"];
        let id = ["--endpoint-spiffe-id", "spiffe://a.example/signet/ca/ca-1", "--bundle", bundle.to_str().unwrap()];
        self.b.operate(&[&words[..], &id].concat()).ok().json()
    }

    /// `a` follows `b` by the web, and that the other way.
    async fn federate(&self) {
        let url = format!("https://localhost:{}/", self.b.federation.unwrap().port());
        let added = self.a.operate(&["federation", "add", B, "--endpoint", &url, "--profile", "https_web"]).ok().json();
        assert_eq!((&added["trust_domain"], &added["bundle"]), (&Value::from(B), &Value::Null));
        let added = self.b_follows_a();
        assert_eq!(added["bundle"]["x509_authorities"], 1);
        for ca in [&self.a, &self.b] {
            eventually("the endpoint to answer", async || {
                let of_one = listed(ca)[0].clone();
                (of_one["state"] == "current" && of_one["answered_at"].is_string()).then_some(())
            })
            .await;
        }
    }

    fn exported(&self, ca: &Ca, name: &str) -> PathBuf {
        let socket = ca.admin_socket();
        let words = ["bundle", "export", "--form", "jwks", "--socket", socket.to_str().unwrap()];
        self.bed.write(name, &Cli::run(&words).ok().stdout)
    }
}

fn listed(ca: &Ca) -> Value {
    ca.operate(&["federation", "list"]).ok().json()
}

fn own_uid() -> String {
    format!("unix:uid:{}", nix::unistd::getuid())
}

/// The trust domains whose X.509 bundles a workload has now.
async fn x509_domains(client: &WorkloadClient) -> Option<BTreeSet<String>> {
    let request = client.request(workload::X509BundlesRequest {});
    let mut stream = client.service().fetch_x509_bundles(request).await.ok()?.into_inner();
    Some(stream.message().await.ok()??.bundles.into_keys().collect())
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| format!("spiffe://{name}")).collect()
}

/// F1: bundle endpoints of both profiles are served and followed; who federates gets the foreign bundle beside the own one and never in it,
/// nobody else does; foreign tokens are judged by foreign keys; what changes is followed, and removal ends it all.
#[tokio::test(flavor = "multi_thread")]
async fn f01_bundles_of_both_profiles_reach_those_who_federate_until_removal() {
    let pair = Pair::start().await;
    pair.federate().await;
    let (a, b) = (Agent::start(&pair.bed, &pair.a, "node-a").await, Agent::start(&pair.bed, &pair.b, "node-b").await);
    let entry = pair.a.create_entry("spiffe://a.example/web", &[&own_uid()], "node-a");
    pair.b.create_entry_with("spiffe://b.example/api", &[&own_uid()], "node-b", &["--federates-with", A]);
    let (web, api) =
        (WorkloadClient::connect(&a.api_socket()).await.unwrap(), WorkloadClient::connect(&b.api_socket()).await.unwrap());
    let has = async |client: &WorkloadClient, of: &[&str]| {
        eventually_within("the bundles", PATIENCE, async || (x509_domains(client).await? == names(of)).then_some(())).await;
    };
    has(&web, &[A]).await;
    has(&api, &[A, B]).await;
    // What the CA knows is not for each node to know.
    let kept = a.state_dir().join("foreign.bin");
    let knows_b = || std::fs::read(&kept).is_ok_and(|bytes| bytes.windows(B.len()).any(|part| part == B.as_bytes()));
    assert!(!knows_b(), "no entry of the node federates with it");
    let _changed = pair.a.operate(&["entry", "update", &entry, "--federates-with", B]).ok();
    has(&web, &[A, B]).await;
    eventually("the bundle on disk", async || knows_b().then_some(())).await;

    // Beside, and never merged: the own bundle of each is its own root alone.
    let mut svids = web.service().fetch_x509svid(web.request(workload::X509svidRequest {})).await.unwrap().into_inner();
    let message = svids.message().await.unwrap().unwrap();
    let root_of = |ca: &Ca| {
        let pem = std::fs::read(ca.root_certificate()).unwrap();
        pki::certificates_from_pem(&pem).unwrap()[0].der().to_vec()
    };
    assert_eq!(message.svids[0].bundle, root_of(&pair.a));
    assert_eq!(message.federated_bundles.get("spiffe://b.example"), Some(&root_of(&pair.b)));

    // A token of b is good at a by b's keys, for as long as a federates with b.
    let request = workload::JwtsvidRequest { audience: vec!["web".to_owned()], ..workload::JwtsvidRequest::default() };
    let token = api.service().fetch_jwtsvid(api.request(request)).await.unwrap().into_inner().svids[0].svid.clone();
    let validate = async || {
        let request = workload::ValidateJwtsvidRequest { audience: "web".to_owned(), svid: token.clone() };
        web.service().validate_jwtsvid(web.request(request)).await.map(|answer| answer.into_inner().spiffe_id)
    };
    assert_eq!(validate().await.unwrap(), "spiffe://b.example/api");
    // So is it on the command line, and which bundle is meant is said where there are several.
    let run = |words: &[&str]| Cli::run(&[words, &["--api-socket", a.api_socket().to_str().unwrap(), "-o", "json"]].concat());
    let file = pair.bed.write("foreign.jwt", &token).display().to_string();
    assert_eq!(run(&["svid", "verify", &file, "--audience", "web"]).ok().json()["id"], "spiffe://b.example/api");
    let open = run(&["bundle", "show"]);
    assert!(open.code == 2 && open.stderr.contains("a.example, b.example"), "{}", open.stderr);
    for name in [A, B] {
        assert_eq!(run(&["bundle", "show", "--trust-domain", name]).ok().json()["trust_domain"], name);
    }
    let unknown = run(&["bundle", "show", "--trust-domain", "c.example"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no bundle of c.example"), "{}", unknown.stderr);

    // What b publishes anew is followed: a second root stands in its bundle until the rotation goes on.
    let before = listed(&pair.a)[0]["bundle"]["sequence"].clone();
    let _prepared = pair.b.operate(&["authority", "prepare", "root"]).ok();
    eventually_within("the new root to be followed", PATIENCE, async || {
        let bundle = listed(&pair.a)[0]["bundle"].clone();
        (bundle["x509_authorities"] == 2 && bundle["sequence"] != before).then_some(())
    })
    .await;

    // While the CA is away, an agent that starts anew has what it had.
    let (mut ca, mut a) = (pair.a, a);
    ca.kill_hard().await;
    a.process.kill_hard().await;
    a.start_again().await;
    let web = WorkloadClient::connect(&a.api_socket()).await.unwrap();
    has(&web, &[A, B]).await;
    ca.start_again().await;

    let removed = ca.operate(&["federation", "remove", B]).ok().json();
    assert_eq!((&removed["removed"], &removed["entries"]), (&Value::from(B), &Value::from(1)));
    has(&web, &[A]).await;
    let request = workload::ValidateJwtsvidRequest { audience: "web".to_owned(), svid: token };
    let refused = web.service().validate_jwtsvid(web.request(request)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    assert_eq!(listed(&ca), Value::Array(Vec::new()));
    let kinds: Vec<_> = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json().as_array().unwrap().clone();
    for kind in ["federation_added", "foreign_bundle_taken", "federation_removed"] {
        assert!(kinds.iter().any(|event| event["kind"] == kind), "{kind} is not in the audit log");
    }
}

/// What an operator gets wrong is refused with the way out, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f02_relationships_that_cannot_be_are_refused() {
    let pair = Pair::start().await;
    let url = format!("https://localhost:{}/", pair.b.federation.unwrap().port());
    let bundle = pair.exported(&pair.a, "a.json");
    let own = bundle.to_str().unwrap();
    for (words, exit, told) in [
        (vec![A, "--endpoint", &url, "--profile", "https_web"], 3, "own trust domain"),
        (vec![B, "--endpoint", "http://b.example/", "--profile", "https_web"], 3, "https://"),
        (vec![B, "--endpoint", &url, "--profile", "https_spiffe"], 2, "--endpoint-spiffe-id"),
        (
            vec![
                B,
                "--endpoint",
                &url,
                "--profile",
                "https_spiffe",
                "--endpoint-spiffe-id",
                "spiffe://c.example/x",
                "--bundle",
                own,
            ],
            1,
            "no trust bundle of b.example",
        ),
    ] {
        let refused = pair.a.operate(&[&["federation", "add"], &words[..]].concat());
        assert_eq!(refused.code, exit, "{words:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{told:?} is not in: {}", refused.stderr);
    }
    assert_eq!(listed(&pair.a), Value::Array(Vec::new()));
    let add = ["federation", "add", B, "--endpoint", &url, "--profile", "https_web"];
    let _added = pair.a.operate(&add).ok();
    assert_eq!(pair.a.operate(&add).code, 3, "there is one already");
    assert_eq!(pair.a.operate(&["federation", "remove", "c.example"]).code, 3);
}

/// A workload of each trust domain behind a real Envoy, which has nothing but what SDS gave it: a foreign SVID is accepted with the foreign bundle
/// and not without, on either side.
#[tokio::test(flavor = "multi_thread")]
async fn f03_envoys_of_two_trust_domains_speak_mtls_until_removal() {
    if !needs("f03_envoys_of_two_trust_domains_speak_mtls_until_removal", Requirement::Envoy) {
        return;
    }
    let pair = Pair::start().await;
    pair.federate().await;
    let (a, b) = (Agent::start(&pair.bed, &pair.a, "node-a").await, Agent::start(&pair.bed, &pair.b, "node-b").await);
    let (web, api) = ("spiffe://a.example/web", "spiffe://b.example/api");
    let program = |name: &str| format!("unix:path:{}", Envoy::program(&pair.bed, name).display());
    pair.a.create_entry_with(web, &[&program("web")], "node-a", &["--federates-with", B]);
    let entry = pair.b.create_entry(api, &[&program("api")], "node-b");
    let service = HttpService::start().await;
    let inbound = super::envoy_pair::inbound_bootstrap(api, service.address, &[web], &b.api_socket());
    let server = Envoy::start(&pair.bed, "api", &inbound).await;
    server.ready().await;
    let upstream = server.listener("inbound").await;
    let (upstream, socket) = (upstream.to_string(), a.api_socket());
    let words = ["envoy", "bootstrap", "--id", web, "--outbound-listen", "127.0.0.1:0", "--outbound-upstream", &upstream];
    let more = ["--server-id", api, "--admin", "127.0.0.1:0", "--api-socket", socket.to_str().unwrap()];
    let bootstrap = Cli::run(&[&words[..], &more, &["--max-connection-duration", "2s"]].concat()).ok().stdout;
    let client = Envoy::start(&pair.bed, "web", &bootstrap).await;
    client.ready().await;
    let entrance = client.listener("outbound").await;
    let status = async || HttpConnection::open(entrance).await.unwrap().get("/").await.status;
    // New connections alone are judged anew; those that there are end after two seconds by the client's own bootstrap.
    let refused_by = async |envoy: &Envoy, what: &str| {
        let before = envoy.stat("ssl.fail_verify_error").await;
        eventually_within(what, PATIENCE, async || {
            let refused = status().await != 200;
            (refused && envoy.stat("ssl.fail_verify_error").await > before).then_some(())
        })
        .await;
    };
    let accepted = async |what: &str| eventually_within(what, PATIENCE, async || (status().await == 200).then_some(())).await;

    refused_by(&server, "the server to refuse whom its entry does not federate with").await;
    let _federates = pair.b.operate(&["entry", "update", &entry, "--federates-with", A]).ok();
    accepted("a request from domain to domain").await;
    let failed = server.stat("ssl.fail_verify_error").await;
    for _ in 0..20 {
        assert_eq!(status().await, 200);
    }
    assert_eq!((server.stat("ssl.fail_verify_error").await, client.stat("ssl.fail_verify_error").await), (failed, 0));

    let _removed = pair.b.operate(&["federation", "remove", A]).ok();
    refused_by(&server, "the server to refuse the client").await;
    pair.b_follows_a();
    accepted("a request once it is followed again").await;
    let _removed = pair.a.operate(&["federation", "remove", B]).ok();
    refused_by(&client, "the client to refuse the server").await;
}

/// The documents of `ca/testdata/foreign-bundles` and what a publisher may do beside, over the wire: each is refused and told, and what is held
/// stays with those who have it.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_hostile_publisher_moves_nothing_and_is_told() {
    let bed = TestBed::new();
    let mut publisher = WebIssuer::start(&bed, "publisher").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ca/testdata/foreign-bundles");
    let document = |name: &str| std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    let federation = format!(
        "[federation]\nmin_refresh = \"1s\"\nallow_addresses = [\"127.0.0.1\", \"::1\"]\nweb_roots = \"{}\"\n",
        publisher.roots().display()
    );
    let ca = Ca::start_named(&bed, "ca-a", options(A, &federation)).await;
    let agent = Agent::start(&bed, &ca, "node-a").await;
    ca.create_entry_with("spiffe://a.example/web", &[&own_uid()], "node-a", &["--federates-with", "example.org"]);
    let hinted = |document: Vec<u8>| {
        let text = String::from_utf8(document).unwrap();
        text.replace("\"spiffe_refresh_hint\":300", "\"spiffe_refresh_hint\":1").into_bytes()
    };
    publisher.publish(&hinted(document("genuine")));
    let url = publisher.url();
    let _added = ca.operate(&["federation", "add", "example.org", "--endpoint", &url, "--profile", "https_web"]).ok();
    let web = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let both = names(&[A, "example.org"]);
    eventually_within("the foreign bundle", PATIENCE, async || (x509_domains(&web).await? == both).then_some(())).await;
    let told = async |words: &str| {
        eventually_within(words, PATIENCE, async || {
            let of_one = listed(&ca)[0].clone();
            assert_eq!(of_one["bundle"]["sequence"], 7, "{words}");
            of_one["trouble"].as_str().unwrap_or_default().contains(words).then_some(())
        })
        .await;
    };

    let refused = std::fs::read_to_string(folder.join("refused.txt")).unwrap();
    let mut cases: Vec<_> =
        refused.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once(": ").unwrap()).collect();
    assert!(cases.len() > 30);
    // Two that are refused in the same words cannot be told apart: one of each.
    let mut seen = BTreeSet::new();
    cases.retain(|(_, words)| seen.insert(*words));
    for (name, words) in cases {
        publisher.publish(&document(name));
        told(words).await;
    }
    publisher.publish(&[b' '; 256 * 1024 + 1]);
    told("more than 262144 bytes").await;
    let refused = ca.operate(&["federation", "refresh", "example.org"]);
    assert!(refused.code == 1 && refused.stderr.contains("the one that is held stays"), "{}", refused.stderr);
    publisher.take_down().await;
    told("cannot connect").await;
    eventually_within("the CA to say that the bundle may be old", PATIENCE, async || {
        let warned = ca.operate(&["status"]).ok().json()["warnings"].to_string();
        let metrics = ca.metrics().await;
        let counted = metrics.contains("signet_ca_federation_relationships{state=\"stale\"} 1");
        (warned.contains("the bundle of example.org (sequence 7) may be old") && counted).then_some(())
    })
    .await;
    assert_eq!(x509_domains(&web).await, Some(both.clone()), "what is held is given out all the same");

    publisher.bring_up().await;
    publisher.publish(&hinted(document("genuine-newer")));
    eventually_within("the newer bundle, and no trouble any more", PATIENCE, async || {
        let of_one = listed(&ca)[0].clone();
        (of_one["bundle"]["sequence"] == 8 && of_one["trouble"].is_null() && of_one["state"] == "current").then_some(())
    })
    .await;
    // Nothing of it is valid any more, by its publisher's own word. An operator need not wait for the next time.
    publisher.publish(br#"{"keys":[],"spiffe_sequence":9}"#);
    let asked = ca.operate(&["federation", "refresh", "example.org"]).ok().json();
    assert_eq!((&asked["bundle"]["sequence"], &asked["bundle"]["x509_authorities"]), (&Value::from(9), &Value::from(0)));
    assert_eq!(ca.operate(&["federation", "refresh", "c.example"]).code, 3, "there is no such relationship");
    eventually_within("the bundle to go", PATIENCE, async || (x509_domains(&web).await? == names(&[A])).then_some(())).await;
}
