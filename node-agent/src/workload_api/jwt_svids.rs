//! JWT-SVIDs for the callers of this node: asked for once, kept to half life, and used to their end while the CA is away.
//!
//! A token is kept under the entry that grants its identity and the whole set of its audiences. Who may have it is decided
//! before anything is looked up here, by the entry that the caller matches, so no key leads to another caller's token.

mod held;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use pki::{AudienceSet, JwtSvid, Timestamp, TrustBundle};
use runtime::clock::Clock;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::metrics::{JwtSource, WorkloadApiMetrics};
use crate::ca_client::{CallFault, JwtIssuer};
use crate::entry::{Entry, EntryId};
use crate::identities::{Held, HeldIdentity, IdentityState};
use held::{HeldTokens, Lookup};

/// How long a caller waits for a new token while the one at hand is still valid.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most calls to the CA at a time, in all and for one identity: audiences are the caller's choice, so anybody with an identity
/// can ask for ever new ones.
const MAX_CALLS: usize = 256;
const MAX_CALLS_PER_ENTRY: usize = 16;

/// One call to the CA, however many wait for it. It is made by those who wait, and ends with the last of them.
type Flight = Shared<BoxFuture<'static, Result<JwtSvid, CallFault>>>;
type Calls = HashMap<(EntryId, AudienceSet), WeakShared<BoxFuture<'static, Result<JwtSvid, CallFault>>>>;

/// The tokens of the node.
#[derive(Clone)]
pub(crate) struct JwtSvids {
    issuer: Arc<dyn JwtIssuer>,
    clock: Arc<dyn Clock>,
    metrics: WorkloadApiMetrics,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    held: HeldTokens,
    calls: Calls,
}

impl JwtSvids {
    pub(crate) fn new(issuer: Arc<dyn JwtIssuer>, clock: Arc<dyn Clock>, metrics: WorkloadApiMetrics) -> Self {
        Self { issuer, clock, metrics, inner: Arc::default() }
    }

    /// A token for an entry's identity and these audiences, valid now under this bundle.
    ///
    /// # Errors
    /// [`CallFault`] when there is none and the CA gives none.
    pub(crate) async fn get(
        &self,
        entry: &Arc<Entry>,
        audiences: &AudienceSet,
        bundle: &Arc<TrustBundle>,
    ) -> Result<JwtSvid, CallFault> {
        let now = self.now();
        let (at_hand, flight) = {
            let mut inner = self.lock();
            let at_hand = match inner.held.look_up(entry, audiences, bundle, now) {
                Lookup::Fresh(svid) => {
                    drop(inner);
                    self.metrics.jwt_svid(JwtSource::Cached);
                    return Ok(svid);
                }
                Lookup::PastHalfLife(svid) => Some(svid),
                Lookup::Absent => None,
            };
            (at_hand, self.join_or_start(&mut inner.calls, entry, audiences))
        };
        let asked = async {
            match flight {
                Ok(flight) => flight.await,
                Err(full) => Err(full),
            }
        };
        let outcome = match &at_hand {
            None => asked.await,
            Some(_) => tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(CallFault::Deadline(PATIENCE))),
        };
        match (outcome, at_hand) {
            (Ok(svid), _) => {
                self.metrics.jwt_svid(JwtSource::Issued);
                Ok(svid)
            }
            // A CA that refuses means it: only its absence is bridged.
            (Err(CallFault::Unavailable(_) | CallFault::Busy { .. } | CallFault::Deadline(_)), Some(svid))
                if self.now() < svid.expires_at() =>
            {
                self.metrics.jwt_svid(JwtSource::Kept);
                Ok(svid)
            }
            (Err(fault), _) => Err(fault),
        }
    }

    /// Drops the tokens of entries that grant nothing any more, whenever there are such, until the shutdown.
    ///
    /// # Errors
    /// None; the type is what tasks have.
    pub(crate) async fn follow(
        self,
        mut held: watch::Receiver<Arc<Held>>,
        shutdown: Shutdown,
    ) -> Result<(), std::convert::Infallible> {
        loop {
            tokio::select! {
                () = shutdown.fired() => return Ok(()),
                changed = held.changed() => if changed.is_err() {
                    return Ok(());
                },
            }
            let now = Arc::clone(&held.borrow_and_update());
            if now.knowledge.is_any() {
                let grants = |identity: &&HeldIdentity| !matches!(identity.state, IdentityState::Revoked);
                let granting = now.identities.iter().filter(grants).map(|identity| &identity.entry.id).collect();
                self.keep_only(&granting);
            }
        }
    }

    fn keep_only(&self, granting: &BTreeSet<&EntryId>) {
        let mut inner = self.lock();
        let before = inner.held.len();
        inner.held.keep_only(granting);
        let left = inner.held.len();
        drop(inner);
        if left < before {
            self.metrics.jwt_svids_held(left);
        }
    }

    /// How many tokens are held.
    pub(crate) fn held(&self) -> usize {
        self.lock().held.len()
    }

    fn join_or_start(&self, calls: &mut Calls, entry: &Arc<Entry>, audiences: &AudienceSet) -> Result<Flight, CallFault> {
        let key = (entry.id.clone(), audiences.clone());
        if let Some(flight) = calls.get(&key).and_then(WeakShared::upgrade) {
            return Ok(flight);
        }
        calls.retain(|_, call| call.upgrade().is_some());
        let of_entry = calls.keys().filter(|(id, _)| *id == entry.id).count();
        if calls.len() >= MAX_CALLS || of_entry >= MAX_CALLS_PER_ENTRY {
            return Err(CallFault::Unavailable(format!(
                "too many JWT-SVIDs are being asked for at the moment ({of_entry} of {})",
                entry.spiffe_id
            )));
        }
        let flight = self.clone().ask(Arc::clone(entry), audiences.clone()).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            calls.insert(key, weak);
        }
        Ok(flight)
    }

    /// Asks the CA, and keeps what it answers.
    async fn ask(self, entry: Arc<Entry>, audiences: AudienceSet) -> Result<JwtSvid, CallFault> {
        let answer = self.issuer.issue_jwt(Arc::clone(&entry), audiences.clone()).await;
        let mut inner = self.lock();
        inner.calls.remove(&(entry.id.clone(), audiences.clone()));
        match &answer {
            Ok(svid) => {
                inner.held.keep(&entry, audiences, svid.clone(), self.now());
                let held = inner.held.len();
                drop(inner);
                self.metrics.jwt_svids_held(held);
            }
            Err(fault) => {
                drop(inner);
                tracing::warn!(id = %entry.spiffe_id, entry = %entry.id, %fault, "no JWT-SVID could be fetched");
            }
        }
        answer
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// A panic while the lock was held left whole values behind: each is put in place by one call.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
