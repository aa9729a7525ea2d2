//! Secrets with key and certificate for service accounts, kept by a CA in a real cluster: made with the account, healed, and gone with it;
//! what is not ours is left alone, and what is missing is told.

mod drill;
mod field;
mod leaders;
mod outages;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use field::{ANNOTATION, Field, ROLES, Sound, TYPE, is_warned, listed, warned};
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{Cli, Requirement, eventually_within, http_get, needs};

pub(crate) use leaders::authority;

use crate::kubernetes_tokens::LIMIT;

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_comes_with_its_account_is_healed_and_goes_with_it() {
    if !needs("a_secret_comes_with_its_account_is_healed_and_goes_with_it", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("kept").await;
    field.allow().await;
    let ca = field.ca("dns_names = [\"kept/web:web.kept.svc\"]\n").await;
    let uid = field.stage.account("web").await;
    let first = field.sound("web", "the Secret to be made", |_| true).await;
    assert_eq!(first.owner()["uid"], json!(uid));
    assert_eq!((&first.owner()["kind"], &first.owner()["name"]), (&json!("ServiceAccount"), &json!("web")));
    assert_eq!(first.object["metadata"]["annotations"][ANNOTATION], "web");
    assert_eq!(first.svid.leaf().dns_sans(), ["web.kept.svc"]);
    let managers = first.object["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().all(|entry| entry["manager"] == "signet-secrets"), "{managers:?}");
    let events = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json().to_string();
    let recorded = format!("account_secret Kubernetes kept/web {uid} missing");
    assert!(events.contains(&recorded), "{recorded} in {events}");
    eventually_within("it to be listed as good", LIMIT, async || (listed(&ca, "kept", "web")?["state"] == "good").then_some(()))
        .await;

    // Deleted.
    field.delete("secrets", "istio.web").await;
    let second = field.sound("web", "the Secret to be made again", |now| now.uid() != first.uid()).await;
    assert!(second.svid.key().public_key() != first.svid.key().public_key(), "a new key");

    // Edited: what only the bundle or the annotation lost keeps its key, what lost its key or its owner gets another one.
    let other = BASE64.encode(b"nothing of any use");
    field.edit("web", |secret| secret["data"]["root-cert.pem"] = json!(other)).await;
    let healed = field.sound("web", "the bundle to be healed", |_| true).await;
    assert_eq!((healed.serial(), healed.uid()), (second.serial(), second.uid()));
    field.edit("web", |secret| secret["metadata"]["annotations"] = json!({ "note": "mine" })).await;
    let healed =
        field.sound("web", "the annotation to be healed", |now| now.object["metadata"]["annotations"][ANNOTATION] == "web").await;
    assert_eq!(healed.object["metadata"]["annotations"]["note"], "mine", "what others wrote stays");
    assert_eq!(healed.serial(), second.serial());
    field.edit("web", |secret| secret["data"]["key.pem"] = json!(other)).await;
    let healed = field.sound("web", "the key to be made anew", |now| now.serial() != second.serial()).await;
    assert_eq!(healed.uid(), second.uid());
    field.edit("web", |secret| drop(secret["metadata"].as_object_mut().unwrap().remove("ownerReferences"))).await;
    let owned = field.sound("web", "the owner to be there again", |now| now.owner()["uid"] == json!(uid)).await;
    assert!(owned.serial() != healed.serial(), "nobody knows whose the key is");

    // By an operator.
    let _done = ca.operate(&["k8s", "secrets", "renew", "-n", "kept", "web"]).ok();
    let renewed = field.sound("web", "the Secret to be renewed", |now| now.serial() != owned.serial()).await;
    let told = ca.operate(&["k8s", "secrets", "explain", "-n", "kept", "web"]).ok().stdout;
    let events = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json();
    let ordered = events.as_array().unwrap().iter().find(|event| event["kind"] == "account_secrets_renewal_ordered");
    assert!(ordered.is_some_and(|event| event.to_string().contains("web")), "{events}");
    for part in ["is managed", &uid, &renewed.serial()] {
        assert!(told.contains(part), "{part} in {told}");
    }

    // Another account of the name, at once.
    field.delete("serviceaccounts", "web").await;
    let again = field.stage.account("web").await;
    let next = field.sound("web", "the Secret of the next account", |now| now.owner()["uid"] == json!(again)).await;
    assert!(next.svid.key().public_key() != renewed.svid.key().public_key(), "a new key");
    assert_eq!(next.object["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    field.delete("serviceaccounts", "web").await;
    field.gone("web").await;
    eventually_within("it to be listed no more", LIMIT, async || listed(&ca, "kept", "web").is_none().then_some(())).await;
    eventually_within("nothing to be told", LIMIT, async || (!is_warned(&ca, "service account").await).then_some(())).await;
    // Who is next is served after who is gone was done with.
    let _uid = field.stage.account("next").await;
    let _next = field.sound("next", "the Secret of another account", |_| true).await;
    let revoked = ca.operate(&["revocation", "list"]).ok().json().to_string();
    assert!(!revoked.contains(&next.serial()), "revoked without revoke_on_delete: {revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ca_did_not_make_is_left_as_it_is_and_told() {
    if !needs("what_the_ca_did_not_make_is_left_as_it_is_and_told", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("aliens").await;
    field.allow().await;
    // One of the type and with our annotation, and one of another type.
    let mut aliens = Vec::new();
    for (account, kind) in [("web", TYPE), ("api", "Opaque")] {
        let secret = json!({
            "metadata": { "name": format!("istio.{account}"), "annotations": { ANNOTATION: account } },
            "type": kind, "stringData": { "key.pem": "a tenant's own" },
        });
        aliens.push(field.stage.admin.create(&field.collection("secrets"), &secret).await.ok());
        let _uid = field.stage.account(account).await;
    }
    let long = "a".repeat(248);
    let _uid = field.stage.account(&long).await;
    let ca = field.ca("").await;
    let _good = field.sound("default", "the others to be made", |_| true).await;
    for account in ["web", "api"] {
        eventually_within("it to be told", LIMIT, async || (listed(&ca, "aliens", account)?["state"] == "alien").then_some(()))
            .await;
    }
    eventually_within("the long name to be told", LIMIT, async || {
        (listed(&ca, "aliens", &long)?["state"] == "too_long").then_some(())
    })
    .await;
    warned(&ca, "aliens/web is without the Secret").await;
    eventually_within("Events", LIMIT, async || {
        let events = field.stage.admin.get(&field.collection("events")).await.ok();
        let told = |account: &str, reason: &str| {
            let is_it = |event: &Value| event["involvedObject"]["name"] == account && event["reason"] == reason;
            events["items"].as_array().unwrap().iter().filter(|event| is_it(event)).count() == 1
        };
        (told("web", "SecretNotOurs") && told("api", "SecretNotOurs") && told(&long, "NameTooLong")).then_some(())
    })
    .await;
    for alien in &aliens {
        let name = alien["metadata"]["name"].as_str().unwrap();
        let now = field.stage.admin.get(&field.path("secrets", name)).await.ok();
        assert_eq!(now["metadata"]["resourceVersion"], alien["metadata"]["resourceVersion"], "{name}");
    }
    // With the account it does not go either, and with it out of the way ours comes.
    field.delete("secrets", "istio.web").await;
    let _ours = field.sound("web", "ours to be made", |_| true).await;
    let prune = ca.operate(&["k8s", "secrets", "prune", "-n", "aliens"]).ok().json();
    assert_eq!(prune["accounts"], json!([]), "a managed namespace is not pruned");
    assert!(field.secret("default").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_named_and_nothing_else_ends() {
    if !needs("a_permission_that_is_missing_is_named_and_nothing_else_ends", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("forbidden").await;
    let ca = field.ca("").await;
    eventually_within("what is missing to be named", LIMIT, async || {
        (is_warned(&ca, "list serviceaccounts: forbidden (403)").await && is_warned(&ca, "list secrets: forbidden (403)").await)
            .then_some(())
    })
    .await;
    assert_eq!(http_get(ca.telemetry(), "/readyz").await.status, 200, "the CA itself is ready");
    field.allow().await;
    let first = field.sound("default", "the Secret to be made", |_| true).await;
    eventually_within("the warnings to end", LIMIT, async || (!is_warned(&ca, "forbidden").await).then_some(())).await;

    // It may read, and not write.
    let role = format!("{ROLES}/namespaces/forbidden/roles/signet-secrets");
    let mut reading = field.stage.admin.get(&role).await.ok();
    let whole = reading["rules"].clone();
    reading["rules"][1]["verbs"] = json!(["get", "list", "watch"]);
    let _taken = field.stage.admin.replace(&role, &reading).await.ok();
    eventually_within("a write to be refused", LIMIT, async || {
        field.edit("default", |secret| secret["data"]["root-cert.pem"] = json!("")).await;
        is_warned(&ca, "patch secrets: forbidden (403)").await.then_some(())
    })
    .await;
    warned(&ca, "Role signet-secrets").await;
    let mut writing = field.stage.admin.get(&role).await.ok();
    writing["rules"] = whole;
    let _given = field.stage.admin.replace(&role, &writing).await.ok();
    let healed = field.sound("default", "it to be healed", |_| true).await;
    assert_eq!(healed.serial(), first.serial());
    eventually_within("the warning to end", LIMIT, async || (!is_warned(&ca, "forbidden").await).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_choose_namespaces_and_what_is_left_in_one_that_is_turned_off_is_listed_and_pruned() {
    let name = "labels_choose_namespaces_and_what_is_left_in_one_that_is_turned_off_is_listed_and_pruned";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let field = Field::new("labelled").await;
    let rules = [("serviceaccounts", json!(["get", "list", "watch"])), ("namespaces", json!(["list", "watch"]))];
    for (resource, verbs) in rules {
        field.stage.allow(resource, &json!({ "apiGroups": [""], "resources": [resource], "verbs": verbs })).await;
    }
    let verbs = json!(["get", "list", "watch", "create", "patch", "delete"]);
    field.stage.allow("secrets", &json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": verbs })).await;
    let label = async |value: Value| {
        let path = "/api/v1/namespaces/labelled";
        eventually_within("the label", LIMIT, async || {
            let mut namespace = field.stage.admin.get(path).await.ok();
            namespace["metadata"]["labels"]["ca.istio.io/override"] = value.clone();
            (field.stage.admin.replace(path, &namespace).await.status == 200).then_some(())
        })
        .await;
    };
    let _uid = field.stage.account("web").await;
    let ca = field.ca_with("mode = \"cluster\"\n").await;
    eventually_within("the watches", LIMIT, async || {
        let told = ca.operate(&["k8s", "secrets", "explain", "-n", "labelled", "web"]).ok().stdout;
        (told.contains("is not managed") && told.contains("there is no Secret")).then_some(())
    })
    .await;
    label(json!("true")).await;
    let made = field.sound("web", "the Secret to be made", |_| true).await;
    label(json!("false")).await;
    let left = eventually_within("it to be listed as left", LIMIT, async || {
        let row = listed(&ca, "labelled", "web")?;
        (row["state"] == "left").then_some(row)
    })
    .await;
    assert!(left["not_after"].is_string() && left["due_at"].is_null(), "{left}");
    warned(&ca, "are left in namespaces that are not managed").await;
    field.edit("web", |secret| secret["data"]["key.pem"] = json!("")).await;
    let shown = ca.operate(&["k8s", "secrets", "prune", "-n", "labelled", "--dry-run"]).ok().json();
    assert!(shown["accounts"].as_array().unwrap().contains(&json!("web")), "{shown}");
    let kept = field.secret("web").await.expect("a dry run deletes nothing, and nothing is healed");
    assert_eq!((&kept["metadata"]["uid"], &kept["data"]["key.pem"]), (made.uid(), &json!("")));
    let _done = ca.operate(&["k8s", "secrets", "prune", "-n", "labelled"]).ok();
    field.gone("web").await;
    let events = ca.operate(&["audit", "tail", "-n", "1000"]).ok().json();
    let ordered = events.as_array().unwrap().iter().filter(|event| event["kind"] == "account_secrets_prune_ordered");
    assert_eq!(ordered.count(), 1, "the dry run is none: {events}");
    label(json!("true")).await;
    let _again = field.sound("web", "the Secret to be made again", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_the_root_reaches_every_secret_and_none_is_unsound_at_any_time() {
    if !needs("a_rotation_of_the_root_reaches_every_secret_and_none_is_unsound_at_any_time", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("rotated").await;
    field.allow().await;
    let accounts: Vec<_> = (0..20).map(|number| format!("a{number}")).collect();
    for account in &accounts {
        let _uid = field.stage.account(account).await;
    }
    let ca = field.ca("revoke_on_delete = true\n[rotation]\npropagation_hold = \"1s\"\n").await;
    let mut before = Vec::new();
    for account in &accounts {
        before.push(field.sound(account, "the Secret to be made", |_| true).await);
    }
    let _done = ca.operate(&["authority", "prepare", "root"]).ok();
    for (account, before) in accounts.iter().zip(&before) {
        let now = field.sound(account, "both roots", |now| now.roots.matches("BEGIN").count() == 2).await;
        assert_eq!(now.serial(), before.serial(), "only the bundle is written");
    }
    let words = ["drill", "root", "--socket"].map(str::to_owned);
    let words: Vec<_> = words.into_iter().chain([ca.admin_socket().display().to_string()]).collect();
    let mut drill = tokio::task::spawn_blocking(move || Cli::run(&words));
    let (mut looks, all) = (0, field.collection("secrets"));
    let done = loop {
        tokio::select! {
            done = &mut drill => break done.unwrap(),
            listed = field.stage.admin.get(&all) => {
                for secret in listed.ok()["items"].as_array().unwrap() {
                    let account = secret["metadata"]["name"].as_str().unwrap().strip_prefix("istio.").unwrap();
                    // The items of a list do not say what they are.
                    assert!(Sound::of(secret.clone(), "rotated", account).is_some(), "{account} is unsound");
                }
                looks += 1;
            }
        }
    };
    let _done = done.ok();
    eprintln!("all Secrets were looked at {looks} times during the rotation");
    for (account, before) in accounts.iter().zip(&before) {
        let now = field.sound(account, "the new root alone", |now| now.roots.matches("BEGIN").count() == 1).await;
        assert!(now.serial() != before.serial() && now.roots != before.roots);
    }
    // And what is revoked is replaced.
    let last = field.sound("a0", "a Secret", |_| true).await;
    let _done = ca.operate(&["revoke", "--serial", &last.serial()]).ok();
    let next = field.sound("a0", "what was revoked to be replaced", |now| now.serial() != last.serial()).await;
    field.delete("serviceaccounts", "a0").await;
    field.gone("a0").await;
    eventually_within("the certificate of an account that is gone to be revoked", LIMIT, async || {
        let revoked = ca.operate(&["revocation", "list"]).ok().json().to_string();
        revoked.contains(&next.serial()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_away_and_a_ca_that_was_find_what_there_is() {
    if !needs("an_api_server_that_was_away_and_a_ca_that_was_find_what_there_is", Requirement::ApiServer) {
        return;
    }
    let mut field = Field::of_own("away").await;
    field.allow().await;
    let mut ca = field.ca("").await;
    let _uid = field.stage.account("web").await;
    let first = field.sound("web", "the Secret to be made", |_| true).await;
    let server = Arc::get_mut(&mut field.stage.server).unwrap();
    server.end();
    eventually_within("the operator to be told", LIMIT, async || is_warned(&ca, "are not kept up with").await.then_some(()))
        .await;
    assert_eq!(http_get(ca.telemetry(), "/readyz").await.status, 200);
    server.run().await;
    let _uid = field.stage.account("api").await;
    let api = field.sound("api", "the next one to be made", |_| true).await;
    eventually_within("the warning to end", LIMIT, async || (!is_warned(&ca, "are not kept up with").await).then_some(())).await;
    // A CA that comes back leaves what is good.
    ca.kill_hard().await;
    field.delete("secrets", "istio.api").await;
    let _uid = field.stage.account("late").await;
    ca.start_again().await;
    let _late = field.sound("late", "what came meanwhile", |_| true).await;
    let again = field.sound("api", "what went meanwhile", |_| true).await;
    assert!(again.uid() != api.uid());
    let same = field.sound("web", "the first", |_| true).await;
    assert_eq!(
        same.object["metadata"]["resourceVersion"], first.object["metadata"]["resourceVersion"],
        "it was not written again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_long_before_its_end() {
    if !needs("a_certificate_is_replaced_long_before_its_end", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("renewed").await;
    field.allow().await;
    let _ca = field.ca("ttl = \"40s\"\n").await;
    let _uid = field.stage.account("web").await;
    let mut last = field.sound("web", "the Secret to be made", |_| true).await;
    for _ in 0..2 {
        let next = field.sound("web", "the next certificate", |now| now.serial() != last.serial()).await;
        let left = last.svid.leaf().not_after().since(SystemClock::shared().now().into());
        assert!(left > Duration::from_secs(10), "it came only {left:?} before the end");
        last = next;
    }
}
