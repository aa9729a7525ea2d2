//! What providers have in common whose identities are the configuration's: such a CA knows nothing of nodes and entries, and whether it
//! can be reached is known from the last call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use pki::{Timestamp, TrustBundle};
use runtime::clock::Clock;
use runtime::readiness::Readiness;
use tokio::sync::watch;

use super::fault::CallFault;
use super::node::NodeStatus;
use super::trust::warn_of_lapses;
use super::view::{EntryKnowledge, NodeView};
use crate::config::ConfiguredIdentity;
use crate::entry::{Entry, EntryId};
use crate::identities::IssueAnswer;
use crate::metrics::AgentMetrics;

/// What readiness waits for.
const SIGNED_READY: &str = "first certificate";

/// The node as such a provider shows it.
pub(crate) struct ConfiguredNode {
    clock: Arc<dyn Clock>,
    views: watch::Sender<Arc<NodeView>>,
    statuses: watch::Sender<NodeStatus>,
    /// Time since boot when the CA last answered.
    answered_at: watch::Sender<Duration>,
    /// Whether it ever signed anything.
    has_signed: AtomicBool,
}

impl ConfiguredNode {
    /// Shows these entries, and no bundle yet.
    pub(super) fn new(entries: Vec<Entry>, clock: Arc<dyn Clock>, readiness: &Readiness) -> Self {
        readiness.require(SIGNED_READY, "the CA has not answered yet");
        let entries = entries.into_iter().map(|entry| (entry.id.clone(), Arc::new(entry))).collect();
        let view = NodeView { knowledge: EntryKnowledge::Synced, entries, ..NodeView::default() };
        let answered_at = watch::Sender::new(clock.boottime());
        let (views, statuses) = (watch::Sender::new(Arc::new(view)), watch::Sender::new(NodeStatus::default()));
        Self { clock, views, statuses, answered_at, has_signed: AtomicBool::new(false) }
    }

    pub(super) fn views(&self) -> watch::Receiver<Arc<NodeView>> {
        self.views.subscribe()
    }

    pub(super) fn statuses(&self) -> watch::Receiver<NodeStatus> {
        self.statuses.subscribe()
    }

    /// The bundle of now.
    pub(super) fn bundle(&self) -> Option<Arc<TrustBundle>> {
        self.views.borrow().bundle.clone()
    }

    /// Takes up a bundle unless it says what the one of now does. It is numbered here, where no other comes between: `numbered` makes it
    /// for a sequence.
    pub(super) fn offer_bundle(&self, numbered: impl Fn(u64) -> Option<TrustBundle>) {
        self.views.send_if_modified(|view| {
            let sequence = view.bundle.as_ref().map_or(1, |held| held.sequence().saturating_add(1));
            let Some(newer) = numbered(sequence) else { return false };
            if view.bundle.as_ref().is_some_and(|held| held.same_content(&newer)) {
                return false;
            }
            tracing::info!(sequence, authorities = newer.authorities().len(), "new trust bundle");
            warn_of_lapses(&newer, self.now());
            *view = Arc::new(NodeView { bundle: Some(Arc::new(newer)), ..NodeView::clone(view) });
            true
        });
    }

    /// Whether the CA answers, and what it said last.
    pub(super) fn note(&self, answer: &IssueAnswer) {
        self.has_signed.fetch_or(answer.is_ok(), Ordering::Relaxed);
        let (connected, trouble) = match answer {
            Ok(_) => (true, None),
            Err(fault @ (CallFault::Refused { .. } | CallFault::Busy { .. } | CallFault::Answer(_))) => {
                (true, Some(fault.to_string()))
            }
            Err(fault @ (CallFault::Unavailable(_) | CallFault::Deadline(_))) => (false, Some(fault.to_string())),
        };
        if connected {
            self.answered_at.send_replace(self.clock.boottime());
        }
        self.statuses.send_if_modified(|status| {
            let changed = status.connected != connected || status.trouble != trouble;
            status.connected = connected;
            status.trouble = trouble;
            changed
        });
    }

    /// Tells readiness and metrics.
    pub(super) fn publish_health(&self, readiness: &Readiness, metrics: &AgentMetrics) {
        let view = Arc::clone(&self.views.borrow());
        let status = self.statuses.borrow().clone();
        match &status.trouble {
            _ if self.has_signed.load(Ordering::Relaxed) => readiness.met(SIGNED_READY),
            // Nothing to fetch, nothing to wait for: callers bring their own credentials.
            None if view.entries.is_empty() => readiness.met(SIGNED_READY),
            None => {}
            Some(trouble) => readiness.unmet(SIGNED_READY, trouble),
        }
        let since = self.clock.boottime().saturating_sub(*self.answered_at.borrow());
        let lag = if status.connected || view.entries.is_empty() { Duration::ZERO } else { since };
        metrics.node(&status, view.bundle.as_ref(), lag);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}

/// The entry that stands for an identity of the configuration of `provider`. Its place there stands for the time of creation, by which
/// entries are ordered.
pub(super) fn entry(provider: &str, identity: &ConfiguredIdentity, place: usize) -> Entry {
    let ConfiguredIdentity { spiffe_id, selectors, dns_names, ttl, hint } = identity;
    let told: Vec<String> = std::iter::once(spiffe_id.to_string()).chain(selectors.iter().map(ToString::to_string)).collect();
    let digest = pki::sha256(told.join("\n").as_bytes());
    let name = format!("{provider}-{}", HEXLOWER.encode(&digest[..8]));
    Entry {
        id: EntryId::parse(&name).expect("letters, digits and a hyphen"),
        spiffe_id: spiffe_id.clone(),
        selectors: selectors.clone(),
        dns_names: dns_names.clone(),
        ttl_seconds: ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        hint: hint.clone(),
        expires_at: None,
        alias: None,
        federates_with: std::collections::BTreeSet::new(),
        revoked: false,
        created_at: Timestamp::from_unix_seconds(u64::try_from(place).unwrap_or(u64::MAX)),
        account: None,
    }
}
