//! Between the messages of `signet.v1` and domain values. The one place of this crate where the two meet for entries, nodes and audit events;
//! every message is taken apart whole, so that a new field does not go unseen.

use std::time::Duration;

use identity::{
    DnsName, DnsNameError, NodeName, NodeNameError, Selector, SelectorError, SpiffeId, SpiffeIdError, SystemIdentity, TrustDomain,
};
use pki::Timestamp;
use proto::v1;

use crate::audit::{AuditRecord, AuditVerdict};
use crate::records::{Entry, NewEntry, NodeRecord, NodeState};
use crate::rpc::admin_sources::{CaStatus, CertificateFacts, NodeConnection};

/// Selectors of one entry: a process has far fewer facts that one could ask for.
const MAX_SELECTORS: usize = 64;

/// DNS names of one entry: each makes every certificate and handshake longer.
const MAX_DNS_NAMES: usize = 32;

/// Below this a certificate would be due for renewal before it is delivered.
const MIN_TTL: Duration = Duration::from_secs(2);

/// What an entry must keep to.
#[derive(Clone, Debug)]
pub(crate) struct EntryLimits {
    /// The trust domain that the CA issues for.
    pub(crate) trust_domain: TrustDomain,
    /// The longest life of a leaf.
    pub(crate) max_ttl: Duration,
}

