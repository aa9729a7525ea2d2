//! Who may ask for the identity of a pod: a proxy that does so for the pods of its own node. Pure.
//!
//! Everything about the caller is what the API server said of its token in this very call; a certificate says nothing of pods and nodes.

use std::collections::BTreeSet;

use identity::{SpiffeId, TrustDomain};
use kubernetes::Message;
use kubernetes::names::{is_label, is_name};
use kubernetes::pods::Pod;

use super::callers::Authenticated;
use crate::config::AccountName;
use crate::node_pods::{NoLivePod, Sought, live_pod};
use crate::service_accounts::{BoundPod, ReviewedAccount};

/// Why the identity of somebody else is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImpersonationRefusal {
    /// The configuration names nobody.
    #[error("the CA trusts nobody with it (trusted_node_accounts)")]
    NobodyTrusted,
    /// By a certificate, or by a token that no API server has reviewed.
    #[error("it is for callers who show the token of a Kubernetes service account, in each call")]
    NotByReviewedToken,
    /// By a service account that is not trusted with it.
    #[error("{account} is none of the CA's trusted_node_accounts")]
    NotTrusted {
        /// Namespace and name.
        account: String,
    },
    /// The token is not that of a pod on a node.
    #[error("the caller's token is not bound to a pod on a node")]
    NotBound,
    /// What is asked for is no identity of a pod.
    #[error("{asked} is not of the form spiffe://{trust_domain}/ns/NAMESPACE/sa/ACCOUNT")]
    NoPodIdentity {
        /// What is asked for, cut short.
        asked: Message,
        /// The only trust domain that there are identities of.
        trust_domain: TrustDomain,
    },
    /// The pod of the token is not that of a proxy at work.
    #[error("the caller's own pod {pod} is no live pod of {node}: {why}")]
    Caller {
        /// Its name.
        pod: String,
        /// The node that the token names.
        node: String,
        /// What is wrong with it.
        why: NoLivePod,
    },
    /// Nobody on that node has the identity.
    #[error("no live pod of {account} runs on {node}: {why}")]
    Pod {
        /// Namespace and name of the service account.
        account: String,
        /// The caller's node.
        node: String,
        /// What is wrong with the pod that came closest.
        why: NoLivePod,
    },
}

/// An identity that a trusted proxy asks for. What is open is whether a pod on its node has it.
#[derive(Debug)]
pub(crate) struct Impersonation {
    id: SpiffeId,
    /// Whose identity it is.
    wanted: AccountName,
    by: ReviewedAccount,
    pod: BoundPod,
    node: String,
}

/// An identity that a pod on the caller's node has, and the caller. Only [`Impersonation::judge`] finds the pod.
#[derive(Debug)]
pub(crate) struct PodOfNode {
    pub(crate) id: SpiffeId,
    pub(crate) by: ReviewedAccount,
    /// Namespace, name and UID of a pod that has it.
    pub(crate) pod: String,
}

impl Impersonation {
    /// Judges everything but the pods.
    ///
    /// # Errors
    /// [`ImpersonationRefusal`], the first check that fails.
    pub(crate) fn of(
        caller: Authenticated,
        asked: &str,
        trusted: &BTreeSet<AccountName>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, ImpersonationRefusal> {
        let Authenticated::Account { account: by, .. } = caller else { return Err(ImpersonationRefusal::NotByReviewedToken) };
        let account = by.account_name();
        if !trusted.contains(&account) {
            return Err(ImpersonationRefusal::NotTrusted { account: account.to_string() });
        }
        let bound = by.pod.clone().and_then(|pod| pod.node.clone().map(|node| (pod, node)));
        let (pod, node) = bound.ok_or(ImpersonationRefusal::NotBound)?;
        let (id, wanted) = wanted(asked, trust_domain).ok_or_else(|| ImpersonationRefusal::NoPodIdentity {
            asked: Message::of(asked),
            trust_domain: trust_domain.clone(),
        })?;
        Ok(Self { id, wanted, by, pod, node })
    }

    /// The caller's node.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Looks for both pods, the caller's own and one that has the identity, among those of the node.
    ///
    /// # Errors
    /// [`ImpersonationRefusal::Caller`] or [`ImpersonationRefusal::Pod`].
    pub(crate) fn judge(&self, pods: &[&Pod]) -> Result<PodOfNode, ImpersonationRefusal> {
        let Self { id, wanted: AccountName { namespace, name }, by, pod, node } = self;
        let own = Sought { node, namespace: &by.namespace, account: &by.name, pod: Some((&pod.name, &pod.uid)) };
        let refused = |why| ImpersonationRefusal::Caller { pod: pod.name.clone(), node: node.clone(), why };
        let _alive = live_pod(pods, &own).map_err(refused)?;
        let sought = Sought { node, namespace, account: name, pod: None };
        let refused = |why| ImpersonationRefusal::Pod { account: format!("{namespace}/{name}"), node: node.clone(), why };
        let found = live_pod(pods, &sought).map_err(refused)?;
        Ok(PodOfNode { id: id.clone(), by: by.clone(), pod: found.to_string() })
    }
}

/// The identity and its service account; `None` for any other text.
fn wanted(asked: &str, trust_domain: &TrustDomain) -> Option<(SpiffeId, AccountName)> {
    let id = SpiffeId::parse(asked).ok().filter(|id| id.trust_domain() == trust_domain)?;
    let (namespace, name) = id.path().strip_prefix("/ns/")?.split_once("/sa/")?;
    let account = AccountName { namespace: namespace.to_owned(), name: name.to_owned() };
    (is_label(namespace) && is_name(name)).then_some((id, account))
}

#[cfg(test)]
mod tests;
