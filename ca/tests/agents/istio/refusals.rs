//! What is asked wrongly, too often, or at the wrong time; each beside the same call that passes.

use std::time::Duration;

use proto::istio::istio_ca_service_client::IstioCaServiceClient;
use proto::istio::{CsrRequest, IstioCertificateRequest};
use proto::v1;
use runtime::clock::Clock;
use tonic::{Code, Request, Status};

use super::caller::{WEB, WEB_ID, csr, retry_delay};
use super::{Caller, Issuer};
use crate::issuer_end::end_of;
use crate::test_agent::{TestAgent, connect, key, reason};
use crate::test_ca::{TestCa, WITHOUT_ROTATION, eventually};

async fn start(more: &str) -> (TestCa, Issuer) {
    let mut issuer = None;
    let ca = TestCa::start_with(|directory| {
        let made = issuer.insert(Issuer::below(directory));
        format!("{}{more}", made.rule(""))
    })
    .await;
    (ca, issuer.unwrap())
}

async fn caller(ca: &TestCa, issuer: &Issuer) -> Caller {
    Caller::with_token(ca, &issuer.token(ca, WEB)).await
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn metadata(key: &str, kind: Option<prost_types::value::Kind>) -> prost_types::Struct {
    prost_types::Struct { fields: [(key.to_owned(), prost_types::Value { kind })].into() }
}

fn text(text: &str) -> Option<prost_types::value::Kind> {
    Some(prost_types::value::Kind::StringValue(text.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_or_with_two_headers_nobody_gets_anything() {
    let (ca, issuer) = start("").await;
    let good = caller(&ca, &issuer).await;
    good.ask().await.unwrap();
    let nobody = Caller { connection: connect(&ca, None).await, bearer: None };
    assert_eq!(told(&nobody.ask().await.unwrap_err()), (Code::Unauthenticated, "NO_CREDENTIAL".to_owned()));
    let message = || IstioCertificateRequest { csr: csr(&key(), None), ..IstioCertificateRequest::default() };
    let mut twice: Request<_> = good.request(message());
    let value = twice.metadata().get("authorization").unwrap().clone();
    twice.metadata_mut().append("authorization", value);
    let refused = good.client().create_certificate(twice).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned()));
    let mut other = good.request(message());
    other.metadata_mut().insert("authorization", "Basic YTpi".parse().unwrap());
    let refused = good.client().create_certificate(other).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned()));
    let forged = Caller::with_token(&ca, &format!("{}x", issuer.token(&ca, WEB))).await.ask().await.unwrap_err();
    assert_eq!(told(&forged), (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned()));
    assert!(!forged.message().contains("signature"), "{}", forged.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_from_the_caller_and_a_request_that_names_another_is_refused() {
    let (ca, issuer) = start("").await;
    let caller = caller(&ca, &issuer).await;
    for id in [None, Some(WEB_ID)] {
        assert_eq!(caller.ask_changed(id, |_| {}).await.unwrap().id().as_str(), WEB_ID);
    }
    let other = caller.ask_changed(Some("spiffe://example.org/ns/prod/sa/api"), |_| {}).await.unwrap_err();
    assert_eq!(told(&other), (Code::InvalidArgument, "CSR_INVALID".to_owned()));
    for bad in [String::new(), csr(&key(), None).repeat(2), "-----BEGIN CERTIFICATE REQUEST-----\nAA==".to_owned()] {
        let refused = caller.ask_changed(None, |message| message.csr = bad).await.unwrap_err();
        assert_eq!(told(&refused), (Code::InvalidArgument, "CSR_INVALID".to_owned()));
    }
    let huge = caller.ask_changed(None, |message| message.subject_id = "x".repeat(64 * 1024)).await.unwrap_err();
    assert_eq!(huge.code(), Code::OutOfRange, "{huge:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_signer_another_identity_and_values_of_the_wrong_kind_are_refused() {
    let (ca, issuer) = start("").await;
    let caller = caller(&ca, &issuer).await;
    let ask = async |field: &str, kind| {
        let answer = caller.ask_changed(None, |message| message.metadata = Some(metadata(field, kind))).await;
        answer.map(drop).map_err(|status| (status.code(), reason(&status), status.message().to_owned()))
    };
    for (field, kind) in [("CertSigner", text("")), ("ImpersonatedIdentity", text("")), ("Other", None)] {
        ask(field, kind).await.unwrap();
    }
    let (code, why, _) = ask("CertSigner", text("vault")).await.unwrap_err();
    assert_eq!((code, why.as_str()), (Code::InvalidArgument, "REQUEST_INVALID"));
    for id in [WEB_ID, "spiffe://example.org/ns/prod/sa/api"] {
        let (code, why, message) = ask("ImpersonatedIdentity", text(id)).await.unwrap_err();
        assert_eq!((code, why.as_str()), (Code::PermissionDenied, "IMPERSONATION_REFUSED"));
        assert!(message.contains("trusted_node_accounts"), "{message}");
    }
    for field in ["CertSigner", "ImpersonatedIdentity"] {
        for kind in [None, Some(prost_types::value::Kind::NumberValue(1.0)), Some(prost_types::value::Kind::NullValue(0))] {
            let (code, why, _) = ask(field, kind).await.unwrap_err();
            assert_eq!((code, why.as_str()), (Code::InvalidArgument, "REQUEST_INVALID"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_asked_for_is_given_up_to_the_maximum_and_never_cut() {
    let (ca, issuer) = start("").await;
    let caller = caller(&ca, &issuer).await;
    let life = async |seconds| {
        let svid = caller.ask_changed(None, |message| message.validity_duration = seconds).await?;
        // The last second counts.
        Ok::<_, Status>(svid.leaf().not_after().since(ca.clock_now()).as_secs() + 1)
    };
    for (asked, given) in [(0, 3600), (-1, 3600), (i64::MIN, 3600), (60, 60), (7200, 7200)] {
        assert_eq!(life(asked).await.unwrap(), given, "{asked}");
    }
    for asked in [7201, i64::MAX] {
        let refused = life(asked).await.unwrap_err();
        assert_eq!(told(&refused), (Code::InvalidArgument, "TTL_ABOVE_MAX".to_owned()));
        let text = refused.message();
        assert!(text.contains(&format!("{asked}s")) && text.contains("7200s"), "{text}");
    }
    assert_eq!(told(&life(1).await.unwrap_err()), (Code::InvalidArgument, "TTL_TOO_SHORT".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_call_is_off_until_it_is_switched_on_and_the_new_one_can_be_switched_off() {
    let (ca, issuer) = start("").await;
    let message = |id, minutes| CsrRequest {
        csr_pem: csr(&key(), id).into_bytes(),
        credential_type: "onprem".to_owned(),
        requested_ttl_minutes: minutes,
        ..CsrRequest::default()
    };
    let call = async |caller: &Caller, message| {
        let mut client = IstioCaServiceClient::new(caller.connection.channel.clone());
        client.handle_csr(caller.request(message)).await.map(tonic::Response::into_inner)
    };
    let off = caller(&ca, &issuer).await;
    assert_eq!(call(&off, message(Some(WEB_ID), 0)).await.unwrap_err().code(), Code::Unimplemented);
    off.ask().await.unwrap();
    let (directory, clock) = ca.stop().await;
    let more = format!("{}[istio]\nhandle_csr = true\ncreate_certificate = false\n", issuer.rule(""));
    let ca = TestCa::over_with(&more, directory, clock).await;
    let on = caller(&ca, &issuer).await;
    assert_eq!(on.ask().await.unwrap_err().code(), Code::Unimplemented);
    let answer = call(&on, message(Some(WEB_ID), 0)).await.unwrap();
    assert!(answer.is_approved && answer.status.is_none());
    let leaf = pki::certificates_from_pem(&answer.signed_cert).unwrap();
    let chain = pki::certificates_from_pem(&answer.cert_chain).unwrap();
    assert_eq!((leaf.len(), chain.len()), (1, 1), "the root is not among them");
    assert_eq!(leaf[0].uri_sans(), [WEB_ID]);
    leaf[0].verify_signed_by(chain[0].public_key()).unwrap();
    let long = call(&on, message(Some(WEB_ID), 120)).await.unwrap();
    let long = pki::certificates_from_pem(&long.signed_cert).unwrap();
    assert_eq!(long[0].not_after().since(ca.clock_now()), Duration::from_secs(7199));
    for (id, minutes, why) in
        [(Some(WEB_ID), 121, "TTL_ABOVE_MAX"), (None, 0, "CSR_INVALID"), (Some(WEB_ID), i32::MAX, "TTL_ABOVE_MAX")]
    {
        assert_eq!(told(&call(&on, message(id, minutes)).await.unwrap_err()), (Code::InvalidArgument, why.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_too_fast_is_told_when_to_come_back_and_the_others_are_served() {
    let (ca, issuer) = start("[istio]\nrate_per_minute = 60\nrate_burst = 2\n").await;
    let web = caller(&ca, &issuer).await;
    let svid = web.ask().await.unwrap();
    web.ask().await.unwrap();
    let refused = web.ask().await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "RATE_EXCEEDED".to_owned()));
    assert!(retry_delay(&refused).unwrap() >= Duration::from_secs(1));
    // By whichever credential: it is the same caller.
    let renewal = Caller::with_svid(&ca, &svid).await;
    assert_eq!(renewal.ask().await.unwrap_err().code(), Code::ResourceExhausted);
    Caller::with_token(&ca, &issuer.token(&ca, "system:serviceaccount:prod:api")).await.ask().await.unwrap();
    ca.clock.advance(Duration::from_secs(1));
    renewal.ask().await.unwrap();
    assert_eq!(web.ask().await.unwrap_err().code(), Code::ResourceExhausted);
    let metrics = ca.http("/metrics").await;
    let line = "signet_ca_istio_calls_total{method=\"create_certificate\",credential=\"token\",reason=\"RATE_EXCEEDED\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_cannot_judge_or_cannot_issue_says_when_to_come_back() {
    let (ca, issuer) = start("").await;
    caller(&ca, &issuer).await.ask().await.unwrap();
    issuer.withdraw();
    let (directory, clock) = ca.stop().await;
    let ca = TestCa::over_with(&format!("{}{WITHOUT_ROTATION}", issuer.rule("")), directory, clock).await;
    let refused = caller(&ca, &issuer).await.ask().await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "KEYS_UNAVAILABLE".to_owned()));
    assert!(retry_delay(&refused).unwrap() >= Duration::from_secs(1));
    issuer.publish();
    let waiting = caller(&ca, &issuer).await;
    eventually("the keys are looked up again", async || {
        ca.clock.advance(Duration::from_secs(30));
        waiting.ask().await.is_ok()
    })
    .await;
    // So near the issuing CA's end that no leaf is worth having.
    let end = end_of(&ca, "issuer").await;
    ca.clock.advance(end.minus(Duration::from_secs(45 * 60)).since(ca.clock_now()));
    eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= ca.clock_now()).await;
    let last = caller(&ca, &issuer).await;
    last.ask().await.unwrap();
    ca.clock.advance(Duration::from_secs(20 * 60));
    let last = Caller { bearer: Some(issuer.token(&ca, WEB)), ..last };
    let refused = last.ask().await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "NOT_READY".to_owned()));
    assert!(retry_delay(&refused).is_some());
    assert!(refused.message().contains("signet ca issuer renew"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_is_unavailable_and_nothing_leaves() {
    let (ca, issuer) = start("").await;
    let caller = caller(&ca, &issuer).await;
    caller.ask().await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON issuance BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    TestCa::store(ca.directory()).execute_batch(full).unwrap();
    let refused = caller.ask().await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
    assert!(retry_delay(&refused).is_some() && !refused.message().contains("disk"), "{}", refused.message());
}

/// Every kind of issuance by itself, with a leap that no certificate of the callers ends by: none leans on another look at the clock.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_leap_of_minutes_no_caller_of_any_kind_gets_anything_and_each_does_when_the_clock_is_back() {
    let (ca, issuer) = start("").await;
    eventually("ready", async || ca.status().await.ready).await;
    let (agent, caller) = (TestAgent::attest(&ca, "n1").await, caller(&ca, &issuer).await);
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    let jwt = || v1::IssueJwtSvidRequest { entry_id: entry.id.clone(), audiences: vec!["db".to_owned()], service_account: None };
    caller.ask().await.unwrap();
    connection.issue(&entry.id).await.unwrap().unwrap();
    connection.node().issue_jwt_svid(jwt()).await.unwrap();
    let intents = async || ca.audit().await.lines().filter(|line| line.contains("_intended")).count();
    let before = intents().await;

    ca.clock.set_wall(ca.clock.now() + LEAP);
    assert_eq!(told(&caller.ask().await.unwrap_err()), (Code::Unavailable, "CLOCK_UNTRUSTED".to_owned()));
    assert_eq!(connection.issue(&entry.id).await.unwrap().unwrap_err().reason, "CLOCK_UNTRUSTED");
    assert_eq!(reason(&connection.node().issue_jwt_svid(jwt()).await.unwrap_err()), "CLOCK_UNTRUSTED");
    assert_eq!(reason(&connection.renew().await.unwrap_err()), "CLOCK_UNTRUSTED");
    assert_eq!(intents().await, before);

    ca.clock.set_wall(ca.clock.now() - LEAP);
    eventually("ready again", async || ca.status().await.ready).await;
    caller.ask().await.unwrap();
    connection.issue(&entry.id).await.unwrap().unwrap();
    connection.node().issue_jwt_svid(jwt()).await.unwrap();
    connection.renew().await.unwrap();
}

/// More than is tolerated, less than any life.
const LEAP: Duration = Duration::from_secs(10 * 60);
