//! The store over either engine: a write goes to the writer through a bounded queue and resolves after the commit that carries it; a read
//! runs on a blocking thread against a snapshot. Neither blocks the async runtime.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::{AliasName, NodeName, ReplicaName, SpiffeId, TrustDomain};
use pki::checkpoint::SignedCheckpoint;
use pki::{SerialNumber, Sha256Digest, Timestamp};
use tokio::sync::{broadcast, watch};

use super::connection::Connection;
use super::readers::{Engine, Readers};
use super::remembered::{Generation, Remembered};
use super::writer::Writer;
use super::{
    agent_pods, aliases, audit, authorities, bundles, certificates, checkpoints, entries, issuance, issuance_clock, jwt, nodes,
    orphans, tokens,
};
use crate::audit::{Actor, AuditEvent, AuditRecord, ChainHead, StoredCheckpoint};
use crate::authority::lifecycle::Lifecycle;
use crate::entry_plan::{EntryPlan, Scope, Wanted};
use crate::issuance::{Intent, Ledger, LedgerError};
use crate::jwt::issuance::{JwtIntent, JwtLedger};
use crate::records::{
    AgentPod, AgentSvidRecord, ConfirmedPod, Entry, EntryEdit, EntryId, Held, IssuedRecord, NewEntry, NodeAlias, NodeEntries,
    NodeRecord, OpenToken, Outstanding, ProvisioningCertificate, SvidGrounds, TokenId, TokenRecord,
};
use crate::store::{
    AgentPodError, AliasStore, Apply, ApplyError, AuditLog, AuditReader, BundleStore, CertificateUseError, Change, EntryFilter,
    EntryStore, FaultKind, Forks, IssuanceResult, IssuanceStore, NodeStore, OrphanCursor, OrphanKind, OrphanPage,
    ProvisioningStore, RedeemError, Store, StoreError, StoreHealth, StoreState, TokenStore,
};

/// The store in a database. Dropping it ends the writer after what is queued, and closes the database.
pub struct SqlStore<E: Engine> {
    // Dropped first: who closes a file last merges the log into it, which only the writer can.
    pub(in crate::store) readers: Readers<E>,
    pub(in crate::store) writer: Writer,
    remembered: Remembered,
    /// Whose issuing CAs and JWT keys this store is asked about; `None`: one replica has all that is in it.
    pub(in crate::store) own: Option<ReplicaName>,
    /// What else lives as long as the store, and is dropped last.
    #[expect(dead_code, reason = "kept for its drop")]
    company: E::Company,
}

impl<E: Engine> Store for SqlStore<E> {}

impl<E: Engine> SqlStore<E> {
    pub(in crate::store) fn new(readers: Readers<E>, writer: Writer, own: Option<ReplicaName>, company: E::Company) -> Self {
        Self { readers, writer, remembered: Remembered::default(), own, company }
    }
}

impl<E: Engine> EntryStore for SqlStore<E> {
    fn create_entry(
        &self,
        id: EntryId,
        entry: NewEntry,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Entry, StoreError>> {
        Box::pin(self.writer.write(move |unit| entries::create(unit, id, entry, actor, now)))
    }

    fn entries(&self, filter: EntryFilter) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(self.readers.read(move |connection| entries::list(connection, &filter)))
    }

