//! Reads and writes of Secrets, as the API documents them, and what comes of refusals.

use std::collections::BTreeMap;
use std::time::Duration;

use kubernetes::secrets::SecretData;
use kubernetes::{ApiError, FaultKind, Incident, ObjectVersion, SecretWrite};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::double::Reply;
use super::{Bench, LIMIT};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn data() -> SecretData {
    [("key.pem", Zeroizing::new(b"secret".to_vec()))].into()
}

fn annotations() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("a/b", "web")])
}

fn write<'a>(annotations: &'a BTreeMap<&'static str, &'a str>, data: &'a SecretData) -> SecretWrite<'a> {
    SecretWrite {
        manager: "signet-secrets",
        namespace: "shop",
        name: "istio.web",
        secret_type: "t/u",
        annotations,
        account: ("web", "a-1"),
        data,
    }
}

fn at() -> ObjectVersion {
    ObjectVersion { uid: "s-1".to_owned(), version: "7".to_owned() }
}

fn written(version: &str) -> Reply {
    let metadata = json!({ "namespace": "shop", "name": "istio.web", "uid": "s-1", "resourceVersion": version });
    Reply::of(200, &json!({ "kind": "PartialObjectMetadata", "metadata": metadata }).to_string())
}

fn refusal(status: u16) -> Reply {
    Reply::of(status, &json!({ "kind": "Status", "message": "no" }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_whole_names_what_it_is_on_and_its_answer_brings_no_key_back() {
    let bench = Bench::new().await;
    let (annotations, data) = (annotations(), data());
    let write = write(&annotations, &data);
    bench.double.next(written("1"));
    bench.double.next(written("8"));
    let made = bench.client.create_secret(&write, LIMIT).await.unwrap();
    assert_eq!((made.uid.as_str(), made.version.as_str()), ("s-1", "1"));
    assert_eq!(bench.client.apply_secret(&write, &at(), LIMIT).await.unwrap().version, "8");
    let [made, applied] = &bench.double.seen()[..] else { panic!("two requests") };
    assert_eq!(made.line, "POST /api/v1/namespaces/shop/secrets?fieldManager=signet-secrets");
    assert_eq!(applied.line, "PATCH /api/v1/namespaces/shop/secrets/istio.web?fieldManager=signet-secrets&force=true");
    let owner = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "name": "web", "uid": "a-1" });
    let mut expected = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "t/u", "data": { "key.pem": "c2VjcmV0" },
        "metadata": { "namespace": "shop", "name": "istio.web", "annotations": { "a/b": "web" }, "ownerReferences": [owner] },
    });
    assert_eq!(serde_json::from_str::<Value>(&made.body).unwrap(), expected);
    expected["metadata"]["uid"] = json!("s-1");
    expected["metadata"]["resourceVersion"] = json!("7");
    assert_eq!(serde_json::from_str::<Value>(&applied.body).unwrap(), expected);
    assert_eq!((made.content_type.as_str(), applied.content_type.as_str()), ("application/json", "application/apply-patch+yaml"));
    assert!([made, applied].iter().all(|seen| seen.accept == METADATA));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_deleted_while_it_is_the_one_that_was_judged_and_one_that_is_gone_is_no_fault() {
    let bench = Bench::new().await;
    bench.double.next(written("7"));
    bench.double.next(refusal(404));
    bench.double.next(refusal(409));
    let delete = async || bench.client.delete_secret("shop", "istio.web", &at(), LIMIT).await;
    delete().await.unwrap();
    delete().await.unwrap();
    assert!(matches!(delete().await, Err(ApiError::Conflict { .. })));
    let seen = &bench.double.seen()[0];
    assert_eq!(seen.line, "DELETE /api/v1/namespaces/shop/secrets/istio.web");
    let preconditions = json!({ "uid": "s-1", "resourceVersion": "7" });
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body, json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_what_was_asked_for_or_nothing() {
    let bench = Bench::new().await;
    let metadata = json!({ "namespace": "shop", "name": "istio.web", "uid": "s-1", "resourceVersion": "7" });
    let secret = json!({ "metadata": metadata, "type": "t/u", "data": { "key.pem": "c2VjcmV0" } });
    bench.double.next(Reply::of(200, &secret.to_string()));
    bench.double.next(refusal(404));
    bench.double.next(Reply::of(200, &secret.to_string()));
    let read = async |name: &'static str| bench.client.secret("shop", name, LIMIT).await;
    assert_eq!(read("istio.web").await.unwrap().unwrap().data.get("key.pem"), Some(&b"secret"[..]));
    assert!(read("istio.web").await.unwrap().is_none());
    assert!(matches!(read("istio.api").await, Err(ApiError::Malformed { .. })), "another one's");
    assert!(matches!(read("../pods").await, Err(ApiError::Name { .. })));
    bench.double.next(Reply::of(
        200,
        &json!({ "metadata": { "namespace": "shop", "name": "web", "uid": "a-1", "resourceVersion": "7" } }).to_string(),
    ));
    bench.double.next(refusal(404));
    let account = async || bench.client.service_account("shop", "web", LIMIT).await.unwrap();
    assert_eq!(account().await.unwrap().uid, "a-1");
    assert!(account().await.is_none());
    assert_eq!(bench.double.seen().last().unwrap().accept, METADATA);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_is_missing_and_when_to_come_back() {
    let bench = Bench::new().await;
    let (annotations, data) = (annotations(), data());
    let write = write(&annotations, &data);
    bench.double.next(refusal(403));
    let forbidden = bench.client.apply_secret(&write, &at(), LIMIT).await.unwrap_err();
    assert_eq!(forbidden.kind(), FaultKind::Credential);
    assert!(forbidden.to_string().starts_with("patch secrets: forbidden (403)"), "{forbidden}");
    bench.double.next(refusal(429).with("retry-after", "7"));
    let busy = bench.client.create_secret(&write, LIMIT).await.unwrap_err();
    assert_eq!((busy.kind(), busy.retry_after()), (FaultKind::Unreachable, Some(Duration::from_secs(7))));
    bench.double.next(refusal(409));
    assert!(matches!(bench.client.create_secret(&write, LIMIT).await, Err(ApiError::Conflict { .. })));
    let ending = "secrets \"x\" is forbidden: unable to create new content in namespace shop because it is being terminated";
    bench.double.next(Reply::of(403, &json!({ "message": ending }).to_string()));
    assert!(bench.client.create_secret(&write, LIMIT).await.unwrap_err().is_of_ending_namespace());
    assert!(!forbidden.is_of_ending_namespace());
    for fault in [forbidden, busy] {
        assert!(!format!("{fault} {fault:?}").contains("c2VjcmV0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_about_its_object() {
    let bench = Bench::new().await;
    bench.double.next(written("1"));
    let object = ("ServiceAccount", "web", "a-1");
    let incident = Incident { namespace: "shop", object, reason: "SecretNotOurs", message: "left", at: "2026-01-01T00:00:00Z" };
    bench.client.warn(&incident, LIMIT).await.unwrap();
    let seen = &bench.double.seen()[0];
    assert_eq!(seen.line, "POST /api/v1/namespaces/shop/events");
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!((&body["type"], &body["reason"], &body["message"]), (&json!("Warning"), &json!("SecretNotOurs"), &json!("left")));
    assert_eq!((&body["involvedObject"]["name"], &body["involvedObject"]["uid"]), (&json!("web"), &json!("a-1")));
}
