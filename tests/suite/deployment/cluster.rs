//! A cluster of one test into which the accounts and rights of an overlay are put as they are rendered, with the programs in it.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::{Agent, ApiClient, ApiServer, Ca, Cli, TestBed, eventually_within};

use super::directory;
use super::manifests::kustomized;
use crate::kubernetes_tokens::{ISSUER, LIMIT};

/// The namespace that opted in to Secrets.
pub(super) const SHOP: &str = "shop";
/// The node of the one agent.
pub(super) const NODE: &str = "node-1";

pub(super) struct Cluster {
    pub(super) server: ApiServer,
    pub(super) admin: ApiClient,
    pub(super) bed: TestBed,
    /// The rendered objects.
    pub(super) objects: Vec<Value>,
}

/// The path of the collection that an object is in.
pub(super) fn collection(object: &Value) -> String {
    let group = match object["apiVersion"].as_str().unwrap() {
        "v1" => "/api/v1".to_owned(),
        group => format!("/apis/{group}"),
    };
    let kind = object["kind"].as_str().unwrap().to_lowercase();
    let plural = kind.strip_suffix('y').map_or(format!("{kind}s"), |stem| format!("{stem}ies"));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}"),
        None => format!("{group}/{plural}"),
    }
}

/// The path of an object.
pub(super) fn path(object: &Value) -> String {
    format!("{}/{}", collection(object), object["metadata"]["name"].as_str().unwrap())
}

/// Replaces what stands there once.
fn put(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replacen(from, to, 1)
}

/// Makes a kind of objects, and waits until the server knows it.
pub(crate) async fn define(admin: &ApiClient, definition: &Value) {
    // Other tests may want it too.
    drop(admin.create(&collection(definition), definition).await);
    let spec = &definition["spec"];
    let [group, plural] = [&spec["group"], &spec["names"]["plural"]].map(|text| text.as_str().unwrap());
    let served = format!("/apis/{group}/{}/{plural}", spec["versions"][0]["name"].as_str().unwrap());
    eventually_within("the kind to be served", LIMIT, async || (admin.get(&served).await.status == 200).then_some(())).await;
}

impl Cluster {
    /// With namespaces, accounts and rights of an overlay, verbatim.
    pub(super) async fn new(overlay: &str) -> Self {
        let server = ApiServer::start().await;
        let admin = server.admin();
        let objects = kustomized(&directory(overlay));
        let shop = json!({ "metadata": { "name": SHOP } });
        let _made = admin.create("/api/v1/namespaces", &shop).await.ok();
        let kinds = ["Namespace", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"];
        for kind in kinds {
            for object in objects.iter().filter(|object| object["kind"] == kind) {
                let _made = admin.create(&collection(object), object).await.ok();
            }
        }
        for definition in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
            define(&admin, definition).await;
        }
        Self { server, admin, bed: TestBed::new(), objects }
    }

