//! The newest checkpoint of the CA's audit chain, and one that contradicted it: each a document that `signet audit verify` reads.

use pki::checkpoint::{MAX_CHECKPOINT_BYTES, SignedCheckpoint};
use runtime::private_files::{self, Overwrite};
use serde_json::{Map, Value};

use super::{StateDir, StateError};
use crate::ca_client::RefusedCheckpoint;

const KEPT: &str = "audit-checkpoint.json";
const EVIDENCE: &str = "audit-alarm.json";

/// Beside the checkpoint there is a line of text.
const MAX_EVIDENCE_BYTES: usize = MAX_CHECKPOINT_BYTES + 4096;

impl StateDir {
    /// The checkpoint that is kept.
    ///
    /// # Errors
    /// What is wrong with the file: whoever damaged it, it is told and not silently replaced.
    pub(crate) fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, String> {
        let path = self.path.join(KEPT);
        if !path.exists() {
            return Ok(None);
        }
        let read = private_files::read_private(&path, MAX_CHECKPOINT_BYTES).map_err(|error| error.to_string());
        let read = read.and_then(|bytes| SignedCheckpoint::from_json(&bytes).map_err(|error| error.to_string()));
        read.map(Some).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Keeps a checkpoint in the place of the one before.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses; the one before then stays.
    pub(crate) fn store_checkpoint(&self, checkpoint: &SignedCheckpoint) -> Result<(), StateError> {
        let text = format!("{}\n", checkpoint.to_json());
        Ok(private_files::write_private(&self.path.join(KEPT), text.as_bytes(), Overwrite::Replace)?)
    }

    /// What contradicted the one kept, if anything did and nobody took the file away.
    pub(crate) fn evidence(&self) -> Option<RefusedCheckpoint> {
        let path = self.path.join(EVIDENCE);
        if !path.exists() {
            return None;
        }
        let unreadable = |why: String| RefusedCheckpoint { checkpoint: None, why: format!("{}: {why}", path.display()) };
        Some(match private_files::read_private(&path, MAX_EVIDENCE_BYTES) {
            Ok(bytes) => {
                let document: Option<Map<String, Value>> = serde_json::from_slice(&bytes).ok();
                let why = document.as_ref().and_then(|document| document.get("why")).and_then(Value::as_str);
                match why {
                    Some(why) => RefusedCheckpoint {
                        checkpoint: SignedCheckpoint::from_json(&bytes).ok().map(Box::new),
                        why: why.to_owned(),
                    },
                    None => unreadable("it does not say what was wrong".to_owned()),
                }
            }
            Err(error) => unreadable(error.to_string()),
        })
    }

    /// Keeps what contradicted, unless something that did so before is kept already.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses.
    pub(crate) fn store_evidence(&self, refused: &RefusedCheckpoint) -> Result<(), StateError> {
        let path = self.path.join(EVIDENCE);
        if path.exists() {
            return Ok(());
        }
        let RefusedCheckpoint { checkpoint, why } = refused;
        let document = checkpoint.as_ref().and_then(|checkpoint| serde_json::from_str(&checkpoint.to_json()).ok());
        let mut document: Map<String, Value> = document.unwrap_or_default();
        document.insert("why".to_owned(), Value::String(why.clone()));
        let text = format!("{}\n", Value::Object(document));
        Ok(private_files::write_private(&path, text.as_bytes(), Overwrite::Refuse)?)
    }
}

#[cfg(test)]
mod tests {
    use identity::TrustDomain;
    use pki::checkpoint::{Checkpoint, CheckpointKey, NO_CHECKPOINT};
    use pki::{KeyAlgorithm, PrivateKey, Timestamp};

    use super::*;

    #[test]
    fn what_is_kept_comes_back_damage_is_told_and_the_first_evidence_stays() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        assert_eq!((state.checkpoint(), state.evidence()), (Ok(None), None));
        let key = CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
        let signed = |sequence| {
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            let time = Timestamp::from_unix_seconds(1_800_000_000);
            key.sign(Checkpoint { trust_domain, sequence, head: [1; 32], time, previous: NO_CHECKPOINT }).unwrap()
        };
        for sequence in [7, 8] {
            state.store_checkpoint(&signed(sequence)).unwrap();
            assert_eq!(state.checkpoint().unwrap().unwrap().checkpoint().sequence, sequence);
        }
        let first = RefusedCheckpoint { checkpoint: Some(Box::new(signed(3))), why: "it goes back".to_owned() };
        state.store_evidence(&first).unwrap();
        state.store_evidence(&RefusedCheckpoint { checkpoint: None, why: "another".to_owned() }).unwrap();
        assert_eq!(state.evidence(), Some(first.clone()));
        // An auditor may use the evidence like any checkpoint.
        let bytes = std::fs::read(directory.path().join("state").join(EVIDENCE)).unwrap();
        assert_eq!(SignedCheckpoint::from_json(&bytes).ok().map(Box::new), first.checkpoint);
        std::fs::write(directory.path().join("state").join(KEPT), "{}").unwrap();
        assert!(state.checkpoint().unwrap_err().contains(KEPT));
        std::fs::write(directory.path().join("state").join(EVIDENCE), "{}").unwrap();
        assert!(state.evidence().unwrap().why.contains(EVIDENCE), "it does not go unseen");
    }
}
