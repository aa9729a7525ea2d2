//! Checkpoints of the audit chain: making them, and judging those that agents show.
//!
//! Before a checkpoint is signed, the events since the last one are walked: a chain that does not continue what was signed for is not
//! signed for again. An agent that shows a checkpoint under our key which the store does not have proves that another history was signed
//! for: the store was put back from a backup, or rebuilt. Certificates are issued all the same (an outage of the whole fleet would not
//! undo it), but no further checkpoint is signed until an operator has acknowledged it: agents keep the newest, and a newer one of this
//! history would take the place of the evidence.

mod key;
pub(crate) mod metrics;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::{NodeName, TrustDomain};
use pki::checkpoint::{Checkpoint, CheckpointKey, NO_CHECKPOINT, SignedCheckpoint};
use pki::{Sha256Digest, Timestamp};
use runtime::clock::{Clock, Ticker};
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use crate::audit::{Actor, ChainHead, CheckpointSchedule, StoredCheckpoint};
use crate::audit_walk::{ContinuationError, continuation};
use crate::replicas::Tenure;
use crate::store::{Fork, Forks, Store, StoreError};
use metrics::{AuditAlarm, CheckpointMetrics};

/// How often it is looked whether one is due.
const PERIOD: Duration = Duration::from_secs(1);

/// How long after a chain was found broken it is walked again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The newest checkpoint, and each later one.
pub(crate) type Newest = watch::Receiver<Option<Arc<SignedCheckpoint>>>;

/// What an agent is known to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// One that the store has.
    Ours {
        /// The event that it covers.
        sequence: u64,
        /// Its digest.
        digest: Sha256Digest,
    },
    /// One that the store does not have.
    Foreign,
}

/// What the desk is made of.
pub(crate) struct CheckpointParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) key: CheckpointKey,
    pub(crate) schedule: CheckpointSchedule,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: CheckpointMetrics,
    pub(crate) tenure: Tenure,
}

/// Makes checkpoints and judges them. One for the process.
pub(crate) struct CheckpointDesk {
    parts: CheckpointParts,
    newest: watch::Sender<Option<Arc<SignedCheckpoint>>>,
    alarms: Mutex<Alarms>,
}

#[derive(Default)]
struct Alarms {
    forks: Vec<Fork>,
    acknowledged: BTreeSet<Sha256Digest>,
    /// What the last agent showed that is not ours.
    not_ours: Option<String>,
    chain: Option<String>,
    /// The newest checkpoint of the store counts for nothing, so none can continue it.
    unlinkable: bool,
}

