//! Objects of a real cluster that ask for entries: their pods get the identities through a real agent, and nobody else's do.

use serde_json::{Value, json};
use tests::{ContainerGroup, Passage, Requirement, eventually_within, http_get, needs};
use tokio::sync::Mutex;

use crate::deployment::{define, definition, entry};
use crate::kubernetes_agents::{AUDIENCE, Fleet};
use crate::kubernetes_tokens::LIMIT;
use crate::kubernetes_workloads::{fresh, kubelet_says, possible, start};

/// A CA follows the objects of all namespaces, and the server is shared: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A fleet whose CA follows objects.
struct Tenants(Fleet);

impl Tenants {
    async fn new(namespace: &'static str, passage: Option<&Passage>, bounds: &str) -> Self {
        let tenants = Self(Fleet::with(namespace, passage, &format!("\n[kubernetes.entries]\n{bounds}\n")).await);
        define(&tenants.0.stage.admin, &definition()).await;
        tenants
    }

    /// As docs/kubernetes-entries.md says it.
    async fn allow(&self) {
        let group = json!(["signet.internal"]);
        let objects = json!({ "apiGroups": group, "resources": ["identityentries"], "verbs": ["list", "watch"] });
        self.0.stage.allow("objects", &objects).await;
        let status = json!({ "apiGroups": group, "resources": ["identityentries/status"], "verbs": ["patch"] });
        self.0.stage.allow("status", &status).await;
    }

    fn collection(namespace: &str) -> String {
        format!("/apis/signet.internal/v1alpha1/namespaces/{namespace}/identityentries")
    }

    async fn ask(&self, namespace: &str, name: &str, spec: Value) -> Value {
        self.0.stage.admin.create(&Self::collection(namespace), &entry(name, &spec)).await.ok()
    }

    async fn delete(&self, namespace: &str, name: &str) {
        let _gone = self.0.stage.admin.delete(&format!("{}/{name}", Self::collection(namespace))).await.ok();
    }

    async fn edit(&self, namespace: &str, name: &str, change: impl Fn(&mut Value)) {
        let at = format!("{}/{name}", Self::collection(namespace));
        eventually_within("the change", LIMIT, async || {
            let mut object = self.0.stage.admin.get(&at).await.ok();
            change(&mut object);
            (self.0.stage.admin.replace(&at, &object).await.status == 200).then_some(())
        })
        .await;
    }

    /// Until an object is told this of what it asks for now: the status of its condition, with the reason.
    async fn told(&self, namespace: &str, name: &str, status: &str, reason: &str) -> Value {
        eventually_within(&format!("{namespace}/{name} to be told {reason}"), LIMIT, async || {
            let object = self.0.stage.admin.get(&format!("{}/{name}", Self::collection(namespace))).await.ok();
            let condition = &object["status"]["conditions"][0];
            let is_it = condition["status"] == status && condition["reason"] == reason;
            (is_it && object["status"]["observedGeneration"] == object["metadata"]["generation"])
                .then_some(object["status"].clone())
        })
        .await
    }

    /// The entries of objects, as operators see them.
    fn entries(&self) -> Vec<Value> {
        let listed = self.0.ca.operate(&["entry", "list"]).ok().json();
        listed.as_array().unwrap().iter().filter(|entry| !entry["object"].is_null()).cloned().collect()
    }
}

fn id(namespace: &str, path: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/{path}")
}

