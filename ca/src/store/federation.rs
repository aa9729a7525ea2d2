//! Relationships with other trust domains.

use futures_util::future::BoxFuture;
use identity::TrustDomain;
use pki::Timestamp;

use super::StoreError;
use crate::audit::Actor;
use crate::federation::{Federation, ForeignDocument, StoredFederation};

/// Relationships with other trust domains.
pub trait FederationStore: Send + Sync {
    /// All of them, by trust domain.
    fn federations(&self) -> BoxFuture<'_, Result<Vec<StoredFederation>, StoreError>>;

    /// Adds one, with the bundle to begin with if there is one.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one with this trust domain.
    fn add_federation(
        &self,
        federation: Federation,
        document: Option<ForeignDocument>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes one, with its bundle.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    fn remove_federation(&self, trust_domain: TrustDomain, actor: Actor, now: Timestamp)
    -> BoxFuture<'_, Result<(), StoreError>>;

    /// Puts a newer bundle in the place of the one before; the same document changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when the relationship is not this one any more, or has a bundle of a later sequence, or another one of the same
    /// sequence that is not 0.
    fn keep_foreign_bundle(
        &self,
        federation: Federation,
        document: ForeignDocument,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
}
