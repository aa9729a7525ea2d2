//! The objects themselves.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{Requirement, eventually_within, needs};

use super::cluster::{Cluster, collection};
use super::manifests::{charted, kustomized, manifests_directory};
use super::{OVERLAYS, directory};
use crate::kubernetes_tokens::LIMIT;

/// Labels that Helm's charts have by custom, and what their values are here.
const LABELS_OF_HELM: [(&str, &str); 3] =
    [("app.kubernetes.io/instance", "signet"), ("app.kubernetes.io/managed-by", "Helm"), ("helm.sh/chart", "signet-0.1.0")];

fn name_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("-");
    format!("{} {namespace}/{}", object["kind"].as_str().unwrap(), metadata["name"].as_str().unwrap())
}

/// By their names; of configuration files only what counts, which leaves comments out.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::new();
    for mut object in objects {
        if object["kind"] == "ConfigMap" {
            for text in object["data"].as_object_mut().unwrap().values_mut() {
                let lines = text.as_str().unwrap().lines().map(str::trim);
                *text = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
            }
        }
        assert!(named.insert(name_of(&object), object).is_none(), "an object stands there twice");
    }
    named
}

#[test]
fn the_list_of_overlays_is_whole() {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(manifests_directory().join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("overlays"), OVERLAYS[1..]);
    assert_eq!(names("helm/values"), OVERLAYS[1..].iter().map(|name| format!("{name}.yaml")).collect::<Vec<_>>());
}

#[test]
fn the_chart_renders_the_objects_of_each_overlay() {
    if !needs("the_chart_renders_the_objects_of_each_overlay", Requirement::Renderer) {
        return;
    }
    for overlay in OVERLAYS {
        let mut wanted = by_name(kustomized(&directory(overlay)));
        // Helm makes a release in a namespace that is there.
        assert!(wanted.remove("Namespace -/signet").is_some());
        let values: &[&str] = if overlay == "base" { &[] } else { &[overlay] };
        let mut charted = by_name(charted(values));
        for object in charted.values_mut() {
            let labels = object["metadata"]["labels"].as_object_mut().unwrap();
            for (label, value) in LABELS_OF_HELM {
                assert_eq!(labels.remove(label), Some(json!(value)));
            }
        }
        assert_eq!(wanted.keys().collect::<Vec<_>>(), charted.keys().collect::<Vec<_>>(), "{overlay}");
        for (name, object) in &wanted {
            assert_eq!(object, &charted[name], "{overlay}: {name}, of kustomize and of the chart");
        }
    }
}

#[test]
fn the_image_is_what_the_manifests_run() {
    if !needs("the_image_is_what_the_manifests_run", Requirement::Renderer) {
        return;
    }
    let text = include_str!("../../../deploy/docker/Dockerfile");
    let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line} in {text}");
    let objects = kustomized("base");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let security = &pod["securityContext"];
    has(&format!("USER {}:{}", security["runAsUser"], security["runAsGroup"]));
    assert_eq!(security["fsGroup"], security["runAsGroup"]);
    has(&format!("ENTRYPOINT [{}]", pod["containers"][0]["livenessProbe"]["exec"]["command"][0]));
    let workspace = include_str!("../../../Cargo.toml");
    let compiler = workspace.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    has(&format!("FROM rust:{compiler}-bookworm AS build"));
    assert_eq!(pod["containers"][0]["image"], format!("signet:{}", env!("CARGO_PKG_VERSION")));
}

