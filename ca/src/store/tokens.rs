//! What a node proves itself by the first time: join tokens and provisioning certificates, each for one use, and the pods of agents.

use futures_util::future::BoxFuture;
use identity::NodeName;
use pki::{Sha256Digest, Timestamp};

use super::{AgentPodError, CertificateUseError, RedeemError, StoreError};
use crate::audit::Actor;
use crate::records::{AgentPod, NodeRecord, OpenToken, ProvisioningCertificate, TokenId, TokenRecord};

/// Join tokens.
pub trait TokenStore: Send + Sync {
    /// Adds a token. Tokens that ended more than a day ago are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Banned`] when its node is.
    fn create_token(&self, token: TokenRecord, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The tokens that may be redeemed at `now`, in the order of their ends.
    fn open_tokens(&self, now: Timestamp) -> BoxFuture<'_, Result<Vec<OpenToken>, StoreError>>;

    /// Ends a token: from `now` on nobody redeems it, nor does the key that did come back by it. Says what it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no token of this name may be redeemed.
    fn revoke_token(&self, id: TokenId, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<OpenToken, StoreError>>;

    /// Binds the token to the node key, or finds it bound to the same, and registers the node, in one transaction: of any number
    /// of callers with different keys one succeeds.
    ///
    /// A node that has attested before with another key gets this key instead: the operator made a new token for its name. The
    /// former key, its SVIDs and its used tokens are forgotten then.
    ///
    /// # Errors
    /// [`RedeemError`]. Refusals of a token that exists are audited, the first 16 of each token.
    fn redeem_token(
        &self,
        hash: Sha256Digest,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, RedeemError>>;
}

/// Provisioning certificates, and the pods of agents.
pub trait ProvisioningStore: Send + Sync {
    /// Binds the certificate to the node key and registers the node, in one transaction: of any number of callers with different
    /// keys one succeeds. The same key may call again for ten minutes, as its first answer may have been lost; when its node is
    /// evicted or banned, the certificate stays used.
    ///
    /// The caller has validated the certificate, and the proofs by its key and the node key. Unlike a token, a certificate gives
    /// no name away that another key has: no operator meant that.
    ///
    /// # Errors
    /// [`CertificateUseError`]. Refusals are audited, the first 16 of each certificate.
    fn redeem_certificate(
        &self,
        certificate: ProvisioningCertificate,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, CertificateUseError>>;

    /// Binds the pod of an agent to the node key and registers its node, in one transaction: of any number of callers with different keys
    /// one succeeds for a pod. The same key may call again as long as there is the pod; when its node is evicted or banned, the pod stays
    /// used. A new pod takes the node over from a pod of the same cluster before it, and from nobody else.
    ///
    /// The caller has had the API server vouch for the pod, which is alive on the node that it names, and checked the proof by the node key.
    ///
    /// # Errors
    /// [`AgentPodError`]. Refusals are audited, the first 16 of each pod.
    fn bind_agent_pod(
        &self,
        pod: AgentPod,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, AgentPodError>>;

    /// The cluster whose API server vouched for the agent of this node, by the node key that is on record now. `None` when the node came
    /// otherwise, is not on record or banned, or when what attested it is used up.
    fn cluster_of_node(&self, node: NodeName) -> BoxFuture<'_, Result<Option<String>, StoreError>>;
}
