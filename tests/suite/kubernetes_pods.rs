//! Proxies that ask a CA for the identities of the pods of their node, on a real API server whose kubelets are played by the tests.

use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey, build_request, certificates_from_pem, request_to_pem};
use prost::Message;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{Ca, CaConnection, CaOptions, Passage, Requirement, eventually_within, http_get, needs};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::istio_ca::{CREATE_CERTIFICATE, raw_call, recorded, with_token};
use crate::kubernetes_tokens::{LIMIT, Stage, channel, csr};

/// The account of the proxies, in the namespace of the test.
const PROXY: &str = "proxy";

/// A namespace with two nodes, and a proxy on the first.
struct Nodes {
    stage: Stage,
    near: String,
    far: String,
    /// The proxy's token, bound to its pod.
    token: String,
}

impl Nodes {
    async fn new(namespace: &'static str) -> Self {
        let stage = Stage::new(namespace).await;
        let [near, far] = ["near", "far"].map(|name| format!("{namespace}-{name}"));
        for name in [&near, &far] {
            let _made = stage.admin.create("/api/v1/nodes", &json!({ "metadata": { "name": name } })).await.ok();
        }
        for account in [PROXY, "web", "api"] {
            let _uid = stage.account(account).await;
        }
        let mut nodes = Self { stage, near, far, token: String::new() };
        let near = nodes.near.clone();
        let proxy = nodes.pod("proxy-1", PROXY, &near).await;
        nodes.token = nodes.stage.token(PROXY, "istio-ca", Some(&proxy)).await;
        nodes
    }

    /// A pod that is bound to a node and has not started yet.
    async fn pod(&self, name: &str, account: &str, node: &str) -> Value {
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "serviceAccountName": account, "nodeName": node, "containers": [{ "name": "app", "image": "app.example/app" }] },
        });
        self.stage.admin.create(&self.pods(), &pod).await.ok()
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.stage.namespace)
    }

    /// What the kubelet of the near node says of a pod.
    async fn phase(&self, name: &str, phase: &str) {
        let kubelet = self.stage.server.node(&self.near);
        let path = format!("{}/{name}", self.pods());
        let mut pod = kubelet.get(&path).await.ok();
        pod["status"]["phase"] = json!(phase);
        let _said = kubelet.replace(&format!("{path}/status"), &pod).await.ok();
    }

    async fn delete(&self, name: &str) {
        let _gone = self.stage.admin.delete(&format!("{}/{name}", self.pods())).await.ok();
    }

    /// The identity of an account of this namespace.
    fn id(&self, account: &str) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{account}", self.stage.namespace)
    }

    /// Lets the CA's account see pods, as docs/kubernetes.md says it.
    async fn allow_pods(&self) {
        self.stage.allow("pods", &json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] })).await;
    }

    /// A CA that trusts the proxies, reached at the API server by way of this address.
    async fn ca(&self, address: std::net::SocketAddr) -> Ca {
        let token_file = self.stage.account_of_ca().await;
        self.stage.allow_reviews().await;
        let table = self.stage.server.table(address, &token_file);
        let trusted = format!("trusted_node_accounts = [\"{}/{PROXY}\"]", self.stage.namespace);
        let extra = format!("{table}{trusted}\n[istio]\nrate_per_minute = 100000\n");
        Ca::start(&self.stage.bed, CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }).await
    }

    /// The same, which may see pods and knows those that are there.
    async fn usual_ca(&self, address: std::net::SocketAddr) -> Ca {
        self.allow_pods().await;
        let ca = self.ca(address).await;
        eventually_within("the pods to be watched", LIMIT, async || (number(&ca, "pods_known").await > 0).then_some(())).await;
        ca
    }
}

/// The sum of the samples of a number of the CA's whose name and labels begin so.
async fn number(ca: &Ca, name: &str) -> u64 {
    let start = format!("signet_ca_kubernetes_{name}");
    let metrics = ca.metrics().await;
    let values =
        metrics.lines().filter(|line| line.starts_with(&start)).filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    values.sum()
}

