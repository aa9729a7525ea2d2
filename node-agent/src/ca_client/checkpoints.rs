//! What the agent keeps of the CA's audit chain: the newest checkpoint, each taken only when it continues the one kept. So the one kept
//! speaks for all that were told since the first, and a CA whose history was changed cannot make the agent forget it.
//!
//! [`judge`] is pure.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use identity::TrustDomain;
use pki::Timestamp;
use pki::checkpoint::{Checkpoint, SignedCheckpoint};
use proto::v1;

use super::node::NodeClient;
use crate::metrics::Alarm;

/// The most checkpoints of one message.
const MAX_AT_ONCE: usize = 1024;

/// A checkpoint that contradicts what is kept, or is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCheckpoint {
    /// What came, when it is a checkpoint at all.
    pub checkpoint: Option<Box<SignedCheckpoint>>,
    /// What is wrong with it.
    pub why: String,
}

impl RefusedCheckpoint {
    /// For people, with what to do.
    pub(crate) fn warning(&self) -> String {
        format!(
            "a checkpoint of the CA's audit chain was refused: {}. The CA's store was put back from a backup, or its history was \
             changed; show `signet agent checkpoint` to whoever audits the CA (docs/audit.md)",
            self.why
        )
    }
}

/// What to keep from now on; `None`: what is kept.
///
/// # Errors
/// [`RefusedCheckpoint`]: nothing of what came is taken.
pub fn judge(
    kept: Option<&SignedCheckpoint>,
    offered: Vec<v1::AuditCheckpoint>,
    trust_domain: &TrustDomain,
) -> Result<Option<SignedCheckpoint>, RefusedCheckpoint> {
    let refused = |checkpoint, why: String| Err(RefusedCheckpoint { checkpoint, why });
    if offered.len() > MAX_AT_ONCE {
        return refused(None, format!("{} checkpoints came at once, at most {MAX_AT_ONCE} are taken", offered.len()));
    }
    let mut at: Option<SignedCheckpoint> = kept.cloned();
    for message in offered {
        let next = read(message).map_err(|why| RefusedCheckpoint { checkpoint: None, why })?;
        if next.checkpoint().trust_domain != *trust_domain {
            return refused(None, format!("it is of trust domain {}", next.checkpoint().trust_domain));
        }
        match &at {
            Some(at) if at.digest() == next.digest() => {}
            Some(at) => {
                if let Some(why) = contradiction(at, &next) {
                    return refused(Some(Box::new(next)), why);
                }
            }
            None => {}
        }
        at = Some(next);
    }
    Ok(at.filter(|at| kept.is_none_or(|kept| kept.digest() != at.digest())))
}

/// Why `next` does not come after `at`.
fn contradiction(at: &SignedCheckpoint, next: &SignedCheckpoint) -> Option<String> {
    let (kept, came) = (at.checkpoint(), next.checkpoint());
    let (sequence, time) = (kept.sequence, kept.time);
    if next.key_id() != at.key_id() {
        let (key, former) = (HEXLOWER.encode(&next.key_id()), HEXLOWER.encode(&at.key_id()));
        return Some(format!("it is under the key {key}, those before were under {former}"));
    }
    if came.sequence < sequence {
        return Some(format!(
            "it goes back: it covers events up to {}, the one of {time} that is kept goes up to {sequence}",
            came.sequence
        ));
    }
    if came.sequence == sequence {
        let what = if came.head == kept.head { "made anew" } else { "over another event" };
        return Some(format!("it is {what}: the one of {time} that is kept says otherwise of event {sequence}"));
    }
    (came.previous != *at.digest()).then(|| {
        format!("it does not continue the one of {time} over event {sequence} that is kept: another history came before it")
    })
}

fn read(message: v1::AuditCheckpoint) -> Result<SignedCheckpoint, String> {
    let v1::AuditCheckpoint { trust_domain, sequence, head, time, previous, public_key, signature } = message;
    let digest = |bytes: Vec<u8>| bytes.try_into().map_err(|_| "a digest in it is not 32 bytes long".to_owned());
    let time = time.and_then(|time| u64::try_from(time.seconds).ok()).ok_or("it has no time")?;
    let checkpoint = Checkpoint {
        trust_domain: TrustDomain::parse(&trust_domain).map_err(|error| error.to_string())?,
        sequence,
        head: digest(head)?,
        time: Timestamp::from_unix_seconds(time),
        previous: digest(previous)?,
    };
    SignedCheckpoint::verified(checkpoint, &public_key, signature).map_err(|error| error.to_string())
}

/// As it goes over the wire.
#[must_use]
pub fn to_wire(signed: &SignedCheckpoint) -> v1::AuditCheckpoint {
    let Checkpoint { trust_domain, sequence, head, time, previous } = signed.checkpoint();
    v1::AuditCheckpoint {
        trust_domain: trust_domain.to_string(),
        sequence: *sequence,
        head: head.to_vec(),
        time: Some(std::time::SystemTime::from(*time).into()),
        previous: previous.to_vec(),
        public_key: signed.public_key().spki_der().to_vec(),
        signature: signed.signature().to_vec(),
    }
}

impl NodeClient {
    /// What this agent keeps, as its hello tells.
    pub(super) fn kept_checkpoint(&self) -> Option<v1::AuditCheckpoint> {
        self.status.borrow().checkpoint.as_deref().map(to_wire)
    }