    fn node_entries(&self, node: NodeName) -> BoxFuture<'_, Result<Arc<NodeEntries>, StoreError>> {
        let known = self.writer.entries_generation().and_then(|generation| self.remembered.find(&node, generation));
        Box::pin(async move {
            if let Some(known) = known {
                return Ok(known);
            }
            let of = node.clone();
            let read = move |connection: Connection<'_>| Ok((Generation::read(connection)?, entries::of_node(connection, &of)?));
            let (generation, found) = self.readers.read(read).await?;
            let found = Arc::new(found);
            self.remembered.keep(node, &found, generation);
            Ok(found)
        })
    }

    fn entry(&self, id: EntryId) -> BoxFuture<'_, Result<Entry, StoreError>> {
        Box::pin(self.readers.read(move |connection| entries::find(connection, &id)))
    }

    fn update_entry(
        &self,
        id: EntryId,
        expected_revision: Option<u64>,
        edit: EntryEdit,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Entry, StoreError>> {
        Box::pin(self.writer.write(move |unit| entries::update(unit, &id, expected_revision, edit, actor, now)))
    }

    fn delete_entry(
        &self,
        id: EntryId,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(Entry, Option<Outstanding>), StoreError>> {
        Box::pin(self.writer.write(move |unit| entries::delete(unit, &id, actor, now)))
    }

    fn plan_entries(
        &self,
        scope: Scope,
        wanted: Vec<Wanted>,
        prune: bool,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<EntryPlan, ApplyError>> {
        Box::pin(async move {
            self.readers.read(move |connection| Ok(entries::dry_run(connection, &scope, wanted, prune, now))).await?
        })
    }

    fn apply_entries(&self, document: Apply, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<EntryPlan, ApplyError>> {
        Box::pin(self.writer.write(move |unit| entries::apply(unit, document, &actor, now)))
    }

    fn purge_expired_entries(&self, ended_by: Timestamp, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.writer.write(move |unit| entries::purge(unit, ended_by, now)))
    }
}

impl<E: Engine> AliasStore for SqlStore<E> {
    fn create_alias(
        &self,
        name: AliasName,
        nodes: BTreeSet<NodeName>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeAlias, StoreError>> {
        Box::pin(self.writer.write(move |unit| aliases::create(unit, name, nodes, actor, now)))
    }

    fn aliases(&self) -> BoxFuture<'_, Result<Vec<NodeAlias>, StoreError>> {
        Box::pin(self.readers.read(aliases::list))
    }

    fn change_alias(
        &self,
        name: AliasName,
        add: BTreeSet<NodeName>,
        remove: BTreeSet<NodeName>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeAlias, StoreError>> {
        Box::pin(self.writer.write(move |unit| aliases::change(unit, &name, add, remove, actor, now)))
    }

    fn delete_alias(
        &self,
        name: AliasName,
        with_entries: bool,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(self.writer.write(move |unit| aliases::delete(unit, &name, with_entries, actor, now)))
    }
}

impl<E: Engine> TokenStore for SqlStore<E> {
    fn create_token(&self, token: TokenRecord, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| tokens::create(unit, token, actor, now)))
    }

    fn open_tokens(&self, now: Timestamp) -> BoxFuture<'_, Result<Vec<OpenToken>, StoreError>> {
        Box::pin(self.readers.read(move |connection| tokens::open(connection, now)))
    }

    fn revoke_token(&self, id: TokenId, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<OpenToken, StoreError>> {
        Box::pin(self.writer.write(move |unit| tokens::revoke(unit, id, actor, now)))
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

impl<E: Engine> ProvisioningStore for SqlStore<E> {
    fn redeem_certificate(
        &self,
        certificate: ProvisioningCertificate,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, CertificateUseError>> {
        // A refusal is a success of the transaction: its audit event stays.
        Box::pin(
            async move { self.writer.write(move |unit| certificates::redeem(unit, certificate, &node_key_spki, now)).await? },
        )
    }

    fn bind_agent_pod(
        &self,
        pod: AgentPod,
        node_key_spki: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<NodeRecord, AgentPodError>> {
        // A refusal is a success of the transaction: its audit event stays.
        Box::pin(async move { self.writer.write(move |unit| agent_pods::bind(unit, pod, &node_key_spki, now)).await? })
    }

    fn cluster_of_node(&self, node: NodeName) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(self.readers.read(move |connection| agent_pods::cluster_of(connection, &node)))
    }
}

impl<E: Engine> NodeStore for SqlStore<E> {
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

impl<E: Engine> Ledger for SqlStore<E> {
    fn persist(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let written: Result<(), StoreError> = self.writer.write_checked(move |unit| issuance::intend(unit, intent)).await;
            Ok(written?)
        })
    }
}

impl<E: Engine> JwtLedger for SqlStore<E> {
    fn persist_jwt(&self, intent: JwtIntent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let written: Result<(), StoreError> = self.writer.write_checked(move |unit| jwt::intend(unit, intent)).await;
            Ok(written?)
        })
    }
}

impl<E: Engine> IssuanceStore for SqlStore<E> {
    fn record_result(
        &self,
        serial: SerialNumber,
        certificate_der: Vec<u8>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write_checked(move |unit| issuance::answer(unit, IssuanceResult { serial, certificate_der, now })))
    }

    fn record_results(&self, results: Vec<IssuanceResult>) -> BoxFuture<'_, Result<Vec<(SerialNumber, StoreError)>, StoreError>> {
        Box::pin(self.writer.write_checked(move |unit| issuance::answer_all(unit, results)))
    }

    fn issued(&self, serial: SerialNumber) -> BoxFuture<'_, Result<Option<IssuedRecord>, StoreError>> {
        Box::pin(self.readers.read(move |connection| issuance::record(connection, &serial)))
    }

    fn held(
        &self,
        caller: String,
        entries: Vec<(EntryId, SpiffeId)>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<HashMap<EntryId, Held>, StoreError>> {
        Box::pin(self.readers.read(move |connection| issuance::held(connection, &caller, entries, now)))
    }

    fn confirmed_pod(
        &self,
        caller: String,
        subject: SpiffeId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<ConfirmedPod>, StoreError>> {
        Box::pin(self.readers.read(move |connection| issuance::confirmed(connection, &caller, &subject, now)))
    }

    fn issued_count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.readers.read(issuance::count))
    }

    fn latest_issuance(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        Box::pin(self.readers.read(issuance_clock::latest))
    }

    fn accept_clock(&self, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        Box::pin(self.writer.write(move |unit| issuance_clock::accept(unit, actor, now)))
    }
}

