//! The rule of service accounts: an agent gets the identity of an account while a live pod on its node runs as it.
//!
//! It holds for agents that the API server of the cluster vouched for, so that the name of the node is one of the cluster's own. Whether there
//! is a pod is decided as for everybody else ([`crate::node_pods`]). While nobody can tell, what was given before is renewed for a while, by the
//! ledger; nothing new is.

use std::sync::Arc;
use std::time::Duration;

use identity::{NodeName, SystemIdentity, TrustDomain};
use kubernetes::names::{is_label, is_name};
use pki::Timestamp;
use proto::v1;

use crate::admission::{AdmissionError, Admitted, account_id};
use crate::config::AccountName;
use crate::issuance_clock::IssuanceClock;
use crate::node_pods::{NoLivePod, NodePods, PodMetrics, PodsUnavailable, Sought, live_pod};
use crate::records::{ConfirmedPod, Held, LivePod, NodeRecord};
use crate::store::{Store, StoreError};

/// Why an agent gets nothing for a service account.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodIdentityError {
    /// It is not configured.
    #[error("this CA gives agents no identities of service accounts ([kubernetes.agents] pod_identities): make an entry")]
    Off,
    /// The node came otherwise.
    #[error(
        "node {node} was not attested by the pod of its agent in cluster {cluster}, so which pods run on it is not known: make an entry, or \
         attest it by service_account_token_file"
    )]
    NotByPod { node: NodeName, cluster: String },
    /// What is asked for is no account.
    #[error("the item names no service account: a namespace and a name, as Kubernetes takes them, and no entry beside them")]
    Unnamed,
    /// There is nobody who has it.
    #[error("no live pod of {account} runs on {node}: {why}")]
    NoLivePod { account: AccountName, node: NodeName, why: NoLivePod },
    /// Nobody can tell, and it was not given before, or too long ago.
    #[error("{0}")]
    Unavailable(PodsUnavailable),
    /// The last checks.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the rule is made of.
pub(crate) struct PodIdentityParts {
    pub(crate) trust_domain: TrustDomain,
    /// The name of the cluster in records.
    pub(crate) cluster: String,
    pub(crate) pods: Arc<NodePods>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<IssuanceClock>,
    /// How long ago a pod may have been found alive whose identity is renewed while nobody can tell.
    pub(crate) confirmed_within: Duration,
    pub(crate) metrics: PodMetrics,
}

/// An agent in one call, and whether the API server of the cluster vouched for it.
pub(crate) struct ClusterAgent<'c> {
    caller: &'c NodeRecord,
    is_vouched_for: bool,
}

/// The rule. One for the process.
pub(crate) struct PodIdentities {
    parts: PodIdentityParts,
}

/// Reads whom an item asks for.
///
/// # Errors
/// [`PodIdentityError::Unnamed`].
pub(crate) fn account(entry_id: &str, account: v1::ServiceAccount) -> Result<AccountName, PodIdentityError> {
    let v1::ServiceAccount { namespace, name } = account;
    let is_good = entry_id.is_empty() && is_label(&namespace) && is_name(&name);
    if is_good { Ok(AccountName { namespace, name }) } else { Err(PodIdentityError::Unnamed) }
}

impl PodIdentities {
    pub(crate) fn new(parts: PodIdentityParts) -> Self {
        Self { parts }
    }

