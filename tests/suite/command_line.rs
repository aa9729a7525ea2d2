//! `svid` and `bundle` on the command line: what a workload and what an operator of trust type, once right and once wrong.

use serde_json::Value;
use tests::{Agent, Ca, CaOptions, Cli, CliOutput, Process, TestBed, eventually, signet_binary};

const WEB: &str = "spiffe://example.org/web";

/// A CA and an agent with an entry for the program `signet` itself, which is the workload here.
struct Desk {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    entry: String,
}

impl Desk {
    async fn new(leaf_ttl: &str) -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions { leaf_ttl: leaf_ttl.to_owned(), ..CaOptions::default() }).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let program = std::fs::canonicalize(signet_binary()).unwrap();
        let entry = ca.create_entry_with(WEB, &[&format!("unix:path:{}", program.display())], "node-1", &["--hint", "front"]);
        let desk = Self { bed, ca, agent, entry };
        // Until the agent has heard of the entry, it refuses.
        eventually("the identity is at the agent", async || (desk.run(&["svid", "fetch", "x509"]).code == 0).then_some(())).await;
        desk
    }

    fn run(&self, words: &[&str]) -> CliOutput {
        let socket = self.agent.api_socket();
        Cli::run(&[words, &["--api-socket", socket.to_str().unwrap()]].concat())
    }

    fn path(&self, name: &str) -> String {
        self.bed.path().join(name).display().to_string()
    }
}

