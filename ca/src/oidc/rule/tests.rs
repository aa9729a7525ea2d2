use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: u64 = 1_795_172_400;

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn rule() -> OidcRule {
    OidcRule {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["signet".to_owned(), "ca".to_owned()],
        keys: KeyLocation::File("/k.json".into()),
        max_stale: Duration::from_secs(3600),
        identity: IdentityTemplate::service_account(),
        dns_names: vec![DnsTemplate::parse("{k8s:service_account}.{k8s:namespace}.svc").unwrap()],
    }
}

fn good() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": ["other", "signet"], "sub": "system:serviceaccount:shop:web",
        "exp": NOW + 600, "nbf": NOW - 10, "iat": NOW - 10, "jti": "1", "kubernetes.io": { "namespace": "shop" },
    })
}

fn judged(claims: &Value) -> Result<Grant, TokenRefusal> {
    let rule = rule();
    rule.source(claims.as_object().unwrap(), now()).and_then(|source| rule.grant(&domain(), &source))
}

fn with(name: &str, value: Value) -> Result<Grant, TokenRefusal> {
    let mut claims = good();
    claims[name] = value;
    judged(&claims)
}

fn without(name: &str) -> Result<Grant, TokenRefusal> {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    judged(&claims)
}

#[test]
fn a_good_token_gives_the_mapped_identity() {
    let grant = judged(&good()).unwrap();
    assert_eq!(grant.id.as_str(), "spiffe://example.org/ns/shop/sa/web");
    assert_eq!(grant.dns_names, [DnsName::parse("web.shop.svc").unwrap()]);
    for name in ["nbf", "iat", "jti"] {
        assert!(without(name).is_ok(), "{name} may be absent");
    }
    assert!(with("aud", json!("ca")).is_ok());
}

#[test]
fn issuer_and_audience_are_compared_byte_for_byte() {
    for issuer in
        [json!("https://issuer.example/"), json!("https://ISSUER.example"), json!(["https://issuer.example"]), json!(null)]
    {
        assert_eq!(with("iss", issuer), Err(TokenRefusal::Issuer));
    }
    assert_eq!(without("iss"), Err(TokenRefusal::Issuer));
    for audience in [json!("signet "), json!("Signet"), json!([]), json!(["other"]), json!("")] {
        assert!(matches!(with("aud", audience), Err(TokenRefusal::Audience { .. })));
    }
    for audience in [json!(null), json!(1), json!(["signet", 1]), json!({ "signet": true }), json!([["signet"]])] {
        assert!(matches!(with("aud", audience), Err(TokenRefusal::Claim { name: "aud", .. })));
    }
    assert!(matches!(without("aud"), Err(TokenRefusal::Claim { name: "aud", .. })));
}

#[test]
fn times_count_with_thirty_seconds_of_skew() {
    assert!(with("exp", json!(NOW - 29)).is_ok());
    assert!(matches!(with("exp", json!(NOW - 30)), Err(TokenRefusal::Expired { .. })));
    for name in ["nbf", "iat"] {
        assert!(with(name, json!(NOW + 30)).is_ok());
        assert!(matches!(with(name, json!(NOW + 31)), Err(TokenRefusal::NotYetValid { .. })), "{name}");
    }
    assert!(without("exp").is_err());
    for time in [json!("1795173000"), json!(-1), json!(1e300), json!(1_795_173_000.5), json!(null), json!(u64::MAX)] {
        for name in ["exp", "nbf", "iat"] {
            assert_eq!(with(name, time.clone()).unwrap_err().label(), "claim", "{name} {time}");
        }
    }
}

#[test]
fn a_subject_is_needed_whatever_the_mapping() {
    let mut rule = rule();
    rule.identity = IdentityTemplate::parse("/job/{claim:job}").unwrap();
    rule.dns_names = Vec::new();
    let mut claims = good();
    claims["job"] = json!("j-1");
    claims["sub"] = json!("repo:a/b:ref:c");
    let source = |claims: &Value| rule.source(claims.as_object().unwrap(), now());
    let kept = source(&claims).unwrap();
    assert_eq!(rule.grant(&domain(), &kept).unwrap().id.as_str(), "spiffe://example.org/job/j-1");
    assert_eq!(kept.subject(), "repo:a/b:ref:c");
    for subject in [json!(null), json!(""), json!(1), json!("a\nb"), json!("a".repeat(256))] {
        claims["sub"] = subject;
        assert!(matches!(source(&claims), Err(TokenRefusal::Claim { name: "sub", .. })));
    }
    claims["sub"] = json!("s");
    for job in [json!(1), json!(true), json!(["j"]), json!({ "a": "b" }), json!(null)] {
        claims["job"] = job;
        assert_eq!(source(&claims), Err(MappingError::ClaimNotText { claim: "job".to_owned() }.into()));
    }
    claims.as_object_mut().unwrap().remove("job");
    assert_eq!(source(&claims), Err(MappingError::ClaimMissing { claim: "job".to_owned() }.into()));
}

#[test]
fn what_is_recorded_is_small_canonical_and_judged_by_the_rules_of_later() {
    let rule = rule();
    let source = rule.source(good().as_object().unwrap(), now()).unwrap();
    let recorded = source.to_json();
    assert_eq!(
        recorded,
        r#"{"audiences":["signet"],"claims":{"sub":"system:serviceaccount:shop:web"},"issuer":"https://issuer.example"}"#
    );
    let read = AdmissionSource::from_json(&recorded).unwrap();
    assert_eq!(read, source);
    assert!(AdmissionSource::from_json(&recorded.replacen('{', r#"{"more":1,"#, 1)).is_err());
    assert!(rule.grant(&domain(), &read).is_ok());

    let later = |change: &dyn Fn(&mut OidcRule)| {
        let mut rule = rule.clone();
        change(&mut rule);
        rule.grant(&domain(), &read)
    };
    assert!(later(&|rule| rule.audiences = vec!["ca".to_owned()]).is_err(), "its audience is configured no more");
    let other = later(&|rule| rule.identity = IdentityTemplate::parse("/k8s/{k8s:namespace}").unwrap()).unwrap();
    assert_eq!(other.id.as_str(), "spiffe://example.org/k8s/shop", "the mapping of now counts");
    let missing = later(&|rule| rule.identity = IdentityTemplate::parse("/job/{claim:job}").unwrap());
    assert_eq!(missing, Err(MappingError::ClaimMissing { claim: "job".to_owned() }.into()));
    assert!(later(&|rule| rule.dns_names.clear()).unwrap().dns_names.is_empty(), "DNS names are computed afresh");
    assert_eq!(later(&|rule| rule.issuer.push('/')), Err(TokenRefusal::Issuer));
}

proptest! {
    /// Whatever is signed: no panic, and what is granted is granted again from what was recorded.
    #[test]
    fn a_grant_can_always_be_judged_anew(
        sub in "(system:serviceaccount:[a-z]{1,4}:[a-z]{1,4}|\\PC{0,20})", aud in "(signet|ca|other|\\PC{0,9})", shift in -100_i64..100,
    ) {
        let claims = json!({
            "iss": "https://issuer.example", "sub": sub, "aud": aud, "exp": i64::try_from(NOW).unwrap() + shift,
        });
        let rule = rule();
        if let Ok(source) = rule.source(claims.as_object().unwrap(), now()) {
            prop_assert!(shift > -30 && (aud == "signet" || aud == "ca"));
            let again = AdmissionSource::from_json(&source.to_json()).unwrap();
            prop_assert_eq!(rule.grant(&domain(), &again), rule.grant(&domain(), &source));
        }
    }
}
