//! The node's standing with the CA, kept up by one task: attest, connect, renew, come back.
//!
//! [`Lifecycle`] decides; this shell connects, asks, persists and publishes. Only three things end it: the end of the agent, a
//! CA whose root is not the pinned one, and a join token that cannot be used (both need an operator, and trying on would send
//! the same token to the same refusal).

mod failure;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use identity::{NodeName, SystemIdentity, TrustDomain};
use pki::checkpoint::SignedCheckpoint;
use pki::{PrivateKey, Sha256Digest, Timestamp, TrustBundle, X509Svid};
use runtime::clock::{Clock, Tick, Ticker};
use runtime::entropy::{self, Entropy};
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use super::addresses::CaAddresses;
use super::anchor::AnchorWatch;
use super::checkpoints::RefusedCheckpoint;
use super::connection::{self, CaConnection};
use super::fault::CallFault;
use super::issuer::CaIssuer;
use super::lifecycle::{Action, Failure, Lifecycle, Standing, Validity};
use super::progress::ProgressTeller;
use super::rebootstrap::{NewTrust, RebootstrapDoor, RebootstrapNote, RebootstrapOrder};
use super::trust::warn_of_lapses;
use super::view::{EntryKnowledge, NodeView};
use crate::config::{FirstProof, FirstTrust};
use crate::metrics::{AgentMetrics, AttestationMethod};
use crate::state::{StateDir, StoredSvid};
use crate::token::JoinToken;
pub use failure::NodeFailure;
use stored::{stored_checkpoint, stored_entries, stored_foreign, stored_revocation};

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(250);

/// What the node needs from outside.
pub(crate) struct NodeSettings {
    pub(crate) ca: CaAddresses,
    pub(crate) trust_domain: TrustDomain,
    /// The pin, when that is how the CA is first trusted.
    pub(crate) pin: Option<Sha256Digest>,
    /// How the node proves itself the first time.
    pub(crate) first_proof: Option<FirstProof>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: AgentMetrics,
}

/// What others may know of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeStatus {
    pub(crate) svid: Option<Arc<X509Svid>>,
    /// Whether the sync stream is up.
    pub(crate) connected: bool,
    /// What is wrong now, for people.
    pub(crate) trouble: Option<String>,
    /// What of the node's state is not on disk, and why.
    pub(crate) unstored: Option<String>,
    /// What is wrong with the file by which the CA was first trusted.
    pub(crate) anchor: Option<String>,
    /// The newest checkpoint of the CA's audit chain.
    pub(crate) checkpoint: Option<Arc<SignedCheckpoint>>,
    /// One that contradicted it; stays until an operator takes the file away.
    pub(crate) refused_checkpoint: Option<Arc<RefusedCheckpoint>>,
}

/// The task that keeps the node's standing.
pub(crate) struct NodeClient {
    pub(super) settings: NodeSettings,
    pub(super) state: Arc<StateDir>,
    pub(super) node_key: Arc<PrivateKey>,
    pub(super) lifecycle: Lifecycle,
    /// The SVID held. It may have lapsed: [`Lifecycle`] says whether it may be shown.
    pub(super) svid: Option<Arc<X509Svid>>,
    /// The join token, once it was read; gone as soon as it was redeemed.
    pub(super) token: Option<JoinToken>,
    /// The hash of the last token that was redeemed or refused: it is not tried again by a node that the CA has forgotten.
    pub(super) token_tried: Option<Sha256Digest>,
    /// The same for the leaf of a certificate.
    pub(super) certificate_tried: Option<Sha256Digest>,
    pub(super) view: watch::Sender<Arc<NodeView>>,
    pub(super) channel: watch::Sender<Option<Channel>>,
    pub(super) status: watch::Sender<NodeStatus>,
    pub(super) refusals: mpsc::Receiver<CallFault>,
    refusals_in: mpsc::Sender<CallFault>,
    pub(super) ticker: Ticker,
    /// Time since boot from which on what could not be stored is tried again.
    pub(super) store_again_at: Option<Duration>,
    /// Time since boot when entries came that are not stored yet.
    pub(super) entries_unstored_since: Option<Duration>,
    /// Time since boot when the node was last in step with the CA.
    pub(super) in_step_at: Duration,
    pub(super) progress: ProgressTeller,
    /// Whom the configuration has a node trust that has no bundle.
    pub(super) first_trust: Option<FirstTrust>,
    /// What is trusted in the bundle's place, until the node has attested under it.
    pub(super) anew: Option<NewTrust>,
    /// What the CA is to hear about that.
    pub(super) note: Option<RebootstrapNote>,
    door: RebootstrapDoor,
    orders: mpsc::Receiver<RebootstrapOrder>,
}

