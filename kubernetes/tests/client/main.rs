//! The client against a server that answers as no real API server can be made to.

#![expect(clippy::unwrap_used, reason = "this is a test: it fails by them")]

mod double;
mod pods;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use double::{Double, Reply};
use kubernetes::review::TokenReview;
use kubernetes::{ApiError, ClusterConfig, FaultKind, KubernetesClient, KubernetesMetrics};
use runtime::clock::SystemClock;

/// Longer than anything takes that ends well.
const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "head.of-the-workload.tail";

struct Bench {
    double: Double,
    client: KubernetesClient,
    home: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::of(Double::start(&[b"h2"]).await)
    }

    fn of(double: Double) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str, content: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let config = ClusterConfig {
            api_server: format!("https://{}", double.address()).parse().unwrap(),
            roots: path("roots.pem", double.roots()),
            token_file: path("token", "own-token\n"),
        };
        let client = KubernetesClient::new(config, SystemClock::shared(), KubernetesMetrics::default());
        Self { double, client, home }
    }

    async fn review(&self) -> Result<TokenReview, ApiError> {
        self.review_within(LIMIT).await
    }

    async fn review_within(&self, deadline: Duration) -> Result<TokenReview, ApiError> {
        self.client.review_token(TOKEN, &["istio-ca".to_owned()], deadline).await
    }

    async fn fault(&self, reply: Reply) -> ApiError {
        self.double.next(reply);
        let fault = self.review().await.unwrap_err();
        let text = format!("{fault} {fault:?}");
        assert!(!text.contains("own-token") && !text.contains(TOKEN), "{text}");
        fault
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_put_as_the_api_documents_it() {
    let bench = Bench::new().await;
    assert!(bench.review().await.unwrap().authenticated);
    let seen = bench.double.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "POST /apis/authentication.k8s.io/v1/tokenreviews");
    assert_eq!(seen[0].authorization, "Bearer own-token");
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["spec"], serde_json::json!({ "token": TOKEN, "audiences": ["istio-ca"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_every_call_and_a_new_one_follows_its_end() {
    let bench = Arc::new(Bench::new().await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move { bench.review().await.unwrap().authenticated });
    }
    assert!(calls.join_all().await.into_iter().all(|authenticated| authenticated));
    assert_eq!((bench.double.connections(), bench.double.seen().len()), (1, 200));
    bench.double.cut().await;
    // What was cut while it was asked may have been sent: that is the caller's to know. What comes after it finds a new connection.
    let answered = [bench.review().await.is_ok(), bench.review().await.is_ok()];
    assert!(answered[1], "{answered:?}");
    assert_eq!(bench.double.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_says_what_it_is_and_nothing_is_asked_twice() {
    let bench = Bench::new().await;
    let status = |code, message: &str| Reply::of(code, &serde_json::json!({ "kind": "Status", "message": message }).to_string());
    let busy = bench.fault(status(429, "too many requests").with("retry-after", "7")).await;
    assert_eq!((busy.kind(), busy.retry_after()), (FaultKind::Unreachable, Some(Duration::from_secs(7))), "{busy}");
    let long = bench.fault(status(503, "").with("retry-after", "86400")).await;
    assert_eq!((long.kind(), long.retry_after()), (FaultKind::Unreachable, Some(Duration::from_secs(60))), "{long}");
    let dated = bench.fault(Reply::of(500, "<html>").with("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")).await;
    assert_eq!((dated.kind(), dated.retry_after()), (FaultKind::Unreachable, None), "{dated}");
    for (reply, kind, said) in [
        (status(401, "Unauthorized"), FaultKind::Credential, "token_file"),
        (
            status(403, "may not create"),
            FaultKind::Credential,
            "create tokenreviews.authentication.k8s.io: forbidden (403): may not create",
        ),
        (status(403, &format!("who is {TOKEN}{}", "x".repeat(200))), FaultKind::Credential, "who is ..."),
        (status(422, "no"), FaultKind::Refused, "422"),
        (Reply::of(302, "").with("location", "https://elsewhere.example/"), FaultKind::Refused, "302"),
        (Reply::of(200, "not JSON"), FaultKind::Malformed, "not read"),
        (Reply::of(200, "{}"), FaultKind::Malformed, "status"),
        (Reply::of(200, r#"{"status":{"authenticated":"true"}}"#), FaultKind::Malformed, "not read"),
        (Reply::of(200, &" ".repeat(256 * 1024 + 1)), FaultKind::Malformed, "more than 262144 bytes"),
        (Reply::Reset, FaultKind::Unreachable, "broke"),
    ] {
        let fault = bench.fault(reply).await;
        assert_eq!(fault.kind(), kind, "{fault}");
        assert!(fault.to_string().contains(said), "{said} in {fault}");
    }
    assert_eq!(bench.double.seen().len(), 13, "a question was put again");
    assert!(bench.review().await.unwrap().authenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_more_headers_than_are_taken_is_none() {
    let bench = Bench::new().await;
    let with_field_of = |bytes: usize| {
        let taken = r#"{"status":{"authenticated":true,"audiences":["istio-ca"]}}"#;
        Reply::of(201, taken).with("x-more", "x".repeat(bytes).leak())
    };
    bench.double.next(with_field_of(8 * 1024));
    assert!(bench.review().await.unwrap().authenticated);
    let fault = bench.fault(with_field_of(20 * 1024)).await;
    assert_eq!(fault.kind(), FaultKind::Unreachable, "{fault}");
    assert!(bench.review().await.unwrap().authenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_the_deadline_and_so_does_the_use_of_that_connection() {
    let bench = Bench::new().await;
    assert!(bench.review().await.is_ok());
    bench.double.next(Reply::Never);
    let fault = bench.review_within(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(fault, ApiError::Deadline { .. }), "{fault}");
    assert!(bench.review().await.is_ok());
    assert_eq!(bench.double.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_others_meanwhile_keeps_its_connection() {
    let bench = Bench::new().await;
    bench.double.next(Reply::Never);
    let others = async {
        // The one that is not answered was sent first.
        while bench.double.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.review().await
    };
    let (silent, other) = tokio::join!(bench.review_within(Duration::from_secs(5)), others);
    assert!(matches!(silent, Err(ApiError::Deadline { .. })) && other.is_ok());
    assert!(bench.review().await.is_ok());
    assert_eq!(bench.double.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_a_server_under_other_roots_or_of_another_protocol() {
    let bench = Bench::new().await;
    assert!(bench.review().await.is_ok());
    let stranger = Double::start(&[b"h2"]).await;
    std::fs::write(bench.home.path().join("roots.pem"), stranger.roots()).unwrap();
    bench.double.cut().await;
    let fault = loop {
        match bench.review().await {
            // The end of the old connection was not seen yet.
            Ok(_) | Err(ApiError::Broken { .. }) => {}
            Err(fault) => break fault,
        }
    };
    assert!(matches!(fault, ApiError::Connect(_)), "{fault}");
    std::fs::write(bench.home.path().join("roots.pem"), bench.double.roots()).unwrap();
    assert!(bench.review().await.is_ok(), "roots count as they lie there now");

    let old = Bench::of(Double::start(&[b"http/1.1"]).await);
    let fault = old.review().await.unwrap_err();
    assert!(matches!(fault, ApiError::Connect(_)), "{fault}");
    assert!(old.double.seen().is_empty());
}

#[test]
fn a_check_looks_at_both_files() {
    let home = tempfile::tempdir().unwrap();
    let config = ClusterConfig {
        api_server: "https://kubernetes.default.svc".parse().unwrap(),
        roots: home.path().join("roots.pem"),
        token_file: home.path().join("token"),
    };
    let fault = || KubernetesClient::check(&config).err().map(|fault| fault.to_string()).unwrap_or_default();
    assert!(fault().starts_with("roots: "), "{}", fault());
    let (_, roots) = double::server_identity();
    std::fs::write(&config.roots, roots).unwrap();
    assert!(fault().starts_with("token_file: "), "{}", fault());
    std::fs::write(&config.token_file, "a.b.c").unwrap();
    assert_eq!(fault(), "");
}
