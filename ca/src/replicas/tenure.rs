//! What this process holds, from its start on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::ReplicaName;
use pki::Timestamp;
use runtime::clock::{Clock, Ticker};
use tokio::sync::watch;

use super::Company;
use super::keeper::LeaseKeeper;
use super::watched::Watched;
use crate::issuance::{Intent, Ledger, LedgerError};
use crate::store::{Fence, Lease, LeaseError, LeaseName, Registration, Store, StoreError};

/// Between two looks at a lease that is awaited.
const PERIOD: Duration = Duration::from_secs(1);

/// What this process holds now. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    fence: watch::Receiver<Fence>,
    others: watch::Receiver<Company>,
}

/// Why this process is no replica.
#[derive(Debug, thiserror::Error)]
pub enum TenureError {
    /// A process that lives is it.
    #[error(
        "the replica {0} is run by another process, with another state directory: give this one a name (`replica`) and a `replica_byte` of \
         its own, or stop that one first"
    )]
    Taken(ReplicaName),
    /// Its issuing CA comes from elsewhere.
    #[error(
        "[authority] directory and [upstream] are for a CA that has its database to itself, and other replicas run on this one: give it a database \
         of its own"
    )]
    NotAlone,
    /// The store refuses it.
    #[error(transparent)]
    Refused(LeaseError),
    /// No timer.
    #[error("the kernel gives no timer: {0}")]
    Timer(#[from] std::io::Error),
}

impl From<LeaseError> for TenureError {
    fn from(error: LeaseError) -> Self {
        Self::Refused(error)
    }
}

impl Tenure {
    /// Makes this process the replica that it is configured to be, and takes the lead if nobody has it. Where another process was that replica
    /// and is silent, its silence is waited out.
    ///
    /// # Errors
    /// [`TenureError`].
    pub(crate) async fn begin(
        store: &Arc<dyn Store>,
        registration: Registration,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Self, LeaseKeeper), TenureError> {
        let replica = registration.replica.clone();
        let epoch = register(store, registration, clock).await?;
        let mut fence = Fence { replica, epoch, lead: None };
        fence.lead = match store.take_lead(fence.clone(), None, Timestamp::from(clock.now())).await {
            Ok(epoch) => Some(epoch),
            Err(LeaseError::Held { lease, .. }) => {
                tracing::info!(leader = %lease.replica, "another replica leads");
                None
            }
            Err(error) => return Err(error.into()),
        };
        // Until their silence was heard, all live that did not take their leave.
        let mut company = Company::default();
        for other in store.replicas().await.map_err(LeaseError::from)?.into_iter().filter(|other| other.name != fence.replica) {
            if other.lease.instance.is_some() {
                company.live.insert(other.name);
            } else {
                company.gone.insert(other.name, other.lease);
            }
        }
        let (others, heard) = watch::channel(company);
        let (sender, receiver) = watch::channel(fence);
        let keeper = LeaseKeeper::new(Arc::clone(store), Arc::clone(clock), sender, others);
        Ok((Self { fence: receiver, others: heard }, keeper))
    }

    /// Of a test that keeps nothing.
    #[cfg(test)]
    pub(crate) fn fixed(replica: &str) -> Self {
        let fence = Fence { replica: ReplicaName::parse(replica).unwrap(), epoch: 1, lead: Some(1) };
        Self { fence: watch::channel(fence).1, others: watch::channel(Company::default()).1 }
    }

    /// What a write has to name.
    pub(crate) fn fence(&self) -> Fence {
        self.fence.borrow().clone()
    }

    /// The other replicas that live.
    pub(crate) fn others(&self) -> BTreeSet<ReplicaName> {
        self.others.borrow().live.clone()
    }

    /// The other replicas behind which nobody is, with their leases.
    pub(crate) fn gone(&self) -> BTreeMap<ReplicaName, Lease> {
        self.others.borrow().gone.clone()
    }

    /// Lets others take at once what this process holds, at its end.
    ///
    /// # Errors
    /// [`StoreError`]: others wait until the silence is over.
    pub(crate) async fn end(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.give_up(self.fence()).await
    }
}

async fn register(store: &Arc<dyn Store>, registration: Registration, clock: &Arc<dyn Clock>) -> Result<u64, TenureError> {
    let mut watched = Watched::default();
    let mut silent = None;
    let mut ticker = Ticker::new(PERIOD)?;
    loop {
        let now = Timestamp::from(clock.now());
        match store.register(registration.clone(), silent.take(), now).await {
            Ok(epoch) => return Ok(epoch),
            Err(LeaseError::Held { name: LeaseName::Replica(name), lease }) => {
                if watched.has_moved(&lease) {
                    return Err(TenureError::Taken(name));
                }
                silent = watched.look(&lease, clock.boottime());
                if silent.is_none() {
                    tracing::warn!(replica = %name, "another process was this replica; waiting whether it is gone");
                    ticker.tick().await?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The ledger for certificates of authorities: nothing is recorded, and so nothing signed, once another process has what this one held.
pub(crate) struct FencedLedger<'a> {
    pub(crate) store: &'a dyn Store,
    /// `None` for a tool that works offline with the root's key: it moves no authority.
    pub(crate) fence: Option<Fence>,
}

impl Ledger for FencedLedger<'_> {
    fn persist(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        match &self.fence {
            Some(fence) => self.store.persist_fenced(fence.clone(), intent),
            None => self.store.persist(intent),
        }
    }
}
