//! Which entries a node makes of its pods.

use serde_json::{Value, json};

use super::*;
use crate::ca_client::view::EntryKnowledge;

fn pod(change: impl FnOnce(&mut Value)) -> PodDetail {
    let mut pod = json!({
        "metadata": { "namespace": "shop", "name": "web-1", "uid": "u1", "resourceVersion": "1" },
        "spec": { "nodeName": "n1", "serviceAccountName": "web" },
        "status": { "phase": "Running" },
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn accounts(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let pods = [pod(change)];
    accounts_of(pods.iter(), "n1").into_iter().map(|account| format!("{}/{}", account.namespace, account.name)).collect()
}

#[test]
fn the_accounts_are_those_of_pods_that_are_here_and_have_not_ended() {
    assert_eq!(accounts(|_| ()), ["shop/web"]);
    assert_eq!(accounts(|pod| pod["status"]["phase"] = json!("Pending")), ["shop/web"]);
    let deleted = |pod: &mut Value| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(accounts(deleted), ["shop/web"], "it may need its identity to end well");
    let none: [&str; 0] = [];
    for phase in ["Succeeded", "Failed", "Elsewhere"] {
        assert_eq!(accounts(|pod| pod["status"]["phase"] = json!(phase)), none, "{phase}");
    }
    assert_eq!(accounts(|pod| pod["spec"]["nodeName"] = json!("n2")), none);
    assert_eq!(accounts(|pod| pod["spec"]["nodeName"] = Value::Null), none);
    assert_eq!(accounts(|pod| pod["spec"]["serviceAccountName"] = Value::Null), none, "a static pod has none");
    let same = [pod(|_| ()), pod(|pod| pod["metadata"]["uid"] = json!("u2"))];
    assert_eq!(accounts_of(same.iter(), "n1").len(), 1);
}

#[test]
fn the_entry_of_an_account_wants_both_its_names_and_comes_after_those_of_the_ca() {
    let domain = TrustDomain::parse("example.org").unwrap();
    let account = ServiceAccount { namespace: "shop".to_owned(), name: "web".to_owned() };
    let made = entry(&account, &domain).unwrap();
    assert_eq!((made.id.as_str(), made.spiffe_id.as_str()), ("account:shop/web", "spiffe://example.org/ns/shop/sa/web"));
    let selectors: Vec<_> = made.selectors.iter().map(ToString::to_string).collect();
    assert_eq!(selectors, ["k8s:ns:shop", "k8s:sa:web"]);
    assert!(made.id.is_of_account() && made.account == Some(account));
    assert_eq!(made.created_at, Timestamp::from_unix_seconds(u64::MAX));
    // The longest names that Kubernetes takes still have an ID of their own, which is read back.
    let long = |last| ServiceAccount { namespace: "n".repeat(63), name: format!("{}{last}", "a".repeat(252)) };
    let [one, other] = ["x", "y"].map(|last| entry(&long(last), &domain).unwrap().id);
    assert!(one != other && one.is_of_account());
    assert_eq!(EntryId::parse(one.as_str()).unwrap(), one);
}

#[test]
fn the_entries_of_the_rule_are_there_when_those_of_the_ca_are_known() {
    let by_rule = Arc::new(crate::fakes::held::of_account("shop/web"));
    let of_ca = Arc::new(crate::fakes::held::entry("a", &["unix:uid:1"], 1, ""));
    let made = [(by_rule.id.clone(), Arc::clone(&by_rule))].into();
    for (knowledge, expected) in [
        (EntryKnowledge::None, vec![&of_ca.id]),
        (EntryKnowledge::Stored, vec![&of_ca.id, &by_rule.id]),
        (EntryKnowledge::Synced, vec![&of_ca.id, &by_rule.id]),
    ] {
        let known = NodeView { knowledge, entries: [(of_ca.id.clone(), Arc::clone(&of_ca))].into(), ..NodeView::default() };
        let view = with_accounts(&known, &made);
        assert!(view.has_account_rule);
        assert_eq!(view.entries.keys().collect::<Vec<_>>(), expected, "{knowledge:?}");
    }
}
