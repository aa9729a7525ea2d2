//! Each fact that speaks against a renewal, beside the renewal that passes.

use identity::DnsName;
use pki::{TrustBundle, Usage, validate_svid};

use super::*;
use crate::admission::AgentIssuance;
use crate::issuance::tests::{domain, issued_to, now};
use crate::issuance::{Intent, Issued};
use crate::oidc::AdmissionSource;
use crate::records::{Entry, EntryId, Hint, LivePod, NewEntry, NodeRecord, NodeState, Parent};
use crate::revocation::RevocationSource;

const HOUR: Duration = Duration::from_secs(3600);
const WEB: &str = "spiffe://example.org/ns/prod/sa/web";

fn source() -> AdmissionSource {
    AdmissionSource {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["signet".to_owned()],
        claims: [("sub".to_owned(), "system:serviceaccount:prod:web".to_owned())].into(),
    }
}

fn subject(id: &str) -> TokenSubject {
    TokenSubject { id: SpiffeId::parse(id).unwrap(), dns_names: vec![DnsName::parse("web.prod").unwrap()], source: source() }
}

fn by_token(id: &str) -> Result<Admitted, CallerError> {
    Admitted::for_token(&domain(), subject(id), Some(HOUR), now())
}

fn grant(id: &str, dns_name: &str) -> Result<Grant, TokenRefusal> {
    Ok(Grant { id: SpiffeId::parse(id).unwrap(), dns_names: vec![DnsName::parse(dns_name).unwrap()] })
}

/// A certificate that was issued, as it comes back to the CA.
struct Held {
    presented: ValidatedSvid,
    record: IssuedRecord,
}

impl Held {
    async fn of(admitted: Admitted) -> Self {
        let (Issued { chain, .. }, intent, bundle) = issued_to(admitted).await;
        Self { presented: validated(&chain, &bundle), record: recorded(intent) }
    }

    fn facts<'a>(&'a self, domain: &'a TrustDomain) -> RenewalFacts<'a> {
        RenewalFacts {
            trust_domain: domain,
            presented: &self.presented,
            is_revoked: NothingRevoked.is_revoked(self.presented.serial()),
            record: Some(&self.record),
            max_age: HOUR * 10,
            now: now(),
        }
    }
}

fn validated(chain: &[pki::Certificate], bundle: &TrustBundle) -> ValidatedSvid {
    let ders: Vec<_> = chain.iter().map(|certificate| certificate.der().clone()).collect();
    validate_svid(&ders, bundle, Usage::Client, now()).unwrap()
}

/// What the ledger says of an intent later.
fn recorded(intent: Intent) -> IssuedRecord {
    let Intent { tbs_der, subject, provenance, .. } = intent;
    IssuedRecord { tbs_der, subject, reason: "test".to_owned(), provenance }
}

fn node() -> NodeRecord {
    NodeRecord {
        node: identity::NodeName::parse("n1").unwrap(),
        node_key_spki: None,
        state: NodeState::Attested,
        current: None,
        previous: None,
        attested_at: now(),
    }
}

#[test]
fn a_token_gives_its_own_identity_and_begins_a_line() {
    let admitted = by_token(WEB).unwrap();
    assert_eq!((admitted.subject().id.as_str(), admitted.caller()), (WEB, WEB));
    assert_eq!(admitted.subject().dns_names, [DnsName::parse("web.prod").unwrap()]);
    assert_eq!(admitted.subject().ttl, Some(HOUR));
    let subject = "system:serviceaccount:prod:web".to_owned();
    assert_eq!(admitted.reason(), &Reason::Token { issuer: "https://issuer.example".to_owned(), subject });
    let want = Provenance { grounds: RenewalGrounds::Token(source()), line_start: now() };
    assert_eq!(admitted.provenance(), Some(&want));
}

