//! What a replica signs for another one that has no key of the root.

use identity::ReplicaName;
use pki::{PrivateKey, ReplicaByte, build_request};

use super::*;
use crate::store::{Fence, IssuerRequest};

/// What this replica signs by, and another replica that asks.
struct Pair {
    _bed: Bed,
    store: Arc<dyn Store>,
    materials: Materials,
    root: Authority,
    now: Timestamp,
    other: Fence,
}

impl Pair {
    async fn new() -> Self {
        let bed = Bed::new("").await;
        let (store, mut journal, materials) = bed.open(&Steps::logged()).await;
        enrol(&mut journal, &materials, bed.now()).await.unwrap();
        open_issuer(&mut journal, &materials, bed.now()).await.unwrap();
        let root = journal.state().active(AuthorityKind::Root).unwrap().clone();
        let now = bed.now();
        let other = registered(&store, "other", 77, now).await;
        Self { _bed: bed, store, materials, root, now, other }
    }

    /// Asks by this request.
    async fn ask(&self, csr_der: Vec<u8>) -> IssuerRequest {
        let request =
            IssuerRequest { name: name("issuer-9"), replica: self.other.replica.clone(), root: self.root.name, csr_der };
        self.store.ask_issuer(self.other.clone(), request.clone(), self.now).await.unwrap();
        request
    }

    async fn events(&self) -> usize {
        self.store.audit_after(0, 10_000).await.unwrap().len()
    }
}

async fn registered(store: &Arc<dyn Store>, replica: &str, byte: u8, now: Timestamp) -> Fence {
    let replica = ReplicaName::parse(replica).unwrap();
    let serial_byte = ReplicaByte::new(byte).unwrap();
    let registration =
        Registration { replica: replica.clone(), serial_byte, address: "other:8443".to_owned(), instance: [byte; 32] };
    let epoch = store.register(registration, None, now).await.unwrap();
    Fence { replica, epoch, lead: None }
}

fn request_of(key: &PrivateKey) -> Vec<u8> {
    build_request(key, None).unwrap()
}

#[tokio::test]
async fn another_replicas_issuing_ca_is_signed_for_a_key_that_it_proves_and_under_its_root_alone() {
    let pair = Pair::new().await;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let mut unproved = request_of(&key);
    *unproved.last_mut().unwrap() ^= 1;
    let before = pair.events().await;
    let unproved = pair.ask(unproved).await;
    let refused = pair.materials.sign_for_replica(&unproved, &pair.root, pair.now).await;
    assert!(matches!(refused, Err(MaterialError::Replica(_))), "{refused:?}");
    assert_eq!(pair.store.issuer_answer(unproved).await.unwrap(), None);

    let asked = pair.ask(request_of(&key)).await;
    let mut another = pair.root.clone();
    another.material.as_mut().unwrap().key = [9; 32];
    let refused = pair.materials.sign_for_replica(&asked, &another, pair.now).await;
    assert!(matches!(refused, Err(MaterialError::Another { .. })), "{refused:?}");
    assert_eq!((pair.store.issuer_answer(asked.clone()).await.unwrap(), pair.events().await), (None, before));

    pair.materials.sign_for_replica(&asked, &pair.root, pair.now).await.unwrap();
    let signed = Certificate::from_der(&pair.store.issuer_answer(asked).await.unwrap().unwrap()).unwrap();
    assert_eq!(signed.public_key(), key.public_key());
    assert!(pair.events().await > before, "it is on record");
}

#[tokio::test]
async fn a_request_that_a_third_replica_has_claimed_is_not_signed_a_second_time() {
    let pair = Pair::new().await;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let asked = pair.ask(request_of(&key)).await;
    let third = registered(&pair.store, "third", 78, pair.now).await;
    assert!(pair.store.claim_issuer(third.clone(), asked.clone()).await.unwrap());
    let before = pair.events().await;
    pair.materials.sign_for_replica(&asked, &pair.root, pair.now).await.unwrap();
    assert_eq!(pair.events().await, before, "no certificate is signed that nobody takes");
    pair.store.answer_issuer(third, asked.clone(), vec![1]).await.unwrap();
    assert_eq!(pair.store.issuer_answer(asked).await.unwrap(), Some(vec![1]));
}