    /// Keeps what continues, on disk before in memory; tells of what does not, and keeps that as evidence.
    pub(super) async fn take_checkpoints(&mut self, offered: v1::AuditCheckpoints) {
        let v1::AuditCheckpoints { checkpoints } = offered;
        let kept = self.status.borrow().checkpoint.clone();
        match judge(kept.as_deref(), checkpoints, &self.settings.trust_domain) {
            Ok(None) => {}
            Ok(Some(newer)) => {
                if kept.is_none() {
                    let key = HEXLOWER.encode(&newer.key_id());
                    tracing::info!(
                        sequence = newer.checkpoint().sequence,
                        key,
                        "the first checkpoint of the CA's audit chain is kept"
                    );
                }
                self.store_checkpoint(Arc::new(newer)).await;
            }
            Err(refused) => {
                self.settings.metrics.alarm(Alarm::CheckpointRefused);
                tracing::error!(
                    why = refused.why,
                    kept = kept.as_deref().map(SignedCheckpoint::to_json),
                    came = refused.checkpoint.as_deref().map(SignedCheckpoint::to_json),
                    "the CA sent a checkpoint of its audit chain that contradicts the one kept: its history was changed, or its store put \
                     back from a backup; both are kept"
                );
                self.keep_evidence(Arc::new(refused)).await;
            }
        }
        self.publish_health();
    }
}

#[cfg(test)]
mod tests {
    use pki::checkpoint::{CheckpointKey, NO_CHECKPOINT};
    use pki::{KeyAlgorithm, PrivateKey};

    use super::*;

    fn domain() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn key() -> CheckpointKey {
        CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
    }

    fn signed(key: &CheckpointKey, sequence: u64, head: u8, previous: [u8; 32]) -> SignedCheckpoint {
        let time = Timestamp::from_unix_seconds(1_800_000_000 + sequence);
        key.sign(Checkpoint { trust_domain: domain(), sequence, head: [head; 32], time, previous }).unwrap()
    }

    fn judged(kept: Option<&SignedCheckpoint>, offered: &[&SignedCheckpoint]) -> Result<Option<u64>, String> {
        let offered = offered.iter().map(|checkpoint| to_wire(checkpoint)).collect();
        let judged = judge(kept, offered, &domain());
        judged.map(|newer| newer.map(|newer| newer.checkpoint().sequence)).map_err(|refused| refused.why)
    }

    #[test]
    fn what_continues_is_taken_however_many_were_missed() {
        let key = key();
        let one = signed(&key, 10, 1, NO_CHECKPOINT);
        let two = signed(&key, 20, 2, *one.digest());
        let three = signed(&key, 30, 3, *two.digest());
        assert_eq!(judged(None, &[&two]), Ok(Some(20)), "the first is taken as it is");
        assert_eq!(judged(None, &[]), Ok(None));
        assert_eq!(judged(Some(&one), &[&two]), Ok(Some(20)));
        assert_eq!(judged(Some(&one), &[&two, &three]), Ok(Some(30)));
        assert_eq!(judged(Some(&two), &[&two]), Ok(None));
        assert_eq!(judged(Some(&two), &[&two, &three]), Ok(Some(30)));
    }

    #[test]
    fn what_goes_back_or_contradicts_is_refused_whole_with_the_reason() {
        let (key, other) = (key(), key());
        let one = signed(&key, 10, 1, NO_CHECKPOINT);
        let two = signed(&key, 20, 2, *one.digest());
        let three = signed(&key, 30, 3, *two.digest());
        let refused = |kept, offered: &[&SignedCheckpoint], words: &str| {
            let why = judged(Some(kept), offered).unwrap_err();
            assert!(why.contains(words), "{why}");
        };
        refused(&two, &[&one], "goes back");
        refused(&one, &[&three], "does not continue");
        refused(&one, &[&two, &one], "goes back");
        refused(&two, &[&signed(&key, 20, 9, *one.digest())], "over another event");
        refused(&two, &[&signed(&key, 20, 2, [7; 32])], "made anew");
        refused(&two, &[&signed(&key, 30, 3, [7; 32])], "does not continue");
        refused(&two, &[&signed(&other, 30, 3, *two.digest())], "under the key");
    }

    #[test]
    fn what_is_no_checkpoint_of_this_trust_domain_is_refused() {
        let key = key();
        let one = signed(&key, 10, 1, NO_CHECKPOINT);
        let why = |change: &dyn Fn(&mut v1::AuditCheckpoint)| {
            let mut message = to_wire(&one);
            change(&mut message);
            judge(None, vec![message], &domain()).unwrap_err().why
        };
        assert!(judge(None, vec![to_wire(&one)], &domain()).is_ok());
        assert!(why(&|message| message.sequence += 1).contains("signature"));
        assert!(why(&|message| message.head.clear()).contains("digest"));
        assert!(why(&|message| message.time = None).contains("time"));
        let elsewhere = TrustDomain::parse("other.org").unwrap();
        assert!(judge(None, vec![to_wire(&one)], &elsewhere).unwrap_err().why.contains("example.org"));
        let many = vec![to_wire(&one); MAX_AT_ONCE + 1];
        assert!(judge(None, many, &domain()).is_err());
    }
}
