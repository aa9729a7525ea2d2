//! The rights that are rendered: what the documentation lists and nothing beside it, and each of them in use.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use proto::istio::IstioCertificateRequest;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use serde_json::{Value, json};
use tests::{ApiClient, Ca, Requirement, eventually_within, http_get, needs};
use tonic::Request;

use super::cluster::{Cluster, SHOP, path};
use super::manifests::kustomized;
use super::{OVERLAYS, directory};
use crate::kubernetes_tokens::{LIMIT, channel, csr};

const INSTALL: &str = include_str!("../../../docs/kubernetes-install.md");

/// One thing that an account may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    /// `cluster`, or a namespace.
    place: String,
    /// As the programs name it: `pods`, `tokenreviews.authentication.k8s.io`.
    resource: String,
    /// The one object that it is about; empty: all.
    name: String,
    verb: String,
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What the rules of a role, or of an answer of the API server, give at this place.
fn rights_of(rules: &Value, place: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        let mut names = texts(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let resource = if group.is_empty() { resource } else { format!("{resource}.{group}") };
                for (name, verb) in names.iter().flat_map(|name| texts(&rule["verbs"]).into_iter().map(move |verb| (name, verb)))
                {
                    let (place, name) = (place.to_owned(), name.clone());
                    let _new = rights.insert(Right { place, resource: resource.clone(), name, verb });
                }
            }
        }
    }
    rights
}

/// The roles that are bound to an account.
pub(super) fn roles_of<'a>(objects: &'a [Value], account: &str) -> Vec<&'a Value> {
    let bindings = objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")));
    let bound =
        bindings.filter(|binding| binding["subjects"].as_array().unwrap().iter().any(|subject| subject["name"] == account));
    let role = |binding: &Value| {
        let is_it = |object: &&Value| {
            object["kind"] == binding["roleRef"]["kind"]
                && object["metadata"]["name"] == binding["roleRef"]["name"]
                && object["metadata"]["namespace"] == binding["metadata"]["namespace"]
        };
        objects.iter().find(is_it).unwrap_or_else(|| panic!("{binding} names a role that is not there"))
    };
    bound.map(role).collect()
}

fn place_of(role: &Value) -> &str {
    role["metadata"]["namespace"].as_str().unwrap_or("cluster")
}

fn rendered_rights(objects: &[Value], account: &str) -> BTreeSet<Right> {
    roles_of(objects, account).into_iter().flat_map(|role| rights_of(&role["rules"], place_of(role))).collect()
}

/// The table of docs/kubernetes-install.md: what an overlay gives an account, beside the base.
fn documented_rights(overlay: &str, account: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let (_, table) = INSTALL.split_once("| overlay | account | role | where | resource | names | verbs | for |\n").unwrap();
    for line in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let plain = line.replace('`', "");
        let cells: Vec<_> = plain.trim_matches('|').split('|').map(str::trim).collect();
        let [of_overlay, accounts, _, place, resource, names, verbs, _] = cells.as_slice() else { panic!("{line}") };
        if *of_overlay != overlay || accounts.split(", ").all(|one| one != account) {
            continue;
        }
        for name in names.split(", ").map(|name| if name == "-" { "" } else { name }) {
            for verb in verbs.split(", ") {
                let [place, resource, name, verb] = [*place, *resource, name, verb].map(str::to_owned);
                assert!(rights.insert(Right { place, resource, name, verb }), "{line} says it twice");
            }
        }
    }
    rights
}

#[test]
fn the_documentation_lists_the_rights_of_each_overlay() {
    if !needs("the_documentation_lists_the_rights_of_each_overlay", Requirement::Renderer) {
        return;
    }
    for account in ["signet-ca", "signet-agent"] {
        let base = rendered_rights(&kustomized("base"), account);
        assert_eq!(documented_rights("base", account), base);
        assert!(!base.is_empty());
        for overlay in &OVERLAYS[1..] {
            let rendered = rendered_rights(&kustomized(&directory(overlay)), account);
            let documented = documented_rights(overlay, account);
            assert_eq!(documented.union(&base).cloned().collect::<BTreeSet<_>>(), rendered, "{overlay}: {account}");
            let is_of_secrets = |right: &&Right| right.resource == "secrets";
            let secrets = rendered.iter().filter(is_of_secrets).map(|right| right.place.as_str()).collect::<BTreeSet<_>>();
            let wanted: &[&str] = match *overlay {
                "root-secret" if account == "signet-ca" => &["signet"],
                "secrets-namespace" if account == "signet-ca" => &[SHOP],
                "secrets-cluster" if account == "signet-ca" => &["cluster"],
                _ => &[],
            };
            assert_eq!(secrets.into_iter().collect::<Vec<_>>(), wanted, "{overlay}: who may see Secrets, and where");
        }
    }
}

