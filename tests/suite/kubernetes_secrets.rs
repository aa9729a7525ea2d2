//! Secrets with key and certificate for service accounts, kept by a CA in a real cluster: made with the account, healed, and gone with it;
//! what is not ours is left alone, and what is missing is told.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::StreamExt;
use identity::TrustDomain;
use kubernetes::secrets::SecretData;
use kubernetes::{ClusterConfig, KubernetesClient, KubernetesMetrics, SecretWrite};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber,
    TrustBundle, X509Svid, certificates_from_pem, certificates_to_pem, prepare_authority,
};
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{ApiServer, Ca, CaOptions, Cli, Requirement, TestBed, eventually_within, http_get, needs};
use zeroize::Zeroizing;

use crate::kubernetes_tokens::{LIMIT, Stage};

const TYPE: &str = "istio.io/key-and-cert";
const ANNOTATION: &str = "istio.io/service-account.name";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A namespace in which a CA keeps Secrets.
struct Field {
    stage: Stage,
}

/// A Secret whose content is proved to be of one piece.
struct Sound {
    object: Value,
    svid: X509Svid,
    roots: String,
}

impl Field {
    async fn new(namespace: &'static str) -> Self {
        Self { stage: Stage::new(namespace).await }
    }

    /// A server of the test's own, which it may end.
    async fn of_own(namespace: &'static str) -> Self {
        let server = Arc::new(ApiServer::start().await);
        let admin = server.admin();
        let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).await.ok();
        Self { stage: Stage { server, admin, namespace, bed: TestBed::new() } }
    }

    fn path(&self, plural: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}/{name}", self.stage.namespace)
    }

    fn collection(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.stage.namespace)
    }

    /// The rules of docs/kubernetes.md for one namespace.
    fn rules() -> Value {
        json!([
            { "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
            { "apiGroups": [""], "resources": ["events"], "verbs": ["create"] },
        ])
    }

    /// Gives the CA's account the Role of this namespace.
    async fn allow(&self) {
        self.allow_in(self.stage.namespace).await;
    }

    /// The same, of another namespace.
    async fn allow_in(&self, namespace: &str) {
        let place = format!("{ROLES}/namespaces/{namespace}");
        let role = json!({ "metadata": { "name": "signet-secrets" }, "rules": Self::rules() });
        let _made = self.stage.admin.create(&format!("{place}/roles"), &role).await.ok();
        let binding = json!({
            "metadata": { "name": "signet-secrets" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "signet-secrets" },
            "subjects": [{ "kind": "ServiceAccount", "namespace": self.stage.namespace, "name": "signet-ca" }],
        });
        let _made = self.stage.admin.create(&format!("{place}/rolebindings"), &binding).await.ok();
    }

    /// A CA that keeps the Secrets of this namespace.
    async fn ca(&self, further: &str) -> Ca {
        let namespace = self.stage.namespace;
        self.ca_with(&format!("mode = \"namespaces\"\nnamespaces = [\"{namespace}\"]\n{further}")).await
    }

    async fn ca_with(&self, secrets: &str) -> Ca {
        let token_file = self.stage.account_of_ca().await;
        let table = self.stage.server.table(self.stage.server.address(), &token_file);
        let extra = format!("{table}[kubernetes.secrets]\n{secrets}");
        Ca::start(&self.stage.bed, CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }).await
    }

    async fn secret(&self, account: &str) -> Option<Value> {
        let answer = self.stage.admin.get(&self.path("secrets", &format!("istio.{account}"))).await;
        (answer.status == 200).then_some(answer.body)
    }

    /// The Secret of an account, once it is so and sound.
    async fn sound(&self, account: &str, what: &str, is_so: impl Fn(&Sound) -> bool) -> Sound {
        eventually_within(what, LIMIT, async || {
            let sound = Sound::of(self.secret(account).await?, self.stage.namespace, account)?;
            is_so(&sound).then_some(sound)
        })
        .await
    }

    async fn gone(&self, account: &str) {
        eventually_within("the Secret to go", LIMIT, async || self.secret(account).await.is_none().then_some(())).await;
    }

    async fn delete(&self, plural: &str, name: &str) {
        let _gone = self.stage.admin.delete(&self.path(plural, name)).await.ok();
    }

    /// Changes a Secret as somebody who edits it.
    async fn edit(&self, account: &str, change: impl Fn(&mut Value)) {
        eventually_within("the edit to be taken", LIMIT, async || {
            let mut secret = self.secret(account).await?;
            change(&mut secret);
            let answer = self.stage.admin.replace(&self.path("secrets", &format!("istio.{account}")), &secret).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

impl Sound {
    /// `None` while key and certificate, bundle and chain, or identity and account, are not of one piece.
    fn of(object: Value, namespace: &str, account: &str) -> Option<Self> {
        let file = |name: &str| BASE64.decode(object["data"][name].as_str()?.as_bytes()).ok();
        let key = PrivateKey::from_pem(&file("key.pem")?).ok()?;
        let chain = certificates_from_pem(&file("cert-chain.pem")?).ok()?;
        let roots = String::from_utf8(file("root-cert.pem")?).ok()?;
        let now = SystemClock::shared().now().into();
        let svid = X509Svid::new(chain, key, now).ok()?;
        let domain = TrustDomain::parse("cluster.local").unwrap();
        svid.verify(&TrustBundle::from_pem(domain, roots.as_bytes(), 1).ok()?, now).ok()?;
        let is_it = svid.id().as_str() == format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        (is_it && object["type"] == TYPE).then_some(Self { object, svid, roots })
    }

    fn uid(&self) -> &Value {
        &self.object["metadata"]["uid"]
    }

    fn serial(&self) -> String {
        self.svid.leaf().serial().to_string()
    }

    fn owner(&self) -> &Value {
        &self.object["metadata"]["ownerReferences"][0]
    }
}

/// What `k8s secrets list` says of an account.
fn listed(ca: &Ca, namespace: &str, account: &str) -> Option<Value> {
    let shown = ca.operate(&["k8s", "secrets", "list", "-n", namespace]).ok().json();
    shown["secrets"].as_array()?.iter().find(|row| row["account"] == account).cloned()
}

async fn warned(ca: &Ca, part: &str) {
    eventually_within("the operator to be told", LIMIT, async || is_warned(ca, part).await.then_some(())).await;
}

async fn is_warned(ca: &Ca, part: &str) -> bool {
    http_get(ca.telemetry(), "/readyz").await.body.contains(part)
}

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
    let alive = http_get(ca.telemetry(), "/readyz").await;
    assert!(!alive.body.contains("service account"), "{}", alive.body);
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
    let ca = field.ca("revoke_on_delete = true\n").await;
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

/// A directory with an issuing CA and its root, as `[authority] directory` wants it.
fn authority(bed: &TestBed) -> std::path::PathBuf {
    let domain = TrustDomain::parse("cluster.local").unwrap();
    let make = |role, key: &PrivateKey, issuer: Option<(&Certificate, &PrivateKey)>, number| {
        let spec = AuthoritySpec {
            role,
            trust_domain: &domain,
            public_key: key.public_key(),
            lifetime: Duration::from_secs(30 * 24 * 3600),
            serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES]),
            now: SystemClock::shared().now().into(),
        };
        prepare_authority(&spec, issuer.map(|(above, _)| above)).unwrap().sign(issuer.map_or(key, |(_, above)| above)).unwrap()
    };
    let [root_key, key] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let root = make(AuthorityRole::Root, &root_key, None, 1);
    let issuer = make(AuthorityRole::Issuer, &key, Some((&root, &root_key)), 2);
    let folder = bed.path().join("cacerts");
    std::fs::create_dir(&folder).unwrap();
    let [issuer, root] = [&issuer, &root].map(|certificate| certificates_to_pem([certificate]));
    let key = key.to_pkcs8_pem().to_string();
    for (name, content) in [("ca-cert.pem", &issuer), ("cert-chain.pem", &issuer), ("root-cert.pem", &root), ("ca-key.pem", &key)]
    {
        bed.write_private(&format!("cacerts/{name}"), content);
    }
    folder
}

/// How many Secrets a CA wrote, for these reasons or for all.
async fn writes(ca: &Ca, why: &str) -> u64 {
    let start = format!("signet_ca_kubernetes_secret_writes_total{{why=\"{why}");
    let metrics = ca.metrics().await;
    let written = metrics.lines().filter(|line| line.starts_with(&start) && line.contains("outcome=\"ok\""));
    written.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Two that have a store each, and so both lead, under one authority: what one has written is good for the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_both_lead_write_each_secret_once() {
    if !needs("two_that_both_lead_write_each_secret_once", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("disputed").await;
    field.allow().await;
    let accounts: Vec<_> = (0..40).map(|number| format!("a{number}")).collect();
    for account in &accounts {
        let _uid = field.stage.account(account).await;
    }
    let token_file = field.stage.account_of_ca().await;
    let folder = authority(&field.stage.bed);
    let table = field.stage.server.table(field.stage.server.address(), &token_file);
    let extra = format!(
        "{table}[kubernetes.secrets]\nmode = \"namespaces\"\nnamespaces = [\"disputed\"]\n[authority]\ndirectory = \"{}\"\n",
        folder.display()
    );
    let options = CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() };
    for name in ["ca-a", "ca-b"] {
        let _config = Ca::configure(&field.stage.bed, name, "127.0.0.1:0", &options);
    }
    let path = field.stage.bed.path();
    let (a, b) = tokio::join!(Ca::run(path, "ca-a", "cluster.local"), Ca::run(path, "ca-b", "cluster.local"));
    for account in accounts.iter().map(String::as_str).chain(["default", "signet-ca"]) {
        let _sound = field.sound(account, "the Secret to be made", |_| true).await;
        for ca in [&a, &b] {
            eventually_within("both to find it good", LIMIT, async || {
                (listed(ca, "disputed", account)?["state"] == "good").then_some(())
            })
            .await;
        }
    }
    let (by_a, by_b) = (writes(&a, "").await, writes(&b, "").await);
    eprintln!("two that both lead wrote {by_a} and {by_b} Secrets");
    assert_eq!(by_a + by_b, 42, "each is written once: {by_a} by one, {by_b} by the other");
    let before = field.sound("a0", "a Secret", |_| true).await;
    field.edit("a0", |secret| secret["data"]["key.pem"] = json!("")).await;
    let _healed = field.sound("a0", "it to be healed", |now| now.serial() != before.serial()).await;
}

/// What ten thousand accounts cost, beside a client that writes ready-made Secrets of the same size by the same calls.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_ten_thousand_accounts_have_their_secrets_in_little_more_than_the_writes_take() {
    const ACCOUNTS: usize = 10_000;
    let name = "full_ten_thousand_accounts_have_their_secrets_in_little_more_than_the_writes_take";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let clock = SystemClock::shared();
    let field = Field::of_own("many").await;
    field.allow().await;
    let admin = &field.stage.admin;
    let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": "bare" } })).await.ok();
    let make = |namespace: &'static str| {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        futures_util::stream::iter(0..ACCOUNTS).map(move |number| {
            let path = path.clone();
            async move {
                let made = admin.create(&path, &json!({ "metadata": { "name": format!("a{number}") } })).await.ok();
                made["metadata"]["uid"].as_str().unwrap().to_owned()
            }
        })
    };
    let uids: Vec<String> = make("bare").buffered(16).collect().await;
    let _others: Vec<String> = make("many").buffered(16).collect().await;
    let token_file = field.stage.account_of_ca().await;

    let address = field.stage.server.address();
    let config = ClusterConfig {
        api_server: format!("https://{address}").parse().unwrap(),
        roots: field.stage.server.roots().to_owned(),
        token_file: token_file.clone(),
    };
    field.allow_in("bare").await;
    let client = KubernetesClient::new(config, SystemClock::shared(), KubernetesMetrics::default());
    let bytes = |length: usize| Zeroizing::new(vec![b'x'; length]);
    let data = SecretData::from([("cert-chain.pem", bytes(1500)), ("key.pem", bytes(241)), ("root-cert.pem", bytes(600))]);
    let begin = clock.boottime();
    let written = futures_util::stream::iter(uids.iter().enumerate()).map(|(number, uid)| {
        let (client, data) = (&client, &data);
        async move {
            let (name, account) = (format!("istio.a{number}"), format!("a{number}"));
            let annotations = [(ANNOTATION, account.as_str())].into();
            let write = SecretWrite {
                manager: "signet-secrets",
                namespace: "bare",
                name: &name,
                secret_type: TYPE,
                annotations: &annotations,
                account: (&account, uid),
                data,
            };
            client.create_secret(&write, LIMIT).await.unwrap()
        }
    });
    let count = written.buffer_unordered(16).count().await;
    let bare = clock.boottime() - begin;
    assert_eq!(count, ACCOUNTS);

    let table = field.stage.server.table(address, &token_file);
    let extra = format!("{table}[kubernetes.secrets]\nmode = \"namespaces\"\nnamespaces = [\"many\"]\n");
    let (trust_domain, log_level) = ("cluster.local".to_owned(), "info".to_owned());
    let begin = clock.boottime();
    let ca = Ca::start(&field.stage.bed, CaOptions { trust_domain, log_level, extra, ..CaOptions::default() }).await;
    let ready = clock.boottime() - begin;
    eventually_within("all of them", LIMIT * 10, async || (writes(&ca, "missing").await >= 10_002).then_some(())).await;
    let ours = clock.boottime() - begin;
    let rss = ca.process.resident_kib();
    eprintln!(
        "10,000 Secrets: a bare client {bare:?}, the CA {ours:?} (of which its start {ready:?}): {:.2} x; its memory {} MiB",
        ours.as_secs_f64() / bare.as_secs_f64(),
        rss / 1024
    );
}
