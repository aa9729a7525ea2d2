//! A namespace in which a CA keeps Secrets, and what is looked at there.

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use identity::TrustDomain;
use pki::{PrivateKey, TrustBundle, X509Svid, certificates_from_pem};
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tests::{ApiServer, Ca, CaOptions, TestBed, eventually_within, http_get};

use crate::kubernetes_tokens::{LIMIT, Stage};

pub(super) const TYPE: &str = "istio.io/key-and-cert";
pub(super) const ANNOTATION: &str = "istio.io/service-account.name";
pub(super) const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A namespace in which a CA keeps Secrets.
pub(super) struct Field {
    pub(super) stage: Stage,
}

/// A Secret whose content is proved to be of one piece.
pub(super) struct Sound {
    pub(super) object: Value,
    pub(super) svid: X509Svid,
    pub(super) roots: String,
}

impl Field {
    pub(super) async fn new(namespace: &'static str) -> Self {
        Self { stage: Stage::new(namespace).await }
    }

    /// A server of the test's own, which it may end.
    pub(super) async fn of_own(namespace: &'static str) -> Self {
        let server = Arc::new(ApiServer::start().await);
        let admin = server.admin();
        let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).await.ok();
        Self { stage: Stage { server, admin, namespace, bed: TestBed::new() } }
    }

    pub(super) fn path(&self, plural: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}/{name}", self.stage.namespace)
    }

    pub(super) fn collection(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.stage.namespace)
    }

    /// The rules of docs/kubernetes.md for one namespace.
    pub(super) fn rules() -> Value {
        json!([
            { "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
            { "apiGroups": [""], "resources": ["events"], "verbs": ["create"] },
        ])
    }

    /// Gives the CA's account the Role of this namespace.
    pub(super) async fn allow(&self) {
        self.allow_in(self.stage.namespace).await;
    }

    /// The same, of another namespace.
    pub(super) async fn allow_in(&self, namespace: &str) {
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
    pub(super) async fn ca(&self, further: &str) -> Ca {
        let namespace = self.stage.namespace;
        self.ca_with(&format!("mode = \"namespaces\"\nnamespaces = [\"{namespace}\"]\n{further}")).await
    }

    pub(super) async fn ca_with(&self, secrets: &str) -> Ca {
        self.ca_by(&self.stage.account_of_ca().await, secrets).await
    }

    /// The same by a token that is there.
    pub(super) async fn ca_by(&self, token_file: &Path, secrets: &str) -> Ca {
        let table = self.stage.server.table(self.stage.server.address(), token_file);
        let extra = format!("{table}[kubernetes.secrets]\n{secrets}");
        Ca::start(&self.stage.bed, CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }).await
    }

    pub(super) async fn secret(&self, account: &str) -> Option<Value> {
        let answer = self.stage.admin.get(&self.path("secrets", &format!("istio.{account}"))).await;
        (answer.status == 200).then_some(answer.body)
    }

    /// The Secret of an account, once it is so and sound.
    pub(super) async fn sound(&self, account: &str, what: &str, is_so: impl Fn(&Sound) -> bool) -> Sound {
        eventually_within(what, LIMIT, async || {
            let sound = Sound::of(self.secret(account).await?, self.stage.namespace, account)?;
            is_so(&sound).then_some(sound)
        })
        .await
    }

    pub(super) async fn gone(&self, account: &str) {
        eventually_within("the Secret to go", LIMIT, async || self.secret(account).await.is_none().then_some(())).await;
    }

    pub(super) async fn delete(&self, plural: &str, name: &str) {
        let _gone = self.stage.admin.delete(&self.path(plural, name)).await.ok();
    }

    /// Changes a Secret as somebody who edits it.
    pub(super) async fn edit(&self, account: &str, change: impl Fn(&mut Value)) {
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
    pub(super) fn of(object: Value, namespace: &str, account: &str) -> Option<Self> {
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

    pub(super) fn uid(&self) -> &Value {
        &self.object["metadata"]["uid"]
    }

    pub(super) fn serial(&self) -> String {
        self.svid.leaf().serial().to_string()
    }

    pub(super) fn owner(&self) -> &Value {
        &self.object["metadata"]["ownerReferences"][0]
    }
}

/// What `k8s secrets list` says of an account.
pub(super) fn listed(ca: &Ca, namespace: &str, account: &str) -> Option<Value> {
    let shown = ca.operate(&["k8s", "secrets", "list", "-n", namespace]).ok().json();
    shown["secrets"].as_array()?.iter().find(|row| row["account"] == account).cloned()
}

pub(super) async fn warned(ca: &Ca, part: &str) {
    eventually_within("the operator to be told", LIMIT, async || is_warned(ca, part).await.then_some(())).await;
}

pub(super) async fn is_warned(ca: &Ca, part: &str) -> bool {
    http_get(ca.telemetry(), "/readyz").await.body.contains(part)
}
