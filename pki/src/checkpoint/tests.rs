use proptest::prelude::*;

use super::*;
use crate::KeyAlgorithm;

fn key() -> CheckpointKey {
    CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        sequence: 7,
        head: [1; 32],
        time: Timestamp::from_unix_seconds(1_800_000_000),
        previous: NO_CHECKPOINT,
    }
}

#[test]
fn a_checkpoint_comes_back_from_its_document_as_it_was() {
    let signed = key().sign(checkpoint()).unwrap();
    let back = SignedCheckpoint::from_json(signed.to_json().as_bytes()).unwrap();
    assert_eq!(back, signed);
    assert!(signed.to_json().len() < MAX_CHECKPOINT_BYTES);
    // What others add beside, such as an alarm, is not part of it.
    let more = signed.to_json().replacen('{', "{\"alarm\":null,", 1);
    assert_eq!(SignedCheckpoint::from_json(more.as_bytes()).unwrap(), signed);
}

#[test]
fn each_part_is_under_the_signature() {
    let signed = key().sign(checkpoint()).unwrap();
    let spki = signed.public_key().spki_der().to_vec();
    let verified = |checkpoint| SignedCheckpoint::verified(checkpoint, &spki, signed.signature().to_vec());
    assert_eq!(verified(checkpoint()).unwrap(), signed);
    let good = checkpoint;
    for changed in [
        Checkpoint { trust_domain: TrustDomain::parse("example.com").unwrap(), ..good() },
        Checkpoint { sequence: 8, ..good() },
        Checkpoint { head: [2; 32], ..good() },
        Checkpoint { time: Timestamp::from_unix_seconds(1_800_000_001), ..good() },
        Checkpoint { previous: [3; 32], ..good() },
    ] {
        assert_eq!(verified(changed.clone()), Err(CheckpointError::Signature), "{changed:?}");
    }
    let other = key().sign(checkpoint()).unwrap();
    let swapped = SignedCheckpoint::verified(checkpoint(), other.public_key().spki_der(), signed.signature().to_vec());
    assert_eq!(swapped, Err(CheckpointError::Signature));
}

#[test]
fn another_kind_of_key_or_document_is_refused() {
    let p384 = PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap();
    let spki = p384.public_key().spki_der().to_vec();
    assert!(matches!(SignedCheckpoint::verified(checkpoint(), &spki, vec![]), Err(CheckpointError::Algorithm { .. })));
    assert!(matches!(CheckpointKey::new(p384), Err(CheckpointError::Algorithm { .. })));
    let document = key().sign(checkpoint()).unwrap().to_json();
    let read = |text: &str| SignedCheckpoint::from_json(text.as_bytes());
    assert_eq!(read(&document.replace("checkpoint\":1", "checkpoint\":2")), Err(CheckpointError::Kind));
    assert_eq!(read("{}"), Err(CheckpointError::Kind));
    assert!(matches!(read("[]"), Err(CheckpointError::Json(_))));
    assert!(matches!(read(&document.replacen('{', "{\"sequence\":7,", 1)), Err(CheckpointError::Json(_))));
    for part in ["trust_domain", "sequence", "head", "time", "previous", "public_key", "signature"] {
        let without = document.replace(&format!("\"{part}\":"), "\"other\":");
        assert_eq!(read(&without), Err(CheckpointError::Part(part)));
    }
}

proptest! {
    /// No bytes make it panic.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        prop_assert!(SignedCheckpoint::from_json(text.as_bytes()).is_err());
    }
}