/// The part of the CRD of the Prometheus operator that is used here, in which nothing else is allowed.
fn service_monitor_definition() -> Value {
    let text = json!({ "type": "string" });
    let endpoint = json!({ "type": "object", "properties": {
        "port": text, "scheme": { "type": "string", "enum": ["http", "https"] }, "interval": text, "bearerTokenFile": text,
        "tlsConfig": { "type": "object", "properties": { "insecureSkipVerify": { "type": "boolean" } } },
    } });
    let selector =
        json!({ "type": "object", "properties": { "matchLabels": { "type": "object", "additionalProperties": text } } });
    let spec = json!({ "type": "object", "required": ["selector", "endpoints"], "properties": {
        "selector": selector, "endpoints": { "type": "array", "items": endpoint },
    } });
    let schema = json!({ "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "servicemonitors.monitoring.coreos.com" },
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": { "plural": "servicemonitors", "singular": "servicemonitor", "kind": "ServiceMonitor" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    })
}

/// The pod that a workload's controller would make.
fn pod_of(workload: &Value) -> Option<Value> {
    let template = &workload["spec"]["template"];
    let mut pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
    template.is_object().then_some(())?;
    pod["metadata"]["name"] = json!(format!("{}-0", workload["metadata"]["name"].as_str().unwrap()));
    pod["metadata"]["namespace"] = workload["metadata"]["namespace"].clone();
    for claim in workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = &claim["metadata"]["name"];
        let volume = json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
        pod["spec"]["volumes"].as_array_mut().unwrap().push(volume);
    }
    Some(pod)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_passes_the_server_and_every_pod_the_admission_of_its_namespace() {
    let name = "every_object_passes_the_server_and_every_pod_the_admission_of_its_namespace";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("base").await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let _made = cluster.admin.create(definitions, &service_monitor_definition()).await.ok();
    eventually_within("ServiceMonitors to be served", LIMIT, async || {
        let answer = cluster.admin.get("/apis/monitoring.coreos.com/v1/namespaces/signet/servicemonitors").await;
        (answer.status == 200).then_some(())
    })
    .await;
    // What the pods' admission looks at is there for good; the rest is tried.
    let mut accounts = kustomized("overlays/csi");
    accounts.extend(kustomized("samples/csi"));
    for account in accounts.iter().filter(|object| object["kind"] == "ServiceAccount") {
        drop(cluster.admin.create(&collection(account), account).await);
    }
    let dry = |path: &str| format!("{path}?dryRun=All&fieldValidation=Strict");
    let folders =
        OVERLAYS.iter().map(|overlay| directory(overlay)).chain(["samples/csi".to_owned(), "samples/hostpath".to_owned()]);
    let (mut objects, mut pods) = (0, 0);
    for folder in folders {
        for object in kustomized(&folder) {
            let answer = cluster.admin.create(&dry(&collection(&object)), &object).await;
            // What is there already was taken before.
            let is_taken = matches!(answer.status, 201 | 409);
            assert!(is_taken, "{folder}: {}: {}", name_of(&object), answer.body);
            objects += 1;
            if let Some(pod) = pod_of(&object) {
                let path = format!("/api/v1/namespaces/{}/pods", pod["metadata"]["namespace"].as_str().unwrap());
                let answer = cluster.admin.create(&dry(&path), &pod).await;
                assert_eq!(answer.status, 201, "{folder}: the pod of {}: {}", name_of(&object), answer.body);
                pods += 1;
                // Its twin shows that somebody looks: what an agent needs is refused where the CA is.
                if name_of(&object) == "DaemonSet signet-agents/signet-agent" {
                    let mut elsewhere = pod.clone();
                    elsewhere["metadata"]["namespace"] = json!("signet");
                    elsewhere["spec"]["serviceAccountName"] = json!("signet-ca");
                    let refused = cluster.admin.create(&dry("/api/v1/namespaces/signet/pods"), &elsewhere).await;
                    assert_eq!(refused.status, 403);
                    assert!(refused.body.to_string().contains("violates PodSecurity \\\"restricted"), "{}", refused.body);
                }
            }
        }
    }
    eprintln!("{objects} objects and {pods} pods were tried");
    let mut misspelt = kustomized("base").into_iter().find(|object| object["kind"] == "Deployment").unwrap();
    misspelt["metadata"]["name"] = json!("misspelt");
    misspelt["spec"]["template"]["spec"]["hostPid"] = json!(true);
    assert_eq!(cluster.admin.create(&dry(&collection(&misspelt)), &misspelt).await.status, 400, "an unknown field is refused");
}
