//! Between authorities, rotations and plans as messages and as domain values. Every message is taken apart whole, so that a new field
//! does not go unseen.

use std::collections::BTreeSet;

use identity::NodeName;
use pki::{Certificate, JwtAuthority, PublicKey, Timestamp};
use proto::v1;

use crate::authority::lifecycle::gate::{Accepted, Facts, Waiting, resting_on};
use crate::authority::lifecycle::outlook::Outlook;
use crate::authority::lifecycle::plan::{Plan, Step};
use crate::authority::lifecycle::rotation::{Outcome, Phase, Rotation};
use crate::authority::lifecycle::schedule::Policy;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Foreign, Lifecycle, Refusal};
use crate::rotation::{Probes, ReplicaStanding, RotationStanding, RotationView, UpstreamStanding};
use crate::rpc::authority_status::AuthorityAdminError;
use crate::rpc::wire::timestamp;

/// Most nodes that an operator accepts to lose at once.
const MAX_ACCEPTED_NODES: usize = 10_000;

/// The kind of authority that a request names.
///
/// # Errors
/// [`AuthorityAdminError::Kind`].
pub(crate) fn kind(number: i32) -> Result<AuthorityKind, AuthorityAdminError> {
    match v1::AuthorityKind::try_from(number) {
        Ok(v1::AuthorityKind::Root) => Ok(AuthorityKind::Root),
        Ok(v1::AuthorityKind::Issuer) => Ok(AuthorityKind::Issuer),
        Ok(v1::AuthorityKind::Jwt) => Ok(AuthorityKind::Jwt),
        Ok(v1::AuthorityKind::Unspecified) | Err(_) => Err(AuthorityAdminError::Kind),
    }
}

fn kind_number(kind: AuthorityKind) -> i32 {
    match kind {
        AuthorityKind::Root => v1::AuthorityKind::Root,
        AuthorityKind::Issuer => v1::AuthorityKind::Issuer,
        AuthorityKind::Jwt => v1::AuthorityKind::Jwt,
    }
    .into()
}

/// What an operator accepts to lose; nothing when the message is absent.
///
/// # Errors
/// [`AuthorityAdminError::Node`], [`AuthorityAdminError::TooManyNodes`].
pub(crate) fn accepted(losses: Option<v1::AcceptedLosses>) -> Result<Accepted, AuthorityAdminError> {
    let v1::AcceptedLosses { nodes, leaves, tokens, files } = losses.unwrap_or_default();
    if nodes.len() > MAX_ACCEPTED_NODES {
        return Err(AuthorityAdminError::TooManyNodes { found: nodes.len(), max: MAX_ACCEPTED_NODES });
    }
    let nodes = nodes.iter().map(|node| NodeName::parse(node)).collect::<Result<_, _>>()?;
    Ok(Accepted { nodes, leaves, tokens, files })
}

/// What there is, with what comes next.
pub(crate) fn authorities(view: &RotationView, revoked: bool, automatic: Option<Policy>, now: Timestamp) -> v1::Authorities {
    let RotationView {
        lifecycle,
        rotations: _,
        facts: _,
        bundle_sequence,
        plugged_in,
        upstream,
        path: _,
        key_places: _,
        faults,
        replicas,
        at,
    } = view;
    let mut shown: Vec<_> =
        lifecycle.everything().filter(|authority| revoked || authority.is_in_force()).map(|authority| authority.name).collect();
    shown.sort_unstable();
    v1::Authorities {
        authorities: these(view, shown, automatic, now),
        bundle_sequence: *bundle_sequence,
        plugged_in_directory: plugged_in.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        rotations: under_way(view).map(|one| report(view, one, now)).collect(),
        faults: faults.clone(),
        at: Some(timestamp(*at)),
        upstream: upstream.as_ref().map(upstream_message),
        levels: levels(view, automatic, now),
        replicas: replicas.iter().map(replica).collect(),
    }
}

fn replica(standing: &ReplicaStanding) -> v1::Replica {
    let ReplicaStanding { name, address, serial_byte, seen_at, is_this, lives, leads, is_leaving, waits } = standing;
    v1::Replica {
        name: name.to_string(),
        address: address.clone(),
        serial_byte: u32::from(*serial_byte),
        seen_at: Some(timestamp(*seen_at)),
        this: *is_this,
        lives: *lives,
        leads: *leads,
        leaving: *is_leaving,
        waiting: waits.iter().map(wait).collect(),
    }
}