impl CheckpointDesk {
    /// Takes up where the store is.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub(crate) async fn open(parts: CheckpointParts) -> Result<Arc<Self>, StoreError> {
        let mut alarms = Alarms::default();
        let newest = match parts.store.last_checkpoint().await? {
            None => None,
            Some(StoredCheckpoint { content: Ok(newest), .. }) => {
                if newest.key_id() != parts.key.id() && !parts.store.is_shared() {
                    tracing::warn!(
                        former = HEXLOWER.encode(&newest.key_id()),
                        now = HEXLOWER.encode(&parts.key.id()),
                        "checkpoints of the audit chain are under another key from now on: every agent will tell of it"
                    );
                }
                parts.metrics.made(&newest);
                Some(Arc::new(newest))
            }
            Some(StoredCheckpoint { sequence, content: Err(why) }) => {
                alarms.unlinkable = true;
                alarms.chain = Some(format!("the newest checkpoint in the store, over event {sequence}, does not count: {why}"));
                parts.metrics.alarm(AuditAlarm::ChainBroken);
                None
            }
        };
        let desk = Self { parts, newest: watch::Sender::new(newest), alarms: Mutex::new(alarms) };
        desk.read_forks().await?;
        Ok(Arc::new(desk))
    }

    /// The name of the key that signs.
    pub(crate) fn key_id(&self) -> Sha256Digest {
        self.parts.key.id()
    }

    /// The newest checkpoint, and each later one. It is in the store before it is here.
    pub(crate) fn newest(&self) -> Newest {
        self.newest.subscribe()
    }

    /// What an operator should look into; empty when all is well.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let alarms = self.alarms();
        let mut warnings = Vec::new();
        if let Some(why) = &alarms.chain {
            warnings.push(format!("the audit chain is broken, no checkpoint is signed over it: {why} (`signet audit verify`)"));
        }
        if let Some(Fork { node, checkpoint, found_at }) = alarms.forks.first() {
            let Checkpoint { sequence, time, .. } = checkpoint.checkpoint();
            warnings.push(format!(
                "the agent of {node} keeps a checkpoint of {time} over audit event {sequence} that this store does not have (shown at \
                 {found_at}, {} such in all): the store was put back from a backup, or rebuilt. No checkpoint is signed until an \
                 operator has looked into it: docs/audit.md, then `signet audit acknowledge-fork`",
                alarms.forks.len()
            ));
        }
        warnings.extend(alarms.not_ours.clone());
        warnings
    }

    /// Judges what an agent keeps, as it says in its hello.
    pub(crate) async fn judge(&self, node: &NodeName, shown: Option<Result<SignedCheckpoint, String>>) -> Kept {
        let shown = match shown {
            None => return Kept::Nothing,
            Some(Err(why)) => {
                self.not_ours(format!("the agent of {node} keeps a checkpoint of the audit chain that does not count: {why}"));
                return Kept::Foreign;
            }
            Some(Ok(shown)) => shown,
        };
        match self.judged(node, &shown).await {
            Ok(kept) => kept,
            Err(error) => {
                // The agent shows it again at its next stream.
                tracing::warn!(%node, %error, "what an agent keeps of the audit chain could not be judged");
                Kept::Foreign
            }
        }
    }

    /// Takes what agents showed for looked into; checkpoints are made again.
    ///
    /// # Errors
    /// [`StoreError`], [`StoreError::NotFound`] among them.
    pub(crate) async fn acknowledge(&self, actor: Actor, now: Timestamp) -> Result<u32, StoreError> {
        let acknowledged = self.parts.store.acknowledge_forks(actor, now).await?;
        self.read_forks().await?;
        Ok(acknowledged)
    }

    /// Makes checkpoints until the end.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let (mut made_at, mut not_before) = (None, Duration::ZERO);
        loop {
            let now = self.parts.clock.boottime();
            if now >= not_before {
                match self.make_if_due(made_at, now).await {
                    Ok(true) => made_at = Some(now),
                    Ok(false) => {}
                    Err(fault) => {
                        self.fault(fault);
                        not_before = now.saturating_add(AGAIN_AFTER.min(self.parts.schedule.interval));
                    }
                }
            }
            tokio::select! {
                // Either order is fine: what is not covered at the end is covered by the first checkpoint of the next run.
                () = shutdown.fired() => return Ok(()),
                woken = ticker.tick() => { woken?; }
            }
        }
    }

    async fn make_if_due(&self, made_at: Option<Duration>, now: Duration) -> Result<bool, MakingError> {
        let CheckpointParts { trust_domain, key, schedule, store, clock, metrics, tenure: _ } = &self.parts;
        {
            let alarms = self.alarms();
            if alarms.unlinkable || !alarms.forks.is_empty() {
                return Ok(false);
            }
        }
        if self.is_made_by_another().await? {
            return Ok(false);
        }
        let newest = self.newest.borrow().clone();
        let covered = newest.as_ref().map_or(ChainHead::EMPTY, |newest| {
            let Checkpoint { sequence, head, .. } = *newest.checkpoint();
            ChainHead { sequence, hash: head }
        });
        let head = store.chain_head().await.map_err(ContinuationError::Store)?;
        let went_on = head.sequence > covered.sequence || head == covered;
        if went_on && !schedule.is_due(covered.sequence, made_at, head.sequence, now) {
            return Ok(false);
        }
        let head = continuation(&**store, covered).await?;
        self.alarms().chain = None;
        let signed = key.sign(Checkpoint {
            trust_domain: trust_domain.clone(),
            sequence: head.sequence,
            head: head.hash,
            time: clock.now().into(),
            previous: newest.as_ref().map_or(NO_CHECKPOINT, |newest| *newest.digest()),
        })?;
        store.record_checkpoint(signed.clone()).await.map_err(ContinuationError::Store)?;
        metrics.made(&signed);
        self.newest.send_replace(Some(Arc::new(signed)));
        Ok(true)
    }

    /// Agents keep checkpoints under one key and refuse another one. Of replicas the one goes on that made the newest; the others pass on what
    /// it makes, and before there is any the one makes it that leads.
    async fn is_made_by_another(&self) -> Result<bool, MakingError> {
        let CheckpointParts { key, store, metrics, tenure, .. } = &self.parts;
        if !store.is_shared() {
            return Ok(false);
        }
        let newest = match store.last_checkpoint().await.map_err(ContinuationError::Store)? {
            Some(StoredCheckpoint { content: Ok(newest), .. }) => newest,
            Some(_) => return Ok(false),
            None => return Ok(tenure.fence().lead.is_none()),
        };
        let instances = store.replicas().await.map_err(ContinuationError::Store)?.into_iter();
        // Of a replica that was taken out nobody has the key: one goes on, and agents tell of another key as they always do.
        let is_nobodys = instances.map(|replica| replica.instance).all(|instance| instance != newest.key_id());
        let is_anothers = newest.key_id() != key.id() && (!is_nobodys || tenure.fence().lead.is_none());
        if self.newest.borrow().as_ref().is_none_or(|known| known.digest() != newest.digest()) {
            metrics.made(&newest);
            self.newest.send_replace(Some(Arc::new(newest)));
        }
        Ok(is_anothers)
    }

    fn fault(&self, fault: MakingError) {
        let text = fault.to_string();
        match fault {
            MakingError::Chain(ContinuationError::Chain(_)) => {
                tracing::error!(fault = text, "the audit chain is broken: no checkpoint is signed over it");
                self.parts.metrics.alarm(AuditAlarm::ChainBroken);
                self.alarms().chain = Some(text);
            }
            MakingError::Chain(ContinuationError::Store(_)) | MakingError::Key(_) => {
                tracing::warn!(error = text, "a checkpoint of the audit chain could not be made; it is tried again");
                self.parts.metrics.alarm(AuditAlarm::NotMade);
            }
        }
    }

    async fn judged(&self, node: &NodeName, shown: &SignedCheckpoint) -> Result<Kept, StoreError> {
        let CheckpointParts { trust_domain, key, store, clock, metrics, .. } = &self.parts;
        let Checkpoint { trust_domain: theirs, sequence, time, .. } = shown.checkpoint();
        let stored = store.checkpoints(sequence.saturating_sub(1), *sequence, 1).await?;
        let ours = stored.iter().filter_map(|stored| stored.content.as_ref().ok()).any(|ours| ours.digest() == shown.digest());
        if ours {
            return Ok(Kept::Ours { sequence: *sequence, digest: *shown.digest() });
        }
        if shown.key_id() != key.id() || theirs != trust_domain {
            self.not_ours(format!(
                "the agent of {node} keeps a checkpoint of {theirs} of {time} under the key {}, which this CA does not have: its state \
                 directory was made anew or replaced, or the agent was another CA's (docs/audit.md)",
                HEXLOWER.encode(&shown.key_id())
            ));
            return Ok(Kept::Foreign);
        }
        if self.alarms().acknowledged.contains(shown.digest()) {
            return Ok(Kept::Foreign);
        }
        let now = Timestamp::from(clock.now());
        if store.record_fork(node.clone(), shown.clone(), now).await? {
            tracing::error!(
                %node, sequence, made_at = %time,
                "an agent keeps a checkpoint of the audit chain that this store does not have: it was put back from a backup, or rebuilt"
            );
        }
        metrics.alarm(AuditAlarm::Fork);
        self.read_forks().await?;
        Ok(Kept::Foreign)
    }

    async fn read_forks(&self) -> Result<(), StoreError> {
        let Forks { open: forks, acknowledged } = self.parts.store.forks().await?;
        self.parts.metrics.forks(forks.len());
        let mut alarms = self.alarms();
        alarms.forks = forks;
        alarms.acknowledged = acknowledged.into_iter().collect();
        Ok(())
    }

    fn not_ours(&self, what: String) {
        tracing::error!(what, "an agent keeps a checkpoint that is not this CA's");
        self.parts.metrics.alarm(AuditAlarm::NotOurs);
        self.alarms().not_ours = Some(what);
    }

    fn alarms(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a checkpoint that is due is not made.
#[derive(Debug, thiserror::Error)]
enum MakingError {
    #[error(transparent)]
    Chain(#[from] ContinuationError),
    #[error("the key does not sign: {0}")]
    Key(#[from] pki::KeyError),
}

#[cfg(test)]
mod tests;
