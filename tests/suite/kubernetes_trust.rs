//! Objects of a real cluster by which others learn whom to trust, kept by a CA: in every namespace, healed, and waited for by a rotation.

mod late_pods;

use std::sync::Arc;

use data_encoding::BASE64;
use pki::certificates_from_pem;
use serde_json::{Value, json};
use tests::{Ca, CaOptions, Cli, Requirement, eventually_within, http_get, needs};

use crate::kubernetes_tokens::{LIMIT, Stage};

pub(crate) const ROOTS: &str = "istio-ca-root-cert";
const LISTS: &str = "istio-ca-crl";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";

/// A cluster in which a CA shows whom to trust, in the namespaces that have a label of this test's own.
pub(crate) struct Field {
    pub(crate) stage: Stage,
}

impl Field {
    /// The namespace has the label from the start.
    pub(crate) async fn new(namespace: &'static str) -> Self {
        let field = Self { stage: Stage::new(namespace).await };
        field.label(namespace, json!(namespace)).await;
        field
    }

    /// What docs/kubernetes.md wants for this, by what it is called there.
    pub(crate) fn rules() -> Vec<(&'static str, Value)> {
        let maps = json!(["list", "watch", "patch", "delete"]);
        vec![
            ("namespaces", json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"] })),
            ("maps", json!({ "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [ROOTS, LISTS], "verbs": maps })),
            ("new-maps", json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"] })),
        ]
    }

    pub(crate) async fn allow(&self) {
        for (what, rule) in Self::rules() {
            self.stage.allow(what, &rule).await;
        }
    }

    /// Gives a namespace the label by which this test's CA chooses.
    pub(crate) async fn label(&self, namespace: &str, value: Value) {
        let path = format!("/api/v1/namespaces/{namespace}");
        eventually_within("the label", LIMIT, async || {
            let mut object = self.stage.admin.get(&path).await.ok();
            object["metadata"]["labels"]["trust-of"] = value.clone();
            (self.stage.admin.replace(&path, &object).await.status == 200).then_some(())
        })
        .await;
    }

    pub(crate) async fn ca(&self, trust: &str, further: &str) -> Ca {
        let _token = self.stage.account_of_ca().await;
        let options = self.options(trust, further);
        Ca::start(&self.stage.bed, options).await
    }

    /// One with another name and state, which was plugged in.
    async fn another_ca(&self, name: &str, trust: &str, further: &str) -> Ca {
        let _config = Ca::configure(&self.stage.bed, name, "127.0.0.1:0", &self.options(trust, further));
        Ca::run(self.stage.bed.path(), name, "cluster.local").await
    }

    fn options(&self, trust: &str, further: &str) -> CaOptions {
        let token_file = self.stage.bed.path().join("ca-token");
        let table = self.stage.server.table(self.stage.server.address(), &token_file);
        let namespace = self.stage.namespace;
        let extra = format!("{table}[kubernetes.trust]\nselectors = [\"trust-of={namespace}\"]\n{trust}\n{further}");
        CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }
    }

    pub(crate) async fn map(&self, namespace: &str, name: &str) -> Option<Value> {
        let answer = self.stage.admin.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await;
        (answer.status == 200).then_some(answer.body)
    }

    /// The ConfigMap with the roots, once it shows these and is labelled.
    async fn shown(&self, namespace: &str, roots: &str) -> Value {
        eventually_within("the ConfigMap to show the bundle", LIMIT, async || {
            let map = self.map(namespace, ROOTS).await?;
            let is_good = map["data"]["root-cert.pem"] == roots && map["metadata"]["labels"]["istio.io/config"] == "true";
            is_good.then_some(map)
        })
        .await
    }

    /// Changes what is at a path, whoever is faster.
    async fn edit(&self, path: &str, change: impl Fn(&mut Value)) {
        eventually_within("the change", LIMIT, async || {
            let mut object = self.stage.admin.get(path).await.ok();
            change(&mut object);
            (self.stage.admin.replace(path, &object).await.status == 200).then_some(())
        })
        .await;
    }
}

/// The roots that a CA publishes, as it writes them.
pub(crate) fn roots_of(ca: &Ca) -> String {
    let socket = ca.admin_socket();
    Cli::run(&["bundle", "export", "--socket", socket.to_str().unwrap()]).ok().stdout
}

/// What `k8s trust list` says of an object.
fn listed(ca: &Ca, what: &str, name: &str) -> Option<String> {
    let shown = ca.operate(&["k8s", "trust", "list"]).ok().json();
    let is_it = |row: &&Value| row["what"] == what && row["name"] == name;
    Some(shown["objects"].as_array()?.iter().find(is_it)?["state"].as_str()?.to_owned())
}

async fn is_warned(ca: &Ca, part: &str) -> bool {
    http_get(ca.telemetry(), "/readyz").await.body.contains(part)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_namespace_that_is_chosen_shows_the_bundle_and_it_is_healed() {
    if !needs("every_namespace_that_is_chosen_shows_the_bundle_and_it_is_healed", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("trust-kept").await;
    let admin = &field.stage.admin;
    // One that another CA made is taken over.
    let alien = json!({ "metadata": { "name": ROOTS }, "data": { "root-cert.pem": "another CA's", "note": "mine" } });
    let _made = admin.create("/api/v1/namespaces/trust-kept/configmaps", &alien).await.ok();
    let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": "trust-kept-not" } })).await.ok();
    field.allow().await;
    let ca = field.ca("", "").await;
    let roots = roots_of(&ca);
    assert_eq!(certificates_from_pem(roots.as_bytes()).unwrap().len(), 1);
    let taken = field.shown("trust-kept", &roots).await;
    assert_eq!(taken["data"]["note"], "mine", "what is not ours stays");

    // Edited, deleted, and made so that it cannot be written.
    let path = format!("/api/v1/namespaces/trust-kept/configmaps/{ROOTS}");
    field.edit(&path, |map| map["data"]["root-cert.pem"] = json!("a forger's")).await;
    let _healed = field.shown("trust-kept", &roots).await;
    field.edit(&path, |map| map["metadata"]["labels"] = json!({})).await;
    let healed = field.shown("trust-kept", &roots).await;
    let _gone = admin.delete(&path).await.ok();
    let again = field.shown("trust-kept", &roots).await;
    assert!(again["metadata"]["uid"] != healed["metadata"]["uid"]);
    field
        .edit(&path, |map| {
            map["data"] = json!({});
            map["binaryData"] = json!({ "root-cert.pem": BASE64.encode(b"a forger's") });
            map["immutable"] = json!(true);
        })
        .await;
    let anew = field.shown("trust-kept", &roots).await;
    assert!(anew["metadata"]["uid"] != again["metadata"]["uid"], "what cannot be written is made anew");

    // Namespaces come, are chosen, and are not any more.
    assert!(field.map("trust-kept-not", ROOTS).await.is_none());
    field.label("trust-kept-not", json!("trust-kept")).await;
    let _chosen = field.shown("trust-kept-not", &roots).await;
    eventually_within("both to be listed", LIMIT, async || {
        let both = [listed(&ca, ROOTS, "trust-kept")?, listed(&ca, ROOTS, "trust-kept-not")?];
        (both == ["current", "current"]).then_some(())
    })
    .await;
    field.label("trust-kept-not", Value::Null).await;
    eventually_within("it to be listed as left", LIMIT, async || (listed(&ca, ROOTS, "trust-kept-not")? == "left").then_some(()))
        .await;
    eventually_within("the operator to be told", LIMIT, async || {
        is_warned(&ca, "are left in namespaces that are not chosen").await.then_some(())
    })
    .await;
    let _gone = admin.delete("/api/v1/namespaces/trust-kept-not").await.ok();
    eventually_within("the namespace to go", LIMIT, async || listed(&ca, ROOTS, "trust-kept-not").is_none().then_some(())).await;
    assert!(!is_warned(&ca, "does not show whom to trust").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_verified_by_the_bundle_and_revocation_lists_go_out() {
    if !needs("webhooks_are_verified_by_the_bundle_and_revocation_lists_go_out", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("trust-hooks").await;
    let admin = &field.stage.admin;
    field.allow().await;
    for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let verbs = json!(["list", "watch", "patch"]);
        let group = "admissionregistration.k8s.io";
        let rule =
            json!({ "apiGroups": [group], "resources": [plural], "resourceNames": ["trust-hooks", "missing"], "verbs": verbs });
        field.stage.allow(plural, &rule).await;
        // Nothing of this test's is ever asked of them.
        let hook = |name: &str| {
            json!({
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
                "clientConfig": { "url": "https://127.0.0.1:1/" },
                "rules": [{ "apiGroups": ["none.example"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"] }],
            })
        };
        let hooks =
            json!({ "metadata": { "name": "trust-hooks" }, "webhooks": [hook("a.hooks.example"), hook("b.hooks.example")] });
        let _made = admin.create(&format!("{HOOKS}/{plural}"), &hooks).await.ok();
    }
    let trust =
        "revocation_lists = true\nwebhooks = [\"validating/trust-hooks\", \"mutating/trust-hooks\", \"mutating/missing\"]";
    let ca = field.ca(trust, "").await;
    let roots = roots_of(&ca);
    for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let path = format!("{HOOKS}/{plural}/trust-hooks");
        let verified = async |what: &str| {
            eventually_within(what, LIMIT, async || {
                let object = admin.get(&path).await.ok();
                let hooks = object["webhooks"].as_array()?.clone();
                let is_good = |hook: &Value| hook["clientConfig"]["caBundle"] == BASE64.encode(roots.as_bytes());
                (hooks.len() == 2 && hooks.iter().all(is_good)).then_some(hooks)
            })
            .await
        };
        let hooks = verified("webhooks to be verified by the bundle").await;
        assert_eq!(hooks[0]["clientConfig"]["url"], "https://127.0.0.1:1/", "nothing else is touched");
        assert_eq!((&hooks[1]["failurePolicy"], &hooks[1]["rules"][0]["resources"][0]), (&json!("Ignore"), &json!("nothings")));
        field.edit(&path, |object| object["webhooks"][1]["clientConfig"]["caBundle"] = json!("")).await;
        let _healed = verified("a webhook to be healed").await;
    }
    eventually_within("the missing one to be listed", LIMIT, async || {
        (listed(&ca, "MutatingWebhookConfiguration", "missing")? == "absent").then_some(())
    })
    .await;
    eventually_within("what is missing to be told", LIMIT, async || is_warned(&ca, "webhooks names missing").await.then_some(()))
        .await;

    // The list of now, and the next one after a revocation.
    let lists = async |what: &str, before: &Value| {
        eventually_within(what, LIMIT, async || {
            let now = field.map("trust-hooks", LISTS).await?["data"]["ca-crl.pem"].clone();
            (now != *before && now.is_string()).then_some(now)
        })
        .await
    };
    let first = lists("the revocation lists", &Value::Null).await;
    assert!(first.as_str().unwrap().contains("BEGIN X509 CRL"), "{first}");
    // A certificate that was given by a join token.
    let _agent = tests::Agent::start(&field.stage.bed, &ca, "n1").await;
    let serial = eventually_within("the agent's SVID", LIMIT, async || {
        let nodes = ca.operate(&["node", "list"]).ok().json();
        Some(nodes.as_array()?.first()?["serial"].as_str()?.to_owned())
    })
    .await;
    let _done = ca.operate(&["revoke", "--serial", &serial]).ok();
    let second = lists("the next lists", &first).await;
    assert!(second != first);

    // A CA that has no list of its root takes the file away: verifiers would refuse everybody by what is left.
    drop(ca);
    let folder = crate::kubernetes_secrets::authority(&field.stage.bed);
    let plugged = format!("[authority]\ndirectory = \"{}\"\n", folder.display());
    let _other = field.another_ca("ca-2", "revocation_lists = true", &plugged).await;
    eventually_within("the file to be taken away", LIMIT, async || {
        let map = field.map("trust-hooks", LISTS).await?;
        map["data"]["ca-crl.pem"].is_null().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_named_whichever_it_is() {
    if !needs("a_permission_that_is_missing_is_named_whichever_it_is", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("trust-refused").await;
    let ca = field.ca("", "").await;
    let told = async |part: &str| {
        eventually_within(part, LIMIT, async || is_warned(&ca, part).await.then_some(())).await;
    };
    told("list namespaces: forbidden (403)").await;
    told("list configmaps: forbidden (403)").await;
    let rules = Field::rules();
    for (what, rule) in rules.iter().filter(|(what, _)| *what != "new-maps") {
        field.stage.allow(what, rule).await;
    }
    told("create configmaps: forbidden (403)").await;
    told("ClusterRole signet-trust").await;
    assert_eq!(http_get(ca.telemetry(), "/readyz").await.status, 200, "the CA itself is ready");
    let (what, rule) = rules.last().unwrap();
    field.stage.allow(what, rule).await;
    let roots = roots_of(&ca);
    let _shown = field.shown("trust-refused", &roots).await;
    eventually_within("the warnings to end", LIMIT, async || (!is_warned(&ca, "forbidden").await).then_some(())).await;
    // It may read, and not write.
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/trust-refused-maps";
    field.edit(role, |role| role["rules"][0]["verbs"] = json!(["list", "watch"])).await;
    let path = format!("/api/v1/namespaces/trust-refused/configmaps/{ROOTS}");
    eventually_within("a write to be refused", LIMIT, async || {
        field.edit(&path, |map| map["data"]["root-cert.pem"] = json!("another's")).await;
        is_warned(&ca, "patch configmaps: forbidden (403)").await.then_some(())
    })
    .await;
    field.edit(role, |role| role["rules"][0]["verbs"] = rules[1].1["verbs"].clone()).await;
    let _healed = field.shown("trust-refused", &roots).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_comes_back_is_caught_up_with() {
    if !needs("an_api_server_that_comes_back_is_caught_up_with", Requirement::ApiServer) {
        return;
    }
    let server = Arc::new(tests::ApiServer::start().await);
    let admin = server.admin();
    let namespace = "trust-away";
    let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).await.ok();
    let mut field = Field { stage: Stage { server, admin, namespace, bed: tests::TestBed::new() } };
    field.label(namespace, json!(namespace)).await;
    field.allow().await;
    let ca = field.ca("", "[rotation]\npropagation_hold = \"0s\"\n").await;
    let _shown = field.shown(namespace, &roots_of(&ca)).await;
    Arc::get_mut(&mut field.stage.server).unwrap().end();
    eventually_within("the operator to be told", LIMIT, async || is_warned(&ca, "are not kept up with").await.then_some(()))
        .await;
    // A rotation does not go past what cannot be seen.
    let _done = ca.operate(&["authority", "prepare", "root"]).ok();
    let roots = eventually_within("both roots", LIMIT, async || {
        let roots = roots_of(&ca);
        (certificates_from_pem(roots.as_bytes()).unwrap().len() == 2).then_some(roots)
    })
    .await;
    let refused = ca.operate(&["authority", "activate", "root-2"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("ConfigMaps and webhook configurations do not show it yet"),
        "{refused:?}"
    );
    Arc::get_mut(&mut field.stage.server).unwrap().run().await;
    let _shown = field.shown(namespace, &roots).await;
    eventually_within("the root to be let in", LIMIT, async || {
        (ca.operate(&["authority", "activate", "root-2"]).code == 0).then_some(())
    })
    .await;
}