/// Some of them, in the order given.
pub(crate) fn these(
    view: &RotationView,
    names: impl IntoIterator<Item = AuthorityName>,
    automatic: Option<Policy>,
    now: Timestamp,
) -> Vec<v1::Authority> {
    let rotations: Vec<Rotation> = under_way(view).map(|standing| standing.rotation.clone()).collect();
    let outlook = Outlook { state: &view.lifecycle, rotations: &rotations, facts: &view.facts, automatic, now };
    let told = |authority: &Authority| {
        let mut message = authority_message(authority, outlook.next_action(authority), &view.lifecycle, &view.facts);
        message.key_place = view.key_places.get(&authority.name).cloned().unwrap_or_default();
        message
    };
    let of_another = |foreign: &Foreign| {
        let Foreign { replica, authority } = foreign;
        let next_action = format!("is the replica {replica}'s own, which replaces it");
        let message = authority_message(authority, next_action, &view.lifecycle, &view.facts);
        v1::Authority { replica: replica.to_string(), ..message }
    };
    let find = |name: AuthorityName| {
        let other = || view.lifecycle.others().find(|foreign| foreign.authority.name == name).map(of_another);
        view.lifecycle.get(name).map(told).or_else(other)
    };
    names.into_iter().filter_map(find).collect()
}

/// Rotations that have not ended.
pub(crate) fn under_way(view: &RotationView) -> impl Iterator<Item = &RotationStanding> {
    view.rotations.iter().filter(|standing| standing.is_under_way())
}

fn upstream_message(standing: &UpstreamStanding) -> v1::UpstreamStanding {
    let UpstreamStanding { kind, reached_at, fault } = standing;
    v1::UpstreamStanding {
        kind: kind.as_str().to_owned(),
        reached_at: reached_at.map(timestamp),
        fault: fault.clone().unwrap_or_default(),
    }
}

/// Every level of what signs now, the root first.
fn levels(view: &RotationView, automatic: Option<Policy>, now: Timestamp) -> Vec<v1::AuthorityLevel> {
    let rotations: Vec<Rotation> = under_way(view).map(|standing| standing.rotation.clone()).collect();
    let outlook = Outlook { state: &view.lifecycle, rotations: &rotations, facts: &view.facts, automatic, now };
    let last = view.path.len().saturating_sub(1);
    let certificates = view.path.iter().enumerate().rev().map(|(place, certificate)| {
        let level = match place {
            _ if place == last => "root",
            0 => "issuer",
            _ => "intermediate",
        };
        let key = certificate.public_key().fingerprint();
        let is_it = |authority: &&Authority| authority.material.as_ref().is_some_and(|material| material.key == key);
        let of_lifecycle = if view.plugged_in.is_some() { None } else { view.lifecycle.authorities().find(is_it) };
        let next_action = match (of_lifecycle, &view.plugged_in, level) {
            (Some(authority), _, "root") if view.upstream.is_some() => {
                format!("is replaced by upstream, and this CA follows: {}", outlook.next_action(authority))
            }
            (Some(authority), _, _) => outlook.next_action(authority),
            (None, Some(directory), _) => format!(
                "is replaced by whoever fills {}; half of its life is over at {}",
                directory.display(),
                certificate.not_before().plus(certificate.not_after().since(certificate.not_before()) / 2)
            ),
            (None, None, _) => "is replaced by upstream, and comes with the next issuing CA".to_owned(),
        };
        v1::AuthorityLevel {
            level: level.to_owned(),
            name: of_lifecycle.map(|authority| authority.name.to_string()).unwrap_or_default(),
            subject: certificate.subject(),
            serial: certificate.serial().to_string(),
            fingerprint: hex(&certificate.fingerprint()),
            not_before: Some(timestamp(certificate.not_before())),
            not_after: Some(timestamp(certificate.not_after())),
            next_action,
        }
    });
    let jwt = view.lifecycle.active(AuthorityKind::Jwt).map(|jwt| v1::AuthorityLevel {
        level: "jwt".to_owned(),
        name: jwt.name.to_string(),
        not_before: jwt.material.as_ref().map(|material| timestamp(material.not_before)),
        next_action: outlook.next_action(jwt),
        ..v1::AuthorityLevel::default()
    });
    certificates.chain(jwt).collect()
}

fn authority_message(authority: &Authority, next_action: String, state: &Lifecycle, facts: &Facts) -> v1::Authority {
    let Authority { name, parent, slot, since, material, published_in, tainted_at, taint_published_in: _, destroyed: _ } =
        authority;
    let leaves = resting_on(state, *name, facts);
    let mut message = v1::Authority {
        name: name.to_string(),
        kind: kind_number(name.kind),
        slot: slot.as_str().to_owned(),
        since: Some(timestamp(*since)),
        parent: parent.map(|parent| parent.to_string()).unwrap_or_default(),
        published_in: published_in.unwrap_or_default(),
        tainted_at: tainted_at.map(timestamp),
        leaves_held: leaves.held,
        leaves_unexpired: leaves.unexpired,
        last_leaf_ends: leaves.last_end.map(timestamp),
        first_workload_leaf_ends: leaves.first_workload_end.map(timestamp),
        next_action,
        ..v1::Authority::default()
    };
    let Some(material) = material else { return message };
    message.key = hex(&material.key);
    message.not_before = Some(timestamp(material.not_before));
    message.not_after = material.not_after.map(timestamp);
    match name.kind {
        AuthorityKind::Jwt => {
            let key = PublicKey::from_spki_der(&material.public_der).ok();
            let authority = key.and_then(|key| JwtAuthority::by_thumbprint(key).ok());
            message.key_id = authority.map(|authority| authority.key_id().to_string()).unwrap_or_default();
        }
        AuthorityKind::Root | AuthorityKind::Issuer => {
            if let Ok(certificate) = Certificate::from_der(&material.public_der) {
                message.subject = certificate.subject();
                message.serial = certificate.serial().to_string();
                message.fingerprint = hex(&certificate.fingerprint());
            }
        }
    }
    message
}