/// What is wrong with an entry that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryFault {
    /// The ID is malformed.
    #[error(transparent)]
    SpiffeId(#[from] SpiffeIdError),
    /// The ID is of another trust domain.
    #[error("the SPIFFE ID is of trust domain {found}, this CA issues for {ours} only")]
    TrustDomain {
        /// That of the ID.
        found: TrustDomain,
        /// That of the CA.
        ours: TrustDomain,
    },
    /// The ID names the trust domain itself.
    #[error("the SPIFFE ID has no path; name the workload, such as spiffe://{trust_domain}/web")]
    NoPath {
        /// That of the CA.
        trust_domain: TrustDomain,
    },
    /// The ID names a part of Signet.
    #[error("the SPIFFE ID lies below /signet, which Signet keeps for its own parts; choose another path")]
    Reserved,
    /// A selector is malformed.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// There is no selector: every process of the node would match.
    #[error("there is no selector, so every process of the node would match; give at least one, such as unix:uid:1000")]
    NoSelector,
    /// Too many selectors.
    #[error("there are {found} selectors, at most {MAX_SELECTORS} are allowed")]
    TooManySelectors {
        /// How many.
        found: usize,
    },
    /// The node cannot be one.
    #[error("the node is malformed: {0}")]
    Node(#[from] NodeNameError),
    /// A DNS name is malformed.
    #[error(transparent)]
    DnsName(#[from] DnsNameError),
    /// Too many DNS names.
    #[error("there are {found} DNS names, at most {MAX_DNS_NAMES} are allowed")]
    TooManyDnsNames {
        /// How many.
        found: usize,
    },
    /// The TTL is too short to be of use.
    #[error("the TTL of {} s is too short, at least {} s are needed", .asked.as_secs(), MIN_TTL.as_secs())]
    TtlTooShort {
        /// The TTL asked for.
        asked: Duration,
    },
    /// The TTL is longer than the CA allows.
    #[error("the TTL of {} s is above the maximum of {} s; ask for less, or raise leaf.max_ttl of the CA", .asked.as_secs(), .max.as_secs())]
    TtlAboveMax {
        /// The TTL asked for.
        asked: Duration,
        /// The longest that the CA allows.
        max: Duration,
    },
}

/// Reads what an operator asks for, whole: the entry, or every fault of it.
///
/// # Errors
/// All faults found.
pub(crate) fn new_entry(request: v1::CreateEntryRequest, limits: &EntryLimits) -> Result<NewEntry, Vec<EntryFault>> {
    let v1::CreateEntryRequest { spiffe_id, selectors, parent_node, ttl_seconds, dns_names } = request;
    let mut faults = Vec::new();
    let spiffe_id = kept(workload_id(&spiffe_id, &limits.trust_domain), &mut faults);
    let parent = kept(NodeName::parse(&parent_node), &mut faults);
    if selectors.is_empty() {
        faults.push(EntryFault::NoSelector);
    }
    if selectors.len() > MAX_SELECTORS {
        faults.push(EntryFault::TooManySelectors { found: selectors.len() });
    }
    if dns_names.len() > MAX_DNS_NAMES {
        faults.push(EntryFault::TooManyDnsNames { found: dns_names.len() });
    }
    let selectors =
        selectors.iter().take(MAX_SELECTORS).filter_map(|text| kept(Selector::parse(text), &mut faults)).collect::<Vec<_>>();
    let dns_names =
        dns_names.iter().take(MAX_DNS_NAMES).filter_map(|text| kept(DnsName::parse(text), &mut faults)).collect::<Vec<_>>();
    let ttl = kept(leaf_ttl(ttl_seconds, limits.max_ttl), &mut faults);
    match (spiffe_id, parent, ttl) {
        (Some(spiffe_id), Some(parent), Some(ttl)) if faults.is_empty() => {
            Ok(NewEntry { spiffe_id, selectors, parent, ttl, dns_names })
        }
        _ => Err(faults),
    }
}

fn kept<T, E: Into<EntryFault>>(part: Result<T, E>, faults: &mut Vec<EntryFault>) -> Option<T> {
    part.map_err(|fault| faults.push(fault.into())).ok()
}

fn workload_id(text: &str, ours: &TrustDomain) -> Result<SpiffeId, EntryFault> {
    let id = SpiffeId::parse(text)?;
    if id.trust_domain() != ours {
        return Err(EntryFault::TrustDomain { found: id.trust_domain().clone(), ours: ours.clone() });
    }
    if id.path().is_empty() {
        return Err(EntryFault::NoPath { trust_domain: ours.clone() });
    }
    if id.is_reserved() {
        return Err(EntryFault::Reserved);
    }
    Ok(id)
}

/// Zero on the wire is "the CA's default".
fn leaf_ttl(seconds: u32, max: Duration) -> Result<Option<Duration>, EntryFault> {
    let asked = Duration::from_secs(seconds.into());
    if seconds == 0 {
        return Ok(None);
    }
    if asked < MIN_TTL {
        return Err(EntryFault::TtlTooShort { asked });
    }
    if asked > max {
        return Err(EntryFault::TtlAboveMax { asked, max });
    }
    Ok(Some(asked))
}

pub(crate) fn entry(entry: &Entry) -> v1::Entry {
    let Entry { id, spec: NewEntry { spiffe_id, selectors, parent, ttl, dns_names }, created_at } = entry;
    v1::Entry {
        id: id.to_string(),
        spiffe_id: spiffe_id.to_string(),
        selectors: selectors.iter().map(ToString::to_string).collect(),
        parent_node: parent.to_string(),
        // Came in as 32 bits; should it ever not fit, the longest that does is still cut to the CA's maximum.
        ttl_seconds: ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        dns_names: dns_names.iter().map(ToString::to_string).collect(),
        created_at: Some(timestamp(*created_at)),
    }
}

pub(crate) fn node(record: &NodeRecord, trust_domain: &TrustDomain, connection: Option<NodeConnection>) -> v1::NodeRecord {
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
        bundle_sequence: connection.map_or(0, |NodeConnection { bundle_sequence }| bundle_sequence),
    }
}

pub(crate) fn audit_event(record: AuditRecord) -> v1::AuditEvent {
    let AuditRecord { sequence, time, kind, body, previous: _, hash } = record;
    v1::AuditEvent { sequence, time: Some(timestamp(time)), kind, body, hash: hash.to_vec() }
}

pub(crate) fn audit_verdict(verdict: AuditVerdict) -> v1::VerifyAuditResponse {
    let AuditVerdict { events, head, fault } = verdict;
    v1::VerifyAuditResponse {
        events,
        head: head.hash.to_vec(),
        broken_at: fault.as_ref().map_or(0, |fault| fault.sequence()),
        fault: fault.map(|fault| fault.to_string()).unwrap_or_default(),
    }
}

/// What the store knows goes beside what the running CA knows.
pub(crate) fn status(status: CaStatus, trust_domain: &TrustDomain, counts: StoreCounts) -> v1::StatusResponse {
    let CaStatus { replica, build, failing, warnings, certificates, bundle_sequence, root_fingerprint, connected, address } =
        status;
    let StoreCounts { attested, entries, certificates_issued } = counts;
    v1::StatusResponse {
        trust_domain: trust_domain.to_string(),
        replica: replica.to_string(),
        build,
        ready: failing.is_empty(),
        warnings: failing.into_iter().chain(warnings).collect(),
        certificates: certificates.into_iter().map(certificate).collect(),
        bundle_sequence,
        root_fingerprint: data_encoding::HEXLOWER.encode(&root_fingerprint),
        nodes_attested: attested,
        nodes_connected: connected,
        entries,
        certificates_issued,
        address,
    }
}

/// What the store adds to a status.
pub(crate) struct StoreCounts {
    pub(crate) attested: u32,
    pub(crate) entries: u32,
    pub(crate) certificates_issued: u64,
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
