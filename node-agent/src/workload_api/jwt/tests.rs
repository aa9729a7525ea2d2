use std::collections::BTreeSet;

use tonic::Code;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::fakes::caller::own_caller;
use crate::fakes::held::{entry, missing, revoked};
use crate::fakes::jwt::{FakeJwtIssuer, SharedJwtIssuer};
use crate::identities::Held;
use crate::workload_api::metrics::WorkloadApiMetrics;

struct Bed {
    issuer: Arc<FakeJwtIssuer>,
    secrets: Arc<CallerSecrets>,
    calls: JwtCalls,
    caller: Caller,
}

impl Bed {
    fn new() -> Self {
        let issuer = FakeJwtIssuer::new(1000);
        let secrets = Arc::new(CallerSecrets::default());
        let shared = Arc::new(SharedJwtIssuer(Arc::clone(&issuer)));
        let svids = JwtSvids::new(shared, issuer.clock.clone(), WorkloadApiMetrics::default());
        let calls = JwtCalls::new(Arc::clone(&secrets), svids, issuer.clock.clone());
        let caller = own_caller();
        Self { issuer, secrets, calls, caller }
    }

    /// The caller's own entries, and one of somebody else.
    fn publish(&self, own: &[(&str, &str)]) {
        self.publish_revoking(own, &[]);
    }

    /// The same, with the identities of some of them revoked.
    fn publish_revoking(&self, own: &[(&str, &str)], gone: &[&str]) {
        let uid = format!("unix:uid:{}", self.caller.uid);
        let mut age = 0;
        let mut identities: Vec<_> = own
            .iter()
            .map(|(id, hint)| {
                age += 1;
                let entry = entry(id, &[&uid], age, hint);
                if gone.contains(id) { revoked(entry) } else { missing(entry, None) }
            })
            .collect();
        identities.push(missing(entry("foreign", &["unix:path:/nowhere"], 9, ""), None));
        self.secrets.publish(Held {
            knowledge: EntryKnowledge::Synced,
            bundle: Some(Arc::new(self.issuer.authority.bundle(1))),
            identities,
            ..Held::default()
        });
    }

    async fn fetch(&self, audience: &[&str], spiffe_id: &str) -> Result<Vec<workload::Jwtsvid>, Status> {
        let audience = audience.iter().map(|text| (*text).to_owned()).collect();
        let request = workload::JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() };
        self.calls.fetch(&self.caller, request).await.map(|response| response.svids)
    }

    fn validate(&self, audience: &str, svid: &str) -> Result<workload::ValidateJwtsvidResponse, Status> {
        let request = workload::ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        self.calls.validate(&self.caller, request)
    }
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

#[tokio::test]
async fn tokens_come_for_all_identities_in_order_or_for_the_one_that_is_named() {
    let bed = Bed::new();
    bed.publish(&[("b", "x"), ("a", "x"), ("c", "y")]);
    let all = bed.fetch(&["mail"], "").await.unwrap();
    let told: Vec<_> = all.iter().map(|svid| (svid.spiffe_id.as_str(), svid.hint.as_str())).collect();
    assert_eq!(
        told,
        [("spiffe://example.org/b", "x"), ("spiffe://example.org/a", ""), ("spiffe://example.org/c", "y")],
        "in the order of the entries, and each hint once"
    );
    let one = bed.fetch(&["mail", "db"], "spiffe://example.org/a").await.unwrap();
    assert_eq!(one.iter().map(|svid| svid.hint.as_str()).collect::<Vec<_>>(), ["x"]);
    let valid = bed.validate("db", &one[0].svid).unwrap();
    assert_eq!(valid.spiffe_id, "spiffe://example.org/a");
    let fields: BTreeSet<_> = valid.claims.unwrap().fields.into_keys().collect();
    assert_eq!(fields, BTreeSet::from(["aud", "exp", "iat", "sub"].map(str::to_owned)));
}

