//! Processes in containers of pods, by the pods that a real API server lists. The tests play the kubelet: they make the control groups, and say
//! which containers run.

use std::process::Command;
use std::time::Duration;

use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{
    Agent, AgentOptions, Ca, CaOptions, ContainerGroup, Passage, Process, Requirement, eventually_within, needs, signet_binary,
};

use crate::kubernetes_tokens::{LIMIT, Stage};

/// How long the agent waits for a container to be listed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node of the cluster with an agent, and the CA whose entries it has.
struct Node {
    stage: Stage,
    name: String,
    ca: Ca,
    agent: Agent,
}

/// A process in a container, or in none.
pub(crate) struct Workload {
    pub(crate) process: Process,
}

/// What became of a call.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    stdout: String,
    pub(crate) said: String,
    took: Duration,
}

impl Node {
    async fn new(namespace: &'static str, passage: Option<&Passage>) -> Self {
        let stage = Stage::new(namespace).await;
        let name = format!("{namespace}-node");
        let token_file = stage.account_of_ca().await;
        let address = passage.map_or(stage.server.address(), Passage::address);
        let table = stage.server.table(address, &token_file);
        let ca = Ca::start(&stage.bed, CaOptions::default()).await;
        let extra = format!("{table}node_name = \"{name}\"\n");
        let agent = Agent::start_with(&stage.bed, &ca, "node-1", AgentOptions { extra, ..AgentOptions::default() }).await;
        Self { stage, name, ca, agent }
    }

    /// The same, when the agent knows the pods that are there.
    async fn seeing(namespace: &'static str, passage: Option<&Passage>) -> Self {
        let node = Self::new(namespace, passage).await;
        node.allow().await;
        let _account = node.stage.account("web").await;
        let _first = node.stage.pod("first", "web").await;
        eventually_within("the pods of the node to be known", LIMIT, async || {
            (node.agent.metric("signet_workload_pods_known").await? > 0.0).then_some(())
        })
        .await;
        node
    }

    async fn allow(&self) {
        self.stage.allow("pods", &json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] })).await;
    }

    /// A pod with a label, by its UID.
    async fn pod(&self, name: &str) -> String {
        let made = self.stage.pod(name, "web").await;
        self.label(name, "front").await;
        made["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    async fn label(&self, name: &str, tier: &str) {
        let path = self.path(name);
        let mut pod = self.stage.admin.get(&path).await.ok();
        pod["metadata"]["labels"] = json!({ "tier": tier });
        let _changed = self.stage.admin.replace(&path, &pod).await.ok();
    }

    fn path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.stage.namespace)
    }

    async fn runs(&self, name: &str, containers: &[(&str, &str)]) {
        kubelet_says(&self.stage, &self.name, name, containers).await;
    }

    fn entry(&self, path: &str, selectors: &[&str]) -> String {
        let id = format!("spiffe://{}{path}", self.ca.trust_domain);
        let _entry = self.ca.create_entry(&id, selectors, "node-1");
        id
    }

    /// A process that does not do anything yet.
    fn start(&self, name: &str, arguments: &[&str], group: Option<&ContainerGroup>) -> Workload {
        start(&self.agent, &self.stage, name, arguments, group)
    }

    /// What a process gets that asks once.
    async fn fetch(&self, name: &str, group: Option<&ContainerGroup>) -> Outcome {
        self.start(name, &["svid", "fetch", "x509", "-o", "json"], group).done().await
    }

    /// The identities of a process that asks once.
    async fn identities(&self, name: &str, group: Option<&ContainerGroup>) -> Vec<String> {
        let outcome = self.fetch(name, group).await;
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.said);
        outcome.identities()
    }

    /// What an operator is told of a process.
    fn explained(&self, pid: u32) -> Value {
        self.agent.operate(&["entry", "explain", "--pid", &pid.to_string()]).ok().json()
    }
}