/// How far a rotation is.
pub(crate) fn report(view: &RotationView, standing: &RotationStanding, now: Timestamp) -> v1::RotationReport {
    let RotationStanding { rotation, phase, began, waits, leaves_most, probes, outcome } = standing;
    let Rotation { from, started_at, pace: _, aborting, accepted } = rotation;
    let Probes { made, failed, last_failure } = probes;
    let (state, facts) = (&view.lifecycle, &view.facts);
    let old = state.get(*from);
    let to = rotation.successor(state);
    // Before the successor signs: the bundle that has it; after that: the one that tells what must not be rested on any more.
    let sequence = match phase {
        Phase::Prepare => None,
        Phase::Distribute => to.and_then(|to| to.published_in),
        Phase::Replace | Phase::Withdraw => old.and_then(|old| old.taint_published_in),
    };
    let sequence = sequence.unwrap_or(view.bundle_sequence);
    let agents = || facts.agents.iter().filter(|agent| !accepted.nodes.contains(&agent.node));
    let leaves = resting_on(state, *from, facts);
    v1::RotationReport {
        kind: kind_number(from.kind),
        from: from.to_string(),
        to: to.map(|to| to.name.to_string()).unwrap_or_default(),
        phase: phase_text(*phase).to_owned(),
        started_at: Some(timestamp(*started_at)),
        at: Some(timestamp(now)),
        waiting: waits.iter().map(wait).collect(),
        bundle_sequence: sequence,
        agents: count(agents().count()),
        agents_on_sequence: count(agents().filter(|agent| agent.acknowledged >= sequence).count()),
        leaves_left: old.map_or(0, |old| leaves.awaited(old)),
        leaves_most: *leaves_most,
        probes: *made,
        probes_failed: *failed,
        last_probe_failure: last_failure.clone().unwrap_or_default(),
        aborting: *aborting,
        outcome: outcome.map_or("", outcome_text).to_owned(),
        phases: began.iter().map(phase_message).collect(),
    }
}

/// What a rotation would do.
pub(crate) fn plan(plan: Result<Plan, Refusal>) -> v1::RotationPlan {
    match plan {
        Ok(Plan { steps, agents_connected, agents_absent, leaves, longest_wait }) => v1::RotationPlan {
            steps: steps
                .into_iter()
                .map(|Step { phase, text }| v1::PlannedStep { phase: phase_text(phase).to_owned(), text })
                .collect(),
            agents_connected: count(agents_connected),
            agents_absent: names(&agents_absent),
            leaves,
            longest_wait,
            refusal: String::new(),
        },
        Err(refusal) => v1::RotationPlan { refusal: refusal.to_string(), ..v1::RotationPlan::default() },
    }
}

fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Distribute => "distribute",
        Phase::Replace => "replace",
        Phase::Withdraw => "withdraw",
    }
}

fn phase_message((phase, began): &(Phase, Timestamp)) -> v1::RotationPhase {
    v1::RotationPhase { phase: phase_text(*phase).to_owned(), began_at: Some(timestamp(*began)) }
}

fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::RolledBack => "rolled_back",
    }
}

fn wait(waiting: &Waiting) -> v1::RotationWait {
    let (kind, left, nodes, until) = match waiting {
        Waiting::Publication => ("publication", 1, Vec::new(), None),
        Waiting::Replicas(behind) => {
            ("replicas", count_long(behind.len()), behind.iter().map(ToString::to_string).collect(), None)
        }
        Waiting::Agents { sequence: _, behind, absent: _, of: _ } => ("agents", count_long(behind.len()), names(behind), None),
        Waiting::Streams { nodes, behind } => ("streams", *behind, names(nodes), None),
        Waiting::Files { nodes, behind } => ("files", *behind, names(nodes), None),
        Waiting::Objects { behind, .. } => ("objects", *behind, Vec::new(), None),
        Waiting::PropagationHold { until } => ("propagation_hold", 1, Vec::new(), Some(*until)),
        Waiting::Leaves { left, last_end } => ("leaves", *left, Vec::new(), *last_end),
        Waiting::Svids { nodes, left } => ("svids", *left, names(nodes), None),
        Waiting::Tokens { until } => ("tokens", 1, Vec::new(), Some(*until)),
    };
    v1::RotationWait { kind: kind.to_owned(), text: waiting.to_string(), left, nodes, until: until.map(timestamp) }
}

fn names(nodes: &BTreeSet<NodeName>) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

fn hex(digest: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn count_long(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
