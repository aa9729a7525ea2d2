//! Agents that attest their node by the token of their own pod, which a real API server vouches for.

use std::path::PathBuf;

use pki::{KeyAlgorithm, PrivateKey};
use serde_json::{Value, json};
use tests::{Agent, Ca, CaConnection, CaOptions, Passage, Requirement, SdsClient, eventually_within, needs};
use tonic_types::StatusExt;

use crate::kubernetes_tokens::{LIMIT, Stage};

pub(crate) const AUDIENCE: &str = "signet-ca";

/// A namespace with nodes, and the account of the agents.
pub(crate) struct Fleet {
    pub(crate) stage: Stage,
    pub(crate) ca: Ca,
    /// The token of the CA's own account, which may see pods.
    token_file: PathBuf,
}

impl Fleet {
    pub(crate) async fn new(namespace: &'static str) -> Self {
        Self::with(namespace, None, "").await
    }

    /// The same with a CA that reaches the API server by this way, and with more in `[kubernetes.agents]`.
    pub(crate) async fn with(namespace: &'static str, passage: Option<&Passage>, more: &str) -> Self {
        let stage = Stage::new(namespace).await;
        for account in ["agent", "web"] {
            let _uid = stage.account(account).await;
        }
        let token_file = stage.account_of_ca().await;
        stage.allow_reviews().await;
        stage.allow("pods", &json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] })).await;
        let address = passage.map_or(stage.server.address(), Passage::address);
        let table = stage.server.table(address, &token_file);
        let extra = format!(
            "{table}[kubernetes.agents]\naccounts = [\"{namespace}/agent\"]\n{more}\n[limits]\nattestations_per_minute = 10000\n"
        );
        let ca =
            Ca::start(&stage.bed, CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }).await;
        Self { stage, ca, token_file }
    }

    /// The name of a node of this namespace, which is there from now on.
    pub(crate) async fn node(&self, name: &str) -> String {
        let name = format!("{}-{name}", self.stage.namespace);
        drop(self.stage.admin.create("/api/v1/nodes", &json!({ "metadata": { "name": name } })).await);
        name
    }

    pub(crate) async fn pod(&self, name: &str, account: &str, node: &str) -> Value {
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "serviceAccountName": account, "nodeName": node, "containers": [{ "name": "agent", "image": "signet.example/agent" }] },
        });
        self.stage.admin.create(&format!("/api/v1/namespaces/{}/pods", self.stage.namespace), &pod).await.ok()
    }

    pub(crate) async fn delete(&self, pod: &str) {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}", self.stage.namespace);
        let _gone = self.stage.admin.delete_within(&path, 0).await.ok();
    }

    /// What the kubelet mounts into a pod.
    pub(crate) async fn project(&self, file: &str, account: &str, audience: &str, pod: Option<&Value>) -> PathBuf {
        let token = self.stage.token(account, audience, pod).await;
        self.stage.bed.write(file, &token)
    }

    /// Starts an agent that has this token; it need not become ready.
    async fn agent(&self, name: &str, token_file: &std::path::Path) -> Agent {
        self.agent_with(name, token_file, "").await
    }

    /// The same, which watches the pods of this node.
    pub(crate) async fn seeing_agent(&self, name: &str, token_file: &std::path::Path, node: &str) -> Agent {
        let table = self.stage.server.table(self.stage.server.address(), &self.token_file);
        self.agent_with(name, token_file, &format!("{table}node_name = \"{node}\"\n")).await
    }

    async fn agent_with(&self, name: &str, token_file: &std::path::Path, more: &str) -> Agent {
        let at = self.stage.bed.path().display();
        let content = format!(
            "trust_domain = \"cluster.local\"\nstate_dir = \"{at}/{name}-state\"\nca_address = \"{}\"\ntrust_bundle = \"{}\"\n\
             api_socket = \"{at}/{name}-public/api.sock\"\nadmin_socket = \"{at}/{name}-admin.sock\"\n\
             [attestation]\nservice_account_token_file = \"{}\"\n[telemetry]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n{more}",
            self.ca.address,
            self.ca.root_certificate().display(),
            token_file.display()
        );
        self.stage.bed.write(&format!("{name}.toml"), &content);
        Agent::run(self.stage.bed.path(), name).await
    }

    fn nodes(&self) -> Vec<String> {
        let nodes = self.ca.operate(&["node", "list"]).ok().json();
        nodes.as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    }
}

