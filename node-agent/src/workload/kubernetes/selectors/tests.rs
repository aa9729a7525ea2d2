//! Which container has which selectors, and what has none.

use serde_json::{Value, json};

use super::*;

fn id(digit: &str) -> String {
    digit.repeat(64)
}

fn place(digit: &str) -> ContainerPlace {
    ContainerPlace { pod_uid: "u1".to_owned(), container_id: id(digit) }
}

fn written() -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": "web-1", "uid": "u1", "resourceVersion": "1",
            "labels": { "app": "web", "example.org/tier": "" },
        },
        "spec": { "nodeName": "n1", "serviceAccountName": "web" },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                { "name": "app", "image": "app:1", "imageID": "app@sha256:0f", "containerID": format!("containerd://{}", id("a")) },
                { "name": "side", "image": "side:1", "imageID": "", "containerID": format!("containerd://{}", id("b")) },
            ],
            "initContainerStatuses": [{ "name": "init", "image": "i:1", "containerID": format!("containerd://{}", id("c")) }],
            "ephemeralContainerStatuses": [{ "name": "debug", "image": "d:1", "containerID": format!("containerd://{}", id("d")) }],
        },
    })
}

fn pod(change: impl FnOnce(&mut Value)) -> PodDetail {
    let mut value = written();
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn found(pods: &[PodDetail], digit: &str) -> Result<Vec<String>, NoSelectors> {
    let selectors = selectors_of(&place(digit), pods.iter(), "n1")?;
    Ok(selectors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_container_has_the_selectors_of_its_pod_and_its_own_and_of_no_other() {
    let pods = [pod(|_| ())];
    let of_pod = [
        "k8s:ns:shop",
        "k8s:pod-label:app:web",
        "k8s:pod-label:example.org/tier:",
        "k8s:pod-name:web-1",
        "k8s:pod-uid:u1",
        "k8s:sa:web",
    ];
    let own = |own: &[&str]| {
        let all: BTreeSet<_> = own.iter().chain(&of_pod).map(|text| Selector::parse(text).unwrap().to_string()).collect();
        Ok(all.into_iter().collect::<Vec<_>>())
    };
    let app = ["k8s:container-name:app", "k8s:container-image:app:1", "k8s:container-image:app@sha256:0f"];
    assert_eq!(found(&pods, "a"), own(&app));
    assert_eq!(found(&pods, "b"), own(&["k8s:container-name:side", "k8s:container-image:side:1"]));
    assert_eq!(found(&pods, "c"), own(&["k8s:container-name:init", "k8s:container-image:i:1"]));
    assert_eq!(found(&pods, "d"), own(&["k8s:container-name:debug", "k8s:container-image:d:1"]));
    let starting = [pod(|pod| pod["status"]["phase"] = json!("Pending"))];
    assert!(found(&starting, "c").is_ok(), "containers that prepare it run before it does");
    let ending = [pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))];
    assert!(found(&ending, "a").is_ok(), "it may need its identity to end well");
}

type Change = fn(&mut Value);

#[test]
fn what_is_not_listed_to_the_letter_has_no_selector_at_all() {
    assert_eq!(found(&[], "a"), Err(NoSelectors::NotListed(place("a"))));
    assert_eq!(found(&[pod(|_| ())], "e"), Err(NoSelectors::NotListed(place("e"))), "the pod alone is not enough");
    let changes: [(Change, NoSelectors); 9] = [
        (|pod| pod["metadata"]["uid"] = json!("u2"), NoSelectors::NotListed(place("a"))),
        (|pod| pod["status"]["containerStatuses"] = Value::Null, NoSelectors::NotListed(place("a"))),
        (|pod| pod["status"]["containerStatuses"][0]["containerID"] = json!(id("a")), NoSelectors::NotListed(place("a"))),
        (|pod| pod["spec"]["nodeName"] = json!("n2"), NoSelectors::OtherNode(place("a"))),
        (|pod| pod["spec"]["nodeName"] = json!(""), NoSelectors::OtherNode(place("a"))),
        (|pod| pod["status"]["phase"] = json!("Succeeded"), NoSelectors::Ended(place("a"))),
        (|pod| pod["status"]["phase"] = json!("Failed"), NoSelectors::Ended(place("a"))),
        (|pod| pod["status"]["phase"] = json!("Unknown"), NoSelectors::Ended(place("a"))),
        (
            |pod| pod["status"]["initContainerStatuses"] = vec![json!({ "name": "x" }); 300].into(),
            NoSelectors::TooMuch(place("a")),
        ),
    ];
    for (at, (change, want)) in changes.into_iter().enumerate() {
        assert_eq!(found(&[pod(change)], "a"), Err(want), "{at}");
    }
    let odd = pod(|pod| pod["status"]["containerStatuses"][0]["image"] = json!("a b"));
    assert!(matches!(found(&[odd], "a"), Err(NoSelectors::Odd { .. })), "none for one that is no image, not all but that");
}

#[test]
fn of_pods_that_claim_one_uid_the_one_that_lists_the_container_counts_and_two_are_refused() {
    let mirror = |name: &str| {
        pod(|pod| {
            pod["metadata"]["uid"] = json!(format!("of-{name}"));
            pod["metadata"]["name"] = json!(name);
            pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "u1", "kubernetes.io/config.hash": "u1" });
            pod["spec"]["serviceAccountName"] = Value::Null;
        })
    };
    let fake = |name: &str| {
        let mut fake = mirror(name);
        fake.containers.clear();
        fake
    };
    let selectors = found(&[fake("fake"), mirror("static-n1")], "a").unwrap();
    assert!(
        selectors.contains(&"k8s:pod-name:static-n1".to_owned()) && selectors.contains(&"k8s:pod-uid:of-static-n1".to_owned())
    );
    assert!(!selectors.iter().any(|selector| selector.starts_with("k8s:sa:")), "a static pod has no account");
    assert_eq!(found(&[fake("fake")], "a"), Err(NoSelectors::NotListed(place("a"))));
    assert_eq!(found(&[mirror("one"), mirror("two")], "a"), Err(NoSelectors::Ambiguous(place("a"))));
    let twice = pod(|pod| pod["status"]["initContainerStatuses"][0]["containerID"] = json!(format!("containerd://{}", id("a"))));
    assert_eq!(found(&[twice], "a"), Err(NoSelectors::Ambiguous(place("a"))));
    let plain = pod(|pod| pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.hash": "u9" }));
    let by_hash = selectors_of(&ContainerPlace { pod_uid: "u9".to_owned(), ..place("a") }, [&plain].into_iter(), "n1");
    assert!(matches!(by_hash, Err(NoSelectors::NotListed(_))), "the hash alone makes no static pod");
}