impl Workload {
    pub(crate) async fn done(mut self) -> Outcome {
        let clock = SystemClock::shared();
        let begin = clock.boottime();
        self.process.tell("go");
        let status = self.process.exit(LIMIT).await;
        let (stdout, said) = (self.process.stdout(), self.process.stderr());
        Outcome { code: status.code().unwrap_or(-1), stdout, said, took: clock.boottime() - begin }
    }
}

impl Outcome {
    pub(crate) fn identities(&self) -> Vec<String> {
        let shown: Value = serde_json::from_str(self.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {}", self.stdout));
        let mut identities: Vec<_> =
            shown.as_array().unwrap().iter().map(|svid| svid["id"].as_str().unwrap().to_owned()).collect();
        // Entries of one second are in no order of the test's.
        identities.sort();
        identities
    }
}

/// The kubelet of a node says that these containers of a pod run, by name and ID.
pub(crate) async fn kubelet_says(stage: &Stage, node: &str, pod: &str, containers: &[(&str, &str)]) {
    let status = |(name, id): &(&str, &str)| {
        json!({
            "name": name, "ready": true, "restartCount": 0, "image": format!("{name}.example/{name}:1"), "containerID": format!("containerd://{id}"),
            "imageID": format!("{name}.example/{name}@sha256:{}", "0f".repeat(32)),
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        })
    };
    let kubelet = stage.server.node(node);
    let path = format!("/api/v1/namespaces/{}/pods/{pod}", stage.namespace);
    // A node may not see a pod in the first moment of it.
    eventually_within("the kubelet to be heard", LIMIT, async || {
        let mut pod = kubelet.get(&path).await.body;
        pod["status"]["phase"] = json!("Running");
        pod["status"]["containerStatuses"] = containers.iter().map(status).collect();
        (kubelet.replace(&format!("{path}/status"), &pod).await.status == 200).then_some(())
    })
    .await;
}

/// A process that does not do anything yet, and then calls this agent.
pub(crate) fn start(agent: &Agent, stage: &Stage, name: &str, arguments: &[&str], group: Option<&ContainerGroup>) -> Workload {
    let mut command = Command::new("sh");
    command.args(["-c", "read go && exec \"$@\"", "sh"]).arg(signet_binary()).args(arguments);
    command.arg("--api-socket").arg(agent.api_socket());
    let process = Process::start_fed(name, &mut command, stage.bed.path());
    if let Some(group) = group {
        group.take(process.id());
    }
    Workload { process }
}

/// A container ID that nobody else has.
pub(crate) fn fresh() -> String {
    data_encoding::HEXLOWER.encode(&runtime::entropy::bytes::<32>(&runtime::entropy::SystemEntropy))
}

/// Whether the machine has what all of these need.
pub(crate) fn possible(test: &str) -> bool {
    needs(test, Requirement::ApiServer) && needs(test, Requirement::ControlGroups)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_the_selectors_of_the_container_that_it_runs_in_and_of_no_other() {
    if !possible("a_process_has_the_selectors_of_the_container_that_it_runs_in_and_of_no_other") {
        return;
    }
    let node = Node::seeing("attested", None).await;
    let (app, side, other) = (fresh(), fresh(), fresh());
    let web = node.pod("web-1").await;
    let far = node.pod("web-2").await;
    node.runs("web-1", &[("app", &app), ("side", &side)]).await;
    node.runs("web-2", &[("app", &other)]).await;
    let of_app = node.entry("/app", &["k8s:ns:attested", "k8s:sa:web", "k8s:pod-name:web-1", "k8s:container-name:app"]);
    let of_pod = node.entry("/pod", &["k8s:ns:attested", &format!("k8s:pod-uid:{web}"), "k8s:pod-label:tier:front"]);
    let of_image = node.entry("/image", &[&format!("k8s:container-image:side.example/side@sha256:{}", "0f".repeat(32))]);
    let of_other = node.entry("/other", &["k8s:pod-name:web-2"]);
    let _elsewhere = node.entry("/elsewhere", &["k8s:ns:elsewhere", "k8s:sa:web"]);
    node.agent.holds(5).await;

    let group = ContainerGroup::new(&web, &app);
    assert_eq!(node.identities("app", Some(&group)).await, [of_app.clone(), of_pod.clone()]);
    assert_eq!(node.identities("side", Some(&ContainerGroup::new(&web, &side))).await, [of_image, of_pod.clone()]);
    assert_eq!(node.identities("other", Some(&ContainerGroup::new(&far, &other))).await, [of_other]);
    // What a tenant makes of names below its own container, and what is no container at all.
    let mut nested = ContainerGroup::new(&web, &app);
    nested.descend(&["kubepods", "besteffort", &format!("pod{far}"), &other]);
    assert_eq!(node.identities("nested", Some(&nested)).await, [of_app, of_pod]);
    let outside = node.fetch("outside", None).await;
    assert!(outside.code != 0 && outside.said.contains("no entry of this node matches"), "{}", outside.said);
    // The pod of one and the container of the other are neither.
    let mixed = node.fetch("mixed", Some(&ContainerGroup::new(&far, &app))).await;
    assert!(mixed.code != 0 && mixed.said.contains("does not list container"), "{}", mixed.said);

    let waiting = node.start("explained", &["svid", "watch"], Some(&group));
    let shown = node.explained(waiting.process.id()).to_string();
    for selector in ["k8s:ns:attested", "k8s:sa:web", "k8s:pod-name:web-1", "k8s:pod-label:tier:front", "k8s:container-name:app"]
    {
        assert!(shown.contains(selector), "{selector} in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_waited_for_until_it_is_listed_and_refused_after_ten_seconds() {
    if !possible("a_container_is_waited_for_until_it_is_listed_and_refused_after_ten_seconds") {
        return;
    }
    let node = Node::seeing("unlisted", None).await;
    let web = node.pod("web-1").await;
    let (first, second) = (fresh(), fresh());
    node.runs("web-1", &[("app", &first)]).await;
    let of_web = node.entry("/web", &["k8s:ns:unlisted", "k8s:pod-name:web-1"]);
    let by_user = node.entry("/root", &["unix:uid:0", "k8s:container-name:none"]);
    node.agent.holds(2).await;
    assert_eq!(node.identities("listed", Some(&ContainerGroup::new(&web, &first))).await, [of_web.as_str()]);

    // The container was started again, and the kubelet has not said so yet.
    let group = ContainerGroup::new(&web, &second);
    let others = async {
        let begin = SystemClock::shared().boottime();
        assert_eq!(node.identities("meanwhile", Some(&ContainerGroup::new(&web, &first))).await, [of_web.as_str()]);
        SystemClock::shared().boottime() - begin
    };
    let (refused, others) = tokio::join!(node.fetch("refused", Some(&group)), others);
    assert!(others < PATIENCE / 2, "others were kept waiting for {others:?}");
    assert!(refused.code != 0 && refused.said.contains(&format!("does not list container {second}")), "{}", refused.said);
    assert!(refused.took >= PATIENCE && refused.took < PATIENCE * 2, "it took {:?}", refused.took);
    assert!(!refused.said.contains(&by_user) && !refused.said.contains("no entry of this node matches"), "{}", refused.said);
    let waiting = node.start("waiting", &["svid", "fetch", "x509", "-o", "json"], Some(&group));
    let listing = async {
        eventually_within("somebody to wait", LIMIT, async || {
            (node.agent.metric("signet_workload_pod_lookups_waiting").await? > 0.0).then_some(())
        })
        .await;
        node.runs("web-1", &[("app", &second)]).await;
    };
    let (served, ()) = tokio::join!(waiting.done(), listing);
    assert_eq!((served.code, served.identities()), (0, vec![of_web]), "{}", served.said);
    eprintln!("refused after {:?}; served {:?} after it began to wait", refused.took, served.took);
    let gone = node.fetch("gone", Some(&ContainerGroup::new(&web, &first))).await;
    assert!(gone.code != 0, "the container before it has no identity any more: {}", gone.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_a_label_or_a_pod_ends_with_it() {
    if !possible("what_rests_on_a_label_or_a_pod_ends_with_it") {
        return;
    }
    let node = Node::seeing("changing", None).await;
    let web = node.pod("web-1").await;
    let app = fresh();
    node.runs("web-1", &[("app", &app)]).await;
    let of_front = node.entry("/front", &["k8s:pod-name:web-1", "k8s:pod-label:tier:front"]);
    let of_back = node.entry("/back", &["k8s:pod-name:web-1", "k8s:pod-label:tier:back"]);
    node.agent.holds(2).await;
    let group = ContainerGroup::new(&web, &app);
    let watch = async |name: &str, id: &str| {
        let mut workload = node.start(name, &["svid", "watch", "-o", "json"], Some(&group));
        workload.process.tell("go");
        let line = workload.process.first_line().await;
        assert!(line.contains(id), "{id} in {line}");
        workload
    };
    let mut front = watch("front", &of_front).await;
    node.label("web-1", "back").await;
    let _ended = front.process.exit(LIMIT).await;
    assert_eq!(node.identities("back-once", Some(&group)).await, [of_back.as_str()]);
    let mut back = watch("back", &of_back).await;
    let _gone = node.stage.admin.delete(&node.path("web-1")).await.ok();
    let _ended = back.process.exit(LIMIT).await;
    let orphan = node.fetch("orphan", Some(&group)).await;
    assert!(orphan.code != 0 && orphan.said.contains("does not list container"), "{}", orphan.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_known_containers_are_served_and_new_ones_refused() {
    if !possible("while_the_api_server_is_away_known_containers_are_served_and_new_ones_refused") {
        return;
    }
    let server = tests::ApiServer::shared().await;
    let passage = Passage::to(server.address()).await;
    let node = Node::new("severed", Some(&passage)).await;
    let status = || node.agent.operate(&["agent", "status"]).stdout;
    eventually_within("the operator to be told what is missing", LIMIT, async || {
        status().contains("list pods: forbidden (403)").then_some(())
    })
    .await;
    node.allow().await;
    let _account = node.stage.account("web").await;
    let web = node.pod("web-1").await;
    let (known, new) = (fresh(), fresh());
    node.runs("web-1", &[("app", &known)]).await;
    let of_web = node.entry("/web", &["k8s:ns:severed", "k8s:sa:web"]);
    let group = ContainerGroup::new(&web, &known);
    eventually_within("the pod to be known", LIMIT, async || {
        (node.agent.metric("signet_workload_pods_known").await? > 0.0).then_some(())
    })
    .await;
    assert_eq!(node.identities("before", Some(&group)).await, [of_web.as_str()]);
    eventually_within("the warning to end", LIMIT, async || (!status().contains("list pods")).then_some(())).await;

    passage.shut();
    eventually_within("the operator to be told that pods are not watched", LIMIT, async || {
        status().contains("are not watched").then_some(())
    })
    .await;
    node.runs("web-1", &[("app", &known), ("side", &new)]).await;
    assert_eq!(node.identities("meanwhile", Some(&group)).await, [of_web.as_str()]);
    let later = ContainerGroup::new(&web, &new);
    let refused = node.fetch("new", Some(&later)).await;
    assert!(refused.code != 0 && refused.said.contains("does not list container"), "{}", refused.said);
    passage.open();
    eventually_within("the new container to be known", LIMIT, async || {
        let outcome = node.fetch("again", Some(&later)).await;
        (outcome.code == 0).then(|| assert_eq!(outcome.identities(), [of_web.as_str()]))
    })
    .await;
}
