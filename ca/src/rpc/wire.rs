//! Between the messages of `signet.v1` and domain values. The one place of this crate where the two meet for nodes, audit events and
//! the status (for entries: `entry_wire`); every message is taken apart whole, so that a new field does not go unseen.

use identity::{SystemIdentity, TrustDomain};
use pki::Timestamp;
use proto::v1;

use crate::audit::AuditRecord;
use crate::records::{NodeRecord, NodeState, OpenToken};
use crate::rpc::admin_sources::{CaStatus, CertificateFacts, NodeConnection, Progress};
use crate::rpc::checkpoint_wire;

pub(crate) fn token(open: &OpenToken) -> v1::JoinTokenRecord {
    let OpenToken { token, used } = open;
    let (id, node, expires_at) = (token.id().to_string(), token.node.to_string(), Some(timestamp(token.expires_at)));
    v1::JoinTokenRecord { id, node, expires_at, used: *used }
}

/// `acknowledged` is what is kept of a node that is not connected.
pub(crate) fn node(
    record: &NodeRecord,
    trust_domain: &TrustDomain,
    connection: Option<NodeConnection>,
    acknowledged: u64,
) -> v1::NodeRecord {
    let NodeRecord { node, node_key_spki, state, current, previous: _, attested_at } = record;
    let state = match state {
        NodeState::Attested => v1::node_record::State::Attested,
        NodeState::Banned => v1::node_record::State::Banned,
    };
    v1::NodeRecord {
        node: node.to_string(),
        spiffe_id: SystemIdentity::Agent(node.clone()).id(trust_domain).to_string(),
        state: state.into(),
        serial: current.as_ref().map(|svid| svid.serial.to_string()).unwrap_or_default(),
        svid_expires_at: current.as_ref().map(|svid| timestamp(svid.not_after)),
        // A name banned before it attested has no key, and never attested.
        attested_at: node_key_spki.as_ref().map(|_| timestamp(*attested_at)),
        connected: connection.is_some(),
        bundle_sequence: connection.map_or(acknowledged, |connection| connection.bundle_sequence),
    }
}

pub(crate) fn progress(progress: v1::sync_request::Progress) -> Progress {
    let v1::sync_request::Progress { bundle_sequence, streams_behind, streams, files_behind, files, svids_tainted } = progress;
    Progress { bundle_sequence, streams_behind, streams, files_behind, files, svids_tainted }
}

pub(crate) fn audit_event(record: AuditRecord) -> v1::AuditEvent {
    let AuditRecord { sequence, time, kind, body, previous: _, hash } = record;
    v1::AuditEvent { sequence, time: Some(timestamp(time)), kind, body, hash: hash.to_vec() }
}

/// What the store knows goes beside what the running CA knows.
pub(crate) fn status(status: CaStatus, trust_domain: &TrustDomain, counts: StoreCounts) -> v1::StatusResponse {
    let CaStatus {
        replica,
        build,
        failing,
        warnings,
        certificates,
        bundle_sequence,
        root_fingerprint,
        connected,
        address,
        jwt_key_id,
        audit_key,
        audit_checkpoint,
    } = status;
    let StoreCounts { attested, entries, certificates_issued, warnings: of_store } = counts;
    v1::StatusResponse {
        trust_domain: trust_domain.to_string(),
        replica: replica.to_string(),
        build,
        ready: failing.is_empty(),
        warnings: failing.into_iter().chain(warnings).chain(of_store).collect(),
        certificates: certificates.into_iter().map(certificate).collect(),
        bundle_sequence,
        root_fingerprint: data_encoding::HEXLOWER.encode(&root_fingerprint),
        nodes_attested: attested,
        nodes_connected: connected,
        entries,
        certificates_issued,
        address,
        jwt_key_id: jwt_key_id.to_string(),
        audit_key: data_encoding::HEXLOWER.encode(&audit_key),
        audit_checkpoint: audit_checkpoint.as_deref().map(checkpoint_wire::checkpoint),
        revocation: None,
    }
}

/// What the store adds to a status.
pub(crate) struct StoreCounts {
    pub(crate) attested: u32,
    pub(crate) entries: u32,
    pub(crate) certificates_issued: u64,
    /// What is in the store and will soon hurt.
    pub(crate) warnings: Vec<String>,
}

fn certificate(facts: CertificateFacts) -> v1::CertificateStatus {
    let CertificateFacts { role, subject, serial, not_before, not_after } = facts;
    v1::CertificateStatus {
        role: role.as_str().to_owned(),
        subject,
        serial: serial.to_string(),
        not_before: Some(timestamp(not_before)),
        not_after: Some(timestamp(not_after)),
    }
}

pub(crate) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let seconds = i64::try_from(time.unix_seconds()).expect("a Timestamp ends with the year 9999");
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests;