#[tokio::test]
async fn a_fetched_svid_is_shown_written_inspected_and_verified_and_another_is_refused_with_the_reason() {
    let desk = Desk::new("1h").await;
    let shown = desk.run(&["svid", "fetch", "x509", "-o", "json", "--write", &desk.path("out")]).ok().json();
    assert_eq!((&shown[0]["id"], &shown[0]["hint"]), (&WEB.into(), &"front".into()), "{shown}");
    let (chain, key, bundle) = (desk.path("out/svid.0.pem"), desk.path("out/key.0.pem"), desk.path("out/bundle.0.pem"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let inspected = Cli::run(&["svid", "inspect", &chain, "-o", "json"]).ok().json();
    assert_eq!(inspected[0]["uris"][0], WEB);
    assert_eq!(inspected[0]["findings"], Value::Array(Vec::new()), "{inspected}");
    let valid = desk.run(&["svid", "verify", &chain, "--id", WEB, "-o", "json"]).ok().json();
    assert_eq!(valid["id"], WEB, "by the agent's bundle: {valid}");
    let by_file = ["svid", "verify", &chain, "--bundle", &bundle, "--trust-domain", "example.org"];
    let text = Cli::run(&by_file).ok().stdout;
    assert!(text.contains("valid") && text.contains("this machine's clock"), "{text}");

    let late = Cli::run(&[&by_file[..], &["--at", "2199-01-01T00:00:00Z"]].concat());
    assert_eq!(late.code, 1);
    assert!(
        late.stdout.contains("2199-01-01T00:00:00Z") && late.stdout.contains("ago"),
        "both clocks and all dates: {}",
        late.stdout
    );
    let other = desk.run(&["svid", "verify", &chain, "--id", "spiffe://example.org/other"]);
    assert!(other.code == 1 && other.stderr.contains("was demanded"), "{}", other.stderr);
    let stranger = Ca::start_named(&desk.bed, "stranger", CaOptions::default()).await;
    let root = stranger.root_certificate().display().to_string();
    let refused = Cli::run(&["svid", "verify", &chain, "--bundle", &root, "--trust-domain", "example.org"]);
    assert!(refused.code == 1 && refused.stderr.contains("why:"), "{}", refused.stderr);
    // What names no SPIFFE ID gets a verdict too.
    let token = desk.bed.write("token", "not.a.token");
    let nameless = desk.run(&["svid", "verify", token.to_str().unwrap(), "-o", "json"]);
    let verdict: Value = serde_json::from_str(&nameless.stdout).unwrap();
    assert_eq!((nameless.code, &verdict["valid"], &verdict["bundle"]), (1, &false.into(), &Value::Null), "{verdict}");
    assert!(!verdict["why"].as_str().unwrap().is_empty(), "{verdict}");
    let nothing = Cli::run(&["svid", "inspect", &key]);
    assert!(nothing.code == 1 && nothing.stderr.contains("holds no SVID"), "{}", nothing.stderr);
    assert!(!nothing.stderr.contains("BEGIN"), "nothing of the key is shown");
}

#[tokio::test]
async fn a_jwt_svid_is_fetched_inspected_and_verified_for_its_audience_alone() {
    let desk = Desk::new("1h").await;
    let token = desk.run(&["svid", "fetch", "jwt", "--audience", "reports"]).ok().stdout;
    let file = desk.bed.write("token.jwt", &token).display().to_string();
    let inspected = Cli::run(&["svid", "inspect", &file, "-o", "json"]).ok().json();
    assert_eq!(inspected["claims"]["sub"], WEB);
    assert_eq!(inspected["findings"], Value::Array(Vec::new()), "{inspected}");
    let valid = desk.run(&["svid", "verify", &file, "--audience", "reports", "-o", "json"]).ok().json();
    assert_eq!(valid["id"], WEB);
    let other = desk.run(&["svid", "verify", &file, "--audience", "payments"]);
    assert!(other.code == 1 && other.stderr.contains("not for \"payments\""), "{}", other.stderr);
    let without = desk.run(&["svid", "verify", &file]);
    assert_eq!(without.code, 2, "{}", without.stderr);
}

#[tokio::test]
async fn a_watch_prints_each_state_and_ends_with_the_entitlement() {
    let desk = Desk::new("6s").await;
    let mut command = std::process::Command::new(signet_binary());
    command.args(["svid", "watch", "-o", "json", "--api-socket"]).arg(desk.agent.api_socket());
    let mut watch = Process::start("watch", &mut command, desk.bed.path());
    let serials = eventually("a renewal", async || {
        let lines: Vec<Value> = watch.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let serials: Vec<_> = lines.iter().map(|line| line["svids"][0]["chain"][0]["serial"].to_string()).collect();
        (serials.len() > 1).then_some(serials)
    })
    .await;
    assert_ne!(serials[0], serials[1]);
    let _deleted = desk.ca.operate(&["entry", "delete", &desk.entry]).ok();
    let ended = watch.exit(std::time::Duration::from_secs(10)).await;
    assert_eq!(ended.code(), Some(3), "{}", watch.stderr());
    assert!(watch.stderr().contains("entry explain"), "it says what to do: {}", watch.stderr());
    let denied = desk.run(&["svid", "fetch", "x509"]);
    assert_eq!(denied.code, 3, "{}", denied.stderr);
}

#[tokio::test]
async fn a_bundle_is_shown_exported_and_imported_and_agents_and_the_ca_say_the_same() {
    let desk = Desk::new("1h").await;
    let of_ca = desk.ca.operate(&["bundle", "show"]).ok().json();
    let of_agent = desk.run(&["bundle", "show", "-o", "json"]).ok().json();
    assert_eq!(of_ca, of_agent);
    assert_eq!(of_ca["x509_authorities"].as_array().unwrap().len(), 1);
    assert_eq!(of_ca["jwt_authorities"].as_array().unwrap().len(), 1);
    let jwks = desk.run(&["bundle", "export", "--form", "jwks"]).ok().stdout;
    let file = desk.bed.write("bundle.json", &jwks).display().to_string();
    let into = desk.path("in-place.pem");
    let import = ["bundle", "import", &file, "--trust-domain", "example.org", "--into", &into];
    let _imported = Cli::run(&import).ok();
    assert_eq!(
        std::fs::read_to_string(&into).unwrap().trim(),
        std::fs::read_to_string(desk.ca.root_certificate()).unwrap().trim(),
        "the PEM form holds the root"
    );
    let yaml = Cli::run(&["bundle", "show", "--file", &file, "--trust-domain", "example.org", "-o", "yaml"]).ok().stdout;
    assert!(yaml.contains("trust_domain: example.org"), "{yaml}");
    let foreign = Cli::run(&["bundle", "import", &file, "--trust-domain", "other.org", "--into", &desk.path("no.pem")]);
    assert!(foreign.code == 1 && !desk.bed.path().join("no.pem").exists(), "{}", foreign.stderr);
}