#[tokio::test]
async fn arguments_that_are_missing_or_malformed_are_invalid() {
    let bed = Bed::new();
    bed.publish(&[("a", "")]);
    assert!(bed.fetch(&["mail"], "").await.is_ok());
    let long = "a".repeat(513);
    for audience in [&[][..], &[""], &["mail", ""], &[long.as_str()]] {
        assert_eq!(code(bed.fetch(audience, "").await), Some(Code::InvalidArgument), "{audience:?}");
    }
    assert_eq!(code(bed.fetch(&["mail"], "not-an-id").await), Some(Code::InvalidArgument));
    let token = bed.fetch(&["mail"], "").await.unwrap().remove(0).svid;
    assert_eq!(code(bed.validate("", &token)), Some(Code::InvalidArgument));
    assert_eq!(code(bed.validate("mail", "")), Some(Code::InvalidArgument));
    assert_eq!(code(bed.validate("mail", &token)), None);
}

#[tokio::test]
async fn an_identity_of_somebody_else_is_denied_whatever_is_kept() {
    let bed = Bed::new();
    assert_eq!(code(bed.fetch(&["mail"], "").await), Some(Code::Unavailable), "the entries are not known yet");
    bed.publish(&[("a", "")]);
    assert_eq!(code(bed.fetch(&["mail"], "spiffe://example.org/foreign").await), Some(Code::PermissionDenied));
    let token = bed.fetch(&["mail"], "").await.unwrap().remove(0).svid;
    bed.publish(&[]);
    assert_eq!(code(bed.fetch(&["mail"], "").await), Some(Code::PermissionDenied), "a kept token is not for who lost its entry");
    assert_eq!(code(bed.fetch(&["mail"], "spiffe://example.org/a").await), Some(Code::PermissionDenied));
    assert_eq!(code(bed.validate("mail", &token)), Some(Code::PermissionDenied), "nor is the bundle");
    assert!(bed.issuer.asked.lock().unwrap().iter().all(|(entry, _)| entry == "a"), "nobody asked the CA for the other");
}

