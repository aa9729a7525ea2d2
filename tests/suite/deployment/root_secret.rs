//! The root of a CA in a Secret of its namespace: made once, and what brings a CA back that lost its volume.

use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{Ca, Cli, CliOutput, Requirement, needs};

use super::cluster::{Cluster, path};
use super::programs::arguments;

const SECRET: &str = "/api/v1/namespaces/signet/secrets/signet-ca-root";

/// The CA's account, and its volume.
struct Stage {
    cluster: Cluster,
    config: String,
}

impl Stage {
    async fn new() -> Self {
        let cluster = Cluster::new("root-secret").await;
        let config = cluster.configure_ca(&cluster.file("signet-ca", "ca.toml")).await;
        Self { config: config.to_str().unwrap().to_owned(), cluster }
    }

    /// The init container, as it is rendered.
    fn init(&self) -> CliOutput {
        let words = arguments(self.cluster.object("Deployment", "signet-ca"), "initContainers", "init", &[]);
        let placed = words.into_iter().map(|word| if word == "/etc/signet/ca.toml" { self.config.clone() } else { word });
        Cli::run(&placed.chain(["-o", "json"].map(str::to_owned)).collect::<Vec<_>>())
    }

    fn root(&self) -> String {
        std::fs::read_to_string(self.cluster.bed.path().join("ca-state/root-cert.pem")).unwrap()
    }

    fn lose_volume(&self) {
        std::fs::remove_dir_all(self.cluster.bed.path().join("ca-state")).unwrap();
    }

    async fn secret(&self) -> Value {
        self.cluster.admin.get(SECRET).await.ok()
    }

    async fn delete(&self) {
        let _gone = self.cluster.admin.delete(SECRET).await.ok();
    }

    /// Runs the init container where the account may not do this.
    async fn init_without(&self, verb: &str) -> CliOutput {
        let role = self.cluster.object("Role", "signet-ca-root");
        let mut reduced = role.clone();
        reduced["rules"].as_array_mut().unwrap().retain(|rule| rule["verbs"][0] != verb);
        let name = if verb == "get" { "signet-ca-root" } else { "" };
        let attributes = json!({ "verb": verb, "group": "", "resource": "secrets", "namespace": "signet", "name": name });
        let account = self.cluster.account("signet", "signet-ca").await;
        self.cluster.change_role(&reduced, &account, &attributes, false).await;
        let ended = self.init();
        self.cluster.change_role(role, &account, &attributes, true).await;
        ended
    }
}

fn file(secret: &Value, name: &str) -> String {
    String::from_utf8(BASE64.decode(secret["data"][name].as_str().unwrap().as_bytes()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_put_into_its_secret_once_and_comes_back_from_it() {
    let name = "the_root_is_put_into_its_secret_once_and_comes_back_from_it";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let stage = Stage::new().await;
    // Without either right no CA is made whose root would be nowhere but here, or there is none in the cluster.
    let refused = stage.init_without("get").await;
    assert!(refused.code == 1 && refused.stderr.contains("get secrets: forbidden (403)"), "{refused:?}");
    assert!(!stage.cluster.bed.path().join("ca-state").exists(), "nothing was made");
    let refused = stage.init_without("create").await;
    assert!(refused.code == 1 && refused.stderr.contains("create secrets: forbidden (403)"), "{refused:?}");
    // What that run made stays, and the next one puts it there.
    let root = stage.root();
    assert_eq!(stage.init().ok().json(), json!({ "made": false, "put": true }));
    let put = stage.secret().await;
    assert_eq!((put["type"].as_str(), file(&put, "root-cert.pem")), (Some("Opaque"), root.clone()));
    assert!(file(&put, "root-key.pem").starts_with("-----BEGIN PRIVATE KEY"));
    assert!(put["metadata"]["ownerReferences"].is_null(), "it goes with nothing");
    assert_eq!(stage.init().ok().json(), json!({ "made": false }));

    // In one run, and back from it.
    stage.delete().await;
    stage.lose_volume();
    assert_eq!(stage.init().ok().json()["made"], true);
    let (made, root) = (stage.secret().await, stage.root());
    assert_eq!(file(&made, "root-cert.pem"), root);
    stage.lose_volume();
    let restored = stage.init().ok().json();
    assert_eq!((&restored["made"], &restored["restored"]), (&json!(true), &json!(true)));
    assert_eq!(stage.root(), root);
    let mut ca = Ca::run(stage.cluster.bed.path(), "ca", "cluster.local").await;
    ca.ready().await;
    let agent = stage.cluster.agent(&ca).await;
    agent.ready().await;
    assert_eq!(stage.init().ok().json()["made"], false, "beside a CA that runs");
    ca.process.stop().await;

    // Another root is there: it stays, and so does ours.
    let mut other = made.clone();
    other["data"]["root-cert.pem"] = json!(BASE64.encode(b"another"));
    let _put = stage.cluster.admin.replace(SECRET, &other).await.ok();
    let told =
        Cli::run(&["ca", "init", "--if-missing", "--root-secret", "signet/signet-ca-root", "--config", &stage.config]).ok();
    assert!(told.stdout.contains("another root"), "{told:?}");
    stage.lose_volume();
    let refused = stage.init();
    assert!(refused.code == 1 && refused.stderr.contains("root-cert.pem"), "{refused:?}");
    assert!(!stage.cluster.bed.path().join("ca-state/authority").exists());
    let role = stage.cluster.object("Role", "signet-ca-root");
    assert!(path(role).ends_with("/namespaces/signet/roles/signet-ca-root"));
    let verbs: Vec<_> = role["rules"].as_array().unwrap().iter().flat_map(|rule| rule["verbs"].as_array().unwrap()).collect();
    assert_eq!(verbs, ["get", "create"], "each was tried");
}

#[test]
fn a_root_goes_into_a_secret_only_where_it_can() {
    let bed = tests::TestBed::new();
    let config = |name: &str, more: &str| {
        let state = bed.path().join(name).display().to_string();
        let text = format!("trust_domain = \"example.org\"\nstate_dir = \"{state}\"\nlisten = \"127.0.0.1:0\"\n{more}");
        bed.write(&format!("{name}.toml"), &text).to_str().unwrap().to_owned()
    };
    let init = |config: &str| Cli::run(&["ca", "init", "--if-missing", "--root-secret", "signet/root", "--config", config]);
    let alone = config("alone", "");
    assert!(init(&alone).stderr.contains("needs [kubernetes]"));
    let away =
        config("away", "[kubernetes]\napi_server = \"https://127.0.0.1:1\"\nroots = \"/nowhere\"\ntoken_file = \"/nowhere\"\n");
    assert_eq!(init(&away).code, 1, "a new root is not made while nobody knows whether there is one");
    assert!(!bed.path().join("away").exists());
    // One that was made goes on without the cluster.
    let _made = Cli::run(&["ca", "init", "--config", &away]).ok();
    assert!(init(&away).ok().stdout.contains("of the Secret nothing is known"));
    assert_eq!(Cli::run(&["ca", "init", "--if-missing", "--root-secret", "root", "--config", &away]).code, 2);
    assert_eq!(Cli::run(&["ca", "init", "--root-secret", "a/b", "--config", &alone]).code, 2, "with --if-missing alone");
}
