//! What is kept: each object is looked at, and written if it is not what it should be.
//!
//! A write makes what is not there, or names the UID and the version of what was judged. Whether this replica leads is looked at once more before
//! each, so that one that has lost the lead does not put back an older bundle.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubernetes::config_maps::ConfigMapWrite;
use kubernetes::webhooks::{MutatingWebhooks, ValidatingWebhooks};
use kubernetes::{ApiError, KubernetesClient, ObjectVersion};
use pki::{Sha256Digest, TrustBundle};
use runtime::clock::Clock;
use tokio::sync::watch;

use super::contents::{Content, Contents};
use super::metrics::{Deed, TrustMetrics};
use super::names::{FIELD_MANAGER, LABEL, MapKind, Target};
use super::plan::{MapAction, is_behind, plan_map};
use super::standing::Standing;
use super::troubles::Troubles;
use super::world::World;
use crate::cluster_objects::healing::Healing;
use crate::cluster_objects::queue::{Key, Outcome, QueueLengths};
use crate::cluster_objects::reconciler::KeptObjects;
use crate::config::WebhookName;
use crate::replicas::Tenure;
use crate::revocation::Published;

/// The time for one call to the API server.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most bytes of a file: an object of more than 1 MiB is taken by no API server.
const MAX_FILE_BYTES: usize = 1_000_000;
/// What a server says of an object that is none by its rules (RFC 9110 section 15.5.21).
const UNPROCESSABLE: u16 = 422;

/// The objects by which others learn whom to trust. One for the process.
pub(crate) struct TrustObjects {
    pub(super) world: World,
    pub(super) client: KubernetesClient,
    pub(super) tenure: Tenure,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: TrustMetrics,
    pub(super) troubles: Troubles,
    pub(super) healing: Healing,
    /// What each was last written with.
    pub(super) written: Mutex<HashMap<Key, Sha256Digest>>,
    pub(super) contents: Contents,
    pub(super) standing: Standing,
    pub(super) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(super) lists: watch::Receiver<Arc<Published>>,
    pub(super) seen: Mutex<Seen>,
}

/// What was last looked at of what all objects depend on.
pub(super) struct Seen {
    pub(super) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(super) lists: watch::Receiver<Arc<Published>>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("it was written again and again within minutes, and somebody undoes it: the next time in {wait:?}")]
    Undone { wait: Duration },
    #[error("{bytes} bytes are more than a ConfigMap takes ({MAX_FILE_BYTES}): what is there stays")]
    TooLarge { bytes: usize },
}

impl TrustObjects {
    /// What a ConfigMap should hold now; `None`: nothing.
    pub(super) fn wanted(&self, kind: MapKind) -> Option<Arc<Content>> {
        let bundle = Arc::clone(&self.bundle.borrow());
        match kind {
            MapKind::Roots => Some(self.contents.roots(&bundle)),
            MapKind::Lists => {
                let lists = Arc::clone(&self.lists.borrow());
                // A verifier that has lists, and not one of each CA, refuses everybody (docs/revocation.md).
                let is_whole = lists.is_for(&bundle) && lists.set.complete_at(self.clock.now().into());
                is_whole.then(|| self.contents.lists(&lists))
            }
        }
    }

    async fn map(&self, key: &Key, kind: MapKind, namespace: &str) -> Result<(), Fault> {
        let Some((is_chosen, seen)) = self.world.map(kind, namespace) else { return Ok(()) };
        let wanted = self.wanted(kind);
        if kind == MapKind::Lists && wanted.is_none() && !self.lists_are_known() {
            return Ok(());
        }
        let digest = wanted.as_ref().map(|content| content.digest);
        let action = plan_map(is_chosen, seen.as_ref(), digest.as_ref());
        if action == MapAction::Nothing {
            return Ok(());
        }
        if let Some(bytes) = wanted.as_ref().map(|content| content.text.len()).filter(|bytes| *bytes > MAX_FILE_BYTES) {
            return Err(Fault::TooLarge { bytes });
        }
        self.pause_before_healing(key, digest)?;
        let (name, file) = (kind.name(), (kind.file(), wanted.as_ref().map_or("", |content| content.text.as_str())));
        let write = ConfigMapWrite { manager: FIELD_MANAGER, namespace, name, label: LABEL, file };
        let (deed, done) = match action {
            MapAction::Nothing => return Ok(()),
            MapAction::Create => {
                let done = self.client.create_config_map(&write, DEADLINE).await;
                self.troubles.called("create configmaps", &done);
                (Deed::Create, done.map(drop))
            }
            MapAction::Apply(at) => {
                let done = self.client.apply_config_map(&write, &at, DEADLINE).await;
                self.troubles.called("patch configmaps", &done);
                let is_none = matches!(&done, Err(ApiError::Refused { status: UNPROCESSABLE, .. }));
                // By something in it that is not ours.
                if is_none { self.delete(&write, &at).await } else { (Deed::Apply, done.map(drop)) }
            }
            MapAction::RemoveFile(at) => {
                let named = (namespace, name, kind.file());
                let done = self.client.remove_config_map_file(FIELD_MANAGER, named, &at, DEADLINE).await;
                self.troubles.called("patch configmaps", &done);
                (Deed::Apply, done.map(drop))
            }
            MapAction::Delete(at) => self.delete(&write, &at).await,
        };
        self.metrics.done(deed, done.is_ok());
        done?;
        self.wrote(key, digest);
        Ok(())
    }

