//! Service accounts that prove themselves to a CA by their tokens, which a real API server reviews.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use pki::{KeyAlgorithm, PrivateKey, Timestamp, build_request, certificates_from_pem, request_to_pem};
use proto::istio::IstioCertificateRequest;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{
    ApiClient, ApiServer, Ca, CaConnection, CaOptions, Passage, Requirement, TestBed, eventually_within, http_get, needs,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// How long anything may take that an informer of the API server does, or a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// A namespace of one test, in a cluster that others use too.
pub(crate) struct Stage {
    pub(crate) server: std::sync::Arc<ApiServer>,
    pub(crate) admin: ApiClient,
    pub(crate) namespace: &'static str,
    pub(crate) bed: TestBed,
}

impl Stage {
    pub(crate) async fn new(namespace: &'static str) -> Self {
        let server = ApiServer::shared().await;
        let admin = server.admin();
        let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).await.ok();
        Self { server, admin, namespace, bed: TestBed::new() }
    }

    /// An account, by its UID.
    pub(crate) async fn account(&self, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        let made = self.admin.create(&path, &json!({ "metadata": { "name": name } })).await.ok();
        made["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// A token of an account for an audience, bound to a pod or to nothing.
    pub(crate) async fn token(&self, account: &str, audience: &str, pod: Option<&Value>) -> String {
        let bound = pod.map(
            |pod| json!({ "kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"] }),
        );
        let spec = json!({ "audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound });
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", self.namespace);
        let made = self.admin.create(&path, &json!({ "spec": spec })).await.ok();
        made["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A pod of an account on a node of this test's.
    pub(crate) async fn pod(&self, name: &str, account: &str) -> Value {
        let node = json!({ "metadata": { "name": format!("{}-node", self.namespace) } });
        drop(self.admin.create("/api/v1/nodes", &node).await);
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "serviceAccountName": account,
                "nodeName": node["metadata"]["name"],
                "containers": [{ "name": "app", "image": "app.example/app" }],
            },
        });
        self.admin.create(&format!("/api/v1/namespaces/{}/pods", self.namespace), &pod).await.ok()
    }

    /// The file with the token of the CA's own account, which may do nothing yet.
    pub(crate) async fn account_of_ca(&self) -> PathBuf {
        let _uid = self.account("signet-ca").await;
        let token = self.token("signet-ca", ISSUER, None).await;
        self.bed.write("ca-token", &format!("{token}\n"))
    }

    /// Lets the CA's account have tokens reviewed, as docs/kubernetes.md says it.
    pub(crate) async fn allow_reviews(&self) {
        let rule = json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] });
        self.allow("reviews", &rule).await;
        let own = self.server.bearer(&self.token("signet-ca", ISSUER, None).await);
        let question = json!({ "spec": { "token": "a.b.c", "audiences": ["istio-ca"] } });
        eventually_within("the role to count", LIMIT, async || {
            let answer = own.create("/apis/authentication.k8s.io/v1/tokenreviews", &question).await;
            (answer.status == 201).then_some(())
        })
        .await;
    }

    /// Gives the CA's account a ClusterRole of one rule.
    pub(crate) async fn allow(&self, what: &str, rule: &Value) {
        let name = format!("{}-{what}", self.namespace);
        let role = json!({ "metadata": { "name": name }, "rules": [rule] });
        let roles = "/apis/rbac.authorization.k8s.io/v1";
        let _made = self.admin.create(&format!("{roles}/clusterroles"), &role).await.ok();
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "namespace": self.namespace, "name": "signet-ca" }],
        });
        let _made = self.admin.create(&format!("{roles}/clusterrolebindings"), &binding).await.ok();
    }

    /// A CA that may ask, by way of this address.
    pub(crate) async fn ca(&self, address: std::net::SocketAddr, token_file: &std::path::Path) -> Ca {
        let extra = self.server.table(address, token_file);
        Ca::start(&self.bed, CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }).await
    }

    /// The same, reached straight.
    pub(crate) async fn usual_ca(&self) -> Ca {
        let token_file = self.account_of_ca().await;
        self.allow_reviews().await;
        self.ca(self.server.address(), &token_file).await
    }
}

pub(crate) fn csr() -> String {
    request_to_pem(&build_request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), None).unwrap())
}

