//! Between entries and aliases as messages and as domain values. Every message is taken apart whole, so that a new field does not go
//! unseen.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{
    AliasName, DnsName, DnsNameError, NodeName, NodeNameError, Selector, SelectorError, SpiffeId, SpiffeIdError, TrustDomain,
    TrustDomainError,
};
use pki::Timestamp;
use proto::v1;

use crate::records::{ClusterObject, Entry, EntryEdit, Hint, HintError, NewEntry, NodeAlias, Outstanding, Parent};
use crate::rpc::wire::timestamp;

/// Selectors of one entry: a process has far fewer facts that one could ask for.
const MAX_SELECTORS: usize = 64;

/// DNS names of one entry: each makes every certificate and handshake longer.
const MAX_DNS_NAMES: usize = 32;

/// Other trust domains of one entry: each bundle goes to every holder.
const MAX_FOREIGN: usize = 16;

/// Below this a certificate would be due for renewal before it is delivered.
const MIN_TTL: Duration = Duration::from_secs(2);

/// What an entry must keep to.
#[derive(Clone, Debug)]
pub struct EntryLimits {
    /// The trust domain that the CA issues for.
    pub trust_domain: TrustDomain,
    /// The longest life of a leaf.
    pub max_ttl: Duration,
}

/// What is wrong with an entry that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
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
    /// The node or the alias cannot be one.
    #[error("the node or node alias is malformed: {0}")]
    Node(#[from] NodeNameError),
    /// Neither a node nor an alias, or both.
    #[error("an entry belongs to one node or to one node alias; give exactly one of the two")]
    Parent,
    /// The hint cannot be one.
    #[error(transparent)]
    Hint(#[from] HintError),
    /// The end is over already.
    #[error("the entry would end at {end}, and now is {now}: it would grant nothing; give a later time, or none")]
    EndsInThePast {
        /// The end asked for.
        end: Timestamp,
        /// The CA's clock.
        now: Timestamp,
    },
    /// An end, and none.
    #[error("an end and no end are asked for at once")]
    EndAndNone,
    /// The end is no time that can be counted.
    #[error("the end of the entry is not a time between 1970 and the year 9999")]
    EndNotATime,
    /// A DNS name is malformed.
    #[error(transparent)]
    DnsName(#[from] DnsNameError),
    /// Too many DNS names.
    #[error("there are {found} DNS names, at most {MAX_DNS_NAMES} are allowed")]
    TooManyDnsNames {
        /// How many.
        found: usize,
    },
    /// The name of another trust domain is malformed.
    #[error("a trust domain to federate with is malformed: {0}")]
    Foreign(#[from] TrustDomainError),
    /// It is the CA's own.
    #[error("{0} is this CA's own trust domain, whose bundle every workload has; name another one to federate with")]
    OwnTrustDomain(TrustDomain),
    /// Too many trust domains.
    #[error("there are {found} trust domains to federate with, at most {MAX_FOREIGN} are allowed")]
    TooManyForeign {
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
/// All faults found; an end that is not after `now` is one.
pub fn new_entry(request: v1::CreateEntryRequest, limits: &EntryLimits, now: Timestamp) -> Result<NewEntry, Vec<EntryFault>> {
    let entry = wanted_entry(request, limits)?;
    match entry.expires_at {
        Some(end) if end <= now => Err(vec![EntryFault::EndsInThePast { end, now }]),
        Some(_) | None => Ok(entry),
    }
}

/// The same for an entry of a document, which may name an end that is over.
///
/// # Errors
/// All faults found.
pub(crate) fn wanted_entry(request: v1::CreateEntryRequest, limits: &EntryLimits) -> Result<NewEntry, Vec<EntryFault>> {
    let v1::CreateEntryRequest {
        spiffe_id,
        selectors,
        parent_node,
        ttl_seconds,
        dns_names,
        hint,
        expires_at,
        parent_alias,
        federates_with,
    } = request;
    let mut faults = Vec::new();
    let spiffe_id = kept(workload_id(&spiffe_id, &limits.trust_domain), &mut faults);
    let parent = kept(parent(&parent_node, &parent_alias), &mut faults);
    let selectors = read_selectors(&selectors, &mut faults);
    let dns_names = read_dns_names(&dns_names, &mut faults);
    let ttl = kept(leaf_ttl(ttl_seconds, limits.max_ttl), &mut faults);
    let hint = kept(Hint::parse(&hint), &mut faults);
    let expires_at = kept(expires_at.as_ref().map(end_of).transpose(), &mut faults);
    let federates_with = read_foreign(&federates_with, &limits.trust_domain, &mut faults);
    match (spiffe_id, parent, ttl, hint, expires_at) {
        (Some(spiffe_id), Some(parent), Some(ttl), Some(hint), Some(expires_at)) if faults.is_empty() => {
            Ok(NewEntry { spiffe_id, selectors, parent, ttl, dns_names, hint, expires_at, federates_with })
        }
        _ => Err(faults),
    }
}

/// What an operator wants changed, with the id and the revision expected.
pub struct Update {
    /// Which entry.
    pub id: String,
    /// The revision that it was made for; none: whichever.
    pub expected_revision: Option<u64>,
    /// What changes.
    pub edit: EntryEdit,
}

/// Reads a change of an entry, whole: the change, or every fault of it.
///
/// # Errors
/// All faults found.
pub fn update(request: v1::UpdateEntryRequest, limits: &EntryLimits, now: Timestamp) -> Result<Update, Vec<EntryFault>> {
    let v1::UpdateEntryRequest {
        id,
        expected_revision,
        selectors,
        ttl_seconds,
        dns_names,
        hint,
        expires_at,
        never_expires,
        federates_with,
    } = request;
    let mut faults = Vec::new();
    let selectors = selectors.map(|v1::TextList { texts }| read_selectors(&texts, &mut faults));
    let dns_names = dns_names.map(|v1::TextList { texts }| read_dns_names(&texts, &mut faults));
    let ttl = ttl_seconds.and_then(|seconds| kept(leaf_ttl(seconds, limits.max_ttl), &mut faults));
    let hint = hint.and_then(|hint| kept(Hint::parse(&hint), &mut faults));
    let expires_at = match expires_at {
        Some(_) if never_expires => {
            faults.push(EntryFault::EndAndNone);
            None
        }
        Some(end) => kept(later(&end, now), &mut faults).map(Some),
        None => never_expires.then_some(None),
    };
    let federates_with = federates_with.map(|v1::TextList { texts }| read_foreign(&texts, &limits.trust_domain, &mut faults));
    if faults.is_empty() {
        let expected_revision = (expected_revision != 0).then_some(expected_revision);
        Ok(Update { id, expected_revision, edit: EntryEdit { selectors, ttl, dns_names, hint, expires_at, federates_with } })
    } else {
        Err(faults)
    }
}

fn kept<T, E: Into<EntryFault>>(part: Result<T, E>, faults: &mut Vec<EntryFault>) -> Option<T> {
    part.map_err(|fault| faults.push(fault.into())).ok()
}

/// A SPIFFE ID that an entry may have.
///
/// # Errors
/// [`EntryFault`].
pub(crate) fn workload_id(text: &str, ours: &TrustDomain) -> Result<SpiffeId, EntryFault> {
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

/// Exactly one of the two.
///
/// # Errors
/// [`EntryFault::Parent`] for none and for both, [`EntryFault::Node`] for a malformed name.
pub(crate) fn parent(node: &str, alias: &str) -> Result<Parent, EntryFault> {
    match (node.is_empty(), alias.is_empty()) {
        (false, true) => Ok(Parent::Node(NodeName::parse(node)?)),
        (true, false) => Ok(Parent::Alias(AliasName::parse(alias)?)),
        (true, true) | (false, false) => Err(EntryFault::Parent),
    }
}

fn read_selectors(texts: &[String], faults: &mut Vec<EntryFault>) -> Vec<Selector> {
    if texts.is_empty() {
        faults.push(EntryFault::NoSelector);
    }
    if texts.len() > MAX_SELECTORS {
        faults.push(EntryFault::TooManySelectors { found: texts.len() });
    }
    texts.iter().take(MAX_SELECTORS).filter_map(|text| kept(Selector::parse(text), faults)).collect()
}

fn read_dns_names(texts: &[String], faults: &mut Vec<EntryFault>) -> Vec<DnsName> {
    if texts.len() > MAX_DNS_NAMES {
        faults.push(EntryFault::TooManyDnsNames { found: texts.len() });
    }
    texts.iter().take(MAX_DNS_NAMES).filter_map(|text| kept(DnsName::parse(text), faults)).collect()
}

/// Other trust domains than the own one, whose bundle every holder has.
pub(crate) fn read_foreign(texts: &[String], ours: &TrustDomain, faults: &mut Vec<EntryFault>) -> BTreeSet<TrustDomain> {
    if texts.len() > MAX_FOREIGN {
        faults.push(EntryFault::TooManyForeign { found: texts.len() });
    }
    let foreign = |text: &String| match TrustDomain::parse(text)? {
        own if own == *ours => Err(EntryFault::OwnTrustDomain(own)),
        other => Ok(other),
    };
    texts.iter().take(MAX_FOREIGN).filter_map(|text| kept(foreign(text), faults)).collect()
}

/// Zero on the wire is "the CA's default".
///
/// # Errors
/// [`EntryFault`].
pub(crate) fn leaf_ttl(seconds: u32, max: Duration) -> Result<Option<Duration>, EntryFault> {
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

/// A fraction of a second is dropped: an end is never later than what was asked for.
fn end_of(end: &prost_types::Timestamp) -> Result<Timestamp, EntryFault> {
    let seconds = u64::try_from(end.seconds).map_err(|_| EntryFault::EndNotATime)?;
    let end = Timestamp::from_unix_seconds(seconds);
    if end.unix_seconds() == seconds { Ok(end) } else { Err(EntryFault::EndNotATime) }
}

fn later(end: &prost_types::Timestamp, now: Timestamp) -> Result<Timestamp, EntryFault> {
    let end = end_of(end)?;
    if end > now { Ok(end) } else { Err(EntryFault::EndsInThePast { end, now }) }
}

/// An entry as operators see it.
pub(crate) fn entry(entry: &Entry) -> v1::Entry {
    let Entry { id, spec, created_at, revision } = entry;
    v1::Entry { id: id.to_string(), created_at: Some(timestamp(*created_at)), revision: *revision, ..described(spec) }
}

/// An entry that has no id yet.
#[must_use]
pub fn described(spec: &NewEntry) -> v1::Entry {
    let NewEntry { spiffe_id, selectors, parent, ttl, dns_names, hint, expires_at, federates_with } = spec;
    let (parent_node, parent_alias, object) = match parent {
        Parent::Node(node) => (node.to_string(), String::new(), None),
        Parent::Alias(alias) => (String::new(), alias.to_string(), None),
        Parent::Object(object) => (String::new(), String::new(), Some(cluster_object(object))),
    };
    v1::Entry {
        id: String::new(),
        spiffe_id: spiffe_id.to_string(),
        selectors: selectors.iter().map(ToString::to_string).collect(),
        parent_node,
        // Came in as 32 bits; should it ever not fit, the longest that does is still cut to the CA's maximum.
        ttl_seconds: ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        dns_names: dns_names.iter().map(ToString::to_string).collect(),
        created_at: None,
        hint: hint.as_str().to_owned(),
        expires_at: expires_at.map(timestamp),
        parent_alias,
        revision: 0,
        revoked: false,
        federates_with: federates_with.iter().map(ToString::to_string).collect(),
        object,
    }
}

fn cluster_object(object: &ClusterObject) -> v1::ClusterObject {
    let ClusterObject { cluster, namespace, name, uid } = object.clone();
    v1::ClusterObject { cluster, namespace, name, uid }
}

/// An entry as a node that has it sees it: under the node's own name, whatever its parent.
pub(crate) fn entry_for(node: &NodeName, of: &Entry) -> v1::Entry {
    v1::Entry { parent_node: node.to_string(), ..entry(of) }
}

pub(crate) fn outstanding(outstanding: Outstanding) -> v1::OutstandingCertificates {
    let Outstanding { count, until } = outstanding;
    v1::OutstandingCertificates { count, until: Some(timestamp(until)) }
}

pub(crate) fn alias(alias: &NodeAlias) -> v1::NodeAlias {
    let NodeAlias { name, nodes, created_at, entries } = alias;
    v1::NodeAlias {
        name: name.to_string(),
        nodes: nodes.iter().map(ToString::to_string).collect(),
        created_at: Some(timestamp(*created_at)),
        entries: u32::try_from(*entries).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests;
