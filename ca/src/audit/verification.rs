//! The whole log against itself and against checkpoints, page by page: the store's own, and those that were kept elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use identity::TrustDomain;
use pki::checkpoint::{NO_CHECKPOINT, SignedCheckpoint};
use pki::{Sha256Digest, Timestamp};

use super::{AuditFinding, AuditRecord, ChainHead, ChainWalk, CheckpointSource};

/// Findings that are kept; further ones are counted.
pub const MAX_FINDINGS: usize = 100;

/// A row of the store's checkpoints, which anybody may have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The event that it is stored under.
    pub sequence: u64,
    /// The checkpoint, or why the row holds none.
    pub content: Result<SignedCheckpoint, String>,
}

/// A checkpoint that was kept elsewhere, such as by an agent.
#[derive(Clone, Debug)]
pub struct ShownCheckpoint {
    /// Where it comes from, for people.
    pub source: String,
    /// What was kept.
    pub checkpoint: SignedCheckpoint,
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct AuditVerdict {
    /// How many events were walked.
    pub events: u64,
    /// The head that the store remembers.
    pub head: ChainHead,
    /// What is wrong; empty when all holds. The first [`MAX_FINDINGS`].
    pub findings: Vec<AuditFinding>,
    /// How many findings there are.
    pub findings_total: u64,
    /// How many checkpoints the store has.
    pub checkpoints: u64,
    /// The last event that a checkpoint of the store covers, and when that was made.
    pub covered: Option<(u64, Timestamp)>,
    /// The keys that signed the store's checkpoints.
    pub keys: BTreeSet<Sha256Digest>,
}

/// A verification under way. Feed it every event in order, with the checkpoints of the store that lie among them.
#[derive(Debug)]
pub struct Verification {
    /// `None` after a fault.
    walk: Option<ChainWalk>,
    head: ChainHead,
    events: u64,
    last: u64,
    keys_named: Vec<Sha256Digest>,
    trust_domain: Option<TrustDomain>,
    /// Those that were kept elsewhere and whose event has not come, by its sequence.
    shown: BTreeMap<u64, Vec<ShownCheckpoint>>,
    /// The digest of the store's checkpoint before.
    linked: Sha256Digest,
    checkpoints: u64,
    covered: Option<(u64, Timestamp)>,
    keys: BTreeSet<Sha256Digest>,
    findings: Vec<AuditFinding>,
    findings_total: u64,
}

impl Verification {
    /// Of a chain whose end should be `head`, against `shown`; with `keys_named`, no other key may have signed a checkpoint.
    #[must_use]
    pub fn new(head: ChainHead, shown: Vec<ShownCheckpoint>, keys_named: Vec<Sha256Digest>) -> Self {
        let mut by_sequence: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for shown in shown {
            by_sequence.entry(shown.checkpoint.checkpoint().sequence).or_default().push(shown);
        }
        Self {
            walk: Some(ChainWalk::new(head)),
            head,
            events: 0,
            last: 0,
            keys_named,
            trust_domain: None,
            shown: by_sequence,
            linked: NO_CHECKPOINT,
            checkpoints: 0,
            covered: None,
            keys: BTreeSet::new(),
            findings: Vec::new(),
            findings_total: 0,
        }
    }

    /// Takes the next events, and every checkpoint of the store over one of them or over an event that is missing among them.
    pub fn page(&mut self, events: &[AuditRecord], stored: &[StoredCheckpoint]) {
        let mut stored = stored.iter().peekable();
        for event in events {
            self.step(event);
            let mut found = None;
            while let Some(checkpoint) = stored.next_if(|checkpoint| checkpoint.sequence <= event.sequence) {
                self.stored(checkpoint, (checkpoint.sequence == event.sequence).then_some(event));
                found = checkpoint.content.as_ref().ok().filter(|_| checkpoint.sequence == event.sequence);
            }
            for shown in self.shown.remove(&event.sequence).unwrap_or_default() {
                self.compare(&shown, event, found);
            }
        }
        for checkpoint in stored {
            self.stored(checkpoint, None);
        }
    }