#[test]
fn a_rule_that_names_signets_own_or_another_trust_domain_gives_nothing() {
    for id in
        ["spiffe://example.org/signet/ca/x", "spiffe://example.org/signet", "spiffe://other.org/web", "spiffe://example.org"]
    {
        assert!(matches!(by_token(id), Err(CallerError::NotAWorkload { .. })), "{id}");
    }
    assert!(by_token("spiffe://example.org/signets").is_ok());
    let mut large = subject(WEB);
    large.source.claims.insert("much".to_owned(), "x".repeat(crate::records::MAX_GROUNDS_BYTES));
    let refused = Admitted::for_token(&domain(), large, None, now());
    assert!(matches!(refused, Err(CallerError::Grounds(_))));
}

#[tokio::test]
async fn a_renewal_has_the_names_of_now_and_carries_its_line_on() {
    let domain = domain();
    let held = Held::of(by_token(WEB).unwrap()).await;
    let later = now().plus(HOUR);
    let renewable = Renewable::check(RenewalFacts { now: later, ..held.facts(&domain) }).unwrap();
    assert_eq!(renewable.source(), &source());
    let admitted = Admitted::for_renewal(renewable, grant(WEB, "new.prod"), None).unwrap();
    assert_eq!((admitted.subject().id.as_str(), admitted.caller()), (WEB, WEB));
    assert_eq!(admitted.subject().dns_names, [DnsName::parse("new.prod").unwrap()]);
    assert_eq!(admitted.reason(), &Reason::Renewal { presented: held.presented.serial().clone() });
    assert_eq!(admitted.provenance(), held.record.provenance.as_ref(), "the line is as old as it was");
    assert_eq!(admitted.provenance().unwrap().line_start, now());
}

#[tokio::test]
async fn what_the_rules_of_now_do_not_grant_is_not_renewed() {
    let domain = domain();
    let held = Held::of(by_token(WEB).unwrap()).await;
    let renew = |granted| Admitted::for_renewal(Renewable::check(held.facts(&domain)).unwrap(), granted, None);
    assert!(renew(grant(WEB, "web.prod")).is_ok());
    let gone = TokenRefusal::UnknownIssuer { issuer: "https://issuer.example".to_owned() };
    assert!(matches!(renew(Err(gone)), Err(CallerError::NoLongerGranted { .. })));
    let other = renew(grant("spiffe://example.org/ns/prod/sa/api", "web.prod")).unwrap_err();
    assert!(matches!(&other, CallerError::GrantDiffers { .. }));
    assert!(!other.to_string().contains("/api"), "what the rules give is not the caller's to know: {other}");
}

#[tokio::test]
async fn a_line_ends_by_its_age_whenever_it_was_renewed_last() {
    let domain = domain();
    let mut held = Held::of(by_token(WEB).unwrap()).await;
    let at = |held: &Held, age| Renewable::check(RenewalFacts { now: now().plus(age), ..held.facts(&domain) }).map(drop);
    assert_eq!(at(&held, HOUR * 10 - Duration::from_secs(1)), Ok(()));
    assert!(matches!(at(&held, HOUR * 10), Err(CallerError::LineEnded { .. })));
    // A certificate issued just now, of a line that is old.
    held.record.provenance.as_mut().unwrap().line_start = now().minus(HOUR * 10);
    assert!(matches!(at(&held, Duration::ZERO), Err(CallerError::LineEnded { .. })));
    held.record.provenance.as_mut().unwrap().line_start = now().minus(HOUR * 9);
    assert_eq!(at(&held, Duration::ZERO), Ok(()));
}

/// Knows of none.
struct NothingRevoked;

impl RevocationSource for NothingRevoked {
    fn is_revoked(&self, _: &SerialNumber) -> bool {
        false
    }

    fn is_denied(&self, _: &SpiffeId) -> bool {
        false
    }
}

/// Knows of one.
struct OneRevoked(SerialNumber);

impl RevocationSource for OneRevoked {
    fn is_revoked(&self, serial: &SerialNumber) -> bool {
        *serial == self.0
    }