impl<E: Engine> BundleStore for SqlStore<E> {
    fn bundle_sequence(
        &self,
        trust_domain: TrustDomain,
        content: Sha256Digest,
        of: Arc<Lifecycle>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        let own = self.own.clone();
        Box::pin(self.writer.write(move |unit| {
            authorities::require(unit.connection(), own.as_ref(), &of)?;
            bundles::sequence(unit, trust_domain, content, now)
        }))
    }
}

impl<E: Engine> AuditReader for SqlStore<E> {
    fn audit_after(&self, sequence: u64, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        Box::pin(self.readers.read(move |connection| audit::after(connection, sequence, limit)))
    }

    fn chain_head(&self) -> BoxFuture<'_, Result<ChainHead, StoreError>> {
        Box::pin(self.readers.read(audit::head))
    }

    fn checkpoints(&self, after: u64, through: u64, limit: u32) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>> {
        Box::pin(self.readers.read(move |connection| checkpoints::between(connection, after, through, limit)))
    }

    fn last_checkpoint(&self) -> BoxFuture<'_, Result<Option<StoredCheckpoint>, StoreError>> {
        Box::pin(self.readers.read(checkpoints::last))
    }

    fn orphans(&self, kind: OrphanKind, from: OrphanCursor) -> BoxFuture<'_, Result<OrphanPage, StoreError>> {
        Box::pin(self.readers.read(move |connection| orphans::page(connection, kind, from)))
    }
}

impl<E: Engine> AuditLog for SqlStore<E> {
    fn audit_head(&self) -> watch::Receiver<u64> {
        self.writer.audit_head()
    }

    fn note(&self, event: AuditEvent, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| unit.audit(&event, now)))
    }

    fn record_checkpoint(&self, checkpoint: SignedCheckpoint) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| checkpoints::record(unit, &checkpoint)))
    }

    fn record_fork(
        &self,
        node: NodeName,
        checkpoint: SignedCheckpoint,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.writer.write(move |unit| checkpoints::record_fork(unit, node, &checkpoint, now)))
    }

    fn forks(&self) -> BoxFuture<'_, Result<Forks, StoreError>> {
        Box::pin(self.readers.read(checkpoints::forks))
    }

    fn acknowledge_forks(&self, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<u32, StoreError>> {
        Box::pin(self.writer.write(move |unit| checkpoints::acknowledge_forks(unit, actor, now)))
    }
}

impl<E: Engine> StoreHealth for SqlStore<E> {
    fn state(&self) -> watch::Receiver<StoreState> {
        self.writer.state()
    }

    fn recover(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.writer.recover())
    }

    fn commit_turns(&self) -> u64 {
        self.writer.commit_turns()
    }

    fn faults(&self) -> Vec<(FaultKind, u64)> {
        self.writer.faults()
    }

    fn commits(&self) -> u64 {
        self.writer.commits()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.writer.changes()
    }
}
