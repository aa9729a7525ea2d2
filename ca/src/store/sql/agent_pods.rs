//! Pods of agents: each attests the node that it is bound to, with one node key.

use identity::NodeName;
use pki::{Timestamp, sha256};

use super::columns::{first, number, run, seconds};
use super::connection::{Connection, Row};
use super::nodes;
use super::writer::Unit;
use crate::audit::{Action, Actor, AgentPodRefusal, AuditEvent, TokenUse};
use crate::records::{AgentPod, NodeRecord, NodeState};
use crate::store::{AgentPodError, StoreError};

/// Refusals of one pod that are audited. Whoever has its token must not be able to fill the log with it.
const MAX_AUDITED_REFUSALS: u64 = 16;

/// Pods that are remembered of one node: the newest. A node has one agent at a time, and two while it is replaced.
const REMEMBERED: i64 = 64;

struct Kept {
    bound_key: Option<Vec<u8>>,
    spent: bool,
    refusals: u64,
}

/// The outer error undoes the transaction; the inner one is a refusal, whose audit event stays.
pub(in crate::store) fn bind(
    unit: &mut Unit<'_>,
    pod: AgentPod,
    node_key_spki: &[u8],
    now: Timestamp,
) -> Result<Result<NodeRecord, AgentPodError>, StoreError> {
    let sql = "SELECT * FROM agent_pods WHERE cluster = ?1 AND uid = ?2";
    let kept = first(unit.connection(), sql, (pod.cluster.as_str(), pod.uid.as_str()), read)?;
    let node_key = sha256(node_key_spki);
    if let Some((why, refusal)) = refusal(unit, &pod, kept.as_ref(), node_key_spki)? {
        // Only live pods that the API server vouches for come here.
        if kept.is_none_or(|kept| kept.refusals < MAX_AUDITED_REFUSALS) {
            note_refusal(unit, &pod, now)?;
            unit.audit(&AuditEvent { actor: Actor::System, action: Action::PodRefused { pod, node_key, why } }, now)?;
        }
        return Ok(Err(refusal));
    }
    let used = if kept.is_some_and(|kept| kept.bound_key.is_some()) { TokenUse::Retry } else { TokenUse::First };
    run(
        unit.connection(),
        "INSERT INTO agent_pods (cluster, uid, node, bound_key, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (cluster, uid) DO UPDATE SET node = ?3, bound_key = ?4, seen_at = ?5",
        (pod.cluster.as_str(), pod.uid.as_str(), pod.node.as_str(), node_key_spki, seconds(now)),
    )?;
    forget_old(unit, &pod.node)?;
    let (record, change) = nodes::register(unit, &pod.node, node_key_spki, now)?;
    let actor = Actor::Agent(pod.node.clone());
    unit.audit(&AuditEvent { actor, action: Action::PodAttested { pod, node_key, used, change } }, now)?;
    Ok(Ok(record))
}

fn refusal(
    unit: &Unit<'_>,
    pod: &AgentPod,
    kept: Option<&Kept>,
    node_key_spki: &[u8],
) -> Result<Option<(AgentPodRefusal, AgentPodError)>, StoreError> {
    let node = &pod.node;
    let by_name = nodes::find(unit.connection(), node)?;
    let by_key = nodes::find_by_key(unit.connection(), node_key_spki)?;
    if [&by_name, &by_key].into_iter().flatten().any(|record| record.state == NodeState::Banned) {
        return Ok(Some((AgentPodRefusal::Banned, AgentPodError::Banned)));
    }
    if let Some(Kept { bound_key: Some(bound_key), spent, refusals: _ }) = kept
        && (*spent || bound_key != node_key_spki)
    {
        return Ok(Some((AgentPodRefusal::Used, AgentPodError::Used)));
    }
    // A pod takes its node over from a pod before it, and from nobody else: whom an operator put on record, no cluster replaces.
    if let Some(known) = by_name.and_then(|record| record.node_key_spki)
        && known != node_key_spki
        && !is_of_cluster(unit, pod, &known)?
    {
        let error = AgentPodError::NodeOfAnotherKey { node: node.clone() };
        return Ok(Some((AgentPodRefusal::NodeOfAnotherKey, error)));
    }
    Ok(by_key
        .filter(|record| record.node != *node)
        .map(|record| (AgentPodRefusal::KeyOfAnotherNode, AgentPodError::KeyOfAnotherNode { node: record.node })))
}

/// Whether a pod of this cluster put this key on record for the node.
fn is_of_cluster(unit: &Unit<'_>, pod: &AgentPod, node_key_spki: &[u8]) -> Result<bool, StoreError> {
    let sql = "SELECT uid FROM agent_pods WHERE cluster = ?1 AND node = ?2 AND bound_key = ?3 LIMIT 1";
    let values = (pod.cluster.as_str(), pod.node.as_str(), node_key_spki);
    Ok(first(unit.connection(), sql, values, |_| Ok(()))?.is_some())
}

/// The cluster that vouched for the agent of this node, by the key that is on record for it: nothing when the node came otherwise, is not in good
/// standing, or what attested it is used up.
pub(in crate::store) fn cluster_of(connection: Connection<'_>, node: &NodeName) -> Result<Option<String>, StoreError> {
    let sql = "SELECT agent_pods.cluster AS cluster FROM nodes CROSS JOIN agent_pods
               WHERE nodes.node = ?1 AND nodes.state = 'attested'
               AND agent_pods.node = ?1 AND agent_pods.bound_key = nodes.node_key AND agent_pods.spent = 0
               ORDER BY agent_pods.seen_at DESC LIMIT 1";
    first(connection, sql, [node.as_str()], |row| row.get("cluster"))
}

fn note_refusal(unit: &Unit<'_>, pod: &AgentPod, now: Timestamp) -> Result<(), StoreError> {
    run(
        unit.connection(),
        "INSERT INTO agent_pods (cluster, uid, node, seen_at, refusals) VALUES (?1, ?2, ?3, ?4, 1)
         ON CONFLICT (cluster, uid) DO UPDATE SET refusals = agent_pods.refusals + 1",
        (pod.cluster.as_str(), pod.uid.as_str(), pod.node.as_str(), seconds(now)),
    )?;
    forget_old(unit, &pod.node)
}

/// The key on record stays known as one of the cluster, however many pods were refused since.
fn forget_old(unit: &Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    run(
        unit.connection(),
        "DELETE FROM agent_pods WHERE node = ?1
         AND (bound_key IS NULL OR bound_key NOT IN (SELECT node_key FROM nodes WHERE node = ?1 AND node_key IS NOT NULL))
         AND uid NOT IN (SELECT uid FROM agent_pods WHERE node = ?1 ORDER BY seen_at DESC, uid LIMIT ?2)",
        (node.as_str(), REMEMBERED),
    )?;
    Ok(())
}

/// What was used for a node that is evicted or banned stays used, whoever comes with it.
pub(in crate::store) fn spend(unit: &Unit<'_>, node: &NodeName) -> Result<(), StoreError> {
    let sql = "UPDATE agent_pods SET spent = 1 WHERE node = ?1 AND bound_key IS NOT NULL";
    run(unit.connection(), sql, [node.as_str()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Kept, StoreError> {
    Ok(Kept { bound_key: row.get("bound_key")?, spent: number(row, "spent")? != 0, refusals: number(row, "refusals")? })
}