    /// How many events were walked.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Ends after the last event and the last checkpoint of the store.
    #[must_use]
    pub fn finish(mut self) -> AuditVerdict {
        if let Some(fault) = self.walk.take().and_then(|walk| walk.finish().err()) {
            self.found(fault.into());
        }
        let last = self.last;
        for (sequence, shown) in std::mem::take(&mut self.shown) {
            for ShownCheckpoint { source, checkpoint } in shown {
                let (source_name, time) = (CheckpointSource::Shown(source), checkpoint.checkpoint().time);
                self.judge_key(&checkpoint, &source_name);
                if sequence > last {
                    self.found(AuditFinding::EndsEarly { sequence, last, time, source_name });
                } else {
                    self.found(AuditFinding::NotStored { sequence, time, source_name });
                }
            }
        }
        let Self { head, events, checkpoints, covered, keys, findings, findings_total, .. } = self;
        AuditVerdict { events, head, findings, findings_total, checkpoints, covered, keys }
    }

    fn step(&mut self, event: &AuditRecord) {
        self.events += 1;
        self.last = event.sequence;
        if let Some(walk) = &mut self.walk
            && let Err(fault) = walk.step(event)
        {
            self.walk = None;
            self.found(fault.into());
        }
    }

    /// A checkpoint of the store, with the event that it names if that is there.
    fn stored(&mut self, row: &StoredCheckpoint, event: Option<&AuditRecord>) {
        let StoredCheckpoint { sequence, content } = row;
        self.checkpoints += 1;
        let signed = match content {
            Ok(signed) if signed.checkpoint().sequence == *sequence => signed,
            Ok(_) => return self.invalid(*sequence, "it is stored under another event than the one that it names"),
            Err(why) => return self.invalid(*sequence, why),
        };
        let linked = std::mem::replace(&mut self.linked, *signed.digest());
        if signed.checkpoint().previous != linked {
            self.found(AuditFinding::Unlinked { sequence: *sequence });
        }
        self.judge_key(signed, &CheckpointSource::Store);
        self.keys.insert(signed.key_id());
        let time = signed.checkpoint().time;
        match event {
            Some(event) if event.hash == signed.checkpoint().head => self.covered = Some((*sequence, time)),
            Some(_) => self.found(AuditFinding::Rebuilt { sequence: *sequence, time, source_name: CheckpointSource::Store }),
            None if *sequence > self.last => {
                let (sequence, last) = (*sequence, self.last);
                self.found(AuditFinding::EndsEarly { sequence, last, time, source_name: CheckpointSource::Store });
            }
            // The gap was told.
            None => {}
        }
    }

    fn invalid(&mut self, sequence: u64, why: &str) {
        self.found(AuditFinding::Invalid { sequence, why: why.to_owned() });
    }

    /// A checkpoint that was kept elsewhere, with the event that it names and the store's checkpoint over that.
    fn compare(&mut self, shown: &ShownCheckpoint, event: &AuditRecord, stored: Option<&SignedCheckpoint>) {
        let ShownCheckpoint { source, checkpoint } = shown;
        let source_name = CheckpointSource::Shown(source.clone());
        let (sequence, time) = (event.sequence, checkpoint.checkpoint().time);
        self.judge_key(checkpoint, &source_name);
        if checkpoint.checkpoint().head != event.hash {
            self.found(AuditFinding::Rebuilt { sequence, time, source_name });
        } else if stored.is_none_or(|stored| stored.digest() != checkpoint.digest()) {
            self.found(AuditFinding::NotStored { sequence, time, source_name });
        }
    }

    fn judge_key(&mut self, checkpoint: &SignedCheckpoint, source_name: &CheckpointSource) {
        let sequence = checkpoint.checkpoint().sequence;
        let key = checkpoint.key_id();
        if !self.keys_named.is_empty() && !self.keys_named.contains(&key) {
            self.found(AuditFinding::OtherKey { sequence, source_name: source_name.clone(), key });
        }
        let found = &checkpoint.checkpoint().trust_domain;
        let known = self.trust_domain.get_or_insert_with(|| found.clone());
        if known != found {
            let found = found.to_string();
            self.found(AuditFinding::OtherTrustDomain { sequence, source_name: source_name.clone(), found });
        }
    }

    fn found(&mut self, finding: AuditFinding) {
        self.findings_total += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
