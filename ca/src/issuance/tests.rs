//! The script against a ledger that remembers, refuses or dies.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use identity::{DnsName, NodeName, ReplicaName, TrustDomain};
use pki::{AuthorityRole, KeyAlgorithm, PrivateKey, TrustBundle, build_request, certificates_to_pem};
use zeroize::Zeroizing;

use super::*;
use crate::admission::AgentIssuance;
use crate::authority::{AuthorityFile, AuthorityFiles, KeyContent, PrivatePem};
use crate::records::{NodeRecord, NodeState};

/// Remembers every intent; refuses when told to.
#[derive(Default)]
struct FakeLedger {
    refuse: bool,
    intents: Mutex<Vec<Intent>>,
}

impl Ledger for FakeLedger {
    fn persist(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            if self.refuse {
                return Err(StoreError::Unavailable("disk full".to_owned()).into());
            }
            self.intents.lock().unwrap().push(intent);
            Ok(())
        })
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn replica() -> ReplicaByte {
    ReplicaByte::new(7).unwrap()
}

fn profile() -> LeafProfile {
    LeafProfile::new(Duration::from_secs(600), Duration::from_secs(3600)).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

/// An authority made through the same tokens, in a ledger of its own.
async fn authority(lifetime: Duration) -> SigningAuthority {
    authority_of(lifetime, &key()).await
}

async fn authority_of(lifetime: Duration, ca_key: &PrivateKey) -> SigningAuthority {
    let ledger = FakeLedger::default();
    let root_key = key();
    let domain = domain();
    let spec = |role, key, number| AuthoritySpec {
        role,
        trust_domain: &domain,
        public_key: key,
        lifetime,
        serial: SerialNumber::new(replica(), [number; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let linted = lint_authority(&spec(AuthorityRole::Root, root_key.public_key(), 1), None, "test").unwrap();
    let root = sign(ledger.record(linted).await.unwrap(), &root_key, Verification::Always).await.unwrap();
    let linted = lint_authority(&spec(AuthorityRole::Issuer, ca_key.public_key(), 2), Some(&root), "test").unwrap();
    let ca = sign(ledger.record(linted).await.unwrap(), &root_key, Verification::Always).await.unwrap();
    let intents = ledger.intents.into_inner().unwrap();
    assert_eq!(intents.len(), 2);
    assert!(intents.iter().all(|intent| intent.reason == Reason::Authority && intent.caller == "test"));
    assert_eq!(intents[1].tbs_der, ca.tbs_der());

    let file =
        |certificate| AuthorityFile { path: "test".into(), content: Some(certificates_to_pem([certificate]).into_bytes()) };
    let files = AuthorityFiles {
        certificate: file(&ca),
        key: AuthorityFile {
            path: "test".into(),
            content: Some(KeyContent::Pem(PrivatePem(Zeroizing::new(ca_key.to_pkcs8_pem().as_bytes().to_vec())))),
        },
        chain: None,
        roots: file(&root),
        protection: pki::KeyProtection::Plain,
    };
    SigningAuthority::verify(files, &domain, now()).await.unwrap()
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn node() -> NodeRecord {
    NodeRecord {
        node: NodeName::parse("n1").unwrap(),
        node_key_spki: None,
        state: NodeState::Attested,
        current: None,
        previous: None,
        attested_at: now(),
    }
}

fn admitted(ttl: u64) -> Admitted {
    Admitted::for_agent(&domain(), &node(), AgentIssuance::Renewal, Duration::from_secs(ttl)).unwrap()
}

fn request(id: Option<&str>) -> VerifiedRequest {
    let id = id.map(|id| SpiffeId::parse(id).unwrap());
    VerifiedRequest::parse(&build_request(&key(), id.as_ref()).unwrap()).unwrap()
}

async fn issue(
    authority: &SigningAuthority,
    ledger: &FakeLedger,
    admitted: Admitted,
    request: &VerifiedRequest,
) -> Result<Issued, IssuanceError> {
    let profile = profile();
    let issuance = Issuance { profile: &profile, authority, ledger, replica: replica() };
    issuance.issue(admitted, request, [0x55; SERIAL_RANDOM_BYTES], now()).await
}

/// A certificate for whoever was admitted, what the ledger has of it, and the bundle that it stands under.
pub(crate) async fn issued_to(admitted: Admitted) -> (Issued, Intent, TrustBundle) {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger::default();
    let issued = issue(&authority, &ledger, admitted, &request(None)).await.unwrap();
    let intent = ledger.intents.into_inner().unwrap().remove(0);
    (issued, intent, TrustBundle::new(domain(), authority.roots().to_vec(), 1).unwrap())
}

#[tokio::test]
async fn what_is_given_out_is_what_was_recorded() {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger::default();
    let request = request(None);
    let issued = issue(&authority, &ledger, admitted(600), &request).await.unwrap();

    let intents = ledger.intents.into_inner().unwrap();
    let [intent] = intents.as_slice() else { panic!("{} intents", intents.len()) };
    assert_eq!(intent.tbs_der, issued.certificate.tbs_der());
    assert_eq!(&intent.serial, issued.certificate.serial());
    assert_eq!(intent.serial.as_bytes(), [[7].as_slice(), &[0x55; SERIAL_RANDOM_BYTES]].concat());
    assert_eq!(intent.not_after, issued.certificate.not_after());
    assert_eq!(intent.subject.as_str(), "spiffe://example.org/signet/agent/n1");
    assert_eq!((intent.caller.as_str(), &intent.reason), (intent.subject.as_str(), &Reason::AgentRenewal));

    assert_eq!(issued.certificate.public_key(), request.public_key());
    assert_eq!(issued.certificate.uri_sans(), ["spiffe://example.org/signet/agent/n1"]);
    assert!(issued.certificate.verify_signed_by(authority.certificate().public_key()).is_ok());
    assert_eq!(issued.chain, [issued.certificate.clone(), authority.certificate().clone()]);
    assert_eq!(issued.issued_at, now());
}

#[tokio::test]
async fn names_come_from_the_admission_and_a_request_that_differs_is_refused() {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger::default();
    let same = request(Some("spiffe://example.org/signet/agent/n1"));
    assert!(issue(&authority, &ledger, admitted(600), &same).await.is_ok());
    let other = request(Some("spiffe://example.org/signet/agent/n2"));
    let error = issue(&authority, &ledger, admitted(600), &other).await.unwrap_err();
    assert!(matches!(error, IssuanceError::Request(_)), "{error}");
    assert_eq!(ledger.intents.into_inner().unwrap().len(), 1, "the refused one was recorded");
}

#[tokio::test]
async fn what_the_ledger_does_not_take_is_not_signed() {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger { refuse: true, ..FakeLedger::default() };
    let error = issue(&authority, &ledger, admitted(600), &request(None)).await.unwrap_err();
    assert!(matches!(&error, IssuanceError::Ledger(_)), "{error}");
    assert!(error.to_string().contains("disk full"), "{error}");
}

#[tokio::test]
async fn a_ttl_above_the_maximum_is_refused_before_anything_is_recorded() {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger::default();
    let error = issue(&authority, &ledger, admitted(3601), &request(None)).await.unwrap_err();
    assert!(matches!(error, IssuanceError::Template(TemplateError::TtlAboveMax { .. })), "{error}");
    assert!(ledger.intents.lock().unwrap().is_empty());
    assert!(issue(&authority, &ledger, admitted(3600), &request(None)).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_ends_soon_cuts_leaves_and_then_refuses() {
    let ledger = FakeLedger::default();
    let cutting = authority(Duration::from_secs(300)).await;
    let issued = issue(&cutting, &ledger, admitted(600), &request(None)).await.unwrap();
    assert_eq!(issued.certificate.not_after(), cutting.certificate().not_after());
    let ending = authority(Duration::from_secs(299)).await;
    let error = issue(&ending, &ledger, admitted(600), &request(None)).await.unwrap_err();
    assert!(matches!(error, IssuanceError::Template(TemplateError::IssuerEndsTooSoon { .. })), "{error}");
    assert!(error.to_string().contains("signet ca issuer renew"), "{error}");
}

#[tokio::test]
async fn a_lint_that_fires_stops_the_script_before_the_ledger() {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger::default();
    let twice = vec![DnsName::parse("ca.local").unwrap(); 2];
    let replica = ReplicaName::parse("ca-1").unwrap();
    let repeated = Admitted::for_serving(&domain(), &replica, twice.clone(), Vec::new());
    let error = issue(&authority, &ledger, repeated, &request(None)).await.unwrap_err();
    assert!(matches!(&error, IssuanceError::Lint { findings } if findings[0].lint == "leaf_san_distinct"), "{error}");
    assert!(error.to_string().contains("leaf_san_distinct"), "who asked is told what fired: {error}");
    assert!(ledger.intents.lock().unwrap().is_empty());
    let once = Admitted::for_serving(&domain(), &replica, twice[..1].to_vec(), vec![IpAddr::from([127, 0, 0, 1])]);
    assert!(issue(&authority, &ledger, once, &request(None)).await.is_ok());
}

#[tokio::test]
async fn the_cas_own_key_is_certified_for_nobody() {
    let ca_key = key();
    let authority = authority_of(YEAR, &ca_key).await;
    let own = VerifiedRequest::parse(&build_request(&ca_key, None).unwrap()).unwrap();
    let error = issue(&authority, &FakeLedger::default(), admitted(600), &own).await.unwrap_err();
    assert!(matches!(&error, IssuanceError::Lint { findings } if findings[0].lint == "key_is_not_the_issuers"), "{error}");
}

#[tokio::test]
async fn a_recorded_certificate_is_signed_by_its_issuers_key_only() {
    let authority = authority(YEAR).await;
    let ledger = FakeLedger::default();
    let serial = SerialNumber::new(replica(), [1; SERIAL_RANDOM_BYTES]);
    let linted = lint(&profile(), &authority, admitted(600), &request(None), serial.clone(), now()).unwrap();
    let recorded = ledger.record(linted).await.unwrap();
    let error = sign(recorded, &key(), Verification::Sampled).await.unwrap_err();
    assert!(
        matches!(&error, IssuanceError::Signing { serial: named, cause: SigningError::WrongKey } if *named == serial),
        "{error}"
    );
}

#[test]
fn one_signature_in_sixty_four_is_verified() {
    let serial = |last: u8| {
        let mut random = [0xff; SERIAL_RANDOM_BYTES];
        random[SERIAL_RANDOM_BYTES - 1] = last;
        SerialNumber::new(replica(), random)
    };
    assert_eq!((0..=255).filter(|last| is_sampled(&serial(*last))).count(), 4);
}
