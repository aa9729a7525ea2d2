//! The judge with real keys and tokens; the keys in a file that a refresher reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use identity::TrustDomain;
use pki::{JwtKey, KeyAlgorithm, PrivateKey, Timestamp};
use runtime::clock::{Clock, SystemClock};
use runtime::shutdown::{self, ShutdownTrigger};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;

const ISSUER: &str = "https://issuer.example";

struct Bench {
    home: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    judge: TokenJudge,
    _running: (ShutdownTrigger, JoinSet<std::io::Result<()>>),
}

impl Bench {
    async fn new(keys: &[&JwtKey], max_stale: Duration) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("jwks.json");
        write_keys(&file, keys);
        let clock = SystemClock::shared();
        let rule = OidcRule {
            issuer: ISSUER.to_owned(),
            audiences: vec!["signet".to_owned()],
            keys: KeyLocation::File(file),
            max_stale,
            identity: IdentityTemplate::service_account(),
            dns_names: Vec::new(),
        };
        let domain = TrustDomain::parse("example.org").unwrap();
        let (judge, refreshers) = TokenJudge::new(domain, &[rule], &clock, OidcMetrics::default()).unwrap();
        let (trigger, end) = shutdown::channel();
        let mut tasks = JoinSet::new();
        for refresher in refreshers {
            tasks.spawn(refresher.run(end.clone()));
        }
        Self { home, clock, judge, _running: (trigger, tasks) }
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    fn file(&self) -> std::path::PathBuf {
        self.home.path().join("jwks.json")
    }

    fn claims(&self) -> Value {
        let exp = self.now().unix_seconds() + 600;
        json!({ "iss": ISSUER, "aud": "signet", "sub": "system:serviceaccount:shop:web", "exp": exp })
    }

    async fn judge(&self, token: &str) -> Result<TokenSubject, TokenError> {
        self.judge.judge(token, self.now()).await
    }

