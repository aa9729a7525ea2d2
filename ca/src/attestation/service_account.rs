//! Attestation by the projected token of the agent's own pod.
//!
//! The token says who the agent is, the API server says whether that is so and on which node its pod runs, and the pod is looked at
//! besides. So the node's name comes from the API server alone. What the token is worth to a thief is bounded by the store: a pod goes with
//! one node key.

use std::collections::BTreeSet;
use std::sync::Arc;

use identity::{NodeName, NodeNameError};
use pki::proof::service_account_transcript;
use pki::{Timestamp, sha256};

use super::{AttestError, Attestation, Attested, Proof};
use crate::config::AccountName;
use crate::node_pods::{NoLivePod, NodePods, Sought, live_pod};
use crate::records::{AgentPod, SvidGrounds};
use crate::service_accounts::{ReviewError, ReviewedAccount, TokenReviewer};

/// The agents of a cluster. Clones share whom they ask.
#[derive(Clone)]
pub(crate) struct ClusterAgents {
    /// Their service accounts. Not empty.
    pub(crate) accounts: BTreeSet<AccountName>,
    /// Asks about tokens for the audiences of agents, and for no others.
    pub(crate) reviewer: Arc<TokenReviewer>,
    pub(crate) pods: Arc<NodePods>,
}

/// What speaks against attesting a node by a service account's token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceAccountRefusal {
    /// Nobody may.
    #[error("this CA attests no agents by service accounts: [kubernetes.agents] names none")]
    NotConfigured,
    /// The API server does not take it, or not for us. Its words are for the log.
    #[error("the token of the service account is refused: the CA's log says why")]
    Token,
    /// Somebody else.
    #[error("{account} is none of the accounts that [kubernetes.agents] of the CA names")]
    NotAnAgent {
        /// Who it is.
        account: AccountName,
    },
    /// The token could be anybody's who runs as this account.
    #[error(
        "the token is bound to no pod on a node: agents show the projected token of their own pod, as an API server from 1.30 on binds it"
    )]
    NotBound,
    /// A node whose name cannot stand in the agent's identity.
    #[error("the node {node:?} cannot be attested: {why}")]
    NodeName {
        /// What it is called.
        node: String,
        /// What is wrong with that.
        why: NodeNameError,
    },
    /// The pod is not there, or not as the token says.
    #[error("no live pod {pod} of this account runs on {node}: {why}")]
    Pod {
        /// Its namespace and name.
        pod: String,
        /// Which node.
        node: NodeName,
        /// What is wrong with the one that came closest.
        why: NoLivePod,
    },
}

/// Which pod an agent's account runs in, as its token was reviewed. Pure.
///
/// # Errors
/// [`ServiceAccountRefusal`].
fn agent_pod(account: &ReviewedAccount, agents: &BTreeSet<AccountName>) -> Result<AgentPod, ServiceAccountRefusal> {
    let name = account.account_name();
    if !agents.contains(&name) {
        return Err(ServiceAccountRefusal::NotAnAgent { account: name });
    }
    let bound = account.pod.as_ref().and_then(|pod| pod.node.as_ref().map(|node| (pod, node)));
    let (pod, node) = bound.ok_or(ServiceAccountRefusal::NotBound)?;
    let node = NodeName::parse(node).map_err(|why| ServiceAccountRefusal::NodeName { node: node.clone(), why })?;
    let AccountName { namespace, name: account_name } = name;
    let (cluster, pod, uid) = (account.cluster.clone(), pod.name.clone(), pod.uid.clone());
    Ok(AgentPod { cluster, node, namespace, account: account_name, pod, uid })
}

