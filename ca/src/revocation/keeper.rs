//! The task that keeps the lists: signs what is due, takes in what is made elsewhere, and publishes all of it together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::TrustDomain;
use pki::{BundleError, LeafProfile, RevocationList, Sha256Digest, Timestamp, TrustBundle};
use runtime::clock::{Clock, Ticker};
use runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};

use super::authorities::{Listed, Signer, listed};
use super::published::Published;
use super::{Revocation, Revoked};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{AuthorityName, Lifecycle};
use crate::config::RevocationConfig;
use crate::issuance_clock::IssuanceClock;
use crate::rotation::{ListSlot, MaterialError, Materials, RotationView};
use crate::store::{Store, StoreError};

const PERIOD: Duration = Duration::from_secs(1);
/// Ticks between two looks at everything while nothing has changed: dates, and files that are made elsewhere.
const LOOK_EVERY: u64 = 15;
/// How often lists that change meanwhile are read anew before the next look.
const TRIES: u32 = 5;
/// How long somebody who waits for lists does so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who waits until everything that is due for these authorities is signed.
pub(crate) struct Settle {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) answer: oneshot::Sender<Vec<(AuthorityName, String)>>,
}

/// What the task is made of.
pub(crate) struct KeeperParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) profile: LeafProfile,
    pub(crate) config: RevocationConfig,
    /// The directory that root and issuing CA come from, when somebody else fills it.
    pub(crate) plugged_in: Option<PathBuf>,
    pub(crate) materials: Materials,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) view: watch::Receiver<Arc<RotationView>>,
    pub(crate) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) issuance_clock: Arc<IssuanceClock>,
}

/// Why lists stay as they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Material(#[from] MaterialError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// What is held of the lists of one CA.
pub(super) struct Held {
    /// The highest that was to be signed.
    pub(super) number: u64,
    pub(super) list: Option<RevocationList>,
}

/// Why a list is not signed, and when the next try is, by the time since boot.
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) retry_at: Duration,
}

/// The task.
pub(crate) struct Keeper {
    pub(super) parts: KeeperParts,
    revoked: watch::Receiver<Arc<Revoked>>,
    settles: mpsc::Receiver<Settle>,
    pub(super) published: watch::Sender<Arc<Published>>,
    /// Of each CA that ever signed one here.
    pub(super) held: HashMap<Sha256Digest, Held>,
    pub(super) faults: HashMap<Sha256Digest, Fault>,
    /// What went wrong as a whole, as it was logged.
    fault: Option<String>,
    /// The lifecycle that was looked at last.
    seen: Arc<Lifecycle>,
}

/// Everything that a look stands on.
pub(super) struct Ground<'a> {
    pub(super) now: Timestamp,
    pub(super) lifecycle: &'a Lifecycle,
    /// What everybody has.
    pub(super) bundle: Arc<TrustBundle>,
    /// With the roots that will come with the next one: their lists are there before.
    pub(super) vouching: TrustBundle,
    pub(super) authority: Arc<SigningAuthority>,
    pub(super) cas: Vec<Listed>,
    pub(super) revocations: Vec<Revocation>,
}

impl Keeper {
    /// Over the lists that were signed before; where they go, and how others ask for them.
    pub(crate) fn new(parts: KeeperParts) -> (Self, watch::Receiver<Arc<Published>>, mpsc::Sender<Settle>) {
        let (ask, settles) = mpsc::channel(8);
        let (published, receiver) = watch::channel(Arc::new(Published::nothing(&parts.bundle.borrow())));
        let revoked = parts.store.revoked();
        let seen = Arc::clone(&parts.view.borrow().lifecycle);
        let (held, faults) = (HashMap::new(), HashMap::new());
        (Self { parts, revoked, settles, published, held, faults, fault: None, seen }, receiver, ask)
    }

    /// Looks once, before anybody is served. The agents of other replicas are told of an issuing CA that is new to them, or was without a
    /// list for long, with the list that their verifiers want of it.
    pub(crate) async fn begin(&mut self) {
        let lifecycle = Arc::clone(&self.parts.view.borrow_and_update().lifecycle);
        self.look(&lifecycle).await;
    }