pub(crate) async fn channel(ca: &Ca) -> Channel {
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, None).await.unwrap().channel
}

/// The SPIFFE ID that the token gets a certificate for.
async fn identity_by(channel: Channel, csr: &str, token: &str) -> Result<String, Status> {
    let mut call = Request::new(IstioCertificateRequest { csr: csr.to_owned(), ..IstioCertificateRequest::default() });
    call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(call).await?.into_inner();
    Ok(certificates_from_pem(answer.cert_chain[0].as_bytes()).unwrap()[0].uri_sans()[0].clone())
}

async fn identity_of(ca: &Ca, token: &str) -> Result<String, Status> {
    identity_by(channel(ca).await, &csr(), token).await
}

/// Code and reason of a refusal.
async fn refusal_of(ca: &Ca, token: &str) -> (Code, String) {
    let status = identity_of(ca, token).await.expect_err("it is refused");
    assert!(!status.message().contains("audience") && !status.message().contains("pod"), "a stranger is told why: {status}");
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

fn unauthenticated() -> (Code, String) {
    (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned())
}

fn unavailable() -> (Code, String) {
    (Code::Unavailable, "REVIEW_UNAVAILABLE".to_owned())
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

fn now() -> u64 {
    Timestamp::from(SystemClock::shared().now()).unix_seconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_api_server_takes_for_us_gives_the_identity_of_its_account_and_no_other_token_does() {
    let name = "a_token_that_the_api_server_takes_for_us_gives_the_identity_of_its_account_and_no_other_token_does";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let stage = Stage::new("taken").await;
    let ca = stage.usual_ca().await;
    let uid = stage.account("web.front").await;
    let token = stage.token("web.front", "istio-ca", None).await;
    assert_eq!(identity_of(&ca, &token).await.unwrap(), "spiffe://cluster.local/ns/taken/sa/web.front");

    let pod = stage.pod("web-1", "web.front").await;
    let bound = stage.token("web.front", "istio-ca", Some(&pod)).await;
    assert_eq!(identity_of(&ca, &bound).await.unwrap(), "spiffe://cluster.local/ns/taken/sa/web.front");
    let events = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json().to_string();
    let pod_uid = pod["metadata"]["uid"].as_str().unwrap();
    let recorded = format!("service_account Kubernetes taken/web.front pod web-1 {pod_uid} node taken-node ");
    assert!(events.contains(&recorded), "{recorded} in {events}");

    // Each beside what is taken: one thing in it is another.
    let good = claims_of(&token);
    assert!(identity_of(&ca, &stage.server.sign(&good)).await.is_ok(), "whoever has the server's key can make tokens");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        stage.server.sign(&claims)
    };
    let stranger = tests::TokenIssuer::new(&stage.bed);
    let head = token.rsplit_once('.').unwrap().0;
    let signature = bound.rsplit_once('.').unwrap().1;
    for (what, token) in [
        ("for the API server itself", stage.token("web.front", ISSUER, None).await),
        ("for another service", stage.token("web.front", "vault", None).await),
        ("that has expired", with(&|claims| claims["exp"] = json!(now() - 60))),
        ("that is not good yet", with(&|claims| claims["nbf"] = json!(now() + 3600))),
        (
            "of an account that there never was",
            with(&|claims| claims["kubernetes.io"]["serviceaccount"]["name"] = json!("nobody")),
        ),
        (
            "of an earlier account of the name",
            with(&|claims| claims["kubernetes.io"]["serviceaccount"]["uid"] = json!(format!("{uid}0"))),
        ),
        ("of another issuer", with(&|claims| claims["iss"] = json!("https://elsewhere.example"))),
        ("under another signature", format!("{head}.{signature}")),
        ("of nobody whom the server knows", stranger.token("system:serviceaccount:taken:web.front")),
        ("that is none", "opaque-token".to_owned()),
    ] {
        assert_eq!(refusal_of(&ca, &token).await, unauthenticated(), "a token {what}");
    }
    let metrics = ca.metrics().await;
    for outcome in ["accepted\"} 3", "not_authenticated\"} 9", "malformed\"} 1"] {
        assert!(metrics.contains(&format!("signet_ca_kubernetes_tokens_total{{outcome=\"{outcome}")), "{outcome} in {metrics}");
    }
    let log = ca.process.stderr();
    for token in [&token, &bound] {
        assert!(!log.contains(token.rsplit_once('.').unwrap().1), "a token stands in the log");
    }
    assert!(log.contains("vault"), "the log says for whom the token is");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_certificate_by_such_a_token_needs_a_token_for_the_next() {
    if !needs("who_has_a_certificate_by_such_a_token_needs_a_token_for_the_next", Requirement::ApiServer) {
        return;
    }
    let stage = Stage::new("again").await;
    let ca = stage.usual_ca().await;
    let _uid = stage.account("web").await;
    let token = stage.token("web", "istio-ca", None).await;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = request_to_pem(&build_request(&key, None).unwrap());
    let ask = async |connection: CaConnection, token: Option<&str>| {
        let mut call = Request::new(IstioCertificateRequest { csr: csr.clone(), ..IstioCertificateRequest::default() });
        if let Some(token) = token {
            call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        IstioCertificateServiceClient::new(connection.channel).create_certificate(call).await
    };
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let connect = async |svid| CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, svid).await.unwrap();
    let chain = ask(connect(None).await, Some(&token)).await.unwrap().into_inner().cert_chain;
    let certificates = chain[..chain.len() - 1].iter().flat_map(|pem| certificates_from_pem(pem.as_bytes()).unwrap()).collect();
    let svid = pki::X509Svid::new(certificates, key, SystemClock::shared().now().into()).unwrap();
    let svid = std::sync::Arc::new(svid);
    let refused = ask(connect(Some(svid.clone())).await, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("by such a token"), "{refused}");
    assert!(ask(connect(Some(svid)).await, Some(&token)).await.is_ok(), "by its token it gets the next one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_what_is_deleted_ends_within_the_delay_that_is_documented() {
    if !needs("the_token_of_what_is_deleted_ends_within_the_delay_that_is_documented", Requirement::ApiServer) {
        return;
    }
    let stage = Stage::new("deleted").await;
    let ca = stage.usual_ca().await;
    let _uid = stage.account("web").await;
    let _uid = stage.account("gone").await;
    let pod = stage.pod("web-1", "web").await;
    let (bound, unbound) = (stage.token("web", "istio-ca", Some(&pod)).await, stage.token("gone", "istio-ca", None).await);
    let ended = async |what: &str, token: &str, path: &str| {
        assert!(identity_of(&ca, token).await.is_ok());
        let clock = SystemClock::shared();
        let _gone = stage.admin.delete(&format!("/api/v1/namespaces/deleted/{path}")).await.ok();
        let deleted = clock.boottime();
        eventually_within("the token to be refused", LIMIT, async || match identity_of(&ca, token).await {
            Ok(_) => None,
            Err(status) if status.code() == Code::Unauthenticated => Some(()),
            Err(status) => panic!("{status}"),
        })
        .await;
        eprintln!("the token of a deleted {what} was refused {:.1} s later", (clock.boottime() - deleted).as_secs_f64());
    };
    ended("pod", &bound, "pods/web-1").await;
    ended("account", &unbound, "serviceaccounts/gone").await;
    let other = stage.token("web", "istio-ca", None).await;
    assert!(identity_of(&ca, &other).await.is_ok(), "the account of the pod is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_does_not_answer_is_told_as_such_and_nothing_of_it_is_remembered() {
    let name = "an_api_server_that_does_not_answer_is_told_as_such_and_nothing_of_it_is_remembered";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let stage = Stage::new("away").await;
    let token_file = stage.account_of_ca().await;
    let passage = Passage::to(stage.server.address()).await;
    let ca = stage.ca(passage.address(), &token_file).await;
    let _uid = stage.account("web").await;
    let token = stage.token("web", "istio-ca", None).await;

    // Without the role: the fault is the CA's, and is told as one that passes.
    assert_eq!(refusal_of(&ca, &token).await, unavailable());
    let ready = async || http_get(ca.telemetry(), "/readyz").await.body;
    eventually_within("the operator to be told what is missing", LIMIT, async || {
        ready().await.contains("create tokenreviews.authentication.k8s.io: forbidden").then_some(())
    })
    .await;
    stage.allow_reviews().await;
    assert_eq!(identity_of(&ca, &token).await.unwrap(), "spiffe://cluster.local/ns/away/sa/web");
    eventually_within("the warning to end", LIMIT, async || (!ready().await.contains("cannot be judged")).then_some(())).await;

    let other = || stage.token("web", "istio-ca", None);
    passage.shut();
    let fresh = other().await;
    assert_eq!(refusal_of(&ca, &fresh).await, unavailable(), "nobody is there");
    passage.open();
    assert!(identity_of(&ca, &fresh).await.is_ok(), "the same token, as soon as somebody is");
    let fresh = other().await;
    passage.stall();
    assert_eq!(refusal_of(&ca, &fresh).await, unavailable(), "it says nothing within the deadline");
    passage.open();
    assert!(identity_of(&ca, &fresh).await.is_ok());

    // One connection for all that was asked in between.
    let before = passage.connections();
    for _ in 0..8 {
        assert!(identity_of(&ca, &other().await).await.is_ok());
    }
    assert_eq!(passage.connections(), before, "each question had a connection of its own");

    // The kubelet replaces the CA's own token; one that is not good is told too.
    let good = std::fs::read_to_string(&token_file).unwrap();
    std::fs::write(&token_file, other().await).unwrap();
    eventually_within("the CA's own token to be read anew", LIMIT, async || {
        identity_of(&ca, &other().await).await.is_err().then_some(())
    })
    .await;
    assert_eq!(refusal_of(&ca, &other().await).await, unavailable());
    std::fs::write(&token_file, good).unwrap();
    eventually_within("it to be read again", LIMIT, async || identity_of(&ca, &other().await).await.is_ok().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_pods_that_start_at_once_all_get_a_certificate() {
    if !needs("six_hundred_pods_that_start_at_once_all_get_a_certificate", Requirement::ApiServer) {
        return;
    }
    let stage = Stage::new("storm").await;
    let ca = stage.usual_ca().await;
    let mut tokens = Vec::new();
    for account in 0..20 {
        let name = format!("web-{account}");
        let uid = stage.account(&name).await;
        let account = json!({ "name": name, "uid": uid });
        tokens.extend((0..30).map(|pod| {
            let times = [("iat", now()), ("nbf", now()), ("exp", now() + 3600)];
            let mut claims = json!({
                "iss": ISSUER, "aud": ["istio-ca"], "sub": format!("system:serviceaccount:storm:{name}"), "jti": format!("{name}-{pod}"),
                "kubernetes.io": { "namespace": "storm", "serviceaccount": account },
            });
            for (key, value) in times {
                claims[key] = json!(value);
            }
            (format!("spiffe://cluster.local/ns/storm/sa/{name}"), stage.server.sign(&claims))
        }));
    }
    let mut channels = Vec::new();
    for _ in 0..8 {
        channels.push(channel(&ca).await);
    }
    let clock = SystemClock::shared();
    let begin = clock.boottime();
    let mut calls = JoinSet::new();
    for (place, (id, token)) in tokens.into_iter().enumerate() {
        let (channel, csr) = (channels[place % channels.len()].clone(), csr());
        calls.spawn(async move {
            let began = SystemClock::shared().boottime();
            let mut tries = 1;
            // Who is told to come later does, when it is told.
            let got = tokio::time::timeout(3 * LIMIT, async {
                loop {
                    match identity_by(channel.clone(), &csr, &token).await {
                        Ok(got) => return got,
                        Err(status) => {
                            assert_eq!(status.code(), Code::Unavailable, "{status}");
                            let advice = status.get_details_retry_info().and_then(|info| info.retry_delay);
                            tokio::time::sleep(advice.expect("it is told when")).await;
                        }
                    }
                    tries += 1;
                }
            });
            let got = got.await.expect("a certificate comes within three minutes");
            assert_eq!(got, id);
            (SystemClock::shared().boottime() - began, tries)
        });
    }
    let mut waited: Vec<(Duration, u32)> = calls.join_all().await;
    waited.sort_unstable();
    let later = waited.iter().filter(|(_, tries)| *tries > 1).count();
    let (median, last) = (waited[waited.len() / 2].0, waited[waited.len() - 1].0);
    eprintln!(
        "600 certificates in {:?}: half within {median:?}, the last after {last:?}; {later} had to ask again",
        clock.boottime() - begin
    );
    let metrics = ca.metrics().await;
    assert!(metrics.contains("signet_ca_kubernetes_calls_total{call=\"review_token\",outcome=\"ok\"}"), "{metrics}");
}