    /// One of the rendered objects.
    pub(super) fn object(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// A file of a rendered ConfigMap.
    pub(super) fn file(&self, map: &str, name: &str) -> String {
        self.object("ConfigMap", map)["data"][name].as_str().unwrap().to_owned()
    }

    pub(super) async fn token(&self, namespace: &str, account: &str, audience: &str, pod: Option<&Value>) -> String {
        let bound = pod.map(
            |pod| json!({ "kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"] }),
        );
        let spec = json!({ "audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let made = self.admin.create(&path, &json!({ "spec": spec })).await.ok();
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// The account by its own token for the API server.
    pub(super) async fn account(&self, namespace: &str, account: &str) -> ApiClient {
        self.server.bearer(&self.token(namespace, account, ISSUER, None).await)
    }

    /// `[kubernetes]`, as it reaches this server with the token of the account.
    async fn table(&self, namespace: &str, account: &str) -> String {
        let token = self.token(namespace, account, ISSUER, None).await;
        let token_file = self.bed.write(&format!("{account}-api-token"), &token);
        self.server.table(self.server.address(), &token_file)
    }

    /// The rendered file of the CA with the places of this machine in it: `ca.toml` of the bed.
    pub(super) async fn configure_ca(&self, rendered: &str) -> PathBuf {
        let at = self.bed.path().display().to_string();
        let state = format!("state_dir = \"{at}/ca-state\"\nadmin_socket = \"{at}/ca-admin.sock\"");
        let text = put(rendered, "state_dir = \"/var/lib/signet/ca\"", &state);
        let text = put(&text, "listen = \"0.0.0.0:8443\"", "listen = \"127.0.0.1:0\"");
        let text = put(&text, "address = \"127.0.0.1:9464\"", "address = \"127.0.0.1:0\"");
        let text = put(&text, "[kubernetes]\n", &self.table("signet", "signet-ca").await);
        self.bed.write("ca.toml", &text)
    }

    /// The CA of the overlay.
    pub(super) async fn ca(&self) -> Ca {
        let config = self.configure_ca(&self.file("signet-ca", "ca.toml")).await;
        let _made = Cli::run(&["ca", "init", "--if-missing", "--config", config.to_str().unwrap()]).ok();
        Ca::run(self.bed.path(), "ca", "cluster.local").await
    }

    /// The rendered file of the agent with the places of this machine in it: `agent.toml` of the bed.
    pub(super) async fn configure_agent(&self, ca: &Ca) -> PathBuf {
        let pod = json!({
            "metadata": { "name": "signet-agent-0" },
            "spec": { "serviceAccountName": "signet-agent", "nodeName": NODE, "containers": [{ "name": "agent", "image": "signet" }] },
        });
        let _made = self.admin.create("/api/v1/nodes", &json!({ "metadata": { "name": NODE } })).await.ok();
        let pod = self.admin.create("/api/v1/namespaces/signet-agents/pods", &pod).await.ok();
        let token = self.bed.write("agent-token", &self.token("signet-agents", "signet-agent", "signet-ca", Some(&pod)).await);
        let at = self.bed.path().display().to_string();
        let text = self.file("signet-agent", "agent.toml");
        let state = format!(
            "state_dir = \"{at}/agent-state\"\napi_socket = \"{at}/agent-public/api.sock\"\nadmin_socket = \"{at}/agent-admin.sock\""
        );
        let text = put(&text, "state_dir = \"/var/lib/signet/agent\"", &state);
        let text = put(&text, "signet-ca.signet.svc:8443", &ca.address.to_string());
        let anchor = ca.root_certificate();
        let text = put(&text, "/var/run/signet/anchor/root-cert.pem", anchor.to_str().unwrap());
        let text = put(&text, "/var/run/secrets/signet/token", token.to_str().unwrap());
        let text = put(&text, "address = \"127.0.0.1:9464\"", "address = \"127.0.0.1:0\"");
        let table = self.table("signet-agents", "signet-agent").await;
        let text = put(&text, "[kubernetes]\n", &format!("{table}node_name = \"{NODE}\"\n"));
        self.bed.write("agent.toml", &text)
    }

    pub(super) async fn agent(&self, ca: &Ca) -> Agent {
        let _config = self.configure_agent(ca).await;
        Agent::run(self.bed.path(), "agent").await
    }

    /// Puts a role in the place of the one that is there, and waits until the API server goes by it: `allowed` or not, the account may do this.
    pub(super) async fn change_role(&self, role: &Value, account: &ApiClient, attributes: &Value, allowed: bool) {
        let _put = self.admin.replace(&path(role), role).await.ok();
        let question = json!({ "spec": { "resourceAttributes": attributes } });
        eventually_within("the role to count", LIMIT, async || {
            let answer = account.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &question).await.ok();
            (answer["status"]["allowed"] == allowed).then_some(())
        })
        .await;
    }
}