impl ClusterAgents {
    /// The pod of the agent that has this token: vouched for by the API server, and alive on its node now.
    async fn attest(&self, token: &str) -> Result<AgentPod, AttestError> {
        let account = self.reviewer.review(token).await.map_err(|error| match error {
            ReviewError::Refused(why) => {
                tracing::warn!(%why, "the token of an agent's service account is refused");
                AttestError::ServiceAccount(ServiceAccountRefusal::Token)
            }
            unavailable @ (ReviewError::Unavailable { .. } | ReviewError::Busy) => AttestError::ReviewUnavailable(unavailable),
        })?;
        let agent = agent_pod(&account, &self.accounts)?;
        let AgentPod { cluster: _, node, namespace, account, pod, uid } = &agent;
        let sought = Sought { node: node.as_str(), namespace, account, pod: Some((pod, uid)) };
        let judged = self.pods.decide(node.as_str(), |pods| live_pod(pods, &sought).map(drop)).await;
        let judged = judged.map_err(AttestError::PodsUnavailable)?;
        judged.map_err(|why| ServiceAccountRefusal::Pod { pod: format!("{namespace}/{pod}"), node: node.clone(), why })?;
        Ok(agent)
    }
}

impl Attestation {
    /// Attests the node on which the pod runs that a token is bound to. The same node key may do so again while there is the pod.
    ///
    /// # Errors
    /// [`AttestError`]; nobody is asked about a token for a caller that did not prove the node key.
    pub(crate) async fn by_service_account(&self, token: &str, proof: Proof) -> Result<Attested, AttestError> {
        let agents = self.agents.as_ref().ok_or(ServiceAccountRefusal::NotConfigured)?;
        let proven = {
            // Given back before the API server is asked: while that is slow, others attest.
            let _slot = self.slot().await?;
            self.check_clock()?;
            proof.verify(&service_account_transcript(&proof.exporter, &sha256(token.as_bytes()), &proof.csr))?
        };
        let pod = agents.attest(token).await?;
        let now = Timestamp::from(self.clock.now());
        let node_key_spki = proven.node_key.spki_der().to_vec();
        let record = self.store.bind_agent_pod(pod, node_key_spki.clone(), now).await?;
        self.admit(&record, &proven.request, SvidGrounds::Attestation { node_key_spki }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_accounts::BoundPod;

    fn account() -> ReviewedAccount {
        let pod = BoundPod {
            name: "agent-a".to_owned(),
            uid: "u1".to_owned(),
            node: Some("node-1.example".to_owned()),
            node_uid: None,
        };
        ReviewedAccount { cluster: "east".to_owned(), namespace: "signet".to_owned(), name: "agent".to_owned(), pod: Some(pod) }
    }

    fn judged(change: impl FnOnce(&mut ReviewedAccount)) -> Result<AgentPod, ServiceAccountRefusal> {
        let mut account = account();
        change(&mut account);
        agent_pod(&account, &[AccountName { namespace: "signet".to_owned(), name: "agent".to_owned() }].into())
    }

    #[test]
    fn the_node_is_the_one_that_the_token_is_bound_to() {
        let want = AgentPod {
            cluster: "east".to_owned(),
            node: NodeName::parse("node-1.example").unwrap(),
            namespace: "signet".to_owned(),
            account: "agent".to_owned(),
            pod: "agent-a".to_owned(),
            uid: "u1".to_owned(),
        };
        assert_eq!(judged(|_| ()), Ok(want));
    }

    #[test]
    fn who_is_no_agent_or_bound_to_no_node_attests_none() {
        use ServiceAccountRefusal::{NodeName, NotAnAgent, NotBound};
        assert!(matches!(judged(|account| account.name = "web".to_owned()), Err(NotAnAgent { .. })));
        assert!(matches!(judged(|account| account.namespace = "shop".to_owned()), Err(NotAnAgent { .. })));
        assert_eq!(judged(|account| account.pod = None), Err(NotBound));
        assert_eq!(judged(|account| account.pod.as_mut().unwrap().node = None), Err(NotBound));
        let long = "a".repeat(254);
        assert!(matches!(judged(|account| account.pod.as_mut().unwrap().node = Some(long)), Err(NodeName { .. })));
    }
}
