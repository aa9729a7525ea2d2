//! From a token to a certificate, and from that to the next one, while everything still holds.

use std::sync::Arc;
use std::time::Duration;

use pki::{X509Svid, certificates_from_pem};
use proto::istio::IstioCertificateRequest;
use proto::v1;
use proto::v1::revoke_request::What;
use tonic::{Code, Status};

use super::caller::{Caller, Issuer, WEB, WEB_ID, csr};
use crate::issuer_end::end_of;
use crate::test_agent::{TestAgent, connect, key, reason};
use crate::test_ca::{TestCa, eventually};

async fn start(more: &str) -> (TestCa, Issuer) {
    let mut issuer = None;
    let ca = TestCa::start_with(|directory| {
        let made = issuer.insert(Issuer::below(directory));
        format!("{}{more}", made.rule(""))
    })
    .await;
    (ca, issuer.unwrap())
}

/// Ends the CA and starts it again with another configuration.
async fn restart(ca: TestCa, more: &str) -> TestCa {
    let (directory, clock) = ca.stop().await;
    TestCa::over_with(more, directory, clock).await
}

async fn by_token(ca: &TestCa, issuer: &Issuer) -> Arc<X509Svid> {
    Caller::with_token(ca, &issuer.token(ca, WEB)).await.ask().await.unwrap()
}