    /// Works until the end.
    ///
    /// # Errors
    /// No timer.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> std::io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let mut tick: u64 = 0;
        loop {
            let lifecycle = Arc::clone(&self.parts.view.borrow_and_update().lifecycle);
            self.look(&lifecycle).await;
            loop {
                tokio::select! {
                    // Whichever comes first: each look takes in everything that has changed until then.
                    () = shutdown.fired() => return Ok(()),
                    woken = ticker.tick() => {
                        woken?;
                        tick += 1;
                        if tick.is_multiple_of(LOOK_EVERY) { break; }
                    }
                    changed = self.revoked.changed() => if changed.is_ok() { break },
                    changed = self.parts.bundle.changed() => if changed.is_ok() { break },
                    changed = self.parts.authority.changed() => if changed.is_ok() { break },
                    changed = self.parts.view.changed() => {
                        // It is shown each second; only another lifecycle matters here.
                        if changed.is_ok() && self.parts.view.borrow_and_update().lifecycle != self.seen { break; }
                    }
                    Some(Settle { lifecycle, answer }) = self.settles.recv() => {
                        self.faults.clear();
                        self.look(&lifecycle).await;
                        // Whoever asked may be gone.
                        drop(answer.send(self.unsigned(&lifecycle)));
                    }
                }
            }
        }
    }

    /// The authorities whose list could not be signed.
    fn unsigned(&self, lifecycle: &Lifecycle) -> Vec<(AuthorityName, String)> {
        let of_key = |key: &Sha256Digest| {
            let is_it = |authority: &&crate::authority::lifecycle::Authority| {
                authority.material.as_ref().is_some_and(|material| material.key == *key)
            };
            lifecycle.authorities().find(is_it).map(|authority| authority.name)
        };
        let whole = self.fault.iter().flat_map(|text| lifecycle.authorities().map(|authority| (authority.name, text.clone())));
        let each = self.faults.iter().filter_map(|(key, fault)| Some((of_key(key)?, fault.text.clone())));
        whole.chain(each).collect()
    }

    /// Looks at everything once: signs what is due, and publishes what has changed.
    async fn look(&mut self, lifecycle: &Arc<Lifecycle>) {
        self.seen = Arc::clone(lifecycle);
        let fault = self.keep(lifecycle).await.err().map(|error| error.to_string());
        // Once for each text.
        if let Some(error) = fault.as_ref().filter(|fault| self.fault.as_ref() != Some(*fault)) {
            tracing::error!(error, "revocation lists stay as they are");
        }
        self.fault = fault;
    }

    async fn keep(&mut self, lifecycle: &Lifecycle) -> Result<(), KeepError> {
        // What changes after these marks wakes the task again.
        self.revoked.mark_unchanged();
        let bundle = Arc::clone(&self.parts.bundle.borrow_and_update());
        let authority = Arc::clone(&self.parts.authority.borrow_and_update());
        let now = Timestamp::from(self.parts.clock.now());
        let plugged_in = self.parts.plugged_in.as_ref().map(|_| &*authority);
        let cas = listed(lifecycle, plugged_in, &bundle, now)?;
        let mut roots = bundle.authorities().to_vec();
        let coming =
            cas.iter().filter(|ca| matches!(ca.signer, Signer::Root(_)) && !bundle.authorities().contains(&ca.certificate));
        roots.extend(coming.map(|ca| ca.certificate.clone()));
        let vouching = TrustBundle::new(self.parts.trust_domain.clone(), roots, 0)?;
        let revocations = self.parts.store.revocations(now).await?;
        let ground = Ground { now, lifecycle, bundle, vouching, authority, cas, revocations };
        let mut tries = 0;
        loop {
            self.take_in_stored(&ground).await?;
            self.sign_what_is_due(&ground).await;
            match self.publish(&ground).await {
                // Another replica kept a later list meanwhile.
                Err(KeepError::Store(StoreError::Changed { .. })) if tries < TRIES => tries += 1,
                published => return published,
            }
        }
    }
}

/// How others have the lists of their authorities signed.
pub(crate) struct Lists(pub(crate) mpsc::Sender<Settle>);

impl ListSlot for Lists {
    fn settle<'a>(&'a self, lifecycle: &'a Arc<Lifecycle>) -> BoxFuture<'a, Result<Vec<(AuthorityName, String)>, String>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let ask = Settle { lifecycle: Arc::clone(lifecycle), answer };
            let settled = async {
                self.0.send(ask).await.ok()?;
                answered.await.ok()
            };
            match tokio::time::timeout(PATIENCE, settled).await {
                Ok(Some(unsigned)) => Ok(unsigned),
                Ok(None) => Err("whoever signs revocation lists has ended".to_owned()),
                Err(_) => Err(format!("revocation lists were not signed within {PATIENCE:?}")),
            }
        })
    }
}