/// What the API server says that an account may do in a namespace, without what everybody may.
async fn reviewed_rights(cluster: &Cluster, account: &ApiClient, namespace: &str) -> BTreeSet<Right> {
    let question = json!({ "spec": { "namespace": namespace } });
    let review = async |who: &ApiClient| {
        let answer = who.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &question).await.ok();
        assert_eq!(answer["status"]["incomplete"], false);
        let urls =
            answer["status"]["nonResourceRules"].as_array().unwrap().iter().flat_map(|rule| texts(&rule["nonResourceURLs"]));
        (rights_of(&answer["status"]["resourceRules"], ""), urls.collect::<BTreeSet<_>>())
    };
    let (own, own_urls) = review(account).await;
    let (all, all_urls) = review(&cluster.account(SHOP, "default").await).await;
    assert_eq!(own_urls, all_urls);
    own.difference(&all).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_gives_each_account_what_is_listed_and_nothing_else() {
    let name = "the_server_gives_each_account_what_is_listed_and_nothing_else";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("base").await;
    eventually_within("the accounts of namespaces", LIMIT, async || {
        (cluster.admin.get(&format!("/api/v1/namespaces/{SHOP}/serviceaccounts/default")).await.status == 200).then_some(())
    })
    .await;
    let accounts = [("signet", "signet-ca"), ("signet-agents", "signet-agent")];
    for overlay in OVERLAYS {
        let further = kustomized(&directory(overlay));
        let is_of_rbac = |object: &&Value| object["apiVersion"] == "rbac.authorization.k8s.io/v1";
        // Those of the base are there.
        let mut added = Vec::new();
        for object in further.iter().filter(is_of_rbac) {
            if cluster.admin.create(&super::cluster::collection(object), object).await.status == 201 {
                added.push(object);
            }
        }
        for (home, account) in accounts {
            let client = cluster.account(home, account).await;
            let documented = documented_rights(overlay, account);
            let documented: BTreeSet<_> = documented.union(&documented_rights("base", account)).cloned().collect();
            for namespace in ["signet", "signet-agents", SHOP, "default", "kube-system"] {
                let here = |right: &Right| {
                    let is_here = right.place == "cluster" || right.place == namespace;
                    is_here.then(|| Right { place: String::new(), ..right.clone() })
                };
                let wanted: BTreeSet<_> = documented.iter().filter_map(here).collect();
                let mut last = BTreeSet::new();
                eventually_within(
                    &format!("{overlay}: the rights of {account} in {namespace} to be {wanted:?}"),
                    LIMIT,
                    async || {
                        last = reviewed_rights(&cluster, &client, namespace).await;
                        (last == wanted).then_some(())
                    },
                )
                .await;
            }
        }
        for object in added {
            let _gone = cluster.admin.delete(&path(object)).await.ok();
        }
    }
}

/// One role without one right of it, and that right.
pub(super) fn without_each_right(role: &Value) -> Vec<(Right, Value)> {
    let mut less = Vec::new();
    for (index, rule) in role["rules"].as_array().unwrap().iter().enumerate() {
        for resource in texts(&rule["resources"]) {
            for verb in texts(&rule["verbs"]) {
                let only = json!([{ "apiGroups": rule["apiGroups"], "resources": [resource], "resourceNames": rule["resourceNames"], "verbs": [verb] }]);
                let right = rights_of(&only, place_of(role)).pop_first().unwrap();
                let mut reduced = role.clone();
                let rules = reduced["rules"].as_array_mut().unwrap();
                let without = |list: &Value, gone: &str| texts(list).into_iter().filter(|one| one != gone).collect::<Vec<_>>();
                // The other resources of the rule keep the verb.
                let mut others = rules[index].clone();
                others["resources"] = json!(without(&rule["resources"], &resource));
                rules[index]["resources"] = json!([resource]);
                rules[index]["verbs"] = json!(without(&rule["verbs"], &verb));
                rules.push(others);
                rules.retain(|rule| !texts(&rule["verbs"]).is_empty() && !texts(&rule["resources"]).is_empty());
                less.push((right, reduced));
            }
        }
    }
    less
}