/// Asks by a token, or by the certificate of the connection, for this identity; gives that of the certificate.
async fn ask(channel: Channel, token: Option<&str>, wanted: &str) -> Result<String, Status> {
    let kind = Some(prost_types::value::Kind::StringValue(wanted.to_owned()));
    let fields = [("ImpersonatedIdentity".to_owned(), prost_types::Value { kind })].into();
    let metadata = Some(prost_types::Struct { fields });
    let message = IstioCertificateRequest { csr: csr(), metadata, ..IstioCertificateRequest::default() };
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(with_token(message, token)).await?.into_inner();
    Ok(certificates_from_pem(answer.cert_chain[0].as_bytes()).unwrap()[0].uri_sans()[0].clone())
}

/// The words of a refusal for good.
fn refused(answer: Result<String, Status>) -> String {
    let status = answer.expect_err("it is refused");
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    assert_eq!((status.code(), reason.as_str()), (Code::PermissionDenied, "IMPERSONATION_REFUSED"), "{status}");
    status.message().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_gets_the_identities_of_the_live_pods_of_its_node_and_no_others() {
    let name = "a_trusted_proxy_gets_the_identities_of_the_live_pods_of_its_node_and_no_others";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let nodes = Nodes::new("proxied").await;
    let ca = nodes.usual_ca(nodes.stage.server.address()).await;
    let web = nodes.pod("web-1", "web", &nodes.near).await;
    let _far = nodes.pod("api-1", "api", &nodes.far).await;
    let connection = channel(&ca).await;
    let by = async |token: &str, wanted: &str| ask(connection.clone(), Some(token), wanted).await;
    let (mine, id) = (nodes.token.as_str(), nodes.id("web"));

    assert_eq!(by(mine, &id).await.unwrap(), id);
    let events = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json().to_string();
    let (uid, near) = (web["metadata"]["uid"].as_str().unwrap(), &nodes.near);
    let recorded = format!("pod_of_node proxied/web-1 {uid} by Kubernetes proxied/{PROXY} pod proxy-1 ");
    assert!(events.contains(&recorded), "{recorded} in {events}");

    // Who asks, and for what.
    let told = refused(by(mine, &nodes.id("api")).await);
    assert!(told.contains(&format!("no live pod of proxied/api runs on {near}")), "{told}");
    let told = refused(by(mine, "spiffe://cluster.remote/ns/proxied/sa/web").await);
    assert!(told.contains("not of the form spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT"), "{told}");
    let other = nodes.stage.token("web", "istio-ca", Some(&web)).await;
    let told = refused(by(&other, &nodes.id(PROXY)).await);
    assert!(told.contains("proxied/web is none of the CA's trusted_node_accounts"), "{told}");
    let loose = nodes.stage.token(PROXY, "istio-ca", None).await;
    let told = refused(by(&loose, &id).await);
    assert!(told.contains("not bound to a pod on a node"), "{told}");
    let certified = certified(&ca, mine).await;
    let told = refused(ask(certified.channel.clone(), None, &id).await);
    assert!(told.contains("who show the token"), "{told}");
    assert_eq!(ask(certified.channel, Some(mine), &id).await.unwrap(), id, "the same connection, with its token");

    // What becomes of the pod.
    let ends = async |why: &str| {
        let told = eventually_within("the identity to end", LIMIT, async || {
            let answer = by(mine, &id).await;
            answer.is_err().then(|| refused(answer))
        });
        let told = told.await;
        assert!(told.contains(why), "{why} in {told}");
    };
    nodes.phase("web-1", "Running").await;
    assert!(by(mine, &id).await.is_ok());
    nodes.phase("web-1", "Failed").await;
    ends("it has ended").await;
    nodes.delete("web-1").await;
    let _again = nodes.pod("web-1", "web", near).await;
    assert_eq!(by(mine, &id).await.unwrap(), id, "a pod that was made a moment ago is not refused");
    let path = format!("{}/web-1", nodes.pods());
    let _asked = nodes.stage.admin.delete_within(&path, 600).await.ok();
    ends("it is being deleted").await;
    nodes.delete("web-1").await;
    ends("there is none").await;
    let _elsewhere = nodes.pod("web-1", "web", &nodes.far).await;
    ends("runs on").await;

    // And of the proxy's own, whose token the API server takes for a while yet.
    let _back = nodes.pod("web-2", "web", near).await;
    assert!(by(mine, &id).await.is_ok());
    let path = format!("{}/proxy-1", nodes.pods());
    let _asked = nodes.stage.admin.delete_within(&path, 600).await.ok();
    ends("the caller's own pod proxy-1 is no live pod").await;
}

/// A connection with the certificate that this token gives for the caller itself.
async fn certified(ca: &Ca, token: &str) -> CaConnection {
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = request_to_pem(&build_request(&key, None).unwrap());
    let message = IstioCertificateRequest { csr, ..IstioCertificateRequest::default() };
    let mut client = IstioCertificateServiceClient::new(channel(ca).await);
    let chain = client.create_certificate(with_token(message, Some(token))).await.unwrap().into_inner().cert_chain;
    let certificates = chain[..chain.len() - 1].iter().flat_map(|pem| certificates_from_pem(pem.as_bytes()).unwrap()).collect();
    let svid = pki::X509Svid::new(certificates, key, SystemClock::shared().now().into()).unwrap();
    CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, Some(std::sync::Arc::new(svid))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_trusts_no_proxy_refuses_them_and_watches_nothing() {
    if !needs("a_ca_that_trusts_no_proxy_refuses_them_and_watches_nothing", Requirement::ApiServer) {
        return;
    }
    let nodes = Nodes::new("untrusted").await;
    let _pod = nodes.pod("web-1", "web", &nodes.near).await;
    let ca = nodes.stage.usual_ca().await;
    let told = refused(ask(channel(&ca).await, Some(&nodes.token), &nodes.id("web")).await);
    assert!(told.contains("trusts nobody with it"), "{told}");
    assert_eq!(number(&ca, "calls_total{call=\"list_pods\"").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_ztunnel_get_the_identity_that_they_ask_for() {
    if !needs("the_bytes_of_ztunnel_get_the_identity_that_they_ask_for", Requirement::ApiServer) {
        return;
    }
    let nodes = Nodes::new("ztunnel").await;
    let ca = nodes.usual_ca(nodes.stage.server.address()).await;
    let account = json!({ "metadata": { "name": "httpbin" } });
    let _made = nodes.stage.admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await.ok();
    let pod = json!({
        "metadata": { "name": "httpbin-1" },
        "spec": { "serviceAccountName": "httpbin", "nodeName": nodes.near, "containers": [{ "name": "app", "image": "app.example/app" }] },
    });
    let _made = nodes.stage.admin.create("/api/v1/namespaces/default/pods", &pod).await.ok();
    let call: Request<Vec<u8>> = with_token(recorded("ztunnel"), Some(&nodes.token));
    let answer = raw_call::unary(channel(&ca).await, CREATE_CERTIFICATE, call).await.unwrap();
    let answer = IstioCertificateResponse::decode(&*answer).unwrap();
    let leaf = &certificates_from_pem(answer.cert_chain[0].as_bytes()).unwrap()[0];
    assert_eq!(leaf.uri_sans(), ["spiffe://cluster.local/ns/default/sa/httpbin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_the_ca_may_not_see_are_told_as_such_and_it_needs_no_restart_to_see_them() {
    if !needs("pods_that_the_ca_may_not_see_are_told_as_such_and_it_needs_no_restart_to_see_them", Requirement::ApiServer) {
        return;
    }
    let nodes = Nodes::new("unseen").await;
    let _pod = nodes.pod("web-1", "web", &nodes.near).await;
    let ca = nodes.ca(nodes.stage.server.address()).await;
    let connection = channel(&ca).await;
    let asked = async || ask(connection.clone(), Some(&nodes.token), &nodes.id("web")).await;
    let status = asked().await.unwrap_err();
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    assert_eq!((status.code(), reason.as_str()), (Code::Unavailable, "PODS_UNAVAILABLE"), "{status}");
    assert!(status.get_details_retry_info().is_some(), "it is not told when to come back");
    let ready = async || http_get(ca.telemetry(), "/readyz").await.body;
    eventually_within("the operator to be told what is missing", LIMIT, async || {
        ready().await.contains("list pods: forbidden (403)").then_some(())
    })
    .await;
    nodes.allow_pods().await;
    eventually_within("the pods to be read", LIMIT, async || asked().await.is_ok().then_some(())).await;
    eventually_within("them to be watched", LIMIT, async || (number(&ca, "pods_known").await > 0).then_some(())).await;
    eventually_within("the warning to end", LIMIT, async || (!ready().await.contains("list pods")).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_watch_is_stalled_no_wrong_identity_is_given_and_no_right_one_refused() {
    if !needs("while_the_watch_is_stalled_no_wrong_identity_is_given_and_no_right_one_refused", Requirement::ApiServer) {
        return;
    }
    let nodes = Nodes::new("stalled").await;
    let passage = Passage::to(nodes.stage.server.address()).await;
    let ca = nodes.usual_ca(passage.address()).await;
    let far = nodes.pod("proxy-2", PROXY, &nodes.far).await;
    let far = nodes.stage.token(PROXY, "istio-ca", Some(&far)).await;
    let (connection, id) = (channel(&ca).await, nodes.id("web"));
    let ask_by = async |token: &str| ask(connection.clone(), Some(token), &id).await;
    let mut homes = [(nodes.near.as_str(), nodes.token.as_str()), (nodes.far.as_str(), far.as_str())];
    let _first = nodes.pod("web-1", "web", homes[0].0).await;
    assert_eq!(passage.connections(), 1, "the watch has a connection of its own, which was first");
    assert!(ask_by(homes[0].1).await.is_ok());
    let reads = async || number(&ca, "pod_decisions_total{by=\"read\"").await;
    let watched = async || number(&ca, "pod_decisions_total{by=\"watch\"").await;

    passage.stall_but(2);
    // What it has heard counts for a few seconds more.
    eventually_within("what was heard last to count no more", LIMIT, async || {
        let before = watched().await;
        assert!(ask_by(homes[0].1).await.is_ok());
        (watched().await == before).then_some(())
    })
    .await;
    // Longer than it takes the CA to leave the connection and to try another one, which is stalled too.
    let clock = SystemClock::shared();
    let (begin, mut moves) = (clock.boottime(), 0);
    while clock.boottime() - begin < Duration::from_secs(30) {
        nodes.delete("web-1").await;
        let told = refused(ask_by(homes[0].1).await);
        assert!(told.contains("there is none"), "{told}");
        homes.swap(0, 1);
        let _moved = nodes.pod("web-1", "web", homes[0].0).await;
        assert_eq!(ask_by(homes[0].1).await.unwrap(), id, "move {moves}");
        refused(ask_by(homes[1].1).await);
        moves += 1;
    }
    // Many who ask at once are answered by few reads.
    let (before, asked) = (number(&ca, "calls_total{call=\"list_pods\",outcome=\"ok\"").await, reads().await);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (connection, token, id) = (connection.clone(), homes[0].1.to_owned(), id.clone());
        calls.spawn(async move { ask(connection, Some(&token), &id).await.is_ok() });
    }
    assert!(calls.join_all().await.into_iter().all(|is_given| is_given));
    assert_eq!(reads().await - asked, 50, "they were not decided by reads");
    let read = number(&ca, "calls_total{call=\"list_pods\",outcome=\"ok\"").await - before;
    assert!(read < 25, "50 questions at once took {read} reads");
    eprintln!("{moves} moves while the watch was stalled; 50 questions at once took {read} reads");

    passage.open();
    eventually_within("the watch to go on", LIMIT, async || {
        let before = watched().await;
        assert!(ask_by(homes[0].1).await.is_ok());
        refused(ask_by(homes[1].1).await);
        (watched().await > before).then_some(())
    })
    .await;
}