fn spec(path: &str, selector: &str) -> Value {
    json!({ "path": path, "selectors": [selector] })
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_namespace_get_the_identities_that_its_objects_ask_for_and_those_of_others_do_not() {
    let name = "pods_of_a_namespace_get_the_identities_that_its_objects_ask_for_and_those_of_others_do_not";
    if !(possible(name) && needs(name, Requirement::Renderer)) {
        return;
    }
    let _alone = ALONE.lock().await;
    let tenants = Tenants::new("asking", None, "").await;
    tenants.allow().await;
    let fleet = &tenants.0;
    let other = json!({ "metadata": { "name": "asking-other" } });
    let _made = fleet.stage.admin.create("/api/v1/namespaces", &other).await.ok();
    let node = fleet.node("a").await;
    let pod = fleet.pod("agent-1", "agent", &node).await;
    let token = fleet.project("token", "agent", AUDIENCE, Some(&pod)).await;
    let agent = fleet.seeing_agent("asked", &token, &node).await;
    agent.ready().await;
    let web = fleet.pod("web-1", "web", &node).await;
    let app = fresh();
    kubelet_says(&fleet.stage, &node, "web-1", &[("app", &app)]).await;
    let group = ContainerGroup::new(web["metadata"]["uid"].as_str().unwrap(), &app);
    let fetch =
        async |name: &str| start(&agent, &fleet.stage, name, &["svid", "fetch", "x509", "-o", "json"], Some(&group)).done().await;
    let has = async |what: &str, wanted: &[String]| {
        eventually_within(what, LIMIT, async || {
            let outcome = fetch("asks").await;
            (outcome.code == 0 && outcome.identities() == wanted).then_some(())
        })
        .await;
    };
    has("the identity of its account", &[id("asking", "sa/web")]).await;

    // Its own namespace asks for one, and another for one of the pods of the same account, which are not that one's.
    let asked = tenants.ask("asking", "front", spec("front", "k8s:sa:web")).await;
    let _theirs = tenants.ask("asking-other", "front", spec("front", "k8s:sa:web")).await;
    let told = tenants.told("asking", "front", "True", "EntryMade").await;
    assert_eq!(told["spiffeId"], id("asking", "front"));
    let theirs = tenants.told("asking-other", "front", "True", "EntryMade").await;
    assert_eq!(theirs["spiffeId"], id("asking-other", "front"));
    has("the identity that was asked for, alone", &[id("asking", "front")]).await;
    let object = &asked["metadata"]["uid"];
    let entries = tenants.entries();
    let mine = entries.iter().find(|entry| entry["object"]["uid"] == *object).unwrap();
    assert_eq!(mine["selectors"], json!(["k8s:ns:asking", "k8s:sa:web"]));
    let events = fleet.ca.operate(&["audit", "tail", "-n", "1000"]).ok().json().to_string();
    let recorded = format!("IdentityEntry asking/front {} of Kubernetes", object.as_str().unwrap());
    assert!(events.contains(&recorded), "{recorded} in {events}");

    // Operators look, and do not touch.
    let entry_id = mine["id"].as_str().unwrap();
    for command in [
        &["entry", "update", entry_id, "--ttl", "60s"][..],
        &["entry", "delete", entry_id],
        &["entry", "delete", entry_id, "--revoke"],
    ] {
        let refused = fleet.ca.operate(command);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(refused.code != 0 && said.contains("IdentityEntry asking/front"), "{command:?}: {said}");
    }
    let shown = fleet.ca.operate(&["entry", "show", entry_id]).ok().stdout;
    assert!(shown.contains("asking/front"), "{shown}");
    let exported = fleet.ca.operate(&["entry", "export"]).ok().stdout;
    assert!(!exported.contains("ns/asking"), "{exported}");

    // A change arrives, and one that lets it match no more takes the identity away.
    tenants.edit("asking", "front", |object| object["spec"]["ttlSeconds"] = json!(600)).await;
    let _told = tenants.told("asking", "front", "True", "EntryMade").await;
    assert!(tenants.entries().iter().any(|entry| entry["id"] == entry_id && entry["ttl_seconds"] == 600));
    tenants.edit("asking", "front", |object| object["spec"]["selectors"] = json!(["k8s:sa:other"])).await;
    has("the identity of its account again", &[id("asking", "sa/web")]).await;
    tenants.edit("asking", "front", |object| object["spec"]["selectors"] = json!(["k8s:pod-name:web-1"])).await;
    has("the identity that was asked for again", &[id("asking", "front")]).await;
    // An operator ends the identity, whatever the object asks for.
    let _revoked = fleet.ca.operate(&["revoke", "--spiffe-id", &id("asking", "front")]).ok();
    eventually_within("it to be taken away", LIMIT, async || (fetch("revoked").await.code != 0).then_some(())).await;
    let _restored = fleet.ca.operate(&["unrevoke", "--spiffe-id", &id("asking", "front")]).ok();
    has("the identity that was restored", &[id("asking", "front")]).await;
    tenants.delete("asking", "front").await;
    has("the identity of its account, since the object is gone", &[id("asking", "sa/web")]).await;
    tenants.delete("asking-other", "front").await;
    eventually_within("no entries to be left", LIMIT, async || tenants.entries().is_empty().then_some(())).await;
    assert!(!http_get(fleet.ca.telemetry(), "/readyz").await.body.contains("objects that ask for entries"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_definition_lets_in_is_judged_again_and_while_the_api_server_is_away_all_stays() {
    let name = "what_the_definition_lets_in_is_judged_again_and_while_the_api_server_is_away_all_stays";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let _alone = ALONE.lock().await;
    let server = tests::ApiServer::shared().await;
    let passage = Passage::to(server.address()).await;
    let mut tenants = Tenants::new("judged", Some(&passage), "max_per_namespace = 2").await;
    let of = |name: &str| spec(name, "k8s:sa:web");
    let _first = tenants.ask("judged", "first", of("first")).await;
    // Without the rights the operator is told, and without a whole list nothing is known.
    eventually_within("the missing right to be told", LIMIT, async || {
        let told = http_get(tenants.0.ca.telemetry(), "/readyz").await.body;
        told.contains("list identityentries.signet.internal: forbidden (403)").then_some(())
    })
    .await;
    tenants.allow().await;
    let _told = tenants.told("judged", "first", "True", "EntryMade").await;
    for (name, field, value, reason) in [
        ("long", "ttlSeconds", json!(2_592_000), "InvalidTTL"),
        ("partner", "federatesWith", json!(["partner.example"]), "UnknownTrustDomain"),
        ("own", "federatesWith", json!(["cluster.local"]), "InvalidFederation"),
        ("steering", "hint", json!("a\u{7}b"), "InvalidHint"),
    ] {
        let mut spec = of(name);
        spec[field] = value;
        let _asked = tenants.ask("judged", name, spec).await;
        let told = tenants.told("judged", name, "False", reason).await;
        assert_eq!(told["spiffeId"], Value::Null);
    }
    // A definition that somebody loosened opens nothing.
    let at = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/identityentries.signet.internal";
    let mut loose = tenants.0.stage.admin.get(at).await.ok();
    let strict = loose["spec"]["versions"][0]["schema"].clone();
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = any;
    let _loosened = tenants.0.stage.admin.replace(at, &loose).await.ok();
    for (name, spec, reason) in [
        ("account", json!({ "path": "sa/web", "selectors": ["k8s:sa:web"] }), "InvalidPath"),
        ("outside", json!({ "path": "../other/web", "selectors": ["k8s:sa:web"] }), "InvalidPath"),
        ("elsewhere", json!({ "path": "a", "selectors": ["k8s:ns:other", "k8s:sa:web"] }), "InvalidSelector"),
        ("everybody", json!({ "path": "a", "selectors": ["unix:uid:0"] }), "InvalidSelector"),
        ("named", json!({ "path": "a", "selectors": ["k8s:sa:web"], "dnsNames": ["db.other.svc"] }), "InvalidSpec"),
    ] {
        eventually_within("it to be let in", LIMIT, async || {
            let made = tenants.0.stage.admin.create(&Tenants::collection("judged"), &entry(name, &spec)).await;
            (made.status == 201).then_some(())
        })
        .await;
        let _told = tenants.told("judged", name, "False", reason).await;
    }
    // A definition leaves out what it does not know, also of what is there.
    tenants.delete("judged", "named").await;
    let mut again = tenants.0.stage.admin.get(at).await.ok();
    again["spec"]["versions"][0]["schema"] = strict;
    let _tightened = tenants.0.stage.admin.replace(at, &again).await.ok();
    assert_eq!(tenants.entries().len(), 1);

    // Of too many the older ones have theirs: of a second, by their names.
    for name in ["second", "third"] {
        let _asked = tenants.ask("judged", name, of(name)).await;
        let told = if name == "third" { ("False", "TooMany") } else { ("True", "EntryMade") };
        let _told = tenants.told("judged", name, told.0, told.1).await;
    }
    tenants.delete("judged", "second").await;
    let _told = tenants.told("judged", "third", "True", "EntryMade").await;

    // While the API server is away, and after a start meanwhile, entries stay as they are.
    passage.shut();
    let before = tenants.entries();
    assert_eq!(before.len(), 2);
    tenants.delete("judged", "third").await;
    eventually_within("the operator to be told", LIMIT, async || {
        http_get(tenants.0.ca.telemetry(), "/readyz")
            .await
            .body
            .contains("objects that ask for entries are not followed")
            .then_some(())
    })
    .await;
    assert_eq!(tenants.entries(), before);
    tenants.0.ca.kill_hard().await;
    tenants.0.ca.start_again().await;
    eventually_within("the operator to be told again", LIMIT, async || {
        http_get(tenants.0.ca.telemetry(), "/readyz")
            .await
            .body
            .contains("objects that ask for entries are not followed")
            .then_some(())
    })
    .await;
    assert_eq!(tenants.entries(), before);
    passage.open();
    eventually_within("what was deleted meanwhile to go", LIMIT, async || (tenants.entries().len() == 1).then_some(())).await;
    for object in ["first", "long", "partner", "own", "steering", "account", "outside", "elsewhere", "everybody"] {
        tenants.delete("judged", object).await;
    }
    eventually_within("no entries to be left", LIMIT, async || tenants.entries().is_empty().then_some(())).await;
}
