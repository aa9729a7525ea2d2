//! The CA's own authorities: their lifecycle, the rotations that are under way, and what the ledger says of what rests on each.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::NodeName;
use pki::{KeyId, Sha256Digest, Timestamp};

use super::{Fence, StoreError};
use crate::audit::{Actor, AuthorityAction};
use crate::authority::lifecycle::gate::{Accepted, Leaves};
use crate::authority::lifecycle::rotation::{Outcome, Rotation};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Lifecycle};

/// That all workloads of a node have taken a bundle, as their agent said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The sequence of that bundle.
    pub sequence: u64,
    /// When the CA heard so first.
    pub at: Timestamp,
}

/// The CA's authorities, and what rests on them.
pub trait AuthorityStore: Send + Sync {
    /// The lifecycle as it was stored last; empty when nothing was.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also when a row cannot be read, or [`Lifecycle::restore`] refuses the whole.
    fn lifecycle(&self) -> BoxFuture<'_, Result<Lifecycle, StoreError>>;

    /// Stores `after` in place of `before`, while `fence` holds and leads, in one transaction with an audit event for each authority that changed its slot, was tainted,
    /// published or destroyed, and one for what an operator accepted to lose by it. An authority never leaves the store.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], and [`StoreError::Changed`] when what is stored is not `before`: another writer was faster, and nothing of `after` may be done.
    /// [`StoreError::Unavailable`] when `after` is no state that events make of `before`.
    fn store_lifecycle(
        &self,
        fence: Fence,
        before: Arc<Lifecycle>,
        after: Arc<Lifecycle>,
        accepted: Option<(AuthorityName, Accepted)>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Records what became of an authority that no other call stores. Audited, and nothing else.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn note_authority(&self, action: AuthorityAction, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The rotations that are under way, by kind.
    fn rotations(&self) -> BoxFuture<'_, Result<Vec<Rotation>, StoreError>>;

    /// Stores a rotation in place of that of its kind, if there is one. Audited, unless it was stored so already.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] unless `fence` holds and leads.
    fn put_rotation(
        &self,
        fence: Fence,
        rotation: Rotation,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Forgets the rotation of a kind. Audited; one that is not there is no error, since it may have been ended before a crash.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] unless `fence` holds and leads.
    fn end_rotation(
        &self,
        fence: Fence,
        kind: AuthorityKind,
        outcome: Outcome,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What each of these issuing CAs signed, named by the SHA-256 of its SubjectPublicKeyInfo, and what of it is good at `now`: agent
    /// SVIDs and the leaves of workloads, not CA certificates and not what the CA itself shows. One that signed nothing is there with zeros.
    ///
    /// A certificate counts as held while no newer one is recorded as signed for the same holder and purpose: an agent's own SVID, or an
    /// agent's SVID for one entry. One that a caller got by a bearer token is held until the certificate that was issued on presenting it is
    /// recorded: other callers have the same name. A certificate without a recorded result counts, since it may have been signed. What was
    /// recorded by builds that did not say which CA signed counts for every CA asked about, as held.
    fn leaves(
        &self,
        issuer_keys: Vec<Sha256Digest>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<HashMap<Sha256Digest, Leaves>, StoreError>>;

    /// When the last JWT-SVID ends that was to be signed with each of these keys. A key that never signed is missing.
    fn tokens_until(&self, key_ids: Vec<KeyId>) -> BoxFuture<'_, Result<HashMap<KeyId, Timestamp>, StoreError>>;

    /// Keeps the bundle sequence that a node acknowledged last, for when it is not connected. A lower one than is kept changes nothing, and
    /// neither does a node that is not on record. Not audited.
    fn acknowledge_bundle(&self, node: NodeName, sequence: u64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What [`Self::acknowledge_bundle`] kept. Forgotten with its node, and when the node takes another key.
    fn acknowledged(&self) -> BoxFuture<'_, Result<HashMap<NodeName, u64>, StoreError>>;

    /// Keeps that all workloads of a node have taken a bundle, for when the node is not connected; it is acknowledged with that. A lower
    /// sequence than is kept changes nothing, the same one keeps its time, and a node that is not on record has none. Not audited.
    fn settle_bundle(&self, node: NodeName, settled: Settled) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What [`Self::settle_bundle`] kept. Forgotten with what [`Self::acknowledged`] says.
    fn settled(&self) -> BoxFuture<'_, Result<HashMap<NodeName, Settled>, StoreError>>;
}
