//! Whether a peer may speak as a node's agent, now: asked for each RPC and each message of a stream.
//!
//! A handshake proves who a client is; that the node still stands (not evicted, not banned, its certificate the one issued
//! last or the one before) changes while a connection lives. The answer comes from the store. It is remembered per node, so that
//! a message costs no query, and forgotten on each change of it that the store announces: announcements are taken in *before* each
//! answer, so an eviction that was confirmed to the operator is seen by the next check.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use identity::{NodeName, SpiffeId, SystemIdentity, TrustDomain};
use mtls::VerifiedPeer;
use pki::{SerialNumber, Timestamp};
use runtime::clock::Clock;
use tokio::sync::broadcast;

use crate::audit::{Action, Actor, AuditEvent};
use crate::records::{NodeRecord, NodeState};
use crate::store::{Change, Store, StoreError};

/// Why a peer may not speak as an agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandingError {
    /// The client showed no certificate.
    #[error("a client certificate is needed: attest first, then connect with the agent SVID")]
    NoCertificate,
    /// The certificate names something else than an agent of this trust domain.
    #[error("{id} is not an agent of {trust_domain}: only spiffe://{trust_domain}/signet/agent/<node> may call this service")]
    NotAnAgent { id: SpiffeId, trust_domain: TrustDomain },
    /// The certificate ended while the connection lived.
    #[error(
        "the agent SVID {serial} of node {node} ended at {not_after}, the CA's clock says {now}: re-attest with the node key"
    )]
    Lapsed { node: NodeName, serial: SerialNumber, not_after: Timestamp, now: Timestamp },
    /// No such node (any more).
    #[error("node {node} is not known to this CA (it may have been evicted): attest with a new join token")]
    UnknownNode { node: NodeName },
    /// A newer certificate was issued, and another after it.
    #[error("the serial {serial} is neither the current nor the previous agent SVID of node {node}: re-attest with the node key")]
    Superseded { node: NodeName, serial: SerialNumber },
    /// The operator blocked it.
    #[error("node {node} is banned: an operator can lift it with signet node unban")]
    Banned { node: NodeName },
    /// The store could not say: refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Remembered {
    changes: broadcast::Receiver<Change>,
    nodes: HashMap<NodeName, Arc<NodeRecord>>,
    /// Counts forgettings, so that an answer that was already on its way is not remembered after one.
    forgotten: u64,
    /// Serials that are not on record and were told.
    told: HashSet<SerialNumber>,
}

/// The judge of peers. One for the process.
pub(crate) struct Sessions {
    store: Arc<dyn Store>,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    remembered: Mutex<Remembered>,
}

impl Sessions {
    /// Over this store.
    pub(crate) fn new(store: Arc<dyn Store>, trust_domain: TrustDomain, clock: Arc<dyn Clock>) -> Self {
        let remembered = Remembered { changes: store.changes(), nodes: HashMap::new(), forgotten: 0, told: HashSet::new() };
        Self { store, trust_domain, clock, remembered: Mutex::new(remembered) }
    }

    /// The record of the node that this peer may speak for, now.
    ///
    /// # Errors
    /// [`StandingError`] when it may not speak, and when the store cannot tell.
    pub(crate) async fn check(&self, peer: Option<&VerifiedPeer>) -> Result<Arc<NodeRecord>, StandingError> {
        let peer = peer.ok_or(StandingError::NoCertificate)?;
        self.check_certificate(peer.id(), peer.serial(), peer.not_after()).await
    }

    async fn check_certificate(
        &self,
        id: &SpiffeId,
        serial: &SerialNumber,
        not_after: Timestamp,
    ) -> Result<Arc<NodeRecord>, StandingError> {
        let node = agent_node(id, &self.trust_domain)?;
        let now = Timestamp::from(self.clock.now());
        if now > not_after {
            return Err(StandingError::Lapsed { node, serial: serial.clone(), not_after, now });
        }
        let Some(record) = self.record(&node).await? else {
            self.tell_if_unknown(id, serial, not_after, now).await?;
            return Err(StandingError::UnknownNode { node });
        };
        match record.state {
            NodeState::Banned => Err(StandingError::Banned { node }),
            NodeState::Attested if record.accepts(serial) => Ok(record),
            NodeState::Attested => {
                self.tell_if_unknown(id, serial, not_after, now).await?;
                Err(StandingError::Superseded { node, serial: serial.clone() })
            }
        }
    }

    /// A certificate under this CA's root that is not on record was issued by a history that is lost, or by somebody else with the key: it goes
    /// into the audit chain, once for each in this process.
    async fn tell_if_unknown(
        &self,
        subject: &SpiffeId,
        serial: &SerialNumber,
        not_after: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.remembered().told.contains(serial) || self.store.issued(serial.clone()).await?.is_some() {
            return Ok(());
        }
        {
            let mut remembered = self.remembered();
            if remembered.told.len() >= MAX_TOLD {
                remembered.told.clear();
            }
            if !remembered.told.insert(serial.clone()) {
                return Ok(());
            }
        }
        tracing::warn!(%subject, %serial, %not_after, "a certificate that is not on record was shown: this CA's record is not whole");
        let action = Action::UnknownCertificateShown { serial: serial.clone(), subject: subject.clone(), not_after };
        self.store.note(AuditEvent { actor: Actor::System, action }, now).await
    }

    async fn record(&self, node: &NodeName) -> Result<Option<Arc<NodeRecord>>, StoreError> {
        let asked_at = {
            let mut remembered = self.remembered();
            remembered.take_in_changes();
            if let Some(record) = remembered.nodes.get(node) {
                return Ok(Some(Arc::clone(record)));
            }
            remembered.forgotten
        };
        let record = self.store.node(node.clone()).await?.map(Arc::new);
        let mut remembered = self.remembered();
        remembered.take_in_changes();
        if let Some(record) = &record
            && remembered.forgotten == asked_at
        {
            if remembered.nodes.len() >= MAX_REMEMBERED {
                remembered.nodes.clear();
            }
            remembered.nodes.insert(node.clone(), Arc::clone(record));
        }
        Ok(record)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node whose agent this ID names.
///
/// # Errors
/// [`StandingError::NotAnAgent`] when it names something else, or something elsewhere.
fn agent_node(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<NodeName, StandingError> {
    match id.system_identity() {
        Some(SystemIdentity::Agent(node)) if id.trust_domain() == trust_domain => Ok(node),
        Some(SystemIdentity::Agent(_) | SystemIdentity::Ca(_)) | None => {
            Err(StandingError::NotAnAgent { id: id.clone(), trust_domain: trust_domain.clone() })
        }
    }
}

impl Remembered {
    fn take_in_changes(&mut self) {
        loop {
            match self.changes.try_recv() {
                Ok(Change::Node(node)) => {
                    self.nodes.remove(&node);
                    self.forgotten += 1;
                }
                // A serial that is revoked is taken off the record of its node, which is told as a change of the node.
                Ok(
                    Change::Entries(_)
                    | Change::EntriesOfClusters
                    | Change::Revocations
                    | Change::Authorities
                    | Change::Federations,
                ) => {}
                Ok(Change::Unknown) | Err(broadcast::error::TryRecvError::Lagged(_)) => {
                    self.nodes.clear();
                    self.forgotten += 1;
                }
                // Closed: the store is going away, and the next query says so.
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return,
            }
        }
    }
}

/// Serials that are not on record: as many as a fleet shows after a restore, and no more memory.
const MAX_TOLD: usize = 10_000;

/// Ten times the fleet that one CA is meant for; beyond it the memory starts again.
const MAX_REMEMBERED: usize = 100_000;
