//! The rights of the overlay `trust`: each of them is in use.

use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{Ca, Requirement, eventually_within, http_get, needs};

use super::cluster::Cluster;
use super::rules::{each_is_missed, roles_of, without_each_right};
use crate::kubernetes_tokens::LIMIT;

const MAP: &str = "istio-ca-root-cert";
const HOOKS: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/istio-validator-istio-system",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/istio-sidecar-injector",
];

struct Namespaces<'a>(&'a Cluster);

impl Namespaces<'_> {
    async fn namespace(&self, name: &str, map: Option<Value>) {
        let made = self.0.admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": name } })).await;
        assert_eq!(made.status, 201, "{}", made.body);
        if let Some(mut map) = map {
            map["metadata"] = json!({ "name": MAP });
            let made = self.0.admin.create(&format!("/api/v1/namespaces/{name}/configmaps"), &map).await;
            assert_eq!(made.status, 201, "{}", made.body);
        }
    }

    /// While no CA runs: one thing for each call that it can make, so that a start makes all of them.
    async fn leave_work(&self, number: usize) {
        let forged = json!({ "root-cert.pem": "a forger's" });
        self.namespace(&format!("fresh-{number}"), None).await;
        self.namespace(&format!("spoilt-{number}"), Some(json!({ "data": forged }))).await;
        self.namespace(&format!("fixed-{number}"), Some(json!({ "data": forged, "immutable": true }))).await;
        for path in HOOKS {
            let mut hooks = self.0.admin.get(path).await.ok();
            hooks["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
            let _done = self.0.admin.replace(path, &hooks).await.ok();
        }
    }

    /// Until all that was left by then is as it should be.
    async fn served(&self, roots: &str, number: usize) {
        for namespace in ["fresh", "spoilt", "fixed"].map(|kind| format!("{kind}-{number}")) {
            eventually_within(&format!("{namespace} to show the bundle"), LIMIT, async || {
                let path = format!("/api/v1/namespaces/{namespace}/configmaps/{MAP}");
                (self.0.admin.get(&path).await.body["data"]["root-cert.pem"] == roots).then_some(())
            })
            .await;
        }
        for path in HOOKS {
            eventually_within("webhooks to be verified by the bundle", LIMIT, async || {
                let hooks = self.0.admin.get(path).await.ok();
                (hooks["webhooks"][0]["clientConfig"]["caBundle"] == BASE64.encode(roots.as_bytes())).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_to_tell_whom_to_trust_is_missed_when_it_is_gone() {
    let name = "each_right_to_tell_whom_to_trust_is_missed_when_it_is_gone";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("trust").await;
    for path in HOOKS {
        let (collection, name) = path.rsplit_once('/').unwrap();
        // Nothing is ever asked of them.
        let hook = json!({
            "name": "a.hooks.example", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": { "url": "https://127.0.0.1:1/" },
        });
        let _made = cluster.admin.create(collection, &json!({ "metadata": { "name": name }, "webhooks": [hook] })).await.ok();
    }
    let namespaces = Namespaces(&cluster);
    let role = *roles_of(&cluster.objects, "signet-ca").iter().find(|role| role["metadata"]["name"] == "signet-trust").unwrap();
    let rights = without_each_right(role).len();
    let mut ca = cluster.ca().await;
    let leave_work = async |number: usize| namespaces.leave_work(number).await;
    let tried = each_is_missed(&cluster, &mut ca, role, leave_work, async |_ca: &Ca| ()).await;
    assert_eq!((tried, rights), (13, 13), "of namespaces, ConfigMaps and either kind of webhooks");
    // With all of them it makes up for all of it, and for what comes last.
    ca.kill_hard().await;
    namespaces.leave_work(rights).await;
    ca.start_again().await;
    let roots = std::fs::read_to_string(ca.root_certificate()).unwrap();
    for number in 0..=rights {
        namespaces.served(&roots, number).await;
    }
    eventually_within("nothing to be missing", LIMIT, async || {
        let readiness = http_get(ca.telemetry(), "/readyz").await;
        (readiness.status == 200 && !readiness.body.contains("forbidden")).then_some(())
    })
    .await;
}