impl NodeClient {
    /// Reads what the node already is. Nothing is sent.
    ///
    /// # Errors
    /// [`NodeFailure`] when a needed piece is missing or damaged.
    pub(crate) fn prepare(mut settings: NodeSettings, state: StateDir, first: Option<&FirstTrust>) -> Result<Self, NodeFailure> {
        let node_key = Arc::new(state.node_key()?);
        let (svid, standing) = match state.svid() {
            StoredSvid::Absent => (None, Standing::Unattested),
            StoredSvid::Present(svid) => {
                let standing = Standing::Attested(Validity::of(&svid));
                (Some(svid), standing)
            }
            StoredSvid::Damaged(why) => {
                tracing::warn!(%why, "the stored agent SVID cannot be used; the node will attest again by its node key");
                (None, Standing::Lapsed(why))
            }
        };
        if standing == Standing::Unattested && settings.first_proof.is_none() {
            return Err(NodeFailure::NoFirstProof);
        }
        let bundle = match (state.bundle(&settings.trust_domain)?, first) {
            (Some(bundle), _) => Some(bundle),
            (None, Some(FirstTrust::BundleFile(path))) => Some(read_bundle_file(path, &settings.trust_domain)?),
            (None, Some(FirstTrust::Fingerprint(pin))) => {
                settings.pin = Some(*pin);
                None
            }
            (None, None) => return Err(NodeFailure::NoTrust),
        };
        if let Some(bundle) = &bundle {
            warn_of_lapses(bundle, settings.clock.now().into());
        }
        let revocation = bundle.as_ref().and_then(|bundle| stored_revocation(&state, &settings.trust_domain, bundle));
        let foreign = Arc::new(stored_foreign(&state, &settings.trust_domain));
        let node = svid.as_deref().and_then(node_of);
        let entries = node.as_ref().and_then(|node| stored_entries(&state, &settings.trust_domain, node));
        let knowledge = if entries.is_some() { EntryKnowledge::Stored } else { EntryKnowledge::None };
        let entries = entries.unwrap_or_default();
        let boot = settings.clock.boottime();
        settings.readiness.require(BUNDLE_READY, "no trust bundle yet");
        settings.readiness.require(SVID_READY, "not attested yet");
        let (refusals_in, refusals) = mpsc::channel(4);
        let (checkpoint, refused_checkpoint) = stored_checkpoint(&state);
        let status = NodeStatus { svid: svid.clone(), checkpoint, refused_checkpoint, ..NodeStatus::default() };
        let note = state.rebootstrap();
        let (door, orders) = mpsc::channel(1);
        let mut prepared = Self {
            settings,
            state: Arc::new(state),
            node_key,
            lifecycle: Lifecycle::new(standing),
            svid,
            token: None,
            token_tried: None,
            certificate_tried: None,
            view: watch::Sender::new(Arc::new(NodeView {
                node,
                knowledge,
                entries,
                bundle: bundle.map(Arc::new),
                revocation,
                foreign,
                has_account_rule: false,
            })),
            channel: watch::Sender::new(None),
            status: watch::Sender::new(status),
            refusals,
            refusals_in,
            ticker: Ticker::new(TICK).map_err(NodeFailure::Timer)?,
            store_again_at: None,
            entries_unstored_since: None,
            in_step_at: boot,
            progress: ProgressTeller::default(),
            first_trust: first.cloned(),
            anew: None,
            note,
            door: RebootstrapDoor(door),
            orders,
        };
        prepared.note_taint();
        Ok(prepared)
    }