/// The dNSName SANs, as they stand in the DER.
fn names(svid: &X509Svid, name: &str) -> bool {
    svid.leaf().der().windows(name.len()).any(|window| window == name.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gives_a_certificate_and_the_certificate_the_next_one() {
    let (ca, issuer) = start("").await;
    let key = key();
    let caller = Caller::with_token(&ca, &issuer.token(&ca, WEB)).await;
    let message = IstioCertificateRequest { csr: csr(&key, Some(WEB_ID)), ..IstioCertificateRequest::default() };
    let answer = caller.send(message).await.unwrap();
    // The leaf, the issuing CA, and the root in the last string.
    assert_eq!(answer.cert_chain.len(), 3);
    let root = certificates_from_pem(answer.cert_chain[2].as_bytes()).unwrap();
    assert_eq!(root[0].fingerprint(), ca.root().await);
    let first = super::caller::svid_of(&answer, key);
    assert_eq!(first.id().as_str(), WEB_ID);
    let second = Caller::with_svid(&ca, &first).await.ask().await.unwrap();
    assert_eq!(second.id().as_str(), WEB_ID);
    assert_ne!(second.leaf().serial(), first.leaf().serial());
    let audit = ca.audit().await;
    for part in [
        "\"reason\":\"token\"",
        &format!("\"token_subject\":\"{WEB}\""),
        &format!("\"reason\":\"renewal {}\"", first.leaf().serial()),
    ] {
        assert!(audit.contains(part), "{part} is not in\n{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_refused_when_its_rule_is_gone_or_maps_to_another_name_and_passes_when_it_is_back() {
    let (ca, issuer) = start("").await;
    let svid = by_token(&ca, &issuer).await;
    let renew = async |ca: &TestCa| Caller::with_svid(ca, &svid).await.ask().await;
    renew(&ca).await.unwrap();
    let ca = restart(ca, "").await;
    let gone = renew(&ca).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::PermissionDenied, "NO_LONGER_GRANTED"));
    let ca = restart(ca, &issuer.rule("identity = \"/team/{k8s:service_account}\"")).await;
    let mapped = renew(&ca).await.unwrap_err();
    assert_eq!((mapped.code(), reason(&mapped).as_str()), (Code::PermissionDenied, "NO_LONGER_GRANTED"));
    assert!(!mapped.message().contains("/team"), "{}", mapped.message());
    let other_audience = issuer.rule("").replace("istio-ca", "other");
    let ca = restart(ca, &other_audience).await;
    assert_eq!(reason(&renew(&ca).await.unwrap_err()), "NO_LONGER_GRANTED");
    let ca = restart(ca, &issuer.rule("dns_names = [\"{k8s:service_account}.{k8s:namespace}.svc\"]")).await;
    let renewed = renew(&ca).await.unwrap();
    assert!(names(&renewed, "web.prod.svc") && !names(&svid, "web.prod.svc"), "DNS names are those of now");
    let ca = restart(ca, &issuer.rule("")).await;
    let again = Caller::with_svid(&ca, &renewed).await.ask().await.unwrap();
    assert!(!names(&again, "web.prod.svc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_renewals_ends_by_its_age() {
    let (ca, issuer) = start("[istio]\nmax_renewal_age = \"2h\"\n").await;
    let mut svid = by_token(&ca, &issuer).await;
    let pass = async |minutes: u64| {
        ca.clock.advance(Duration::from_secs(minutes * 60));
        eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= ca.clock_now()).await;
    };
    for _ in 0..2 {
        pass(50).await;
        svid = Caller::with_svid(&ca, &svid).await.ask().await.unwrap();
    }
    pass(20).await;
    assert!(svid.leaf().is_valid_at(ca.clock_now()));
    let ended = Caller::with_svid(&ca, &svid).await.ask().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::PermissionDenied, "LINE_ENDED"));
    assert!(ended.message().contains("come back with a token"), "{}", ended.message());
    let fresh = by_token(&ca, &issuer).await;
    Caller::with_svid(&ca, &fresh).await.ask().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_got_and_the_agents_own_are_never_renewed_here() {
    let (ca, issuer) = start("").await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/ns/prod/sa/web", "n1").await;
    let minted = Arc::new(agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap());
    assert_eq!(minted.id().as_str(), WEB_ID);
    for svid in [&minted, &agent.svid] {
        let refused = Caller::with_svid(&ca, svid).await.ask().await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_RENEWABLE"), "{}", svid.id());
    }
    let by_token = by_token(&ca, &issuer).await;
    assert_eq!(by_token.id(), minted.id());
    Caller::with_svid(&ca, &by_token).await.ask().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_renews_nothing_and_a_denied_identity_gets_nothing_by_whatever_credential() {
    let (ca, issuer) = start("").await;
    let (lost, kept) = (by_token(&ca, &issuer).await, by_token(&ca, &issuer).await);
    // One over a connection from before, as whoever took the key would have it.
    let thief = Caller::with_svid(&ca, &lost).await;
    thief.ask().await.unwrap();
    let operator = async |what| {
        let request = v1::RevokeRequest { what: Some(what), ..v1::RevokeRequest::default() };
        ca.operator().await.revoke(request).await.unwrap();
    };
    operator(What::Serial(lost.leaf().serial().to_string())).await;
    let told = |refused: Status| (refused.code(), reason(&refused));
    assert_eq!(told(thief.ask().await.unwrap_err()), (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned()));
    Caller::with_svid(&ca, &kept).await.ask().await.unwrap();
    by_token(&ca, &issuer).await;

    operator(What::SpiffeId(WEB_ID.to_owned())).await;
    let token = Caller::with_token(&ca, &issuer.token(&ca, WEB)).await;
    assert_eq!(told(token.ask().await.unwrap_err()), (Code::PermissionDenied, "IDENTITY_REVOKED".to_owned()));
    assert_eq!(told(Caller::with_svid(&ca, &kept).await.ask().await.unwrap_err()).0, Code::Unauthenticated);
    let api = issuer.token(&ca, "system:serviceaccount:prod:api");
    Caller::with_token(&ca, &api).await.ask().await.unwrap();

    let request = v1::UnrevokeRequest { what: Some(v1::unrevoke_request::What::SpiffeId(WEB_ID.to_owned())) };
    ca.operator().await.unrevoke(request).await.unwrap();
    token.ask().await.unwrap();
    assert!(Caller::with_svid(&ca, &kept).await.ask().await.is_err(), "a certificate stays revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ended_while_its_connection_lived_is_refused() {
    let (ca, issuer) = start("").await;
    let svid = by_token(&ca, &issuer).await;
    let caller = Caller::with_svid(&ca, &svid).await;
    caller.ask().await.unwrap();
    ca.clock.advance(Duration::from_secs(3601));
    let ended = caller.ask().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unauthenticated, "CREDENTIAL_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_both_credentials_is_judged_by_its_token_alone() {
    let (ca, issuer) = start("").await;
    let svid = by_token(&ca, &issuer).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let call = async |svid: &Arc<X509Svid>, bearer: Option<String>| {
        Caller { connection: connect(&ca, Some(svid)).await, bearer }.ask().await
    };
    call(&svid, None).await.unwrap();
    let bad = call(&svid, Some("no.token.atall".to_owned())).await.unwrap_err();
    assert_eq!((bad.code(), reason(&bad).as_str()), (Code::Unauthenticated, "CREDENTIAL_INVALID"));
    let api = issuer.token(&ca, "system:serviceaccount:prod:api");
    let issued = call(&svid, Some(api.clone())).await.unwrap();
    assert_eq!(issued.id().as_str(), "spiffe://example.org/ns/prod/sa/api");
    // Its certificate would be refused; it is not asked.
    assert!(call(&agent.svid, None).await.is_err());
    assert_eq!(call(&agent.svid, Some(api)).await.unwrap().id().as_str(), "spiffe://example.org/ns/prod/sa/api");
}
