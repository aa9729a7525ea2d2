//! Pods with their containers, as kubelets tell of them.

use serde_json::{Value, json};

use super::*;

fn written() -> Value {
    json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "0f1e", "resourceVersion": "17",
            "labels": { "app": "web", "tier": "" }, "annotations": { "note": "x", "kubernetes.io/config.source": "api" },
        },
        "spec": { "nodeName": "node-1", "serviceAccountName": "web", "containers": [{ "name": "app" }] },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                { "name": "app", "image": "app:1", "imageID": "app@sha256:0f", "containerID": "containerd://a1", "ready": true },
                { "name": "side", "image": "side:1", "imageID": "", "state": { "waiting": {} } },
            ],
            "initContainerStatuses": [{ "name": "init", "image": "init:1", "containerID": "cri-o://b2" }],
            "ephemeralContainerStatuses": [{ "name": "debug", "containerID": "docker://c3" }],
        },
    })
}

fn read(change: impl FnOnce(&mut Value)) -> Result<PodDetail, String> {
    let mut value = written();
    change(&mut value);
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

#[test]
fn containers_of_every_kind_are_read_with_what_their_runtime_calls_them() {
    let detail = read(|_| ()).unwrap();
    assert_eq!((detail.pod.to_string().as_str(), detail.is_cut), ("shop/web-1 0f1e", false));
    assert_eq!(detail.labels, [("app", "web"), ("tier", "")].map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let container = |name: &str, id: Option<&str>, image: &str, image_id: &str| ContainerDetail {
        name: name.to_owned(),
        id: id.map(str::to_owned),
        image: image.to_owned(),
        image_id: image_id.to_owned(),
    };
    let want = [
        container("app", Some("a1"), "app:1", "app@sha256:0f"),
        container("side", None, "side:1", ""),
        container("init", Some("b2"), "init:1", ""),
        container("debug", Some("c3"), "", ""),
    ];
    assert_eq!(detail.containers, want);
    let bare = read(|pod| {
        pod["status"] = json!({ "containerStatuses": null });
        pod["metadata"]["labels"] = Value::Null;
    });
    let bare = bare.unwrap();
    assert!(bare.containers.is_empty() && bare.labels.is_empty());
    let odd = read(|pod| pod["status"]["containerStatuses"][0]["containerID"] = json!("a1")).unwrap();
    assert_eq!(odd.containers[0].id, None, "an ID without its runtime");
}

#[test]
fn what_is_no_pod_or_no_container_is_not_read() {
    let bad: [fn(&mut Value); 6] = [
        |pod| pod["metadata"]["uid"] = json!(""),
        |pod| pod["metadata"]["labels"] = json!(["a"]),
        |pod| pod["metadata"]["labels"]["app"] = json!(1),
        |pod| pod["status"]["containerStatuses"][0] = json!([]),
        |pod| pod["status"]["containerStatuses"] = json!({}),
        |pod| pod["metadata"]["annotations"] = json!([]),
    ];
    for (place, change) in bad.into_iter().enumerate() {
        assert!(read(change).is_err(), "{place}");
    }
}

#[test]
fn more_than_is_kept_is_cut_and_told() {
    let labels = |count: usize| (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    let of = |count| read(|pod| pod["metadata"]["labels"] = labels(count).into()).unwrap();
    assert_eq!((of(256).is_cut, of(256).labels.len()), (false, 256));
    assert_eq!((of(257).is_cut, of(257).labels.len()), (true, 256));
    let status = json!({ "name": "x", "containerID": "containerd://d4" });
    let of = |count| read(|pod| pod["status"]["initContainerStatuses"] = vec![status.clone(); count].into()).unwrap();
    assert_eq!((of(253).is_cut, of(254).is_cut, of(254).containers.len()), (false, true, 256));
}

#[test]
fn a_mirror_pod_is_known_to_its_node_by_the_hash_of_its_manifest_alone() {
    let with = |annotations: &Value| read(|pod| pod["metadata"]["annotations"] = annotations.clone()).unwrap();
    let (mirror, hash) = ("kubernetes.io/config.mirror", "kubernetes.io/config.hash");
    let uid = |annotations: &Value| with(annotations).uid_on_node().map(str::to_owned);
    assert_eq!(uid(&json!({ mirror: "0c0c", hash: "0c0c" })).as_deref(), Some("0c0c"));
    // Whoever makes pods may write any annotation: the hash alone says nothing.
    assert_eq!(uid(&json!({ hash: "0c0c" })).as_deref(), Some("0f1e"));
    assert_eq!(uid(&Value::Null).as_deref(), Some("0f1e"));
    for odd in [json!({ mirror: "0c0c" }), json!({ mirror: "0c0c", hash: "0d0d" }), json!({ mirror: "", hash: "0d" })] {
        assert_eq!(uid(&odd), None, "{odd}");
    }
}

#[test]
fn the_pods_of_a_node_are_selected_by_its_name_and_nothing_else() {
    assert_eq!(PodDetail::of_node("node-1.example").unwrap().query, "&fieldSelector=spec.nodeName%3Dnode-1.example");
    for bad in ["", "a,spec.nodeName!=b", "a&limit=1", "a%2Cb"] {
        assert!(matches!(PodDetail::of_node(bad), Err(ApiError::Name { .. })), "{bad}");
    }
}