    /// What the node knows, whenever it changes.
    pub(crate) fn views(&self) -> watch::Receiver<Arc<NodeView>> {
        self.view.subscribe()
    }

    /// How the node does, whenever it changes.
    pub(crate) fn statuses(&self) -> watch::Receiver<NodeStatus> {
        self.status.subscribe()
    }

    /// The live connection, whenever it changes.
    pub(crate) fn channels(&self) -> watch::Receiver<Option<Channel>> {
        self.channel.subscribe()
    }

    /// Where an operator has the node trust the CA anew.
    pub(crate) fn rebootstrap_door(&self) -> RebootstrapDoor {
        self.door.clone()
    }

    /// Looks at the file by which the CA was first trusted, where there is one.
    fn anchor_watch(&self) -> Option<AnchorWatch> {
        let Some(FirstTrust::BundleFile(path)) = &self.first_trust else { return None };
        Some(AnchorWatch {
            path: path.clone(),
            views: self.view.subscribe(),
            status: self.status.clone(),
            clock: Arc::clone(&self.settings.clock),
            metrics: self.settings.metrics.clone(),
        })
    }

    /// The CA as an issuer of workload SVIDs, X.509 and JWT.
    pub(crate) fn issuer(&self) -> CaIssuer {
        CaIssuer {
            channel: self.channel.subscribe(),
            refusals: self.refusals_in.clone(),
            has_others: self.settings.ca.has_others(),
            view: self.view.subscribe(),
            clock: Arc::clone(&self.settings.clock),
        }
    }

