//! An API server that wants to be left alone, and a namespace that goes in the middle of the work.

use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{Ca, Requirement, eventually_within, needs};

use super::field::{Field, Sound, is_warned, listed};
use crate::kubernetes_tokens::{ISSUER, LIMIT};

const FAIRNESS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const LEVEL: &str = "signet-squeezed";

impl Field {
    /// Has the API server let the CA's account make one Secret at a time and answer 429 to whatever else would be made meanwhile, by its own
    /// priority and fairness: a level without seats has one request at most.
    async fn squeeze(&self) {
        let admin = &self.stage.admin;
        let limited = json!({
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": { "type": "Reject" },
        });
        let level = json!({ "metadata": { "name": LEVEL }, "spec": { "type": "Limited", "limited": limited } });
        let _made = admin.create(&format!("{FAIRNESS}/prioritylevelconfigurations"), &level).await.ok();
        let namespace = self.stage.namespace;
        let subject = json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": "signet-ca" } });
        let rule = json!({ "verbs": ["create"], "apiGroups": [""], "resources": ["secrets"], "namespaces": [namespace] });
        let schema = json!({
            "metadata": { "name": LEVEL },
            "spec": {
                "matchingPrecedence": 2, "priorityLevelConfiguration": { "name": LEVEL },
                "rules": [{ "subjects": [subject], "resourceRules": [rule] }],
            },
        });
        let _made = admin.create(&format!("{FAIRNESS}/flowschemas"), &schema).await.ok();
        let own = self.stage.server.bearer(&self.stage.token("signet-ca", ISSUER, None).await);
        let (place, nothing) = (self.collection("secrets"), json!({ "metadata": { "name": "Not A Name" } }));
        eventually_within("the squeeze to count", LIMIT, async || {
            let crowd = futures_util::future::join_all((0..16).map(|_| own.create(&place, &nothing))).await;
            crowd.iter().any(|answer| answer.status == 429).then_some(())
        })
        .await;
    }

    async fn release(&self) {
        for plural in ["flowschemas", "prioritylevelconfigurations"] {
            let _gone = self.stage.admin.delete(&format!("{FAIRNESS}/{plural}/{LEVEL}")).await.ok();
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
async fn an_api_server_that_is_busy_is_left_alone_and_all_secrets_come_afterwards() {
    const ACCOUNTS: u64 = 60;
    if !needs("an_api_server_that_is_busy_is_left_alone_and_all_secrets_come_afterwards", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("squeezed").await;
    field.allow().await;
    for number in 0..ACCOUNTS {
        let _uid = field.stage.account(&format!("a{number}")).await;
    }
    let token_file = field.stage.account_of_ca().await;
    field.squeeze().await;
    let clock = SystemClock::shared();
    let begin = clock.boottime();
    let ca = field.ca_by(&token_file, "mode = \"namespaces\"\nnamespaces = [\"squeezed\"]\n").await;
    eventually_within("it to be told", LIMIT, async || {
        let is_told = |number| Some(listed(&ca, "squeezed", &format!("a{number}"))?.to_string().contains("cannot now (429)"));
        (0..ACCOUNTS).any(|number| is_told(number) == Some(true)).then_some(())
    })
    .await;
    let (refused, took) = (creations(&ca, "unreachable").await, clock.boottime() - begin);
    eprintln!("{refused} refused in {took:?}");
    assert!(refused > 0, "nobody was refused");
    // A second is what it asks for: no account is tried more often.
    assert!(refused <= (ACCOUNTS + 2) * (took.as_secs() + 1), "{refused} in {took:?}");
    field.release().await;
    for number in 0..ACCOUNTS {
        let _sound = field.sound(&format!("a{number}"), "all to come", |_| true).await;
    }
    eventually_within("nothing to be told", LIMIT, async || (!is_warned(&ca, "(429)").await).then_some(())).await;
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
