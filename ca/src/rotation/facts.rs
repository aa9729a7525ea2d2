//! Gathers what gates are judged by: what each node has, and what rests on each authority. What is not known counts as missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pki::{JwtAuthority, PublicKey, Timestamp};

use crate::attestation::may_return;
use crate::authority::lifecycle::gate::{AgentFacts, Facts, ObjectFacts};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Lifecycle, Material};
use crate::records::{NodeRecord, NodeState};
use crate::replicas::Tenure;
use crate::rpc::admin_sources::{Fleet, NodeConnection, NodeProgress};
use crate::store::{Settled, Store, StoreError};

/// Where facts come from.
pub(crate) struct FactsOfFleet {
    /// Nodes, what they acknowledged, and the ledger.
    pub(crate) store: Arc<dyn Store>,
    /// Who is connected, and what their agents say.
    pub(crate) fleet: Arc<dyn Fleet>,
    /// For how long after the end of its last SVID a node may come back by its key.
    pub(crate) reattest_window: Duration,
    /// How long a receiver of files may take to read them after they were written.
    pub(crate) propagation_hold: Duration,
    /// Which other replicas live.
    pub(crate) tenure: Tenure,
    /// Receivers in a cluster.
    pub(crate) cluster: Vec<Arc<dyn ClusterReceivers>>,
}

/// Receivers in a cluster who read objects, and acknowledge nothing.
pub(crate) trait ClusterReceivers: Send + Sync {
    /// How far their objects are, as the API server tells it.
    fn standing(&self) -> ObjectFacts;
}

impl FactsOfFleet {
    /// What is known at `now` of all receivers, and of what rests on these authorities.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store does not tell, or holds a JWT key that is none.
    pub(crate) async fn gather(&self, lifecycle: &Lifecycle, now: Timestamp) -> Result<Facts, StoreError> {
        // What the store kept is read before who is connected: of a node that goes away in between, the older word counts.
        let (acknowledged, settled) = (self.store.acknowledged().await?, self.store.settled().await?);
        let records = self.store.nodes().await?;
        let mut agents = Vec::new();
        for record in &records {
            let connection = self.fleet.connection(&record.node);
            if is_receiver(record, connection.is_some(), self.reattest_window, now) {
                let kept =
                    Kept { acknowledged: acknowledged.get(&record.node).copied(), settled: settled.get(&record.node).copied() };
                agents.push(agent(record, connection, kept));
            }
        }

        // A root signs issuing CAs of other CAs, which count as what rests on it.
        let signers = materials(lifecycle, AuthorityKind::Root).chain(materials(lifecycle, AuthorityKind::Issuer));
        let issuers: Vec<_> = signers
            .filter(|(_, issuer)| issuer.not_after.is_none_or(|not_after| not_after >= now))
            .map(|(name, issuer)| (name, issuer.key))
            .collect();
        let by_key = self.store.leaves(issuers.iter().map(|(_, key)| *key).collect(), now).await?;
        let leaves = issuers.into_iter().filter_map(|(name, key)| Some((name, *by_key.get(&key)?)));
        let leaves = leaves.filter(|(name, leaves)| name.kind != AuthorityKind::Root || leaves.unexpired > 0).collect();

        let mut key_ids = BTreeMap::new();
        for (name, key) in materials(lifecycle, AuthorityKind::Jwt) {
            key_ids.insert(name, key_id(name, key)?);
        }
        let by_id = self.store.tokens_until(key_ids.values().cloned().collect()).await?;
        let tokens_until = key_ids.into_iter().filter_map(|(name, id)| Some((name, *by_id.get(&id)?))).collect();
        let objects = self.cluster.iter().map(|receivers| receivers.standing()).collect();
        let (propagation_hold, replicas) = (self.propagation_hold, self.tenure.others());
        Ok(Facts { agents, leaves, tokens_until, propagation_hold, replicas, objects })
    }
}

/// Those of a kind that were made, revoked ones among them: what they signed may rest on their root.
fn materials(lifecycle: &Lifecycle, kind: AuthorityKind) -> impl Iterator<Item = (AuthorityName, &Material)> {
    let of_kind = lifecycle.everything().filter(move |authority| authority.name.kind == kind);
    of_kind.filter_map(|authority| Some((authority.name, authority.material.as_ref()?)))
}

fn key_id(name: AuthorityName, key: &Material) -> Result<pki::KeyId, StoreError> {
    let unusable = |why: String| StoreError::Unavailable(format!("the public key of {name} in the store: {why}"));
    let public_key = PublicKey::from_spki_der(&key.public_der).map_err(|error| unusable(error.to_string()))?;
    let authority = JwtAuthority::by_thumbprint(public_key).map_err(|error| unusable(error.to_string()))?;
    Ok(authority.key_id().clone())
}

/// Whether a node may come with the bundle that it has. One that never got an SVID has no bundle either.
fn is_receiver(record: &NodeRecord, connected: bool, reattest_window: Duration, now: Timestamp) -> bool {
    match record.state {
        NodeState::Banned => false,
        NodeState::Attested => {
            let mut svids = [&record.current, &record.previous].into_iter().flatten();
            let has_svid = svids.any(|svid| svid.not_after >= now);
            let may_return = record.current.is_some() && may_return(record, reattest_window, now).is_ok();
            connected || has_svid || may_return
        }
    }
}

/// What the store has of a node, for when it is not connected.
#[derive(Clone, Copy, Default)]
struct Kept {
    acknowledged: Option<u64>,
    settled: Option<Settled>,
}

fn agent(record: &NodeRecord, connection: Option<NodeConnection>, kept: Kept) -> AgentFacts {
    let node = record.node.clone();
    match connection {
        Some(NodeConnection { bundle_sequence: acknowledged, progress }) => {
            let unsaid = AgentFacts {
                node,
                connected: true,
                acknowledged,
                streams_behind: 1,
                files_behind: 0,
                files_written_at: None,
                svids_tainted: 0,
            };
            match progress {
                // An agent that never says how far its workloads are, or has not yet.
                None => unsaid,
                // It spoke of an older bundle: of this one its workloads have nothing, as far as is known.
                Some(NodeProgress { told, .. }) if told.bundle_sequence < acknowledged => AgentFacts {
                    streams_behind: told.streams.max(1),
                    files_behind: told.files,
                    svids_tainted: told.svids_tainted,
                    ..unsaid
                },
                Some(NodeProgress { told, files_written_at }) => AgentFacts {
                    streams_behind: told.streams_behind,
                    files_behind: told.files_behind,
                    files_written_at,
                    svids_tainted: told.svids_tainted,
                    ..unsaid
                },
            }
        }
        None => {
            let acknowledged = kept.acknowledged.unwrap_or(0);
            // Whether the node has files is not kept, so the hold counts as if it had.
            let settled = kept.settled.filter(|settled| settled.sequence >= acknowledged);
            AgentFacts {
                node,
                connected: false,
                acknowledged,
                streams_behind: if settled.is_some() { 0 } else { 1 },
                files_behind: 0,
                files_written_at: settled.map(|settled| settled.at),
                svids_tainted: 0,
            }
        }
    }
}

#[cfg(test)]
mod tests;