    /// Keeps the node's standing until the end.
    ///
    /// # Errors
    /// [`NodeFailure`] when only an operator can help.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), NodeFailure> {
        let anchor = self.anchor_watch();
        let anchor = async move {
            match anchor {
                Some(anchor) => anchor.run().await,
                None => std::future::pending().await,
            }
        };
        let mut anchor = std::pin::pin!(anchor);
        let (_, none) = mpsc::channel(1);
        let mut orders = std::mem::replace(&mut self.orders, none);
        while !shutdown.is_fired() {
            self.publish_health();
            let action = self.lifecycle.next(self.now(), self.boot());
            // Each arm may be dropped at any await: what it persists is written whole in its own thread.
            let order = tokio::select! {
                () = shutdown.fired() => break,
                outcome = self.act(action) => {
                    outcome?;
                    continue;
                }
                outcome = &mut anchor => return outcome,
                Some(order) = orders.recv() => order,
            };
            // What was under way is given up.
            self.status.send_modify(|status| status.connected = false);
            self.follow_order(order).await;
        }
        self.channel.send_replace(None);
        if self.entries_unstored_since.is_some() {
            self.store_entries().await;
        }
        Ok(())
    }

    async fn act(&mut self, action: Action) -> Result<(), NodeFailure> {
        match action {
            Action::WaitUntil(_) => {
                if self.ticker.tick().await.map_err(NodeFailure::Timer)? == Tick::ClockSet {
                    self.lifecycle.clock_was_set();
                }
                self.store_again().await;
                Ok(())
            }
            Action::Join => self.join().await,
            Action::Reattest => self.attest(AttestationMethod::NodeKey).await,
            Action::Connect => self.connect_and_serve().await,
        }
    }

    async fn connect_and_serve(&mut self) -> Result<(), NodeFailure> {
        let view = Arc::clone(&self.view.borrow());
        let (Some(bundle), Some(svid)) = (&view.bundle, &self.svid) else {
            // An SVID without a bundle: the state directory lost the latter. Attesting again brings both.
            self.lifecycle.lapse("no trust bundle is stored beside the agent SVID".to_owned());
            return Ok(());
        };
        let tls = connection::tls_under_bundle(bundle, Some(svid), &self.settings.clock);
        match CaConnection::open(self.settings.ca.current(), &tls).await {
            Ok(connection) => self.serve(connection).await,
            Err(fault) => {
                self.channel.send_replace(None);
                self.trouble(&fault.to_string());
                self.away();
            }
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now().into()
    }

    pub(super) fn boot(&self) -> Duration {
        self.settings.clock.boottime()
    }

    pub(super) fn random(&self) -> u8 {
        let [byte] = entropy::bytes(self.settings.entropy.as_ref());
        byte
    }

    /// The CA does not serve at the address in use. Another one is tried at once; when none does, there is a pause.
    pub(super) fn away(&mut self) {
        let boot = self.boot();
        if self.settings.ca.failed(boot) {
            self.failed(Failure::Away);
        }
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        let (boot, random) = (self.boot(), self.random());
        self.lifecycle.failed(failure, boot, random);
    }

    /// Says what is wrong, once per change of words.
    pub(super) fn trouble(&self, what: &str) {
        let changed = self.status.send_if_modified(|status| {
            let changed = status.trouble.as_deref() != Some(what);
            status.trouble = Some(what.to_owned());
            changed
        });
        if changed {
            tracing::warn!(ca = %self.settings.ca, trouble = what, "the node is not in step with the CA");
        }
    }

    /// Ready means: a bundle, and an SVID that counts now.
    pub(super) fn publish_health(&self) {
        let view = Arc::clone(&self.view.borrow());
        let status = self.status.borrow().clone();
        if view.bundle.is_some() {
            self.settings.readiness.met(BUNDLE_READY);
        }
        match self.lifecycle.standing() {
            Standing::Attested(validity) if self.now() < validity.not_before => {
                let why = format!("the agent SVID begins at {}, and this node's clock says {}", validity.not_before, self.now());
                self.settings.readiness.unmet(SVID_READY, &why);
            }
            Standing::Attested(validity) if self.now() <= validity.not_after => self.settings.readiness.met(SVID_READY),
            Standing::Attested(_) => self.settings.readiness.unmet(SVID_READY, "the agent SVID has ended"),
            Standing::Unattested => {
                self.settings.readiness.unmet(SVID_READY, status.trouble.as_deref().unwrap_or("not attested yet"));
            }
            Standing::Lapsed(why) => {
                self.settings.readiness.unmet(SVID_READY, status.trouble.as_deref().unwrap_or(why));
            }
        }
        let alarms =
            status.refused_checkpoint.as_deref().map(RefusedCheckpoint::warning).into_iter().chain(status.anchor.clone());
        self.settings.readiness.warn(alarms.collect());
        let lag = if status.connected { Duration::ZERO } else { self.boot().saturating_sub(self.in_step_at) };
        self.settings.metrics.node(&status, view.bundle.as_ref(), lag);
        self.settings.metrics.revocation(view.bundle.as_deref(), view.revocation.as_deref(), self.now());
    }
}

/// The node's name in its SVID.
fn node_of(svid: &X509Svid) -> Option<NodeName> {
    match svid.id().system_identity() {
        Some(SystemIdentity::Agent(node)) => Some(node),
        Some(SystemIdentity::Ca(_)) | None => None,
    }
}

/// A bundle from a file has no sequence: zero lets any that the CA sends replace it.
///
/// # Errors
/// [`NodeFailure::TrustBundle`] naming the file.
pub(crate) fn read_bundle_file(path: &std::path::Path, trust_domain: &TrustDomain) -> Result<TrustBundle, NodeFailure> {
    let refused = |cause: String| NodeFailure::TrustBundle { path: path.display().to_string(), cause };
    let pem = runtime::private_files::read_bounded(path, MAX_BUNDLE_BYTES).map_err(|error| refused(error.to_string()))?;
    TrustBundle::from_pem(trust_domain.clone(), &pem, 0).map_err(|error| refused(error.to_string()))
}

const MAX_BUNDLE_BYTES: usize = 512 * 1024;
const BUNDLE_READY: &str = "trust bundle";
const SVID_READY: &str = "agent SVID";

#[cfg(test)]
mod tests;
