//! Trusting the CA anew, by an operator's order: for a node whose bundle the CA cannot be verified under any more.
//!
//! That happens to a node that was away while every root it knew was replaced, or whose CA was made anew. What the node holds stays in use until it has
//! attested under the new trust; and the CA writes into its audit chain that this node began anew.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use pki::{Sha256Digest, Timestamp, TrustBundle};
use proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::node::{NodeClient, NodeFailure, read_bundle_file};
use crate::config::FirstTrust;

/// Gives orders to the node's client.
#[derive(Clone, Debug)]
pub(crate) struct RebootstrapDoor(pub(super) mpsc::Sender<RebootstrapOrder>);

/// One order.
#[derive(Debug)]
pub(crate) struct RebootstrapOrder {
    dry_run: bool,
    answer: oneshot::Sender<Result<Rebootstrap, RebootstrapRefusal>>,
}

/// What is, or would be, trusted anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rebootstrap {
    /// The sequence of the bundle held until then; `None` when there was none.
    pub(crate) former_sequence: Option<u64>,
    /// SHA-256 of each authority of that bundle (DER).
    pub(crate) former: Vec<Sha256Digest>,
    /// The same for what is trusted now: the roots of the file, or the one that is pinned.
    pub(crate) anew: Vec<Sha256Digest>,
}

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebootstrapRefusal {
    /// There is nothing to mend.
    #[error("the node is in step with the CA, under the trust bundle that it has: there is nothing to trust anew")]
    InStep,
    /// Nothing names whom to trust.
    #[error("neither ca_fingerprint nor trust_bundle is configured: nothing says which CA to trust anew")]
    NoAnchor,
    /// The file cannot be used.
    #[error(transparent)]
    Anchor(#[from] NodeFailure),
    /// It could not be noted, and is not done without.
    #[error("the order cannot be noted in the state directory, and is not followed: {0}")]
    NotNoted(String),
    /// The agent is ending.
    #[error("the agent is stopping")]
    Stopping,
}

/// What is trusted in the place of the bundle, until the node has attested.
#[derive(Clone, Debug)]
pub(super) enum NewTrust {
    /// The authorities of a file.
    Bundle(Arc<TrustBundle>),
    /// One root.
    Root(Sha256Digest),
}

/// What the CA is to write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RebootstrapNote {
    /// When the order was given.
    pub(crate) at: Timestamp,
    /// The sequence of the bundle held until then; 0 when there was none.
    pub(crate) former_sequence: u64,
}

impl RebootstrapNote {
    pub(super) fn to_wire(self) -> v1::Rebootstrap {
        let Self { at, former_sequence } = self;
        v1::Rebootstrap { at: Some(std::time::SystemTime::from(at).into()), former_sequence }
    }
}

impl RebootstrapDoor {
    /// Gives the order and waits for what is said to it.
    ///
    /// # Errors
    /// [`RebootstrapRefusal`].
    pub(crate) async fn order(&self, dry_run: bool) -> Result<Rebootstrap, RebootstrapRefusal> {
        let (answer, told) = oneshot::channel();
        self.0.send(RebootstrapOrder { dry_run, answer }).await.map_err(|_| RebootstrapRefusal::Stopping)?;
        told.await.map_err(|_| RebootstrapRefusal::Stopping)?
    }
}

impl NodeClient {
    /// Follows an order. Whoever gave it may be gone.
    pub(super) async fn follow_order(&mut self, order: RebootstrapOrder) {
        let RebootstrapOrder { dry_run, answer } = order;
        drop(answer.send(self.rebootstrap(dry_run).await));
    }

    async fn rebootstrap(&mut self, dry_run: bool) -> Result<Rebootstrap, RebootstrapRefusal> {
        let anew = match self.first_trust.clone().ok_or(RebootstrapRefusal::NoAnchor)? {
            FirstTrust::Fingerprint(pin) => NewTrust::Root(pin),
            FirstTrust::BundleFile(path) => {
                let trust_domain = self.settings.trust_domain.clone();
                let read = tokio::task::spawn_blocking(move || read_bundle_file(&path, &trust_domain)).await;
                NewTrust::Bundle(Arc::new(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?))
            }
        };
        let held = self.view.borrow().bundle.clone();
        let plan = Rebootstrap {
            former_sequence: held.as_ref().map(|bundle| bundle.sequence()),
            former: held.as_deref().map(digests).unwrap_or_default(),
            anew: match &anew {
                NewTrust::Bundle(bundle) => digests(bundle),
                NewTrust::Root(pin) => vec![*pin],
            },
        };
        if dry_run {
            return Ok(plan);
        }
        let note = RebootstrapNote { at: self.now(), former_sequence: plan.former_sequence.unwrap_or(0) };
        let state = Arc::clone(&self.state);
        let noted = tokio::task::spawn_blocking(move || state.store_rebootstrap(note)).await;
        let noted = noted.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        noted.map_err(|error| RebootstrapRefusal::NotNoted(error.to_string()))?;
        self.note = Some(note);
        tracing::warn!(
            former_sequence = plan.former_sequence,
            anew = ?plan.anew.iter().map(|digest| HEXLOWER.encode(digest)).collect::<Vec<_>>(),
            "an operator has this node trust the CA anew"
        );
        self.anew = Some(anew);
        self.lifecycle.lapse("an operator has this node trust the CA anew".to_owned());
        self.lifecycle.at_once();
        Ok(plan)
    }

    /// The CA has heard the note.
    pub(super) async fn rebootstrap_told(&mut self) {
        if self.note.take().is_none() {
            return;
        }
        let state = Arc::clone(&self.state);
        let removed = tokio::task::spawn_blocking(move || state.forget_rebootstrap()).await;
        if let Err(error) = removed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            tracing::warn!(%error, "the note of a rebootstrap stays, and will be told to the CA once more");
        }
    }
}

fn digests(bundle: &TrustBundle) -> Vec<Sha256Digest> {
    bundle.authorities().iter().map(|authority| pki::sha256(authority.der())).collect()
}
