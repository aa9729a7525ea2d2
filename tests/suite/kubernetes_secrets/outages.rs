//! An API server that wants to be left alone, and a namespace that goes in the middle of the work.

use std::time::Duration;

use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{Ca, Requirement, eventually_within, needs};

use super::field::{Field, Sound, is_warned, listed, warned};
use crate::kubernetes_tokens::{ISSUER, LIMIT};

const FAIRNESS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
/// What the CA's account may not have now: no seats, and no queue to wait for one in.
const JAIL: &str = "signet-squeezed";

impl Field {
    /// Has the API server answer 429 whenever the CA's account would make a Secret, by its own priority and fairness.
    async fn squeeze(&self) {
        let admin = &self.stage.admin;
        let limited = json!({
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": { "type": "Reject" },
        });
        let level = json!({ "metadata": { "name": JAIL }, "spec": { "type": "Limited", "limited": limited } });
        let _made = admin.create(&format!("{FAIRNESS}/prioritylevelconfigurations"), &level).await.ok();
        let namespace = self.stage.namespace;
        let subject = json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": "signet-ca" } });
        let rule = json!({ "verbs": ["create"], "apiGroups": [""], "resources": ["secrets"], "namespaces": [namespace] });
        let schema = json!({
            "metadata": { "name": JAIL },
            "spec": {
                "matchingPrecedence": 2, "priorityLevelConfiguration": { "name": JAIL },
                "rules": [{ "subjects": [subject], "resourceRules": [rule] }],
            },
        });
        let _made = admin.create(&format!("{FAIRNESS}/flowschemas"), &schema).await.ok();
        let own = self.stage.server.bearer(&self.stage.token("signet-ca", ISSUER, None).await);
        // Nothing that could be made: it is refused one way or the other.
        let nothing = json!({ "metadata": { "name": "Not A Name" } });
        eventually_within("the squeeze to count", LIMIT, async || {
            (own.create(&self.collection("secrets"), &nothing).await.status == 429).then_some(())
        })
        .await;
    }

    async fn release(&self) {
        for plural in ["flowschemas", "prioritylevelconfigurations"] {
            let _gone = self.stage.admin.delete(&format!("{FAIRNESS}/{plural}/{JAIL}")).await.ok();
        }
    }
}

/// Calls that would have made a Secret, by what came of them.
async fn creations(ca: &Ca, outcome: &str) -> u64 {
    let start = format!("signet_ca_kubernetes_calls_total{{call=\"create_secrets\",outcome=\"{outcome}\"}}");
    let metrics = ca.metrics().await;
    metrics.lines().find_map(|line| line.strip_prefix(&start)?.trim().parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_wants_to_be_left_alone_is_and_what_was_missed_follows() {
    const ACCOUNTS: u64 = 20;
    if !needs("an_api_server_that_wants_to_be_left_alone_is_and_what_was_missed_follows", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("squeezed").await;
    field.allow().await;
    let ca = field.ca("").await;
    let _first = field.sound("default", "the Secret to be made", |_| true).await;
    eventually_within("all that there is to be made", LIMIT, async || {
        (listed(&ca, "squeezed", "signet-ca")?["state"] == "good").then_some(())
    })
    .await;
    field.squeeze().await;
    let clock = SystemClock::shared();
    let (begin, refused_before) = (clock.boottime(), creations(&ca, "unreachable").await);
    for number in 0..ACCOUNTS {
        let _uid = field.stage.account(&format!("a{number}")).await;
    }
    warned(&ca, "create secrets: the API server cannot now (429)").await;
    // Each asks for a second to be left alone, and gets it: three tries of each take two seconds at least.
    eventually_within("each to be tried again", LIMIT, async || {
        (creations(&ca, "unreachable").await - refused_before >= 3 * ACCOUNTS).then_some(())
    })
    .await;
    assert!(clock.boottime() - begin >= Duration::from_secs(2), "{:?}", clock.boottime() - begin);
    field.release().await;
    for number in 0..ACCOUNTS {
        let _sound = field.sound(&format!("a{number}"), "what was missed", |_| true).await;
    }
    eventually_within("the warning to end", LIMIT, async || (!is_warned(&ca, "(429)").await).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_in_the_middle_of_the_work_is_let_go_and_the_others_are_kept() {
    const ACCOUNTS: usize = 150;
    let name = "a_namespace_that_goes_in_the_middle_of_the_work_is_let_go_and_the_others_are_kept";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let field = Field::new("staying").await;
    field.allow().await;
    let admin = &field.stage.admin;
    let leaving = "/api/v1/namespaces/leaving";
    let make = async || {
        let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": "leaving" } })).await.ok();
        field.allow_in("leaving").await;
    };
    let account = async |name: String| {
        let account = json!({ "metadata": { "name": name } });
        let _made = admin.create(&format!("{leaving}/serviceaccounts"), &account).await.ok();
    };
    make().await;
    for number in 0..ACCOUNTS {
        account(format!("a{number}")).await;
    }
    let ca = field.ca_with("mode = \"namespaces\"\nnamespaces = [\"staying\", \"leaving\"]\n").await;
    eventually_within("some to be made", LIMIT, async || (creations(&ca, "ok").await >= 20).then_some(())).await;
    let _going = admin.delete(leaving).await.ok();
    let _uid = field.stage.account("late").await;
    let _sound = field.sound("late", "the others to be kept", |_| true).await;
    eventually_within("the namespace to be gone", LIMIT, async || (admin.get(leaving).await.status == 404).then_some(())).await;
    // What is refused since the namespace ends, or with its Role, is not tried again and again.
    let refused = creations(&ca, "credential").await;
    assert!(refused <= 2 * u64::try_from(ACCOUNTS).unwrap(), "{refused}");
    make().await;
    account("web".to_owned()).await;
    eventually_within("the namespace to be kept again", LIMIT, async || {
        let secret: Value = admin.get(&format!("{leaving}/secrets/istio.web")).await.body;
        Sound::of(secret, "leaving", "web")
    })
    .await;
    eventually_within("only what is there to be listed", LIMIT, async || listed(&ca, "leaving", "a0").is_none().then_some(()))
        .await;
    let _gone = admin.delete(leaving).await.ok();
}
