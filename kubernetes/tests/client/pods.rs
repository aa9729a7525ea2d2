//! Questions about pods, as the API documents them, and answers as no real API server can be made to give them.

use std::time::Duration;

use kubernetes::pods::{Pod, PodScope};
use kubernetes::{ApiError, ObjectEvent, ObjectList, ObjectWatch};
use serde_json::{Value, json};

use super::double::Reply;
use super::{Bench, LIMIT};

fn pod(name: &str, version: &str) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version },
        "spec": { "nodeName": "node-1", "serviceAccountName": "web" },
        "status": { "phase": "Running" },
    })
}

fn page(names: &[&str], version: &str, go_on: &str) -> Reply {
    let items: Vec<_> = names.iter().map(|name| pod(name, "1")).collect();
    Reply::of(200, &json!({ "metadata": { "resourceVersion": version, "continue": go_on }, "items": items }).to_string())
}

fn gone() -> Reply {
    Reply::of(410, &json!({ "kind": "Status", "message": "The provided continue parameter is too old" }).to_string())
}

/// More than a part of a list may have.
fn large() -> Reply {
    Reply::of(200, &" ".repeat(32 * 1024 * 1024 + 1))
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

fn node() -> PodScope {
    PodScope::Node("node-1".to_owned())
}

async fn list(bench: &Bench, scope: PodScope) -> Result<(Vec<String>, String), ApiError> {
    let ObjectList { objects, version } = bench.client.list(&scope.selection()?, LIMIT).await?;
    Ok((objects.into_iter().map(|pod| pod.name).collect(), version))
}

fn lines(bench: &Bench) -> Vec<String> {
    bench.double.seen().into_iter().map(|seen| seen.line).collect()
}

async fn watch(bench: &Bench, pieces: Vec<String>, ends: bool) -> ObjectWatch<Pod> {
    bench.double.next(Reply::Pieces { pieces, ends });
    bench.client.watch(&node().selection().unwrap(), "5", LIMIT).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_all_of_its_parts_at_the_moment_of_the_first() {
    let bench = Bench::new().await;
    bench.double.next(page(&["a", "b"], "9", "to=the&next part"));
    bench.double.next(page(&["c"], "12", ""));
    let (names, version) = list(&bench, node()).await.unwrap();
    assert_eq!((names, version.as_str()), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], "9"));
    let of_node = "GET /api/v1/pods?limit=500&fieldSelector=spec.nodeName%3Dnode-1";
    assert_eq!(lines(&bench), [of_node.to_owned(), format!("{of_node}&continue=to%3Dthe%26next%20part")]);
    bench.double.next(page(&[], "9", ""));
    assert_eq!(list(&bench, PodScope::Cluster).await.unwrap().0.len(), 0);
    assert_eq!(lines(&bench)[2], "GET /api/v1/pods?limit=500");
    assert!(matches!(list(&bench, PodScope::Node("a,b".to_owned())).await, Err(ApiError::Name { .. })));
    // One bad part, and there is no list.
    bench.double.next(page(&["a"], "9", "more"));
    bench.double.next(Reply::of(500, "{}"));
    assert!(matches!(list(&bench, node()).await, Err(ApiError::Busy { .. })));
    bench.double.next(page(&["a"], "9", "more"));
    bench.double.next(page(&["..."], "9", ""));
    assert!(matches!(list(&bench, node()).await, Err(ApiError::Malformed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_go_on_is_begun_once_more() {
    let bench = Bench::new().await;
    bench.double.next(page(&["a"], "9", "more"));
    bench.double.next(gone());
    bench.double.next(page(&["b"], "20", ""));
    assert_eq!(list(&bench, node()).await.unwrap(), (vec!["b".to_owned()], "20".to_owned()), "parts of two moments are no list");
    for _ in 0..2 {
        bench.double.next(page(&["a"], "9", "more"));
        bench.double.next(gone());
    }
    assert!(matches!(list(&bench, node()).await, Err(ApiError::Expired { .. })));
    assert_eq!(bench.double.seen().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_made_smaller_where_pods_are_large() {
    let bench = Bench::new().await;
    bench.double.next(page(&["a"], "9", "more"));
    bench.double.next(large());
    bench.double.next(large());
    bench.double.next(page(&["b"], "9", "rest"));
    bench.double.next(page(&["c"], "9", ""));
    assert_eq!(list(&bench, PodScope::Cluster).await.unwrap().0, ["a", "b", "c"]);
    let sizes: Vec<_> = lines(&bench).iter().map(|line| line.split(['=', '&']).nth(1).unwrap().to_owned()).collect();
    assert_eq!(sizes, ["500", "500", "125", "31", "62"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_ends_at_its_deadline_however_many_parts_it_has() {
    let bench = Bench::new().await;
    bench.double.next(page(&["a"], "9", "more"));
    bench.double.next(Reply::Never);
    let fault = bench.client.list(&node().selection().unwrap(), Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(fault, ApiError::Deadline { .. }), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_events_however_they_are_cut_and_its_end() {
    let bench = Bench::new().await;
    let bookmark = json!({ "metadata": { "resourceVersion": "9" }, "spec": { "containers": null } });
    let text = [event("ADDED", &pod("a", "6")), event("DELETED", &pod("b", "7")), event("BOOKMARK", &bookmark)].concat();
    for size in [1, 7, 100_000] {
        let pieces = text.as_bytes().chunks(size).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect();
        let mut watch = watch(&bench, pieces, true).await;
        assert!(matches!(watch.next().await.unwrap(), Some(ObjectEvent::Applied(pod)) if pod.name == "a"));
        assert!(matches!(watch.next().await.unwrap(), Some(ObjectEvent::Deleted(pod)) if pod.version == "7"));
        assert_eq!(watch.next().await.unwrap(), Some(ObjectEvent::Bookmark("9".to_owned())));
        assert_eq!(watch.next().await.unwrap(), None);
    }
    let want = "GET /api/v1/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&fieldSelector=spec.nodeName%3Dnode-1&resourceVersion=5";
    assert_eq!(lines(&bench)[0], want);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_watch_says_that_is_no_event_ends_its_use() {
    let bench = Bench::new().await;
    for (pieces, said) in [
        (vec!["{\"type\":\"ADDED\"".to_owned()], "within an event"),
        (vec!["not JSON\n".to_owned()], "not read"),
        (vec!["\n".to_owned()], "not read"),
        (vec![event("ADDED", &json!([]))], "not read"),
        (vec![event("RENAMED", &pod("a", "6"))], "not read"),
    ] {
        let fault = watch(&bench, pieces, true).await.next().await.unwrap_err();
        assert!(fault.to_string().contains(said), "{said} in {fault}");
    }
    let fault = watch(&bench, vec!["x".repeat(1024 * 1024); 17], false).await.next().await.unwrap_err();
    assert!(matches!(fault, ApiError::TooLarge { .. }), "{fault}");
    let status = json!({ "kind": "Status", "code": 410, "message": "too old resource version" });
    let told = watch(&bench, vec![event("ERROR", &status)], true).await.next().await.unwrap();
    assert!(matches!(told, Some(ObjectEvent::Expired(_))), "{told:?}");
    bench.double.next(gone());
    let fault = bench.client.watch(&node().selection().unwrap(), "1", LIMIT).await.err().unwrap();
    assert!(matches!(fault, ApiError::Expired { .. }), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_an_event_that_is_given_up_loses_nothing_and_a_connection_that_breaks_is_told() {
    let bench = Bench::new().await;
    let text = event("ADDED", &pod("a", "6"));
    let mut open = watch(&bench, vec![text, "{\"type\":".to_owned()], false).await;
    let told = loop {
        if let Ok(told) = tokio::time::timeout(Duration::from_millis(1), open.next()).await {
            break told.unwrap();
        }
    };
    assert!(matches!(told, Some(ObjectEvent::Applied(pod)) if pod.name == "a"));
    assert!(tokio::time::timeout(Duration::from_millis(50), open.next()).await.is_err(), "half an event was told");
    // Other calls go on beside it, on the same connection.
    bench.double.next(page(&["a"], "9", ""));
    assert!(list(&bench, node()).await.is_ok());
    assert_eq!(bench.double.connections(), 1);
    bench.double.cut().await;
    let fault = open.next().await.unwrap_err();
    assert!(matches!(fault, ApiError::Broken { .. }), "{fault}");
}
