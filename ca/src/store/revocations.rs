//! What was called back, and the lists that say so.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::SpiffeId;
use pki::crl::RevocationReason;
use pki::{Sha256Digest, Timestamp};
use tokio::sync::watch;

use super::StoreError;
use crate::audit::Actor;
use crate::records::{Entry, EntryId};
use crate::revocation::{DeniedIdentity, ListIntent, Outcome, Revocation, Revoked, StoredList, Target};

/// Why nothing is revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The ledger has no such certificate.
    #[error("the certificate {serial} was not issued by this CA")]
    Unknown {
        /// Which.
        serial: String,
    },
    /// It is of no use to anybody any more.
    #[error("the certificate {serial} ended at {not_after}")]
    Ended {
        /// Which.
        serial: String,
        /// Its last second.
        not_after: Timestamp,
    },
    /// It is a CA certificate, or the one that the CA itself shows.
    #[error(
        "the certificate {serial} is the CA's own ({reason}); `signet authority taint` and `revoke`, or `signet drill`, replace what the CA \
         signs with"
    )]
    OfTheCa {
        /// Which.
        serial: String,
        /// Why it was made.
        reason: String,
    },
    /// The identity is one of Signet's own, or of elsewhere.
    #[error("{id} is not a workload's identity of this trust domain: `--node` revokes what a node has")]
    NotAWorkload {
        /// Which.
        id: SpiffeId,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Revocations.
pub trait RevocationStore: Send + Sync {
    /// What is revoked now. A change is published with its commit, before its future resolves.
    fn revoked(&self) -> watch::Receiver<Arc<Revoked>>;

    /// What [`Self::revoke`] would do at `now`.
    ///
    /// # Errors
    /// [`RevokeError`].
    fn plan_revocation(
        &self,
        target: Target,
        reason: RevocationReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Outcome, RevokeError>>;

    /// Revokes, in one transaction with an audit event for each certificate and for the identity or node. What was to be signed counts as
    /// signed. An agent SVID that is revoked opens no session any more.
    ///
    /// # Errors
    /// [`RevokeError`].
    fn revoke(
        &self,
        target: Target,
        reason: RevocationReason,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Outcome, RevokeError>>;

    /// Removes an entry, and revokes each certificate that was issued for it, in one transaction.
    ///
    /// # Errors
    /// [`RevokeError`], [`StoreError::NotFound`] among them.
    fn delete_and_revoke(
        &self,
        id: EntryId,
        reason: RevocationReason,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(Entry, Outcome), RevokeError>>;

    /// Lets an identity be issued again; says whether it was denied. Its certificates stay revoked.
    fn restore_identity(&self, id: SpiffeId, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Identities that are denied, by name.
    fn denied_identities(&self) -> BoxFuture<'_, Result<Vec<DeniedIdentity>, StoreError>>;

    /// What must be on a list at `now`, the latest first.
    fn revocations(&self, now: Timestamp) -> BoxFuture<'_, Result<Vec<Revocation>, StoreError>>;

    /// Forgets what no list needs to name at `now` any more; says how many those were.
    fn purge_revocations(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// The newest list of each CA that ever signed one.
    fn revocation_lists(&self) -> BoxFuture<'_, Result<Vec<StoredList>, StoreError>>;

    /// Records that a list is about to be signed. Audited.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when a list of this CA has this number or a higher one: nothing may be signed then.
    fn record_list(&self, list: ListIntent, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps the list that was signed.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when another number was recorded since.
    fn keep_list(&self, issuer_key: Sha256Digest, number: u64, list_der: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The sequence of this content: the last one when it is unchanged, else the next. From 1. `lists`: SHA-256 of those in it that came from
    /// this store, by SHA-256 of the SubjectPublicKeyInfo of their CAs.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when another list of one of these CAs is kept by now: what is older never gets a higher sequence.
    fn revocation_sequence(
        &self,
        content: Sha256Digest,
        lists: Vec<(Sha256Digest, Sha256Digest)>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Each CA that signed a leaf that is good at `now`, with the last second of the one that ends last. What was recorded by builds that did
    /// not say which CA signed is left out.
    fn signers(&self, now: Timestamp) -> BoxFuture<'_, Result<Vec<(Sha256Digest, Timestamp)>, StoreError>>;
}
