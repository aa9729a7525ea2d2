use std::collections::BTreeSet;
use std::sync::Mutex;

use identity::{NodeName, TrustDomain};
use pki::{KeyAlgorithm, MAX_JWT_TTL, PrivateKey, TrustBundle};

use super::*;
use crate::records::{Entry, EntryId, Hint, Memberships, NewEntry, NodeRecord, NodeState, Parent};
use crate::store::StoreError;

/// Keeps what it is told, or fails.
#[derive(Default)]
struct Book {
    intents: Mutex<Vec<JwtIntent>>,
    fails: bool,
}

impl JwtLedger for Book {
    fn persist_jwt(&self, intent: JwtIntent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            if self.fails {
                return Err(StoreError::Unavailable("full".to_owned()).into());
            }
            self.intents.lock().unwrap().push(intent);
            Ok(())
        })
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

fn key() -> JwtKey {
    JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

fn admitted(ttl: Option<Duration>) -> Admitted {
    admitted_until(ttl, None)
}

fn admitted_until(ttl: Option<Duration>, expires_at: Option<Timestamp>) -> Admitted {
    let node = NodeName::parse("n1").unwrap();
    let entry = Entry {
        id: EntryId::from_random([1; 16]),
        spec: NewEntry {
            spiffe_id: SpiffeId::parse("spiffe://example.org/web").unwrap(),
            selectors: vec!["unix:uid:1".parse().unwrap()],
            parent: Parent::Node(node.clone()),
            ttl,
            dns_names: Vec::new(),
            hint: Hint::default(),
            federates_with: BTreeSet::new(),
            expires_at,
        },
        created_at: now(),
        revision: 1,
    };
    let caller =
        NodeRecord { node, node_key_spki: None, state: NodeState::Attested, current: None, previous: None, attested_at: now() };
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    Admitted::for_entry(&trust_domain, &caller, &Memberships::default(), &entry, now()).unwrap()
}

fn audiences() -> AudienceSet {
    AudienceSet::parse(&["db", "mail"]).unwrap()
}

const FIVE_MINUTES: Duration = Duration::from_secs(300);

#[tokio::test]
async fn what_is_answered_is_what_was_recorded_and_validates() {
    let (key, book) = (key(), Book::default());
    let svid = issue(admitted(None), &audiences(), FIVE_MINUTES, &key, &book, now()).await.unwrap();
    let input = svid.token().rsplit_once('.').unwrap().0;
    let expected = JwtIntent {
        subject: svid.id().clone(),
        audiences: audiences(),
        key_id: key.key_id().clone(),
        key: key.authority().public_key().fingerprint(),
        expires_at: now().plus(FIVE_MINUTES),
        signing_input: pki::sha256(input.as_bytes()),
        caller: "spiffe://example.org/signet/agent/n1".to_owned(),
        reason: Reason::Entry(EntryId::from_random([1; 16])),
        now: now(),
    };
    assert_eq!(*book.intents.lock().unwrap(), [expected]);
    let document = br#"{"keys":[]}"#;
    let bundle = TrustBundle::from_jwks(TrustDomain::parse("example.org").unwrap(), document)
        .unwrap()
        .with_jwt_authorities(vec![key.authority().clone()])
        .unwrap();
    assert!(pki::validate_jwt_svid(svid.token(), &"db".parse().unwrap(), &bundle, now()).is_ok());
}

#[tokio::test]
async fn what_is_not_recorded_is_not_signed() {
    let full = Book { fails: true, ..Book::default() };
    let refused = issue(admitted(None), &audiences(), FIVE_MINUTES, &key(), &full, now()).await;
    assert!(matches!(refused, Err(JwtIssuanceError::Ledger(_))), "{refused:?}");
}

#[tokio::test]
async fn a_token_outlives_neither_the_configured_life_nor_that_of_the_entrys_certificates() {
    let life = async |entry: Option<u64>| {
        let admitted = admitted(entry.map(Duration::from_secs));
        let svid = issue(admitted, &audiences(), FIVE_MINUTES, &key(), &Book::default(), now()).await.unwrap();
        svid.expires_at().since(svid.issued_at())
    };
    assert_eq!(life(None).await, FIVE_MINUTES);
    assert_eq!(life(Some(86_400)).await, FIVE_MINUTES);
    assert_eq!(life(Some(60)).await, Duration::from_secs(60));
    let ending = admitted_until(None, Some(now().plus(Duration::from_secs(20))));
    let svid = issue(ending, &audiences(), FIVE_MINUTES, &key(), &Book::default(), now()).await.unwrap();
    assert_eq!(svid.expires_at(), now().plus(Duration::from_secs(20)), "it ends with the entry");
    let book = Book::default();
    let long = issue(admitted(None), &audiences(), MAX_JWT_TTL + FIVE_MINUTES, &key(), &book, now()).await;
    assert!(matches!(long, Err(JwtIssuanceError::Mint(JwtMintError::Ttl { .. }))));
    assert!(book.intents.lock().unwrap().is_empty(), "nothing is recorded that will not be signed");
}

#[tokio::test]
async fn another_key_does_not_sign_what_was_recorded() {
    let prepared = prepare(admitted(None), &audiences(), FIVE_MINUTES, key().authority(), now()).unwrap();
    let recorded = Book::default().record_jwt(prepared).await.unwrap();
    let refused = sign(recorded, &key()).await;
    assert!(matches!(refused, Err(JwtIssuanceError::Signing { cause: JwtMintError::WrongKey { .. }, .. })), "{refused:?}");
}

#[test]
fn a_token_does_not_outlive_the_entry() {
    let ends = |seconds| {
        let end = now().plus(Duration::from_secs(seconds));
        let admitted = admitted_until(None, Some(end));
        let prepared = prepare(admitted, &audiences(), Duration::from_secs(300), key().authority(), now()).unwrap();
        prepared.intent.expires_at.since(now()).as_secs()
    };
    assert_eq!([ends(301), ends(300), ends(60), ends(1)], [300, 300, 60, 2]);
}
