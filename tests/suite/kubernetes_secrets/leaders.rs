//! Controllers that both lead, and what ten thousand accounts cost.

use std::time::Duration;

use futures_util::StreamExt;
use identity::TrustDomain;
use kubernetes::secrets::SecretData;
use kubernetes::{ClusterConfig, KubernetesClient, KubernetesMetrics, SecretWrite};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber,
    certificates_to_pem, prepare_authority,
};
use runtime::clock::SystemClock;
use serde_json::json;
use tests::{Ca, CaOptions, Requirement, TestBed, eventually_within, needs};
use zeroize::Zeroizing;

use super::field::{ANNOTATION, Field, TYPE, listed};
use crate::kubernetes_tokens::LIMIT;

/// A directory with an issuing CA and its root, as `[authority] directory` wants it.
pub(crate) fn authority(bed: &TestBed) -> std::path::PathBuf {
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
    // As many as the CA has under way.
    const CONCURRENT: usize = 32;
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
    let count = written.buffer_unordered(CONCURRENT).count().await;
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
