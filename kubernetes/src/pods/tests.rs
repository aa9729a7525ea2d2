//! Pods as API servers write them, and such as none should.

use serde_json::{Value, json};

use super::*;
use crate::objects::Page;
use crate::{Message, ObjectEvent};

fn written() -> Value {
    json!({
        "kind": "Pod",
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "0f1e", "resourceVersion": "17", "labels": { "app": "web" },
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": { "nodeName": "node-1.example", "serviceAccountName": "web.front", "containers": [{ "name": "app" }] },
        "status": { "phase": "Running", "podIP": "10.0.0.1" },
    })
}

fn read(change: impl FnOnce(&mut Value)) -> Result<Pod, String> {
    let mut value = written();
    change(&mut value);
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

fn without(part: &str, key: &str) -> Result<Pod, String> {
    read(|pod| drop(pod[part].as_object_mut().unwrap().remove(key)))
}

#[test]
fn a_pod_is_read_by_the_fields_that_count() {
    let want = Pod {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        uid: "0f1e".to_owned(),
        node: Some("node-1.example".to_owned()),
        service_account: Some("web.front".to_owned()),
        phase: Phase::Running,
        is_terminating: false,
        version: "17".to_owned(),
    };
    assert_eq!(read(|_| ()), Ok(want.clone()));
    assert_eq!(want.to_string(), "shop/web-1 0f1e");
    // Not scheduled yet, and without an account: absent and empty are one.
    for pod in [without("spec", "nodeName"), read(|pod| pod["spec"]["nodeName"] = json!(""))] {
        assert_eq!(pod.unwrap().node, None);
    }
    assert_eq!(without("spec", "serviceAccountName").unwrap().service_account, None);
    let phase = |text: &str| read(|pod| pod["status"]["phase"] = json!(text)).unwrap().phase;
    assert_eq!((phase("Pending"), phase("Succeeded"), phase("Failed")), (Phase::Pending, Phase::Succeeded, Phase::Failed));
    assert_eq!(
        (phase("Unknown"), phase("running"), without("status", "phase").unwrap().phase),
        (Phase::Unknown, Phase::Unknown, Phase::Unknown)
    );
    for there in [json!("2026-01-01T00:00:00Z"), json!(0), json!("")] {
        assert!(read(|pod| pod["metadata"]["deletionTimestamp"] = there).unwrap().is_terminating);
    }
    assert!(!read(|pod| pod["metadata"]["deletionTimestamp"] = Value::Null).unwrap().is_terminating);
}

#[test]
fn what_lacks_a_name_or_has_one_that_is_none_is_no_pod() {
    for key in ["name", "namespace", "uid", "resourceVersion"] {
        assert!(without("metadata", key).is_err(), "{key}");
        for bad in [json!(""), json!("a b"), json!(1), Value::Null] {
            assert!(read(|pod| pod["metadata"][key] = bad.clone()).is_err(), "{key} {bad}");
        }
    }
    for (part, key, bad) in [
        ("metadata", "namespace", "a.b"),
        ("metadata", "name", "../b"),
        ("spec", "nodeName", "a/b"),
        ("spec", "serviceAccountName", "A"),
    ] {
        assert!(read(|pod| pod[part][key] = json!(bad)).is_err(), "{key} {bad}");
    }
    for part in ["metadata", "spec", "status"] {
        for bad in [json!([]), Value::Null, json!("x")] {
            assert!(read(|pod| pod[part] = bad.clone()).is_err(), "{part} {bad}");
        }
        assert!(read(|pod| drop(pod.as_object_mut().unwrap().remove(part))).is_err(), "without {part}");
    }
    for text in ["[]", r#"[{"name":"a","namespace":"b","uid":"c","resourceVersion":"d"},{},{}]"#, "null"] {
        assert!(serde_json::from_str::<Pod>(text).is_err(), "{text}");
    }
    assert!(
        serde_json::from_str::<Pod>(&written().to_string().replacen("\"uid\":", "\"uid\":\"1\",\"uid\":", 1)).is_err(),
        "two UIDs"
    );
}

#[test]
fn a_list_is_read_whole_or_not_at_all() {
    let page =
        |value: &Value| Page::<Pod>::read(value.to_string().as_bytes()).map(|page| (page.objects.len(), page.version, page.next));
    let list = |items: Value, go_on: &str| json!({ "metadata": { "resourceVersion": "9", "continue": go_on }, "items": items });
    assert_eq!(page(&list(json!([written(), written()]), "abc")).unwrap(), (2, "9".to_owned(), Some("abc".to_owned())));
    assert_eq!(page(&list(Value::Null, "")).unwrap(), (0, "9".to_owned(), None));
    let mut nameless = written();
    nameless["metadata"]["uid"] = json!("");
    for bad in [
        list(json!([written(), nameless]), ""),
        list(json!([written(), []]), ""),
        list(json!({}), ""),
        list(json!([]), &"x".repeat(1536 + 1)),
        json!({ "metadata": {}, "items": [] }),
        json!({ "metadata": { "resourceVersion": "" }, "items": [] }),
        json!({ "metadata": [], "items": [] }),
        json!({ "metadata": { "resourceVersion": "9" } }),
        json!([{ "resourceVersion": "9" }, []]),
        json!({}),
    ] {
        let fault = page(&bad).unwrap_err();
        assert!(matches!(fault, ApiError::Malformed { call: Call::List(Kind::Pods), .. }), "{bad}: {fault}");
    }
}

#[test]
fn each_kind_of_event_is_read_and_no_other() {
    let event = |value: &Value| ObjectEvent::<Pod>::read(value.to_string().as_bytes());
    let of = |kind: &str, object: Value| json!({ "type": kind, "object": object });
    let pod: Pod = serde_json::from_value(written()).unwrap();
    assert_eq!(event(&of("ADDED", written())).unwrap(), ObjectEvent::Applied(pod.clone()));
    assert_eq!(event(&of("MODIFIED", written())).unwrap(), ObjectEvent::Applied(pod.clone()));
    assert_eq!(event(&of("DELETED", written())).unwrap(), ObjectEvent::Deleted(pod));
    let bookmark =
        json!({ "kind": "Pod", "metadata": { "resourceVersion": "20" }, "spec": { "containers": null }, "status": {} });
    assert_eq!(event(&of("BOOKMARK", bookmark)).unwrap(), ObjectEvent::Bookmark("20".to_owned()));
    let status = |code: u16| json!({ "kind": "Status", "code": code, "message": "too old resource version: 1 (9)" });
    assert_eq!(event(&of("ERROR", status(410))).unwrap(), ObjectEvent::Expired(Message::of("too old resource version: 1 (9)")));
    assert!(matches!(event(&of("ERROR", status(500))).unwrap(), ObjectEvent::Failed(_)));
    assert!(matches!(event(&of("ERROR", json!({}))).unwrap(), ObjectEvent::Failed(_)));
    // The object may come first.
    assert!(matches!(
        ObjectEvent::<Pod>::read(format!(r#"{{"object":{},"type":"ADDED"}}"#, written()).as_bytes()),
        Ok(ObjectEvent::Applied(_))
    ));
    for bad in [
        of("added", written()),
        of("SYNC", written()),
        of("ADDED", json!([])),
        of("BOOKMARK", json!({ "metadata": {} })),
        of("BOOKMARK", json!({ "metadata": { "resourceVersion": "" } })),
        of("ERROR", json!([])),
        json!({ "type": "ADDED" }),
        json!(["ADDED", written()]),
        json!({}),
    ] {
        assert!(event(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_scope_names_a_node_and_nothing_else() {
    assert_eq!(PodScope::Cluster.selection().unwrap().query, "");
    let node = |name: &str| PodScope::Node(name.to_owned()).selection().map(|selection| selection.query);
    assert_eq!(node("node-1.example").unwrap(), "&fieldSelector=spec.nodeName%3Dnode-1.example");
    for bad in ["", "a,spec.nodeName!=b", "a&limit=1", "a%2Cb"] {
        assert!(matches!(node(bad), Err(ApiError::Name { .. })), "{bad}");
    }
}