    fn is_denied(&self, _: &SpiffeId) -> bool {
        false
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_not_renewed_and_another_is() {
    let domain = domain();
    let held = Held::of(by_token(WEB).unwrap()).await;
    let check = |source: &dyn RevocationSource| {
        let is_revoked = source.is_revoked(held.presented.serial());
        Renewable::check(RenewalFacts { is_revoked, ..held.facts(&domain) }).map(drop)
    };
    assert_eq!(check(&NothingRevoked), Ok(()));
    let other = SerialNumber::from_bytes(&[1, 2, 3]).unwrap();
    assert_eq!(check(&OneRevoked(other)), Ok(()));
    let own = held.presented.serial().clone();
    assert_eq!(check(&OneRevoked(own.clone())), Err(CallerError::Revoked { serial: own }));
}

#[tokio::test]
async fn a_certificate_that_this_ledger_does_not_have_is_not_renewed() {
    let domain = domain();
    let held = Held::of(by_token(WEB).unwrap()).await;
    let check = |record| Renewable::check(RenewalFacts { record, ..held.facts(&domain) }).map(drop);
    assert_eq!(check(Some(&held.record)), Ok(()));
    assert!(matches!(check(None), Err(CallerError::NotRecorded { .. })));
    // The same serial, of another CA under the same root.
    let foreign = IssuedRecord { tbs_der: vec![1, 2, 3], ..held.record.clone() };
    assert!(matches!(check(Some(&foreign)), Err(CallerError::NotRecorded { .. })));
    let other = IssuedRecord { subject: SpiffeId::parse("spiffe://example.org/other").unwrap(), ..held.record.clone() };
    assert!(matches!(check(Some(&other)), Err(CallerError::NotRecorded { .. })));
}

#[tokio::test]
async fn what_an_agent_got_and_what_is_signets_own_is_never_renewed() {
    let domain = domain();
    let entry = Entry {
        id: EntryId::parse(&"0".repeat(32)).unwrap(),
        spec: NewEntry {
            spiffe_id: SpiffeId::parse(WEB).unwrap(),
            selectors: vec!["unix:uid:1000".parse().unwrap()],
            parent: Parent::Node(node().node),
            ttl: None,
            dns_names: Vec::new(),
            hint: Hint::default(),
            federates_with: std::collections::BTreeSet::new(),
            expires_at: None,
        },
        created_at: now(),
        revision: 1,
    };
    let by_agent =
        Held::of(Admitted::for_entry(&domain, &node(), &crate::records::Memberships::default(), &entry, now()).unwrap()).await;
    assert!(matches!(Renewable::check(by_agent.facts(&domain)), Err(CallerError::NotRenewable { .. })));
    let mut agent = Held::of(Admitted::for_agent(&domain, &node(), AgentIssuance::Renewal, HOUR).unwrap()).await;
    assert!(matches!(Renewable::check(agent.facts(&domain)), Err(CallerError::Reserved { .. })));
    // Not even with a line on record.
    agent.record.provenance = Some(Provenance { grounds: RenewalGrounds::Token(source()), line_start: now() });
    assert!(matches!(Renewable::check(agent.facts(&domain)), Err(CallerError::Reserved { .. })));
    // What an agent was given for a pod has a line, which is not its holder's.
    let pod = LivePod { cluster: "east".to_owned(), node: node().node.to_string(), pod: "shop/web-1 u1".to_owned() };
    let id = SpiffeId::parse("spiffe://example.org/ns/shop/sa/web").unwrap();
    let by_pod = Held::of(Admitted::for_live_pod(&domain, &node(), id, pod, now()).unwrap()).await;
    assert!(by_pod.record.provenance.is_some());
    assert!(matches!(Renewable::check(by_pod.facts(&domain)), Err(CallerError::NotRenewable { .. })));
    let by_token = Held::of(by_token(WEB).unwrap()).await;
    assert!(Renewable::check(by_token.facts(&domain)).is_ok());
}
