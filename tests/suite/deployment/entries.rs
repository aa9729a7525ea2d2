//! The overlay `entries`: what its definition lets in, and its rights, each of which is in use.

use serde_json::{Value, json};
use tests::{Ca, Requirement, eventually_within, http_get, needs};

use super::cluster::{Cluster, SHOP};
use super::manifests::kustomized;
use super::rules::{each_is_missed, roles_of, without_each_right};
use crate::kubernetes_tokens::LIMIT;

const ENTRIES: &str = "/apis/signet.internal/v1alpha1/namespaces/shop/identityentries";

/// The definition as it is rendered.
pub(crate) fn definition() -> Value {
    let objects = kustomized("overlays/entries");
    objects.into_iter().find(|object| object["kind"] == "CustomResourceDefinition").expect("the overlay has the definition")
}

/// An object as tenants write it.
pub(crate) fn entry(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "signet.internal/v1alpha1", "kind": "IdentityEntry", "metadata": { "name": name }, "spec": spec })
}

fn spec(path: &str, selectors: &[&str]) -> Value {
    json!({ "path": path, "selectors": selectors })
}

/// With one more field.
fn with(field: &str, value: Value) -> Value {
    let mut spec = spec("web", &["k8s:sa:web"]);
    spec[field] = value;
    spec
}

/// What is not let in, and what the server says then.
fn refused() -> Vec<(Value, &'static str)> {
    let web = ["k8s:sa:web"];
    let many: Vec<_> = (0..17).map(|number| format!("k8s:pod-name:web-{number}")).collect();
    let segments = "segments of letters";
    vec![
        (json!({ "selectors": web }), "spec.path: Required value"),
        (json!({ "path": "web" }), "spec.selectors: Required value"),
        (spec("", &web), "at least 1 char"),
        (spec(&"a".repeat(257), &web), "may not be more than 256"),
        (spec("/web", &web), segments),
        (spec("web/", &web), segments),
        (spec("a//b", &web), segments),
        (spec("a b", &web), segments),
        (spec("a%2fb", &web), segments),
        (spec("\u{e9}", &web), segments),
        (spec("a\n", &web), segments),
        (spec(".", &web), r#"\".\" or \"..\""#),
        (spec("../other/web", &web), r#"\".\" or \"..\""#),
        (spec("a/./b", &web), r#"\".\" or \"..\""#),
        (spec("sa", &web), "belongs to service accounts"),
        (spec("sa/web", &web), "belongs to service accounts"),
        (spec("web", &[]), "should have at least 1 items"),
        (json!({ "path": "web", "selectors": many }), "must have at most 16 items"),
        (spec("web", &["k8s:sa:web", "k8s:sa:web"]), "Duplicate value"),
        (spec("web", &["k8s:ns:shop"]), "k8s:ns is added by the CA"),
        (spec("web", &["k8s:sa:web", "k8s:ns:other"]), "k8s:ns is added by the CA"),
        (spec("web", &["unix:uid:0"]), "each selector is k8s:sa"),
        (spec("web", &["signet:file:web"]), "each selector is k8s:sa"),
        (spec("web", &["k8s:sa:"]), "each selector is k8s:sa"),
        (spec("web", &["k8s:pod-label:tier"]), "k8s:pod-label:KEY:VALUE"),
        (spec("web", &[&format!("k8s:sa:{}", "a".repeat(512))]), "may not be more than 512"),
        (with("ttlSeconds", json!(59)), "greater than or equal to 60"),
        (with("ttlSeconds", json!(2_592_001)), "less than or equal to 2592000"),
        (with("ttlSeconds", json!("1h")), "must be of type integer"),
        (with("hint", json!("a".repeat(257))), "may not be more than 256"),
        (with("federatesWith", json!(["spiffe://other.example"])), "without spiffe://"),
        (with("federatesWith", json!(["a", "a"])), "Duplicate value"),
        (with("dnsNames", json!(["web.example"])), "unknown field"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_lets_in_what_can_be_an_entry_and_says_why_not() {
    let name = "the_definition_lets_in_what_can_be_an_entry_and_says_why_not";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("entries").await;
    let strict = format!("{ENTRIES}?fieldValidation=Strict");
    for (spec, told) in refused() {
        let answer = cluster.admin.create(&strict, &entry("bad", &spec)).await;
        assert!(matches!(answer.status, 400 | 422), "{spec}: {} {}", answer.status, answer.body);
        assert!(answer.body.to_string().contains(told), "{told} in {}", answer.body);
    }
    let whole = json!({
        "path": "team-a/web.v1_2", "ttlSeconds": 600, "hint": "internal", "federatesWith": ["other.example"],
        "selectors": [
            "k8s:sa:web", "k8s:pod-name:web-1", "k8s:pod-uid:0f1e", "k8s:pod-label:tier:front", "k8s:container-name:app",
            "k8s:container-image:app.example/app@sha256:00",
        ],
    });
    let mut made = cluster.admin.create(&strict, &entry("whole", &whole)).await.ok();
    for path in ["sales", "SA", "a/sa", "..."] {
        let _made = cluster.admin.create(&strict, &entry(&format!("p-{}", path.len()), &spec(path, &["k8s:sa:web"]))).await.ok();
        let _gone = cluster.admin.delete(&format!("{ENTRIES}/p-{}", path.len())).await.ok();
    }
    // The path is for good; the rest is not. A status is not written along, and nobody's status is a spec.
    let at = format!("{ENTRIES}/whole");
    made["status"] = json!({ "spiffeId": "spiffe://forged" });
    made["spec"]["ttlSeconds"] = json!(900);
    let made = cluster.admin.replace(&at, &made).await.ok();
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(2), &Value::Null));
    let mut moved = made.clone();
    moved["spec"]["path"] = json!("other");
    let answer = cluster.admin.replace(&at, &moved).await;
    assert!(answer.status == 422 && answer.body.to_string().contains("the path is for good"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_to_follow_objects_is_missed_when_it_is_gone() {
    let name = "each_right_to_follow_objects_is_missed_when_it_is_gone";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("entries").await;
    let role = *roles_of(&cluster.objects, "signet-ca").iter().find(|role| role["metadata"]["name"] == "signet-entries").unwrap();
    let rights = without_each_right(role).len();
    let leave_work = async |number: usize| {
        let spec = spec(&format!("web-{number}"), &["k8s:sa:web"]);
        let _made = cluster.admin.create(ENTRIES, &entry(&format!("web-{number}"), &spec)).await.ok();
    };
    let mut ca = cluster.ca().await;
    let tried = each_is_missed(&cluster, &mut ca, role, leave_work, async |_ca: &Ca| ()).await;
    assert_eq!((tried, rights), (3, 3), "of objects, and of their status");
    // With all of them it makes up for all of it, and for what comes last.
    ca.kill_hard().await;
    leave_work(rights).await;
    ca.start_again().await;
    for number in 0..=rights {
        eventually_within("each object to be told of its entry", LIMIT, async || {
            let object = cluster.admin.get(&format!("{ENTRIES}/web-{number}")).await.ok();
            (object["status"]["spiffeId"] == format!("spiffe://cluster.local/ns/{SHOP}/web-{number}")).then_some(())
        })
        .await;
    }
    assert_eq!(ca.operate(&["entry", "list"]).ok().json().as_array().unwrap().len(), rights + 1);
    eventually_within("nothing to be missing", LIMIT, async || {
        let readiness = http_get(ca.telemetry(), "/readyz").await;
        (readiness.status == 200 && !readiness.body.contains("forbidden")).then_some(())
    })
    .await;
}
