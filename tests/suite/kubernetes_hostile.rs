//! Tenants who write what they may, as badly as they can: it stays in their namespace.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{ApiClient, Ca, Requirement, eventually_within, http_get, needs};

use crate::kubernetes_tokens::LIMIT;
use crate::kubernetes_trust::{Field, ROOTS, roots_of};

/// What an API server takes of annotations together, and of an object, nearly.
const ANNOTATION_BYTES: usize = 250 * 1024;
const CONTENT_BYTES: usize = 750 * 1024;
/// How many accounts of the tenant have as much on them as they can.
const HEAVY: usize = 20;
/// How much memory all of that may take the CA, in KiB: a tenth of what was written, and what it has anyway.
const MOST_KIB: u64 = 150 * 1024;

fn metadata(name: &str) -> Value {
    json!({ "name": name, "annotations": { "note": "x".repeat(ANNOTATION_BYTES), "istio.io/service-account.name": "victim" } })
}

async fn secret(admin: &ApiClient, namespace: &str, account: &str) -> Option<Value> {
    let answer = admin.get(&format!("/api/v1/namespaces/{namespace}/secrets/istio.{account}")).await;
    (answer.status == 200).then_some(answer.body)
}

/// Whether a Secret has a chain of the account, as far as its text says.
async fn served(admin: &ApiClient, namespace: &str, account: &str, roots: &str) {
    eventually_within(&format!("{namespace}/{account} to have its Secret"), LIMIT, async || {
        let secret = secret(admin, namespace, account).await?;
        let file = |name: &str| BASE64.decode(secret["data"][name].as_str()?.as_bytes()).ok();
        let chain = pki::certificates_from_pem(&file("cert-chain.pem")?).ok()?;
        let is_its = chain.first()?.uri_sans() == [format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")];
        (is_its && file("root-cert.pem")? == roots.as_bytes() && secret["type"] == "istio.io/key-and-cert").then_some(())
    })
    .await;
}

async fn is_well(ca: &Ca) {
    let readiness = http_get(ca.telemetry(), "/readyz").await;
    assert_eq!(readiness.status, 200, "{}", readiness.body);
    let resident = ca.process.resident_kib();
    assert!(resident < MOST_KIB, "{resident} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_writes_stays_with_the_tenant() {
    if !needs("what_a_tenant_writes_stays_with_the_tenant", Requirement::ApiServer) {
        return;
    }
    let field = Field::new("hostile").await;
    field.allow().await;
    let admin = &field.stage.admin;
    let _made = admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": "hostile-victim" } })).await.ok();
    field.label("hostile-victim", json!("hostile")).await;
    let rules = [
        ("accounts", json!({ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"] })),
        (
            "secrets",
            json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch", "delete"] }),
        ),
        ("events", json!({ "apiGroups": [""], "resources": ["events"], "verbs": ["create"] })),
    ];
    for (what, rule) in &rules {
        field.stage.allow(what, rule).await;
    }
    let tenant = "/api/v1/namespaces/hostile";
    // Before the CA is there: an account named after a Secret of another, and a Secret of the type with a name that is no account's.
    for account in ["istio.web", "web"] {
        let _uid = field.stage.account(account).await;
    }
    // Passed off as ours, with the victim's name on it, and with content of a forger.
    let forged = json!({
        "metadata": metadata("istio.web"), "type": "istio.io/key-and-cert",
        "stringData": { "cert-chain.pem": "x".repeat(CONTENT_BYTES), "key.pem": "a forger's", "root-cert.pem": "a forger's" },
    });
    let _made = admin.create(&format!("{tenant}/secrets?fieldManager=signet-secrets"), &forged).await.ok();
    let nobody = json!({ "metadata": metadata("istio.nobody"), "type": "istio.io/key-and-cert" });
    let _made = admin.create(&format!("{tenant}/secrets?fieldManager=signet-secrets"), &nobody).await.ok();
    let map =
        json!({ "metadata": metadata(ROOTS), "data": { "root-cert.pem": "a forger's", "ballast": "x".repeat(CONTENT_BYTES) } });
    let _made = admin.create(&format!("{tenant}/configmaps?fieldManager=signet-trust"), &map).await.ok();
    for number in 0..HEAVY {
        let heavy = json!({ "metadata": metadata(&format!("heavy-{number}")) });
        let _made = admin.create(&format!("{tenant}/serviceaccounts"), &heavy).await.ok();
        // Ours by its manager, not readable, and as large as can be.
        let ballast = json!({ "metadata": metadata(&format!("istio.heavy-{number}")), "type": "istio.io/key-and-cert",
            "stringData": { "cert-chain.pem": "x".repeat(CONTENT_BYTES) } });
        let _made = admin.create(&format!("{tenant}/secrets?fieldManager=signet-secrets"), &ballast).await.ok();
    }
    let victim = json!({ "metadata": { "name": "victim" } });
    let _made = admin.create("/api/v1/namespaces/hostile-victim/serviceaccounts", &victim).await.ok();

    let further = "[kubernetes.secrets]\nmode = \"namespaces\"\nnamespaces = [\"hostile\", \"hostile-victim\"]\n";
    let ca = field.ca("", further).await;
    let roots = roots_of(&ca);
    served(admin, "hostile-victim", "victim", &roots).await;
    // What was passed off as ours is what it should be now, each for the account of its name.
    for account in ["web", "istio.web", "heavy-0", "heavy-19"] {
        served(admin, "hostile", account, &roots).await;
    }
    eventually_within("the Secret of nobody to go", LIMIT, async || {
        secret(admin, "hostile", "nobody").await.is_none().then_some(())
    })
    .await;
    for namespace in ["hostile", "hostile-victim"] {
        eventually_within("the bundle", LIMIT, async || {
            (field.map(namespace, ROOTS).await?["data"]["root-cert.pem"] == roots).then_some(())
        })
        .await;
    }
    is_well(&ca).await;

    // Who undoes everything again and again, for ten seconds, keeps nobody else from being served.
    let path = format!("{tenant}/configmaps/{ROOTS}");
    let undo = async || {
        loop {
            let mut map = admin.get(&path).await.ok();
            map["data"]["root-cert.pem"] = json!("a forger's");
            drop(admin.replace(&path, &map).await);
            let mut mine = admin.get(&format!("{tenant}/secrets/istio.web")).await.ok();
            mine["data"]["key.pem"] = json!("");
            drop(admin.replace(&format!("{tenant}/secrets/istio.web"), &mine).await);
        }
    };
    let _ended = tokio::time::timeout(Duration::from_secs(10), undo()).await;
    let late = json!({ "metadata": { "name": "late" } });
    let _made = admin.create("/api/v1/namespaces/hostile-victim/serviceaccounts", &late).await.ok();
    served(admin, "hostile-victim", "late", &roots).await;
    // And costs the ledger few certificates, and the API server few writes.
    let metrics = ca.metrics().await;
    let written = |start: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(start) && line.contains("outcome=\"ok\""));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    };
    let (maps, secrets) = (
        written("signet_ca_kubernetes_trust_writes_total{what=\"apply\""),
        written("signet_ca_kubernetes_secret_writes_total{why=\"unreadable\""),
    );
    assert!((7..=16).contains(&maps), "{maps} ConfigMaps were applied: one was there, and one was undone without end");
    let begun = u64::try_from(HEAVY + 1).unwrap();
    assert!((begun + 6..=begun + 14).contains(&secrets), "{secrets} Secrets were not readable, {begun} of them from the start");
    is_well(&ca).await;
}
