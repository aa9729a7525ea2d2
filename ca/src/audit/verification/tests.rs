//! What rows of a store cannot show, since they are read and verified one by one before: a checkpoint under another event than its own,
//! and checkpoints of several trust domains. Everything else is tried over a real file, beside the store.

use pki::checkpoint::{Checkpoint, CheckpointKey};
use pki::{KeyAlgorithm, PrivateKey};

use super::*;

/// So many events, and a checkpoint of `example.org` over each of them, one continuing the other.
fn history(events: u64) -> (CheckpointKey, Vec<AuditRecord>, Vec<SignedCheckpoint>) {
    let key = CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
    let (mut head, mut previous) = (ChainHead::EMPTY, NO_CHECKPOINT);
    let (mut records, mut signed) = (Vec::new(), Vec::new());
    for number in 1..=events {
        let event = head.next(Timestamp::from_unix_seconds(number), "node_unbanned".to_owned(), "{}".to_owned());
        head = event.head();
        let checkpoint = sign(&key, "example.org", head, previous);
        previous = *checkpoint.digest();
        records.push(event);
        signed.push(checkpoint);
    }
    (key, records, signed)
}

fn sign(key: &CheckpointKey, trust_domain: &str, head: ChainHead, previous: Sha256Digest) -> SignedCheckpoint {
    let trust_domain = TrustDomain::parse(trust_domain).unwrap();
    let time = Timestamp::from_unix_seconds(head.sequence);
    key.sign(Checkpoint { trust_domain, sequence: head.sequence, head: head.hash, time, previous }).unwrap()
}

fn row(sequence: u64, checkpoint: &SignedCheckpoint) -> StoredCheckpoint {
    StoredCheckpoint { sequence, content: Ok(checkpoint.clone()) }
}

fn findings(events: &[AuditRecord], stored: &[StoredCheckpoint], shown: Vec<ShownCheckpoint>) -> Vec<AuditFinding> {
    let mut verification = Verification::new(events.last().unwrap().head(), shown, Vec::new());
    verification.page(events, stored);
    verification.finish().findings
}

#[test]
fn a_checkpoint_under_another_event_than_its_own_counts_for_nothing() {
    let (_, events, signed) = history(2);
    assert_eq!(findings(&events, &[row(1, &signed[0]), row(2, &signed[1])], vec![]), []);
    let moved = findings(&events, &[row(1, &signed[0]), row(2, &signed[0])], vec![]);
    assert!(
        matches!(moved.as_slice(), [AuditFinding::Invalid { sequence: 2, why }] if why.contains("another event")),
        "{moved:?}"
    );
}

#[test]
fn checkpoints_of_another_trust_domain_are_found_in_the_store_and_among_those_kept_elsewhere() {
    let (key, events, signed) = history(2);
    let foreign = sign(&key, "example.com", events[1].head(), *signed[0].digest());
    let found = findings(&events, &[row(1, &signed[0]), row(2, &foreign)], vec![]);
    let [AuditFinding::OtherTrustDomain { sequence: 2, source_name: CheckpointSource::Store, found }] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(found, "example.com");

    let stored = [row(1, &signed[0]), row(2, &signed[1])];
    let shown = |checkpoint: &SignedCheckpoint| ShownCheckpoint { source: "n1".to_owned(), checkpoint: checkpoint.clone() };
    assert_eq!(findings(&events, &stored, vec![shown(&signed[1])]), []);
    let found = findings(&events, &stored, vec![shown(&foreign)]);
    assert!(found.iter().any(|finding| matches!(finding, AuditFinding::OtherTrustDomain { sequence: 2, .. })), "{found:?}");
}
