//! The store in one SQLite file: WAL, `synchronous=FULL`, one writer thread that groups commits, a few read-only connections.
//!
//! Owns the file, its schema and its threads. A write goes to the writer through a bounded queue and resolves after the commit that
//! carries it; a read runs on a blocking thread against a snapshot. Neither blocks the async runtime.

mod audit;
mod bundles;
mod columns;
mod entries;
mod issuance;
mod nodes;
mod open;
mod reader;
mod tokens;
mod writer;

use std::path::Path;

use futures_util::future::BoxFuture;
use identity::{NodeName, TrustDomain};
use pki::{SerialNumber, Sha256Digest, Timestamp};
use tokio::sync::{broadcast, watch};

use super::{
    AuditLog, BundleStore, Change, EntryStore, IssuanceStore, NodeStore, RedeemError, StoreError, StoreHealth, TokenStore,
};
use crate::audit::{Actor, AuditRecord, AuditVerdict};
use crate::issuance::{Intent, Ledger, LedgerError};
use crate::records::{AgentSvidRecord, Entry, EntryId, NewEntry, NodeRecord, SvidGrounds, TokenRecord};
pub use open::OpenError;
use reader::Readers;
use writer::Writer;

/// The store in one SQLite file. Dropping it ends the writer after what is queued, and closes the file.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the store at `path`, or makes it (mode 0600, in a directory that only its owner may touch), brings its schema up to
    /// date, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`] naming the file and what to do: the directory or file is open to others, the schema is newer than this build, or SQLite
    /// does not take the settings that durability stands on.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = open::writable(path)?;
        let readers = Readers::new(|| open::read_only(path))?;
        let writer = Writer::start(path, connection)?;
        Ok(Self { writer, readers })
    }
}

impl EntryStore for SqliteStore {
    fn create_entry(
        &self,
        id: EntryId,
        entry: NewEntry,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Entry, StoreError>> {
        Box::pin(self.writer.write(move |unit| entries::create(unit, id, entry, actor, now)))
    }

    fn entries(&self, parent: Option<NodeName>) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(self.readers.read(move |connection| entries::list(connection, parent.as_ref())))
    }

    fn entry(&self, id: EntryId) -> BoxFuture<'_, Result<Entry, StoreError>> {
        Box::pin(self.readers.read(move |connection| entries::find(connection, &id)))
    }

    fn delete_entry(&self, id: EntryId, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| entries::delete(unit, &id, actor, now)))
    }
}

impl TokenStore for SqliteStore {
    fn create_token(&self, token: TokenRecord, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| tokens::create(unit, token, actor, now)))
    }

    fn redeem_token(
        &self,
        hash: Sha256Digest,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, RedeemError>> {
        // A refusal is a success of the transaction: its audit event stays.
        Box::pin(async move { self.writer.write(move |unit| tokens::redeem(unit, &hash, &node_key_spki, now)).await? })
    }
}

impl NodeStore for SqliteStore {
    fn set_agent_svid(
        &self,
        node: NodeName,
        svid: AgentSvidRecord,
        grounds: SvidGrounds,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| nodes::set_svid(unit, node, svid, grounds, now)))
    }

    fn node(&self, node: NodeName) -> BoxFuture<'_, Result<Option<NodeRecord>, StoreError>> {
        Box::pin(self.readers.read(move |connection| nodes::find(connection, &node)))
    }

    fn node_by_key(&self, node_key_spki: Vec<u8>) -> BoxFuture<'_, Result<Option<NodeRecord>, StoreError>> {
        Box::pin(self.readers.read(move |connection| nodes::find_by_key(connection, &node_key_spki)))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, StoreError>> {
        Box::pin(self.readers.read(nodes::list))
    }

    fn evict_node(&self, node: NodeName, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| nodes::evict(unit, node, actor, now)))
    }

    fn ban_node(&self, node: NodeName, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| nodes::ban(unit, node, actor, now)))
    }

    fn unban_node(&self, node: NodeName, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| nodes::unban(unit, node, actor, now)))
    }
}

impl Ledger for SqliteStore {
    fn persist(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let written: Result<(), StoreError> = self.writer.write(move |unit| issuance::intend(unit, intent)).await;
            written.map_err(|error| LedgerError(error.to_string()))
        })
    }
}

impl IssuanceStore for SqliteStore {
    fn record_result(
        &self,
        serial: SerialNumber,
        certificate_der: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| issuance::answer(unit, serial, certificate_der, now)))
    }

    fn issued_count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.readers.read(issuance::count))
    }
}

impl BundleStore for SqliteStore {
    fn bundle_sequence(
        &self,
        trust_domain: TrustDomain,
        content: Sha256Digest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.writer.write(move |unit| bundles::sequence(unit, trust_domain, content, now)))
    }
}

impl AuditLog for SqliteStore {
    fn audit_after(&self, sequence: u64, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        Box::pin(self.readers.read(move |connection| audit::after(connection, sequence, limit)))
    }

    fn audit_head(&self) -> watch::Receiver<u64> {
        self.writer.audit_head()
    }

    fn audit_verify(&self) -> BoxFuture<'_, Result<AuditVerdict, StoreError>> {
        Box::pin(self.readers.read(audit::verify))
    }
}

impl StoreHealth for SqliteStore {
    fn failure(&self) -> watch::Receiver<Option<String>> {
        self.writer.failure()
    }

    fn commits(&self) -> u64 {
        self.writer.commits()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.writer.changes()
    }
}

#[cfg(test)]
mod tests;