async fn refused(agent: &Agent, why: &str) {
    let told = format!("{} to be told {why}", agent.node);
    eventually_within(&told, LIMIT, async || agent.readiness().await.1.contains(why).then_some(())).await;
    assert_eq!(agent.readiness().await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_attests_the_node_of_its_pod_and_comes_back_by_a_new_pod_when_its_state_is_lost() {
    let name = "an_agent_attests_the_node_of_its_pod_and_comes_back_by_a_new_pod_when_its_state_is_lost";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let fleet = Fleet::new("fleet").await;
    let node = fleet.node("a").await;
    let pod = fleet.pod("agent-1", "agent", &node).await;
    let token = fleet.project("token-1", "agent", AUDIENCE, Some(&pod)).await;
    let mut agent = fleet.agent("first", &token).await;
    agent.ready().await;
    assert_eq!(fleet.nodes(), [node.as_str()], "the node is called as in the cluster");
    let own_uid = format!("unix:uid:{}", nix::unistd::getuid());
    fleet.ca.create_entry("spiffe://cluster.local/web", &[&own_uid], &node);
    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    assert!(sds.subscribe(&["default"]).await.unwrap().next().await.unwrap().secrets[0].chain_pem.is_some());
    agent.process.stop().await;
    agent.start_again().await;
    agent.ready().await;

    // The same token from elsewhere: another key.
    let thief = fleet.agent("thief", &token).await;
    refused(&thief, "POD_USED").await;
    assert_eq!(agent.readiness().await.0, 200, "the node on record is not disturbed");

    // The pod and the volume that it had are gone; the set makes another.
    agent.process.stop().await;
    fleet.delete("agent-1").await;
    let pod = fleet.pod("agent-2", "agent", &node).await;
    let token = fleet.project("token-2", "agent", AUDIENCE, Some(&pod)).await;
    let mut second = fleet.agent("second", &token).await;
    second.ready().await;
    assert_eq!(fleet.nodes(), [node.as_str()]);
    // Evicted, it does not come back by this pod, and does by the next one.
    let _evicted = fleet.ca.operate(&["node", "evict", &node]).ok();
    eventually_within("it to be told that its pod is used", LIMIT, async || {
        second.readiness().await.1.contains("POD_USED").then_some(())
    })
    .await;
    fleet.delete("agent-2").await;
    let pod = fleet.pod("agent-3", "agent", &node).await;
    let _token = fleet.project("token-2", "agent", AUDIENCE, Some(&pod)).await;
    eventually_within("the node to be attested again", LIMIT, async || (fleet.nodes() == [node.as_str()]).then_some(())).await;
    let audit = fleet.ca.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
    assert!(audit.matches("agent_pod_attested").count() >= 3 && audit.contains("agent_pod_refused"), "{audit}");
    second.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_about_a_token_whose_bearer_does_not_prove_the_node_key_on_this_connection() {
    let name = "nobody_is_asked_about_a_token_whose_bearer_does_not_prove_the_node_key_on_this_connection";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let fleet = Fleet::new("unproved").await;
    let node = fleet.node("a").await;
    let pod = fleet.pod("agent-1", "agent", &node).await;
    let token = fleet.stage.token("agent", AUDIENCE, Some(&pod)).await;
    let fingerprint = fleet.ca.create_token("unused").ca_fingerprint;
    let open = async || CaConnection::open(fleet.ca.address, "cluster.local", &fingerprint, None).await.unwrap();
    let (connection, other) = (open().await, open().await);
    let [node_key, stranger] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let asked = async || {
        let metrics = fleet.ca.metrics().await;
        let line = metrics
            .lines()
            .find(|line| line.contains("kubernetes_calls_total") && line.contains("review_token\",outcome=\"ok\""));
        line.unwrap().to_owned()
    };
    let before = asked().await;
    for (what, proof) in [
        ("by another key", (&stranger, &connection.exporter, token.as_str())),
        ("of another connection", (&node_key, &other.exporter, &token)),
        ("for another token", (&node_key, &connection.exporter, "a.b.c")),
    ] {
        let status = connection.attest_service_account(&token, &node_key, proof).await.expect_err(what);
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        assert_eq!(reason, "PROOF_INVALID", "{what}: {status}");
    }
    assert_eq!(asked().await, before);
    let proof = (&node_key, &connection.exporter, token.as_str());
    assert_eq!(connection.attest_service_account(&token, &node_key, proof).await.unwrap().node, node);
    assert_ne!(asked().await, before, "the number that was looked at counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_token_attests_a_node() {
    if !needs("no_other_token_attests_a_node", Requirement::ApiServer) {
        return;
    }
    let fleet = Fleet::new("no-agents").await;
    let node = fleet.node("a").await;
    let pod = fleet.pod("agent-1", "agent", &node).await;
    let web = fleet.pod("web-1", "web", &node).await;
    let gone = fleet.pod("agent-2", "agent", &node).await;
    let deleted = fleet.project("deleted", "agent", AUDIENCE, Some(&gone)).await;
    fleet.delete("agent-2").await;
    let ended = fleet.pod("agent-3", "agent", &node).await;
    let kubelet = fleet.stage.server.node(&node);
    let path = format!("/api/v1/namespaces/{}/pods/agent-3", fleet.stage.namespace);
    let mut failed = kubelet.get(&path).await.ok();
    failed["status"]["phase"] = json!("Failed");
    let _said = kubelet.replace(&format!("{path}/status"), &failed).await.ok();
    let tokens = [
        ("wrong-audience", fleet.project("wrong", "agent", "istio-ca", Some(&pod)).await, "SERVICE_ACCOUNT_REFUSED"),
        ("unbound", fleet.project("unbound", "agent", AUDIENCE, None).await, "bound to no pod"),
        ("workload", fleet.project("workload", "web", AUDIENCE, Some(&web)).await, "none of the accounts"),
        ("deleted", deleted, "SERVICE_ACCOUNT_REFUSED"),
        ("ended", fleet.project("ended", "agent", AUDIENCE, Some(&ended)).await, "it has ended"),
        ("garbage", fleet.stage.bed.write("garbage", "a.b.c"), "SERVICE_ACCOUNT_REFUSED"),
        ("missing", fleet.stage.bed.path().join("missing"), "service_account_token_file"),
    ];
    for (name, token, why) in &tokens {
        let mut agent = fleet.agent(name, token).await;
        refused(&agent, why).await;
        agent.process.stop().await;
    }
    assert!(fleet.nodes().is_empty(), "{:?}", fleet.nodes());
    // The right one, beside them.
    let token = fleet.project("right", "agent", AUDIENCE, Some(&pod)).await;
    let agent = fleet.agent("right", &token).await;
    agent.ready().await;
    assert_eq!(fleet.nodes(), [node]);
    // Whom an operator put on record is not taken over.
    let taken = fleet.node("vm").await;
    let joined = Agent::start(&fleet.stage.bed, &fleet.ca, &taken).await;
    let pod = fleet.pod("agent-4", "agent", &taken).await;
    let token = fleet.project("taker", "agent", AUDIENCE, Some(&pod)).await;
    let taker = fleet.agent("taker", &token).await;
    refused(&taker, "did not come from this cluster").await;
    assert_eq!(joined.readiness().await.0, 200);
}