    /// How the node of `caller` came, authenticated in this very call: asked once, however many accounts the call is about.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn cluster_agent<'c>(&self, caller: &'c NodeRecord) -> Result<ClusterAgent<'c>, StoreError> {
        let vouched_by = self.parts.store.cluster_of_node(caller.node.clone()).await?;
        Ok(ClusterAgent { caller, is_vouched_for: vouched_by.as_ref() == Some(&self.parts.cluster) })
    }

    /// Whether this agent may have the identity of an account.
    ///
    /// # Errors
    /// [`PodIdentityError`].
    pub(crate) async fn admit(&self, agent: &ClusterAgent<'_>, account: AccountName) -> Result<Admitted, PodIdentityError> {
        let PodIdentityParts { trust_domain, cluster, pods, store, clock, .. } = &self.parts;
        let ClusterAgent { caller, is_vouched_for } = agent;
        let node = &caller.node;
        if !is_vouched_for {
            return Err(PodIdentityError::NotByPod { node: node.clone(), cluster: cluster.clone() });
        }
        let AccountName { namespace, name } = &account;
        let id = account_id(trust_domain, namespace, name).ok_or(PodIdentityError::Unnamed)?;
        let sought = Sought { node: node.as_str(), namespace, account: name, pod: None };
        let judged = pods.decide(node.as_str(), |pods| live_pod(pods, &sought).map(ToString::to_string)).await;
        let now = clock.now();
        let (pod, confirmed_at) = match judged {
            Ok(Ok(pod)) => (LivePod { cluster: cluster.clone(), node: node.to_string(), pod }, now),
            Ok(Err(why)) => return Err(PodIdentityError::NoLivePod { account, node: node.clone(), why }),
            Err(unavailable) => {
                let before = store.confirmed_pod(self.agent(node), id.clone(), now).await?;
                let left = pods.bridged_for();
                let before = before.filter(|before| bridges(before, cluster, self.parts.confirmed_within, left, now));
                let before = before.ok_or(PodIdentityError::Unavailable(unavailable))?;
                tracing::warn!(%id, %node, pod = before.pod.pod, confirmed_at = %before.confirmed_at, "nobody can tell whether there is a pod: what it had is renewed");
                self.parts.metrics.bridged();
                (before.pod, before.confirmed_at)
            }
        };
        Ok(Admitted::for_live_pod(trust_domain, caller, id, pod, confirmed_at)?)
    }

    /// What the ledger says that a node holds for an account: how urgent the next one is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn held(&self, node: &NodeName, admitted: &Admitted) -> Result<Option<Held>, StoreError> {
        let before = self.parts.store.confirmed_pod(self.agent(node), admitted.subject().id.clone(), self.parts.clock.now());
        Ok(before.await?.map(|before| before.held))
    }

    fn agent(&self, node: &NodeName) -> String {
        SystemIdentity::Agent(node.clone()).id(&self.parts.trust_domain).to_string()
    }
}

/// Whether what an agent had before is renewed on what was known then, while nobody can tell: as long as the silence is bridged (`left`), and a pod
/// of this cluster was found within this time, however often the process was started anew since.
fn bridges(before: &ConfirmedPod, cluster: &str, within: Duration, left: Option<Duration>, now: Timestamp) -> bool {
    before.pod.cluster == cluster && now.since(before.confirmed_at) < within && left.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds)
    }

    #[test]
    fn a_silence_is_bridged_for_what_this_cluster_had_a_pod_for_not_long_ago() {
        let pod = LivePod { cluster: "east".to_owned(), node: "n1".to_owned(), pod: "shop/web-1 u1".to_owned() };
        let held = Held { issued_at: at(0), not_after: at(10_000) };
        let before = ConfirmedPod { held, pod, confirmed_at: at(0) };
        let (within, some) = (Duration::from_secs(90), Some(Duration::from_secs(1)));
        assert!(bridges(&before, "east", within, some, at(89)));
        assert!(!bridges(&before, "east", within, some, at(90)), "renewed again and again, it ends");
        assert!(!bridges(&before, "east", within, None, at(1)), "the silence is too long");
        assert!(!bridges(&before, "west", within, some, at(1)), "of another cluster");
    }

    #[test]
    fn an_account_is_named_as_kubernetes_takes_it_and_alone() {
        let named = |entry: &str, namespace: &str, name: &str| {
            let asked = v1::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() };
            account(entry, asked).ok().map(|account| account.to_string())
        };
        assert_eq!(named("", "shop", "web.front").as_deref(), Some("shop/web.front"));
        for (entry, namespace, name) in [
            ("e1", "shop", "web"),
            ("", "", "web"),
            ("", "shop", ""),
            ("", "shop.a", "web"),
            ("", "shop", "web/sa/x"),
            ("", "Shop", "web"),
            ("", "shop", "../web"),
        ] {
            assert_eq!(named(entry, namespace, name), None, "{entry} {namespace} {name}");
        }
    }
}
