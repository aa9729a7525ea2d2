//! Tokens of issuers whose keys are on the web, at a CA that runs: rotation at the issuer, and an issuer that is away.

use std::time::Duration;

use data_encoding::BASE64;
use pki::{KeyAlgorithm, PrivateKey, build_request, certificates_from_pem};
use proto::istio::IstioCertificateRequest;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use runtime::clock::SystemClock;
use tests::{Ca, CaConnection, CaOptions, Cli, TestBed, WebIssuer, eventually_within, http_get};
use tonic::{Code, Request, Status};

const WEB: &str = "system:serviceaccount:shop:web";
const LOOPBACK: &str = "allow_addresses = [\"127.0.0.1\", \"::1\"]";

fn options(extra: String) -> CaOptions {
    CaOptions { extra, ..CaOptions::default() }
}

fn request() -> String {
    let der = build_request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), None).unwrap();
    let text = BASE64.encode(&der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", lines.join("\n"))
}

/// The SPIFFE ID that the token gets a certificate for.
async fn identity_of(ca: &Ca, token: &str) -> Result<String, Status> {
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let connection = CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, None).await.unwrap();
    let mut call = Request::new(IstioCertificateRequest { csr: request(), ..IstioCertificateRequest::default() });
    call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let answer = IstioCertificateServiceClient::new(connection.channel).create_certificate(call).await?.into_inner();
    let leaf = certificates_from_pem(answer.cert_chain[0].as_bytes()).unwrap();
    Ok(leaf[0].uri_sans()[0].clone())
}

async fn code_of(ca: &Ca, token: &str) -> Code {
    identity_of(ca, token).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn ready_text(ca: &Ca) -> String {
    http_get(ca.telemetry(), "/readyz").await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_believed_by_its_last_keys_until_they_are_stale() {
    let bed = TestBed::new();
    let mut issuer = WebIssuer::start(&bed, "short").await;
    let ca = Ca::start(&bed, options(issuer.rule(&format!("{LOOPBACK}\nmax_stale = \"20s\"")))).await;
    let token = issuer.token(WEB);
    assert_eq!(identity_of(&ca, &token).await.unwrap(), "spiffe://example.org/ns/shop/sa/web");

    issuer.take_down().await;
    let limit = Duration::from_secs(60);
    let told =
        async |text: &str| eventually_within(text, limit, async || ready_text(&ca).await.contains(text).then_some(())).await;
    told("the last ones count").await;
    assert_eq!(code_of(&ca, &token).await, Code::Ok, "the last good keys");
    told("are not known, and its tokens are not taken").await;
    let refused = identity_of(&ca, &token).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(!refused.message().contains("localhost"), "a stranger is told where the keys are: {refused}");
    assert_eq!(code_of(&ca, "a.b.c").await, Code::Unauthenticated);

    issuer.bring_up().await;
    eventually_within("the keys to be known again", limit, async || (!ready_text(&ca).await.contains("issuer")).then_some(()))
        .await;
    assert_eq!(code_of(&ca, &token).await, Code::Ok);
    assert!(ca.metrics().await.contains("signet_ca_oidc_tokens_total{outcome=\"unavailable\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_the_issuer_is_found_and_made_up_ones_cost_it_one_look_in_thirty_seconds() {
    let bed = TestBed::new();
    let mut issuer = WebIssuer::start(&bed, "long").await;
    let begin = SystemClock::shared().boottime();
    let ca = Ca::start(&bed, options(issuer.rule(LOOPBACK))).await;
    let old = issuer.token(WEB);
    assert_eq!(code_of(&ca, &old).await, Code::Ok);
    assert_eq!(issuer.requests(), 1);

    issuer.rotate();
    let new = issuer.token(WEB);
    for _ in 0..20 {
        assert_eq!(code_of(&ca, &issuer.forged_token(WEB)).await, Code::Unauthenticated);
    }
    eventually_within("the new key to be found", Duration::from_secs(60), async || {
        let found = code_of(&ca, &new).await == Code::Ok;
        // At most one look each thirty seconds, the first included; one more may have begun just now.
        let allowed = 1 + usize::try_from((SystemClock::shared().boottime() - begin).as_secs() / 30).unwrap();
        assert!(issuer.requests() <= allowed, "{} looks, {allowed} allowed", issuer.requests());
        found.then_some(())
    })
    .await;
    assert_eq!(code_of(&ca, &old).await, Code::Unauthenticated, "its key was withdrawn");

    let log = ca.process.stderr();
    assert!(log.contains("no key"), "the log says why: {log}");
    for token in [&old, &new] {
        let signature = token.rsplit_once('.').unwrap().1;
        assert!(!log.contains(signature), "a token stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_not_looked_up_unless_it_is_allowed_and_check_wants_the_roots() {
    let bed = TestBed::new();
    let issuer = WebIssuer::start(&bed, "inner").await;
    let ca = Ca::start(&bed, options(issuer.rule(""))).await;
    assert_eq!(code_of(&ca, &issuer.token(WEB)).await, Code::Unavailable);
    let limit = Duration::from_secs(60);
    eventually_within("the warning", limit, async || ready_text(&ca).await.contains("a loopback address").then_some(())).await;
    assert_eq!(issuer.requests(), 0, "the issuer was connected to");

    let check = |name: &str, rule: &str| {
        let config = Ca::configure(&bed, name, "127.0.0.1:0", &options(rule.to_owned()));
        let text = std::fs::read_to_string(&config).unwrap().replace(&format!("{name}-state"), "ca-state");
        std::fs::write(&config, text).unwrap();
        Cli::run(&["ca".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()])
    };
    let _good = check("good", &issuer.rule(LOOPBACK)).ok();
    let rootless = check("rootless", &issuer.rule(LOOPBACK).replace("inner-roots.pem", "missing.pem"));
    assert!(rootless.code != 0 && rootless.stderr.contains("missing.pem"), "{}", rootless.stderr);
    let twice = check("twice", &issuer.rule(LOOPBACK).repeat(2));
    assert!(twice.code != 0 && twice.stderr.contains("two rules are for"), "{}", twice.stderr);
}
