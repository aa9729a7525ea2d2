//! The task that keeps what this process holds, and takes the lead when nobody has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::ReplicaName;
use pki::Timestamp;
use runtime::clock::{Clock, Ticker};
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::Company;
use super::watched::Watched;
use crate::store::{Fence, LeaseError, ReplicaRecord, Store, StoreError};

/// Between two beats.
const PERIOD: Duration = Duration::from_secs(1);
/// Beats that may be missed before agents are sent to other replicas: more than a transaction that stands still holds up everybody's.
const MISSED: u32 = 6;

/// Keeps the leases of this process.
pub(crate) struct LeaseKeeper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    fence: watch::Sender<Fence>,
    lead: Watched,
    watched: BTreeMap<ReplicaName, Watched>,
    others: watch::Sender<Company>,
    fault: Option<String>,
    /// Beats in a row that the store did not take.
    missed: u32,
}

/// Why the task ended, and the process with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    /// Another process is this replica by now.
    #[error("{0}; this process ends, since two must not be one replica")]
    Fenced(StoreError),
    /// No timer.
    #[error("the kernel gives no timer: {0}")]
    Timer(#[from] std::io::Error),
}

impl LeaseKeeper {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        fence: watch::Sender<Fence>,
        others: watch::Sender<Company>,
    ) -> Self {
        Self { store, clock, fence, lead: Watched::default(), watched: BTreeMap::new(), others, fault: None, missed: 0 }
    }

    /// Works until the end. In a store that this process has to itself there is nothing to keep.
    ///
    /// `cut_off`: told each second whether this replica is cut off from the store while others may not be: whoever is connected here would
    /// hear nothing, and is better served there. A store that leaves a question open for as long is as far away as one that says so.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub(crate) async fn run(mut self, cut_off: impl Fn(bool) + Send + Sync, shutdown: Shutdown) -> Result<(), KeeperError> {
        let mut ticker = Ticker::new(PERIOD)?;
        let company = self.others.subscribe();
        let tell = |missed: u32| cut_off(missed >= MISSED && !company.borrow().live.is_empty());
        loop {
            tokio::select! {
                // Either order is fine: what is held is given up after all tasks have ended.
                () = shutdown.fired() => return Ok(()),
                woken = ticker.tick() => { woken?; }
            }
            if !self.store.is_shared() {
                continue;
            }
            let before = self.missed;
            let (outcome, missed) = tokio::select! {
                () = shutdown.fired() => return Ok(()),
                answered = answered(self.turn(), &mut ticker, before, &tell) => answered?,
            };
            self.judge(outcome, missed)?;
            tell(self.missed);
        }
    }

    /// What became of a turn before whose answer so many beats in a row were missed.
    fn judge(&mut self, outcome: Result<(), StoreError>, missed: u32) -> Result<(), KeeperError> {
        match outcome {
            Ok(()) => (self.fault, self.missed) = (None, 0),
            Err(error @ StoreError::Fenced { .. }) => return Err(KeeperError::Fenced(error)),
            Err(error) => {
                // Once for each text: each second it is tried again.
                let text = error.to_string();
                if self.fault.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "the leases of this replica are not kept: another one may take the lead");
                }
                self.fault = Some(text);
                self.missed = missed.saturating_add(1);
            }
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let fence = self.fence.borrow().clone();
        let held = self.store.beat(fence.clone(), self.now()).await?;
        if held != fence.lead {
            tracing::warn!("another replica leads from now on");
            self.hold(held);
        }
        self.look_at_others(&fence.replica).await?;
        if held.is_none() { self.take_lead().await } else { Ok(()) }
    }

    /// Who has taken its leave, or is silent, is not waited for.
    async fn look_at_others(&mut self, own: &ReplicaName) -> Result<(), StoreError> {
        let boot = self.clock.boottime();
        let mut company = Company::default();
        for ReplicaRecord { name, lease, .. } in self.store.replicas().await? {
            let is_silent = self.watched.entry(name.clone()).or_default().look(&lease, boot).is_some();
            if name == *own {
                continue;
            }
            if lease.instance.is_some() && !is_silent {
                company.live.insert(name);
            } else {
                company.gone.insert(name, lease);
            }
        }
        self.watched.retain(|name, _| name == own || company.live.contains(name) || company.gone.contains_key(name));
        self.others.send_if_modified(|others| {
            let is_news = *others != company;
            if others.live != company.live {
                let names: Vec<_> = company.live.iter().map(ReplicaName::as_str).collect();
                tracing::info!(replicas = names.join(", "), "other replicas that live");
            }
            *others = company;
            is_news
        });
        Ok(())
    }

    async fn take_lead(&mut self) -> Result<(), StoreError> {
        let silent = match self.store.lead().await? {
            Some(lease) if lease.instance.is_some() => match self.lead.look(&lease, self.clock.boottime()) {
                Some(silent) => Some(silent),
                None => return Ok(()),
            },
            Some(_) | None => None,
        };
        let fence = self.fence.borrow().clone();
        match self.store.take_lead(fence, silent, self.now()).await {
            Ok(epoch) => {
                tracing::info!(epoch, "this replica leads from now on");
                self.hold(Some(epoch));
                Ok(())
            }
            // Somebody was faster, or lives after all.
            Err(LeaseError::Held { .. } | LeaseError::Byte { .. }) => Ok(()),
            Err(LeaseError::Store(error)) => Err(error),
        }
    }

    fn hold(&self, lead: Option<u64>) {
        self.fence.send_modify(|fence| fence.lead = lead);
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}

/// Waits for a turn, and tells after each second of it how many beats were missed by then; with its outcome the last of these.
async fn answered(
    turn: impl Future<Output = Result<(), StoreError>>,
    ticker: &mut Ticker,
    mut missed: u32,
    tell: &(impl Fn(u32) + Sync),
) -> std::io::Result<(Result<(), StoreError>, u32)> {
    tokio::pin!(turn);
    loop {
        tokio::select! {
            // A turn that was answered counts, whatever else is so by then.
            biased;
            outcome = &mut turn => return Ok((outcome, missed)),
            woken = ticker.tick() => {
                woken?;
                missed = missed.saturating_add(1);
                tell(missed);
            }
        }
    }
}
