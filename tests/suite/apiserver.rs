//! The control plane that the tests of Kubernetes rest on, and what of it Signet relies on: tokens, their reviews, the rules for nodes.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{ApiAnswer, ApiClient, ApiServer, Requirement, eventually_within, needs};

/// How long anything may take that a controller or an informer does.
const LIMIT: Duration = Duration::from_secs(60);

async fn namespace_with_account(admin: &ApiClient, namespace: &str, account: &str) {
    let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).await.ok();
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let _made = admin.create(&path, &json!({ "metadata": { "name": account } })).await.ok();
}

async fn request_token(client: &ApiClient, namespace: &str, account: &str, audience: &str, pod: Option<&Value>) -> ApiAnswer {
    let bound = pod
        .map(|pod| json!({ "kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"] }));
    let spec = json!({ "audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    client.create(&path, &json!({ "spec": spec })).await
}

fn token_of(answer: ApiAnswer) -> String {
    answer.ok()["status"]["token"].as_str().unwrap().to_owned()
}

/// The status of a review for one audience.
async fn review(admin: &ApiClient, token: &str, audience: &str) -> Value {
    let question = json!({ "spec": { "token": token, "audiences": [audience] } });
    admin.create("/apis/authentication.k8s.io/v1/tokenreviews", &question).await.ok()["status"].clone()
}

/// A pod on a node, with a projected token for `istio-ca`, as nobody but a kubelet would run it.
fn pod(name: &str, account: &str, node: &str) -> Value {
    let token = json!({ "serviceAccountToken": { "audience": "istio-ca", "expirationSeconds": 3600, "path": "token" } });
    json!({
        "metadata": { "name": name },
        "spec": {
            "serviceAccountName": account,
            "nodeName": node,
            "containers": [{ "name": "app", "image": "app.example/app", "volumeMounts": [{ "name": "token", "mountPath": "/token" }] }],
            "volumes": [{ "name": "token", "projected": { "sources": [token] } }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_reviewed_for_its_audience_and_for_no_other() {
    if !needs("a_token_is_reviewed_for_its_audience_and_for_no_other", Requirement::ApiServer) {
        return;
    }
    let server = ApiServer::shared().await;
    let admin = server.admin();
    namespace_with_account(&admin, "audiences", "web").await;
    let token = token_of(request_token(&admin, "audiences", "web", "istio-ca", None).await);

    let status = review(&admin, &token, "istio-ca").await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!(["istio-ca"]));
    assert_eq!(status["user"]["username"], "system:serviceaccount:audiences:web");
    let groups = status["user"]["groups"].as_array().unwrap();
    assert!(groups.contains(&json!("system:serviceaccounts")), "{status}");
    assert!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"].is_null(), "nothing binds it to a pod: {status}");

    let status = review(&admin, &token, "another").await;
    assert_ne!(status["authenticated"], true, "{status}");
    assert!(status["error"].as_str().is_some_and(|error| !error.is_empty()), "{status}");
    // In the middle of the signature: the last character holds bits that some readers pass over.
    let (head, tail) = token.split_at(token.len() - 20);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    let status = review(&admin, &format!("{head}{other}{}", &tail[1..]), "istio-ca").await;
    assert_ne!(status["authenticated"], true, "{status}");

    // Whoever it stands for may do nothing yet: reviews are for those who were given the right.
    let own = token_of(request_token(&admin, "audiences", "web", "https://kubernetes.default.svc", None).await);
    let question = json!({ "spec": { "token": token, "audiences": ["istio-ca"] } });
    let answer = server.bearer(&own).create("/apis/authentication.k8s.io/v1/tokenreviews", &question).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    let answer = server.bearer(&token).get("/api/v1/namespaces/audiences").await;
    assert_eq!(answer.status, 401, "a token for another audience is none here: {}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_pod_names_pod_and_node_and_is_given_to_the_kubelet_of_that_node_alone() {
    let name = "a_token_of_a_pod_names_pod_and_node_and_is_given_to_the_kubelet_of_that_node_alone";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let server = ApiServer::shared().await;
    let admin = server.admin();
    namespace_with_account(&admin, "pods", "web").await;
    let (kubelet, stranger) = (server.node("pods-1"), server.node("pods-2"));
    let node = json!({ "metadata": { "name": "pods-1" } });
    assert_eq!(stranger.create("/api/v1/nodes", &node).await.status, 403, "a kubelet makes its own node alone");
    let node = kubelet.create("/api/v1/nodes", &node).await.ok();
    let made = admin.create("/api/v1/namespaces/pods/pods", &pod("web-1", "web", "pods-1")).await.ok();

    // The graph of the node authorizer follows the API by an informer.
    let token = eventually_within("a token for the kubelet", LIMIT, async || {
        let answer = request_token(&kubelet, "pods", "web", "istio-ca", Some(&made)).await;
        (answer.status == 201).then(|| token_of(answer))
    })
    .await;
    let status = review(&admin, &token, "istio-ca").await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:pods:web");
    let extra = |key: &str| status["user"]["extra"][format!("authentication.kubernetes.io/{key}")][0].clone();
    assert_eq!(extra("pod-name"), "web-1", "{status}");
    assert_eq!(extra("pod-uid"), made["metadata"]["uid"]);
    assert_eq!(extra("node-name"), "pods-1");
    assert_eq!(extra("node-uid"), node["metadata"]["uid"]);

    let refused = request_token(&stranger, "pods", "web", "istio-ca", Some(&made)).await;
    assert_eq!(refused.status, 403, "the kubelet of another node: {}", refused.body);
    let refused = request_token(&kubelet, "pods", "web", "another", Some(&made)).await;
    assert_eq!(refused.status, 403, "an audience that the pod does not ask for: {}", refused.body);
    let refused = request_token(&kubelet, "pods", "web", "istio-ca", None).await;
    assert_eq!(refused.status, 403, "a token of no pod: {}", refused.body);

    let _gone = admin.delete("/api/v1/namespaces/pods/pods/web-1").await.ok();
    eventually_within("the token of a pod that is gone to be refused", LIMIT * 3, async || {
        (review(&admin, &token, "istio-ca").await["authenticated"] != true).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_make_and_remove_what_belongs_to_accounts_and_namespaces_also_after_an_end() {
    let name = "controllers_make_and_remove_what_belongs_to_accounts_and_namespaces_also_after_an_end";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let mut server = ApiServer::start().await;
    let admin = server.admin();
    namespace_with_account(&admin, "owned", "web").await;
    let is_there = async |path: &str| admin.get(path).await.status == 200;
    let is_gone = async |path: &str| admin.get(path).await.status == 404;
    eventually_within("what every namespace has", LIMIT, async || {
        let default = is_there("/api/v1/namespaces/owned/serviceaccounts/default").await;
        (default && is_there("/api/v1/namespaces/owned/configmaps/kube-root-ca.crt").await).then_some(())
    })
    .await;

    // Ended as by a power failure, it knows what it knew, at the address of before.
    server.end();
    assert_eq!(admin.get("/readyz").await.status, 0, "nobody listens");
    server.run().await;
    let account = admin.get("/api/v1/namespaces/owned/serviceaccounts/web").await.ok();
    let owner = json!([{ "apiVersion": "v1", "kind": "ServiceAccount", "name": "web", "uid": account["metadata"]["uid"] }]);
    let secret = json!({ "metadata": { "name": "istio.web", "ownerReferences": owner }, "type": "istio.io/key-and-cert" });
    let _made = admin.create("/api/v1/namespaces/owned/secrets", &secret).await.ok();
    assert!(is_there("/api/v1/namespaces/owned/secrets/istio.web").await);
    let _gone = admin.delete("/api/v1/namespaces/owned/serviceaccounts/web").await.ok();
    eventually_within("what is owned to go with its owner", LIMIT, async || {
        is_gone("/api/v1/namespaces/owned/secrets/istio.web").await.then_some(())
    })
    .await;
    let _gone = admin.delete("/api/v1/namespaces/owned").await.ok();
    eventually_within("the namespace to end", LIMIT, async || is_gone("/api/v1/namespaces/owned").await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_told_and_both_certificate_apis_are_served() {
    if !needs("the_version_is_told_and_both_certificate_apis_are_served", Requirement::ApiServer) {
        return;
    }
    let server = ApiServer::shared().await;
    let admin = server.admin();
    let version = admin.get("/version").await.ok();
    let number = |key: &str| version[key].as_str().and_then(|text| text.parse::<u32>().ok());
    assert!(number("major") == Some(1) && number("minor") >= Some(37), "clients read the version as numbers: {version}");
    let group = admin.get("/apis/certificates.k8s.io/v1").await.ok();
    let kinds: Vec<_> = group["resources"].as_array().unwrap().iter().filter_map(|resource| resource["kind"].as_str()).collect();
    for kind in ["CertificateSigningRequest", "ClusterTrustBundle", "PodCertificateRequest"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}