fn attributes(right: &Right) -> Value {
    let (resource, group) = right.resource.split_once('.').unwrap_or((&right.resource, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let namespace = if right.place == "cluster" { "" } else { &right.place };
    json!({
        "verb": right.verb, "group": group, "resource": resource, "subresource": subresource, "name": right.name, "namespace": namespace,
    })
}

/// Asks for a certificate by the token of an account, for whom the API server is asked.
async fn ask_by_token(cluster: &Cluster, ca: &Ca) -> bool {
    let token = cluster.token(SHOP, "default", "istio-ca", None).await;
    let mut call = Request::new(IstioCertificateRequest { csr: csr(), ..IstioCertificateRequest::default() });
    call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    IstioCertificateServiceClient::new(channel(ca).await).create_certificate(call).await.is_ok()
}

/// Namespaces, accounts and Secrets for the CA to be busy with.
struct Shop<'a>(&'a Cluster);

impl Shop<'_> {
    fn at(plural: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{SHOP}/{plural}/{name}")
    }

    async fn account(&self, name: &str) {
        let made = self.0.admin.create(&Self::at("serviceaccounts", ""), &json!({ "metadata": { "name": name } })).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    async fn secret(&self, account: &str) -> Option<Value> {
        let answer = self.0.admin.get(&Self::at("secrets", &format!("istio.{account}"))).await;
        (answer.status == 200).then_some(answer.body)
    }

    /// Until an account has a Secret that is as it should be.
    async fn served(&self, account: &str) {
        eventually_within(&format!("{account} to have its Secret"), LIMIT, async || {
            let secret = self.secret(account).await?;
            let is_whole = ["key.pem", "cert-chain.pem", "root-cert.pem"].iter().all(|file| {
                let text = secret["data"][file].as_str().map(|text| BASE64.decode(text.as_bytes()).unwrap());
                text.is_some_and(|text| text.starts_with(b"-----BEGIN"))
            });
            is_whole.then_some(())
        })
        .await;
    }

    async fn edit(&self, account: &str, change: impl Fn(&mut Value)) {
        let mut secret = self.secret(account).await.unwrap();
        change(&mut secret);
        let _done = self.0.admin.replace(&Self::at("secrets", &format!("istio.{account}")), &secret).await.ok();
    }

    /// While no CA runs: one thing for each call that it can make, so that a start makes all of them.
    async fn leave_work(&self, number: usize) {
        self.account(&format!("fresh-{number}")).await;
        self.edit(&format!("spoilt-{number}"), |secret| secret["data"]["root-cert.pem"] = json!("")).await;
        let gone = format!("gone-{number}");
        self.edit(&gone, |secret| drop(secret["metadata"].as_object_mut().unwrap().remove("ownerReferences"))).await;
        let _gone = self.0.admin.delete(&Self::at("serviceaccounts", &gone)).await.ok();
        let alien = json!({ "metadata": { "name": format!("istio.alien-{number}") }, "type": "Opaque" });
        let _made = self.0.admin.create(&Self::at("secrets", ""), &alien).await.ok();
        self.account(&format!("alien-{number}")).await;
    }
}

/// Waits until a program tells of a right that it lacks, in its readiness or in what it logged since.
async fn missed(right: &Right, telemetry: std::net::SocketAddr, log: impl Fn() -> String, before: usize) {
    let told = format!("{} {}: forbidden (403)", right.verb, right.resource);
    eventually_within(&format!("it to be told: {told}"), LIMIT, async || {
        let readiness = http_get(telemetry, "/readyz").await.body;
        (readiness.contains(&told) || log().get(before..).is_some_and(|log| log.contains(&told))).then_some(())
    })
    .await;
}

/// Has the CA start without each right of a role in turn, with work left for it that takes all of them, and waits until it tells which one it
/// lacks. Says how many there were.
pub(super) async fn each_is_missed(
    cluster: &Cluster,
    ca: &mut Ca,
    role: &Value,
    leave_work: impl AsyncFn(usize),
    ask: impl AsyncFn(&Ca),
) -> usize {
    let account = cluster.account("signet", "signet-ca").await;
    let rights = without_each_right(role);
    for (number, (right, reduced)) in rights.iter().enumerate() {
        ca.kill_hard().await;
        leave_work(number).await;
        cluster.change_role(reduced, &account, &attributes(right), false).await;
        let before = ca.process.stderr().len();
        ca.start_again().await;
        ask(ca).await;
        missed(right, ca.telemetry(), || ca.process.stderr(), before).await;
        cluster.change_role(role, &account, &attributes(right), true).await;
    }
    rights.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_rights_of_the_base_all_works_and_without_any_of_them_it_is_told_which() {
    let name = "with_the_rights_of_the_base_all_works_and_without_any_of_them_it_is_told_which";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("base").await;
    let mut ca = cluster.ca().await;
    let mut agent = cluster.agent(&ca).await;
    agent.ready().await;
    assert!(ask_by_token(&cluster, &ca).await);
    let mut tried = 0;
    for role in roles_of(&cluster.objects, "signet-ca") {
        let ask = async |ca: &Ca| {
            assert!(ask_by_token(&cluster, ca).await != role["metadata"]["name"].as_str().unwrap().ends_with("reviews"))
        };
        tried += each_is_missed(&cluster, &mut ca, role, async |_number: usize| (), ask).await;
    }
    let client = cluster.account("signet-agents", "signet-agent").await;
    for role in roles_of(&cluster.objects, "signet-agent") {
        for (right, reduced) in without_each_right(role) {
            agent.process.stop().await;
            cluster.change_role(&reduced, &client, &attributes(&right), false).await;
            let before = agent.process.stderr().len();
            agent.start_again().await;
            missed(&right, agent.telemetry(), || agent.process.stderr(), before).await;
            cluster.change_role(role, &client, &attributes(&right), true).await;
            tried += 1;
        }
    }
    assert_eq!(tried, 5, "reviews, and pods of either");
    assert!(ask_by_token(&cluster, &ca).await);
    for telemetry in [ca.telemetry(), agent.telemetry()] {
        eventually_within("nothing to be missing", LIMIT, async || {
            let answer = http_get(telemetry, "/readyz").await;
            (answer.status == 200 && !answer.body.contains("forbidden")).then_some(())
        })
        .await;
    }
}

/// The same of an overlay that keeps Secrets in the one namespace.
async fn secrets_by_each_right(overlay: &str) -> usize {
    let cluster = Cluster::new(overlay).await;
    let label = json!({ "metadata": { "name": SHOP, "labels": { "ca.istio.io/env": "istio-system" } } });
    let _labelled = cluster.admin.replace(&format!("/api/v1/namespaces/{SHOP}"), &label).await.ok();
    let shop = Shop(&cluster);
    let role = *roles_of(&cluster.objects, "signet-ca").iter().find(|role| role["metadata"]["name"] == "signet-secrets").unwrap();
    let rights = without_each_right(role).len();
    for number in 0..=rights {
        shop.account(&format!("spoilt-{number}")).await;
        shop.account(&format!("gone-{number}")).await;
    }
    let mut ca = cluster.ca().await;
    for number in 0..=rights {
        shop.served(&format!("spoilt-{number}")).await;
        shop.served(&format!("gone-{number}")).await;
    }
    let leave_work = async |number: usize| shop.leave_work(number).await;
    let tried = each_is_missed(&cluster, &mut ca, role, leave_work, async |_ca: &Ca| ()).await;
    // With all of them it makes up for all of it, and for what comes last.
    ca.kill_hard().await;
    shop.leave_work(rights).await;
    ca.start_again().await;
    for number in 0..=rights {
        shop.served(&format!("fresh-{number}")).await;
        shop.served(&format!("spoilt-{number}")).await;
        eventually_within("the Secret of an account that is gone to go", LIMIT, async || {
            shop.secret(&format!("gone-{number}")).await.is_none().then_some(())
        })
        .await;
    }
    eventually_within("the Events", LIMIT, async || {
        let events = cluster.admin.get(&Shop::at("events", "")).await.ok();
        let last = format!("alien-{rights}");
        events["items"].as_array().unwrap().iter().any(|event| event["involvedObject"]["name"] == last).then_some(())
    })
    .await;
    let readiness = http_get(ca.telemetry(), "/readyz").await;
    assert!(readiness.status == 200 && !readiness.body.contains("forbidden"), "{}", readiness.body);
    tried
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_in_an_opted_in_namespace_is_missed_when_it_is_gone() {
    let name = "each_right_in_an_opted_in_namespace_is_missed_when_it_is_gone";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    assert_eq!(secrets_by_each_right("secrets-namespace").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_over_the_cluster_is_missed_when_it_is_gone() {
    let name = "each_right_over_the_cluster_is_missed_when_it_is_gone";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    assert_eq!(secrets_by_each_right("secrets-cluster").await, 12);
}
