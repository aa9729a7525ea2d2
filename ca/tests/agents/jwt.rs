//! JWT-SVIDs from the CA, each refusal beside what passes.

use std::time::Duration;

use identity::TrustDomain;
use pki::{Certificate, JwtAuthority, PublicKey, TrustBundle, ValidatedJwtSvid, sha256, validate_jwt_svid};
use proto::v1;
use tonic::Status;

use crate::test_agent::{Connection, TestAgent, reason};
use crate::test_ca::{TRUST_DOMAIN, TestCa, eventually};

async fn ask(connection: &Connection, entry: &str, audiences: &[&str]) -> Result<v1::IssueJwtSvidResponse, Status> {
    let audiences = audiences.iter().map(ToString::to_string).collect();
    let request = v1::IssueJwtSvidRequest { entry_id: entry.to_owned(), audiences, service_account: None };
    Ok(connection.node().issue_jwt_svid(request).await?.into_inner())
}

/// The bundle as an agent gets it.
fn bundle_of(wire: &v1::Bundle) -> TrustBundle {
    let x509 = wire.x509_authorities.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let jwt = wire.jwt_authorities.iter().map(|authority| {
        let public_key = PublicKey::from_spki_der(&authority.public_key).unwrap();
        JwtAuthority::new(authority.key_id.parse().unwrap(), public_key).unwrap()
    });
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    TrustBundle::new(trust_domain, x509, wire.sequence).unwrap().with_jwt_authorities(jwt.collect()).unwrap()
}

