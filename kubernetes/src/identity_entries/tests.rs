//! Objects as API servers write them, and such as none should.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ObjectEvent;
use crate::objects::Page;

fn written() -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "0f1e", "resourceVersion": "17", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{ "manager": "kubectl" }],
        },
        "spec": { "path": "web", "selectors": ["k8s:sa:web"], "ttlSeconds": 600, "hint": "a", "federatesWith": ["other.example"] },
        "status": {
            "observedGeneration": 1, "spiffeId": "spiffe://example.org/ns/shop/web",
            "conditions": [
                { "type": "Other", "status": "True" },
                { "type": "Accepted", "status": "True", "reason": "Accepted", "message": "m", "lastTransitionTime": "2026-01-01T00:00:01Z" },
            ],
        },
    })
}

fn read(change: impl FnOnce(&mut Value)) -> Result<IdentityEntry, String> {
    let mut value = written();
    change(&mut value);
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

#[test]
fn an_object_is_read_by_the_fields_that_count() {
    let entry = read(|_| ()).unwrap();
    assert_eq!((entry.namespace.as_str(), entry.name.as_str(), entry.uid.as_str()), ("shop", "web", "0f1e"));
    assert_eq!((entry.version.as_str(), entry.generation, entry.is_terminating), ("17", 2, false));
    let spec = EntrySpec {
        path: "web".to_owned(),
        selectors: vec!["k8s:sa:web".to_owned()],
        ttl_seconds: Some(600),
        hint: Some("a".to_owned()),
        federates_with: Some(vec!["other.example".to_owned()]),
    };
    assert_eq!(entry.spec, Ok(spec));
    let since = "2026-01-01T00:00:01Z".to_owned();
    let accepted = AcceptedCondition { is_true: true, reason: "Accepted".to_owned(), message: "m".to_owned(), since };
    let spiffe_id = Some("spiffe://example.org/ns/shop/web".to_owned());
    assert_eq!(entry.status, EntryStatus { observed_generation: 1, spiffe_id, accepted: Some(accepted) });
    assert!(read(|entry| entry["metadata"]["deletionTimestamp"] = json!("x")).unwrap().is_terminating);
}

#[test]
fn metadata_that_are_none_are_not_read_and_a_spec_that_is_none_is_told_of_its_object_alone() {
    for (pointer, value) in [
        ("/metadata/namespace", json!("a.b")),
        ("/metadata/namespace", json!("")),
        ("/metadata/name", json!("A")),
        ("/metadata/uid", json!("a b")),
        ("/metadata/resourceVersion", json!("")),
        ("/metadata/generation", json!(-1)),
        ("/metadata/creationTimestamp", json!("x".repeat(65))),
        ("/metadata", json!([])),
    ] {
        assert!(read(|entry| *entry.pointer_mut(pointer).unwrap() = value).is_err(), "{pointer}");
    }
    for (pointer, value) in [
        ("/spec", Value::Null),
        ("/spec", json!([])),
        ("/spec", json!(["web", ["k8s:sa:web"]])),
        ("/spec", json!({ "path": "web" })),
        ("/spec", json!({ "path": "web", "selectors": ["k8s:sa:web"], "dnsNames": ["a"] })),
        ("/spec/path", json!(1)),
        ("/spec/path", json!("a".repeat(MAX_SPEC_BYTES))),
        ("/spec/selectors", json!("k8s:sa:web")),
        ("/spec/selectors/0", json!(null)),
        ("/spec/ttlSeconds", json!(-1)),
        ("/spec/ttlSeconds", json!("1h")),
    ] {
        let entry = read(|entry| *entry.pointer_mut(pointer).unwrap() = value.clone()).unwrap();
        assert!(entry.spec.is_err(), "{pointer} {value}");
    }
    // Whatever somebody wrote into a status, it only is to be written anew.
    for status in [json!([]), json!(1), json!({ "conditions": 1 }), json!({ "observedGeneration": "a" }), Value::Null] {
        assert_eq!(read(|entry| entry["status"] = status).unwrap().status, EntryStatus::default());
    }
}

#[test]
fn a_write_names_the_status_and_what_it_was_judged_by() {
    let at = ObjectVersion { uid: "u".to_owned(), version: "7".to_owned() };
    let since = "2026-01-01T00:00:01Z".to_owned();
    let accepted = AcceptedCondition { is_true: false, reason: "InvalidPath".to_owned(), message: "m".to_owned(), since };
    let status = EntryStatus { observed_generation: 3, spiffe_id: None, accepted: Some(accepted) };
    let condition = json!({
        "type": "Accepted", "status": "False", "reason": "InvalidPath", "message": "m", "lastTransitionTime": "2026-01-01T00:00:01Z",
        "observedGeneration": 3,
    });
    let expected = json!({
        "apiVersion": "signet.internal/v1alpha1", "kind": "IdentityEntry",
        "metadata": { "namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "7" },
        "status": { "observedGeneration": 3, "conditions": [condition] },
    });
    assert_eq!(serde_json::to_value(body(("shop", "web"), &at, &status)).unwrap(), expected);
}

/// Any JSON of some depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{0,10}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// One object of a tenant's must not keep a list from being read.
    #[test]
    fn whatever_a_tenant_writes_the_list_and_the_watch_are_read(spec in any_json(), status in any_json()) {
        let mut hostile = written();
        hostile["spec"] = spec;
        hostile["status"] = status;
        let list = json!({ "metadata": { "resourceVersion": "1" }, "items": [hostile, written()] }).to_string();
        prop_assert_eq!(Page::<IdentityEntry>::read(list.as_bytes()).unwrap().objects.len(), 2);
        let event = json!({ "type": "MODIFIED", "object": hostile }).to_string();
        let is_applied = matches!(ObjectEvent::<IdentityEntry>::read(event.as_bytes()), Ok(ObjectEvent::Applied(_)));
        prop_assert!(is_applied);
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        drop(Page::<IdentityEntry>::read(&bytes));
        drop(ObjectEvent::<IdentityEntry>::read(&bytes));
    }
}
