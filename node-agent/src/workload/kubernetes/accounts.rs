//! The rule of service accounts: what a node may hold without an entry. Who runs in a pod and matches no entry of the CA gets the identity of the
//! pod's service account, which the CA gives for as long as a live pod on this node runs as it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use identity::{Selector, SelectorKind, SpiffeId, TrustDomain};
use kubernetes::pods::{Phase, PodDetail};
use pki::Timestamp;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::pods::NodePods;
use crate::ca_client::view::{NodeView, NodeViews};
use crate::entry::{Entry, EntryId, ServiceAccount};

/// Adds the entries of the rule to what the CA says of this node.
pub(crate) struct AccountEntries {
    trust_domain: TrustDomain,
    pods: NodePods,
    views: NodeViews,
    told: watch::Sender<Arc<NodeView>>,
}

/// The accounts that pods on this node run as, in the order of their names. Pure.
pub(super) fn accounts_of<'p>(pods: impl Iterator<Item = &'p PodDetail>, node: &str) -> BTreeSet<ServiceAccount> {
    // One that is being deleted may need its identity to end well; that it gets no other is for the CA to say.
    let is_here = |detail: &&PodDetail| {
        detail.pod.node.as_deref() == Some(node) && matches!(detail.pod.phase, Phase::Pending | Phase::Running)
    };
    let account = |detail: &'p PodDetail| {
        let name = detail.pod.service_account.clone()?;
        Some(ServiceAccount { namespace: detail.pod.namespace.clone(), name })
    };
    pods.filter(is_here).filter_map(account).collect()
}

/// The entry that stands for an account; `None` where its names cannot stand in an identity.
fn entry(account: &ServiceAccount, trust_domain: &TrustDomain) -> Option<Entry> {
    let ServiceAccount { namespace, name } = account;
    let selector = |kind, value: &str| Selector::new(kind, value).ok();
    let selectors = [selector(SelectorKind::PodNamespace, namespace)?, selector(SelectorKind::PodServiceAccount, name)?];
    Some(Entry {
        id: EntryId::of_account(account),
        spiffe_id: SpiffeId::parse(&format!("spiffe://{trust_domain}/ns/{namespace}/sa/{name}")).ok()?,
        selectors: selectors.into(),
        dns_names: Vec::new(),
        ttl_seconds: 0,
        hint: String::new(),
        expires_at: None,
        alias: None,
        revoked: false,
        federates_with: BTreeSet::new(),
        // After every entry of the CA.
        created_at: Timestamp::from_unix_seconds(u64::MAX),
        account: Some(account.clone()),
    })
}

impl AccountEntries {
    /// Who adds them, and the views that have them.
    pub(crate) fn new(trust_domain: TrustDomain, pods: NodePods, views: NodeViews) -> (Self, NodeViews) {
        let view = with_accounts(&views.borrow(), &BTreeMap::new());
        let (told, receiver) = watch::channel(Arc::new(view));
        (Self { trust_domain, pods, views, told }, receiver)
    }

    /// Adds them until the end.
    ///
    /// # Errors
    /// None; the type is what tasks have.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        let (mut accounts, mut entries) = (BTreeSet::new(), BTreeMap::new());
        let mut changes = self.pods.changes();
        loop {
            // Both before the look, so that no change falls between.
            changes.mark_unchanged();
            let view = Arc::clone(&self.views.borrow_and_update());
            let now = self.pods.accounts();
            if now != accounts {
                let made = now.iter().filter_map(|account| entry(account, &self.trust_domain));
                entries = made.map(|entry| (entry.id.clone(), Arc::new(entry))).collect();
                accounts = now;
            }
            self.tell(with_accounts(&view, &entries));
            tokio::select! {
                () = shutdown.fired() => return Ok(()),
                // Either order is fine: the next turn looks at both.
                changed = self.views.changed() => if changed.is_err() { return Ok(()) },
                // Whoever watches is gone at the shutdown only.
                Ok(()) = changes.changed() => {}
            }
        }
    }

    fn tell(&self, now: NodeView) {
        self.told.send_if_modified(|before| {
            let is_changed = **before != now;
            if is_changed {
                *before = Arc::new(now);
            }
            is_changed
        });
    }
}

/// What the node knows, with the entries of the rule. Before those of the CA are known there are none: nobody could tell that one of the CA's counts.
fn with_accounts(view: &NodeView, entries: &BTreeMap<EntryId, Arc<Entry>>) -> NodeView {
    let mut all = view.entries.clone();
    if view.knowledge.is_any() {
        all.extend(entries.iter().map(|(id, entry)| (id.clone(), Arc::clone(entry))));
    }
    NodeView { entries: all, has_account_rule: true, ..view.clone() }
}

#[cfg(test)]
mod tests;