#[tokio::test]
async fn an_entitlement_that_goes_while_the_ca_signs_counts() {
    let bed = Bed::new();
    bed.issuer.permits.forget_permits(1000);
    bed.publish(&[("a", "")]);
    let (answer, ()) = tokio::join!(bed.fetch(&["mail"], ""), async {
        tokio::task::yield_now().await;
        assert_eq!(bed.issuer.calls(), 1);
        bed.publish(&[]);
        bed.issuer.permits.add_permits(1);
    });
    assert_eq!(code(answer), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn without_one_of_its_tokens_a_caller_gets_none_and_is_told_why() {
    let bed = Bed::new();
    bed.publish(&[("a", ""), ("b", "")]);
    assert!(bed.fetch(&["mail"], "spiffe://example.org/b").await.is_ok());
    bed.issuer.away();
    let status = bed.fetch(&["mail"], "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("spiffe://example.org/a") && status.message().contains("away"), "{status}");
    assert!(bed.fetch(&["mail"], "spiffe://example.org/b").await.is_ok(), "the one that is kept can be had by its name");
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_invalid_and_the_reason_is_told() {
    let bed = Bed::new();
    bed.publish(&[("a", "")]);
    let token = bed.fetch(&["mail"], "").await.unwrap().remove(0).svid;
    assert_eq!(code(bed.validate("mail", &token)), None);
    let other = bed.validate("db", &token).unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    assert!(other.message().contains("mail"), "{other}");
    let (head, tail) = token.split_at(token.len() - 10);
    let forged = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    assert_eq!(code(bed.validate("mail", &forged)), Some(Code::InvalidArgument));
    bed.issuer.clock.advance(std::time::Duration::from_secs(300));
    let ended = bed.validate("mail", &token).unwrap_err();
    assert!(ended.code() == Code::InvalidArgument && ended.message().contains("expired"), "{ended}");
}

#[tokio::test]
async fn a_revoked_identity_has_no_token_and_the_others_keep_theirs() {
    let bed = Bed::new();
    let own = [("a", ""), ("b", "")];
    bed.publish(&own);
    let kept = bed.fetch(&["mail"], "spiffe://example.org/a").await.unwrap();
    assert_eq!((kept.len(), bed.issuer.calls()), (1, 1));
    bed.publish_revoking(&own, &["a"]);
    let status = bed.fetch(&["mail"], "spiffe://example.org/a").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("revoked"), "{status}");
    let rest = bed.fetch(&["mail"], "").await.unwrap();
    assert_eq!(rest.iter().map(|svid| svid.spiffe_id.as_str()).collect::<Vec<_>>(), ["spiffe://example.org/b"]);
    bed.publish_revoking(&own, &["a", "b"]);
    assert_eq!(code(bed.fetch(&["mail"], "").await), Some(Code::PermissionDenied));
    assert_eq!(code(bed.validate("mail", &kept[0].svid)), Some(Code::PermissionDenied));
    bed.publish(&own);
    assert_eq!(code(bed.fetch(&["mail"], "").await), None);
}

#[tokio::test]
async fn an_identity_that_is_revoked_while_its_token_is_fetched_gets_none() {
    let bed = Bed::new();
    bed.publish(&[("a", "")]);
    bed.issuer.permits.forget_permits(1000);
    let fetch = bed.fetch(&["mail"], "");
    let revoke = async {
        while bed.issuer.calls() == 0 {
            tokio::task::yield_now().await;
        }
        bed.publish_revoking(&[("a", "")], &["a"]);
        bed.issuer.permits.add_permits(1);
    };
    let (answer, ()) = tokio::join!(fetch, revoke);
    assert_eq!(code(answer), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn a_foreign_token_is_judged_by_its_own_trust_domains_keys_and_no_key_vouches_for_another_domain() {
    let bed = Bed::new();
    let (own, now) = (&bed.issuer.authority, bed.issuer.clock.now().into());
    let other = crate::fakes::FakeAuthority::of("other.org", now);
    let audiences = AudienceSet::parse(&["db"]).unwrap();
    let minted = |by: &crate::fakes::FakeAuthority, id: &str| {
        let id = SpiffeId::parse(id).unwrap();
        by.jwt_svid(&id, &audiences, std::time::Duration::from_secs(60), now).token().to_owned()
    };
    let publish = |federates: bool| {
        let mut mine = entry("a", &[&format!("unix:uid:{}", bed.caller.uid)], 1, "");
        if federates {
            mine.federates_with.insert(other.trust_domain.clone());
        }
        let foreign = [(other.trust_domain.clone(), Arc::new(other.bundle(1)))].into();
        bed.secrets.publish(Held {
            knowledge: EntryKnowledge::Synced,
            bundle: Some(Arc::new(own.bundle(1))),
            foreign: Arc::new(foreign),
            identities: vec![missing(mine, None)],
            ..Held::default()
        });
    };
    let theirs = minted(&other, "spiffe://other.org/x");
    publish(false);
    assert_eq!(code(bed.validate("db", &theirs)), Some(Code::InvalidArgument), "the entry does not federate with it");
    publish(true);
    assert_eq!(bed.validate("db", &theirs).unwrap().spiffe_id, "spiffe://other.org/x");
    let ours = minted(own, "spiffe://example.org/a");
    assert_eq!(bed.validate("db", &ours).unwrap().spiffe_id, "spiffe://example.org/a");
    for (by, id) in [(&other, "spiffe://example.org/a"), (own, "spiffe://other.org/x"), (&other, "spiffe://third.org/x")] {
        assert_eq!(code(bed.validate("db", &minted(by, id))), Some(Code::InvalidArgument), "{id} by {}", by.trust_domain);
    }
}