    /// Judges until the outcome is what is waited for.
    async fn judge_until(&self, token: &str, wanted: impl Fn(&Result<TokenSubject, TokenError>) -> bool) {
        let wait = async {
            while !wanted(&self.judge(token).await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the outcome comes in time");
    }
}

fn key() -> JwtKey {
    JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

fn jwk(key: &JwtKey) -> Value {
    let spki = key.authority().public_key().spki_der();
    let (x, y) = spki[spki.len() - 64..].split_at(32);
    json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key.key_id().as_str(),
        "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y),
    })
}

/// Replaced by a rename, as a mounted ConfigMap is: the file is never seen half written.
fn write_keys(file: &Path, keys: &[&JwtKey]) {
    let keys: Vec<_> = keys.iter().map(|key| jwk(key)).collect();
    let new = file.with_extension("new");
    std::fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn token_with(header: &Value, claims: &Value, key: &JwtKey) -> String {
    let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn token(claims: &Value, key: &JwtKey) -> String {
    token_with(&json!({ "alg": "ES256", "kid": key.key_id().as_str() }), claims, key)
}

fn label(outcome: Result<TokenSubject, TokenError>) -> &'static str {
    match outcome {
        Ok(_) => "accepted",
        Err(TokenError::Unauthenticated(refusal)) => refusal.label(),
        Err(TokenError::Unavailable(_)) => "unavailable",
    }
}

#[tokio::test]
async fn a_token_proves_what_the_rule_says_and_nothing_when_anything_is_off() {
    let (ours, strange) = (key(), key());
    let bench = Bench::new(&[&ours], Duration::from_secs(3600)).await;
    let good = bench.claims();
    let subject = bench.judge(&token(&good, &ours)).await.unwrap();
    assert_eq!(subject.id.as_str(), "spiffe://example.org/ns/shop/sa/web");
    assert_eq!(subject.source.issuer, ISSUER);
    assert_eq!(bench.judge.still_grants(&subject.source).unwrap().id, subject.id);

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token(&claims, &ours)
    };
    let under_our_name = token_with(&json!({ "alg": "ES256", "kid": ours.key_id().as_str() }), &good, &strange);
    let unsigned = token_with(&json!({ "alg": "none", "kid": ours.key_id().as_str() }), &good, &ours);
    let (input, _) = unsigned.rsplit_once('.').unwrap();
    let (body, signature) = token(&good, &ours).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let other_body = with("sub", json!("system:serviceaccount:shop:root"));
    let swapped = format!("{}.{signature}", other_body.rsplit_once('.').unwrap().0);
    let twice = {
        let text = good.to_string().replacen('{', &format!("{{\"iss\":{:?},", "https://other.example"), 1);
        let parts: Vec<_> = body.split('.').collect();
        format!("{}.{}.{signature}", parts[0], BASE64URL_NOPAD.encode(text.as_bytes()))
    };
    for (token, wanted) in [
        ("", "malformed"),
        ("a.b", "malformed"),
        ("a.b.c.d", "malformed"),
        (&format!("a.{}.c", "A".repeat(20_000)), "malformed"),
        (&twice, "malformed"),
        (&format!("{input}."), "signature"),
        (&unsigned, "signature"),
        (&under_our_name, "signature"),
        (&swapped, "signature"),
        (&token(&good, &strange), "unknown_key"),
        (&with("iss", json!("https://issuer.example/")), "issuer"),
        (&with("iss", json!(null)), "malformed"),
        (&with("aud", json!("other")), "audience"),
        (&with("exp", json!(1)), "time"),
        (&with("nbf", json!(bench.now().unix_seconds() + 600)), "time"),
        (&with("sub", json!("system:serviceaccount:shop")), "mapping"),
        (&with("sub", json!(1)), "claim"),
    ] {
        assert_eq!(label(bench.judge(token).await), wanted, "{token}");
    }
}

#[tokio::test]
async fn no_refusal_tells_the_token() {
    let (ours, strange) = (key(), key());
    let bench = Bench::new(&[&ours], Duration::from_secs(3600)).await;
    let mut expired = bench.claims();
    expired["exp"] = json!(1);
    for token in [token(&bench.claims(), &strange), token(&expired, &ours)] {
        let error = bench.judge(&token).await.unwrap_err();
        let told = format!("{error} {error:?}");
        for part in token.split('.') {
            assert!(!told.contains(part), "{told}");
        }
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_the_last_good_keys_count_until_they_are_stale() {
    let (first, second) = (key(), key());
    let bench = Bench::new(&[&first], Duration::from_secs(3)).await;
    let (old, new) = (token(&bench.claims(), &first), token(&bench.claims(), &second));
    assert!(bench.judge(&old).await.is_ok());
    assert_eq!(label(bench.judge(&new).await), "unknown_key");

    write_keys(&bench.file(), &[&first, &second]);
    bench.judge_until(&new, Result::is_ok).await;
    assert!(bench.judge(&old).await.is_ok());
    write_keys(&bench.file(), &[&second]);
    bench.judge_until(&old, Result::is_err).await;

    std::fs::write(bench.file(), "{").unwrap();
    assert!(bench.judge(&new).await.is_ok(), "the last good keys");
    bench.judge_until(&new, |outcome| matches!(outcome, Err(TokenError::Unavailable(_)))).await;
    assert_eq!(bench.judge.warnings().len(), 1);
    write_keys(&bench.file(), &[&second]);
    bench.judge_until(&new, Result::is_ok).await;
    assert!(bench.judge.warnings().is_empty());
}

#[tokio::test]
async fn a_rule_that_is_gone_grants_nothing_more() {
    let ours = key();
    let bench = Bench::new(&[&ours], Duration::from_secs(3600)).await;
    let source = bench.judge(&token(&bench.claims(), &ours)).await.unwrap().source;
    assert!(bench.judge.still_grants(&source).is_ok());
    let domain = TrustDomain::parse("example.org").unwrap();
    let (none, refreshers) = TokenJudge::new(domain, &[], &bench.clock, OidcMetrics::default()).unwrap();
    assert!(refreshers.is_empty() && !none.has_rules());
    assert!(matches!(none.still_grants(&source), Err(TokenRefusal::UnknownIssuer { .. })));
    assert_eq!(label(none.judge(&token(&bench.claims(), &ours), bench.now()).await), "issuer");
}