fn validate(ca: &TestCa, agent: &TestAgent, token: &str, audience: &str) -> Result<ValidatedJwtSvid, pki::JwtError> {
    validate_jwt_svid(token, &audience.parse().unwrap(), &bundle_of(&agent.bundle), ca.clock_now())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_jwt_svids_of_its_own_entries_only_and_each_stands_in_the_audit_log_first() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let (own, others) = (ca.entry("/web", "n1").await, ca.entry("/db", "n2").await);
    let connection = agent.connect(&ca).await;
    let answer = ask(&connection, &own.id, &["mail", "db", "mail"]).await.unwrap();
    let valid = validate(&ca, &agent, &answer.token, "db").unwrap();
    assert_eq!(valid.id().as_str(), "spiffe://example.org/web");
    assert_eq!(valid.claims()["aud"], serde_json::json!(["db", "mail"]));
    assert_eq!(valid.expires_at(), ca.clock_now().plus(Duration::from_secs(300)));
    assert!(validate(&ca, &agent, &answer.token, "payments").is_err());
    assert_eq!(answer.issued_at.unwrap().seconds, 1_800_000_000);
    assert_eq!(answer.expires_at.unwrap().seconds, 1_800_000_300);

    let input = sha256(answer.token.rsplit_once('.').unwrap().0.as_bytes());
    let audit = ca.audit().await;
    let event = audit.lines().find(|line| line.starts_with("jwt_svid_intended")).unwrap();
    for part in [
        data_encoding::HEXLOWER.encode(&input),
        format!("\"kid\":\"{}\"", ca.status().await.jwt_key_id),
        r#""audiences":["db","mail"]"#.to_owned(),
        r#""caller":"spiffe://example.org/signet/agent/n1""#.to_owned(),
        format!(r#""reason":"entry {}""#, own.id),
        r#""subject":"spiffe://example.org/web""#.to_owned(),
        r#""expires_at":"2027-01-15T08:05:00Z""#.to_owned(),
    ] {
        assert!(event.contains(&part), "{part} is not in {event}");
    }
    assert!(!audit.contains(&answer.token) && !audit.contains(answer.token.rsplit_once('.').unwrap().1));

    for entry in [&others.id, &"0".repeat(32), &"x".repeat(1000)] {
        assert_eq!(reason(&ask(&connection, entry, &["db"]).await.unwrap_err()), "ENTRY_NOT_FOUND");
    }
    assert_eq!(ca.audit().await.matches("jwt_svid_intended").count(), 1, "a refusal leaves no intent");
    let metrics = ca.http("/metrics").await;
    assert!(metrics.contains("signet_ca_jwt_issuance_total{outcome=\"issued\",reason=\"NONE\"} 1\n"), "{metrics}");
    assert!(metrics.contains("signet_ca_jwt_issuance_total{outcome=\"refused\",reason=\"ENTRY_NOT_FOUND\"} 3\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_are_one_to_sixteen_texts_of_bounded_length() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    let many: Vec<String> = (0..17).map(|number| format!("audience-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (longest, longer) = ("a".repeat(512), "a".repeat(513));
    for good in [&["db"][..], &many[..16], &[&longest]] {
        assert!(ask(&connection, &entry.id, good).await.is_ok(), "{good:?}");
    }
    for bad in [&[][..], &many, &[""], &["db", ""], &[&longer], &["a\nb"], &["a\0"]] {
        assert_eq!(reason(&ask(&connection, &entry.id, bad).await.unwrap_err()), "AUDIENCE_INVALID", "{bad:?}");
    }
    // What another's audiences are is not looked at.
    assert_eq!(reason(&ask(&connection, &"0".repeat(32), &[]).await.unwrap_err()), "ENTRY_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_there_is_no_token() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    assert!(ask(&connection, &entry.id, &["db"]).await.is_ok());
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON audit WHEN NEW.kind = 'jwt_svid_intended' BEGIN SELECT RAISE(ABORT, 'no'); END";
    TestCa::store(ca.directory()).execute_batch(refuse).unwrap();
    assert_eq!(reason(&ask(&connection, &entry.id, &["db"]).await.unwrap_err()), "STORE_UNAVAILABLE");
    TestCa::store(ca.directory()).execute_batch("DROP TRIGGER refuse").unwrap();
    assert!(ask(&connection, &entry.id, &["db"]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_agent_that_stands_is_answered() {
    let ca = TestCa::start().await;
    let (agent, banned) = (TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await);
    let (entry, of_banned) = (ca.entry("/web", "n1").await, ca.entry("/db", "n2").await);
    let connections = (agent.connect(&ca).await, banned.connect(&ca).await);
    assert!(ask(&connections.0, &entry.id, &["db"]).await.is_ok());
    assert!(ask(&connections.1, &of_banned.id, &["db"]).await.is_ok());
    let nobody = crate::test_agent::connect(&ca, None).await;
    assert_eq!(reason(&ask(&nobody, &entry.id, &["db"]).await.unwrap_err()), "MUST_REATTEST");
    ca.ban("n2").await;
    assert_eq!(reason(&ask(&connections.1, &of_banned.id, &["db"]).await.unwrap_err()), "BANNED");
    assert!(ask(&connections.0, &entry.id, &["db"]).await.is_ok());
}

/// Another process holds the write lock while the token's record and the eviction come into the queue, so that both are in one
/// commit: the token is recorded, the eviction too, and the token stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_during_the_call_keeps_the_token_back() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    assert!(ask(&connection, &entry.id, &["db"]).await.is_ok());
    let store = TestCa::store(ca.directory());
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (first, token, evicted, ()) = tokio::join!(
        ca.token("n3"),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            ask(&connection, &entry.id, &["late"]).await
        },
        async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            ca.evict("n1").await;
        },
        async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            store.execute_batch("COMMIT").unwrap();
        },
    );
    let ((), _) = (evicted, first);
    assert_eq!(reason(&token.unwrap_err()), "MUST_REATTEST");
    assert!(ca.audit().await.contains(r#""audiences":["late"]"#), "it was recorded, so it was on its way");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_stays_over_restarts_and_another_one_is_another_bundle() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let (kid, sequence) = (ca.status().await.jwt_key_id, agent.bundle.sequence);
    let key_file = ca.config().jwt_key_path();
    let (directory, clock) = ca.stop().await;
    let ca = TestCa::over(directory, clock).await;
    assert_eq!((ca.status().await.jwt_key_id, ca.status().await.bundle_sequence), (kid.clone(), sequence));
    let (directory, clock) = ca.stop().await;
    // As in a state directory from before JWT-SVIDs, or when the operator wants another key.
    std::fs::remove_file(&key_file).unwrap();
    let ca = TestCa::over(directory, clock).await;
    assert_ne!(ca.status().await.jwt_key_id, kid);
    assert_eq!(ca.status().await.bundle_sequence, sequence + 1);
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    let token = ask(&connection, &entry.id, &["db"]).await.unwrap().token;
    assert!(matches!(validate(&ca, &agent, &token, "db"), Err(pki::JwtError::UnknownKey { .. })), "under the former bundle");
    let mut sync = connection.sync(crate::test_agent::hello()).await.unwrap();
    sync.hello().await;
    let pushed = bundle_of(&sync.update().await.unwrap().bundle.unwrap());
    assert_eq!(pushed.sequence(), sequence + 1);
    assert!(validate_jwt_svid(&token, &"db".parse().unwrap(), &pushed, ca.clock_now()).is_ok());
    eventually("ready", async || ca.status().await.ready).await;
}