    async fn delete(&self, write: &ConfigMapWrite<'_>, at: &ObjectVersion) -> (Deed, Result<(), ApiError>) {
        let done = self.client.delete_config_map(write.namespace, write.name, at, DEADLINE).await;
        self.troubles.called("delete configmaps", &done);
        (Deed::Delete, done)
    }

    async fn webhook(&self, key: &Key, name: &WebhookName) -> Result<(), Fault> {
        let Some(Some(seen)) = self.world.webhooks(name) else { return Ok(()) };
        let bundle = Arc::clone(&self.bundle.borrow());
        let content = self.contents.roots(&bundle);
        let (roots, digest) = (content.text.as_str(), content.digest);
        if !is_behind(&seen, &digest) {
            return Ok(());
        }
        self.pause_before_healing(key, Some(digest))?;
        let webhooks: Vec<_> = seen.webhooks.iter().map(|(webhook, _)| webhook.clone()).collect();
        let named = (name.name.as_str(), webhooks.as_slice());
        let done = if name.is_mutating {
            let done =
                self.client.apply_ca_bundle::<MutatingWebhooks>(FIELD_MANAGER, named, roots, &seen.version, DEADLINE).await;
            self.troubles.called("patch mutatingwebhookconfigurations", &done);
            done
        } else {
            let done =
                self.client.apply_ca_bundle::<ValidatingWebhooks>(FIELD_MANAGER, named, roots, &seen.version, DEADLINE).await;
            self.troubles.called("patch validatingwebhookconfigurations", &done);
            done
        };
        self.metrics.done(Deed::Apply, done.is_ok());
        done?;
        self.wrote(key, Some(digest));
        Ok(())
    }

    /// Lists come a moment after the bundle that they verify under.
    pub(super) fn lists_are_known(&self) -> bool {
        let bundle = Arc::clone(&self.bundle.borrow());
        self.lists.borrow().is_for(&bundle)
    }

    fn pause_before_healing(&self, key: &Key, wanted: Option<Sha256Digest>) -> Result<(), Fault> {
        let last = self.written.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        if last.is_none() || last != wanted {
            // Something new is to be said.
            return Ok(());
        }
        let wait = self.healing.pause(key, self.clock.boottime());
        if wait.is_zero() { Ok(()) } else { Err(Fault::Undone { wait }) }
    }

    fn wrote(&self, key: &Key, what: Option<Sha256Digest>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let before = what.and_then(|what| written.insert(key.clone(), what));
        if before != what {
            self.healing.forget(key);
        }
        self.healing.wrote(key, self.clock.boottime());
    }

    fn outcome(&self, key: &Key, done: Result<(), Fault>) -> Outcome {
        match done {
            Ok(()) => {
                self.troubles.clear(key);
                Outcome::Settled { due: None }
            }
            // What is known is not what is there, and it will be heard of.
            Err(Fault::Api(ApiError::Conflict { .. })) => Outcome::Failed { after: None },
            // The namespace goes, or has gone; that will be heard of too.
            Err(Fault::Api(error)) if error.is_of_ending_namespace() || error.is_not_found() => {
                self.troubles.clear(key);
                Outcome::Stuck
            }
            Err(fault) => {
                self.troubles.set(key, fault.to_string());
                let after = match fault {
                    Fault::Undone { wait } => Some(wait),
                    Fault::Api(error) => error.retry_after(),
                    Fault::TooLarge { .. } => return Outcome::Stuck,
                };
                Outcome::Failed { after }
            }
        }
    }
}

impl KeptObjects for TrustObjects {
    fn keys(&self) -> BTreeSet<Key> {
        self.world.keys()
    }

    fn take_changes(&self) -> BTreeSet<Key> {
        self.world.take_changes()
    }

    fn take_sweep(&self) -> BTreeSet<Key> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // An error: nothing changes any more.
        if seen.bundle.has_changed().unwrap_or_default() {
            let sequence = seen.bundle.borrow_and_update().sequence();
            let keys = self.world.keys();
            tracing::info!(sequence, objects = keys.len(), "the trust bundle has changed: objects that show it are looked at");
            return keys;
        }
        if self.world.has(MapKind::Lists) && seen.lists.has_changed().unwrap_or_default() {
            drop(seen.lists.borrow_and_update());
            return self.world.keys_of(MapKind::Lists);
        }
        BTreeSet::new()
    }

    async fn changed(&self) {
        self.world.changed().await;
    }

    async fn look_at(&self, key: &Key) -> Outcome {
        let Some(target) = Target::of(key) else { return Outcome::Settled { due: None } };
        if self.tenure.fence().lead.is_none() {
            return Outcome::Settled { due: None };
        }
        let done = match &target {
            Target::Map(kind, namespace) => self.map(key, *kind, namespace).await,
            Target::Webhook(name) => self.webhook(key, name).await,
        };
        self.outcome(key, done)
    }

    fn show(&self, lengths: QueueLengths) {
        self.metrics.queue(lengths);
        self.observe();
    }
}
