//! Admission: may this caller have this name? The only maker of [`Admitted`], without which nothing is issued.
//!
//! Names come from what the CA knows of the caller, never from the request: an entry's from the store, an
//! agent's from its node's record, the CA's own from its configuration, a token's from the rule for its issuer.

mod caller;

use std::net::IpAddr;
use std::time::Duration;

use identity::{DnsName, NodeName, ReplicaName, SpiffeId, SystemIdentity, TrustDomain};
use pki::Timestamp;

use crate::records::{Entry, EntryId, LivePod, Memberships, NodeRecord, NodeState, Provenance, Reason, RenewalGrounds};

pub(crate) use caller::account_id;
pub use caller::{CallerError, Renewable, RenewalFacts};

/// What a leaf whose grounds end at once still lives.
const SHORTEST: Duration = Duration::from_secs(2);

/// What a leaf shall name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSubject {
    /// The one URI SAN.
    pub id: SpiffeId,
    /// The dNSName SANs.
    pub dns_names: Vec<DnsName>,
    /// The iPAddress SANs.
    pub ip_addresses: Vec<IpAddr>,
    /// The life asked for; `None`: the profile's default.
    pub ttl: Option<Duration>,
    /// When the grounds end; the leaf does not live on.
    pub ends_by: Option<Timestamp>,
}

impl LeafSubject {
    /// The life of a leaf or token made at `now` that shall live for `ttl`: no longer than its grounds, but at least 2 s, since no leaf
    /// can live shorter.
    #[must_use]
    pub fn within_grounds(&self, ttl: Duration, now: Timestamp) -> Duration {
        self.ends_by.map_or(ttl, |end| ttl.min(end.since(now).max(SHORTEST)))
    }
}

/// Why an agent is given an SVID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentIssuance {
    /// By join token, or by its node key after a lapse.
    Attestation,
    /// By its current SVID.
    Renewal,
}

/// Why a caller may not have a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The node is banned.
    #[error("node {node} is banned")]
    Banned {
        /// The caller's node.
        node: NodeName,
    },
    /// The entry is for another node. To this caller it does not exist.
    #[error("entry {} is not for node {node}", entry.as_str())]
    OtherNode {
        /// The entry asked for.
        entry: EntryId,
        /// The caller's node.
        node: NodeName,
    },
    /// The entry's time is over. To its caller it does not exist any more.
    #[error("entry {} ended at {end}, now is {now}", entry.as_str())]
    Ended {
        /// The entry asked for.
        entry: EntryId,
        /// Its end.
        end: Timestamp,
        /// The CA's clock.
        now: Timestamp,
    },
    /// An operator revoked the identity.
    #[error("{}", crate::issuance::denied(.id))]
    Denied {
        /// Which.
        id: SpiffeId,
    },
    /// The pod is on another node.
    #[error("pod {} is not on node {node}", pod.pod)]
    OtherPod {
        /// The pod.
        pod: LivePod,
        /// The caller's node.
        node: NodeName,
    },
    /// What is asked for is no service account's identity.
    #[error("{id} is not a service account's of trust domain {trust_domain}")]
    NoAccount {
        /// What it is.
        id: SpiffeId,
        /// The CA's trust domain.
        trust_domain: TrustDomain,
    },
    /// The entry's identity is not one that an entry may have: the store should never have held it.
    #[error("the identity {id} of entry {} is not a workload's of trust domain {trust_domain}", entry.as_str())]
    NotAWorkload {
        /// The entry asked for.
        entry: EntryId,
        /// Its identity.
        id: SpiffeId,
        /// The CA's trust domain.
        trust_domain: TrustDomain,
    },
}

/// Proof that somebody may have a leaf with these names. Only the functions here make one, and issuing uses it up.
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    subject: LeafSubject,
    caller: String,
    reason: Reason,
    provenance: Option<Provenance>,
}

impl Admitted {
    /// Admits a node's agent to the identity of an entry.
    ///
    /// `caller` is the record of the node whose agent was authenticated in this very call; `memberships` are those of the node, and the
    /// entry is, as the store holds them.
    ///
    /// # Errors
    /// [`AdmissionError`]: the node is banned, the entry is neither its own nor one of its aliases' or its cluster's, the entry has ended, or its
    /// identity is not a workload's.
    pub fn for_entry(
        trust_domain: &TrustDomain,
        caller: &NodeRecord,
        memberships: &Memberships,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Self, AdmissionError> {
        check_standing(caller)?;
        if !memberships.give(&caller.node, &entry.spec.parent) {
            return Err(AdmissionError::OtherNode { entry: entry.id.clone(), node: caller.node.clone() });
        }
        if let Some(end) = entry.spec.expires_at.filter(|end| now >= *end) {
            return Err(AdmissionError::Ended { entry: entry.id.clone(), end, now });
        }
        let id = &entry.spec.spiffe_id;
        if id.trust_domain() != trust_domain || id.is_reserved() || id.path().is_empty() {
            return Err(AdmissionError::NotAWorkload {
                entry: entry.id.clone(),
                id: id.clone(),
                trust_domain: trust_domain.clone(),
            });
        }
        let subject = LeafSubject {
            id: id.clone(),
            dns_names: entry.spec.dns_names.clone(),
            ip_addresses: Vec::new(),
            ttl: entry.spec.ttl,
            ends_by: entry.spec.expires_at,
        };
        let caller = SystemIdentity::Agent(caller.node.clone()).id(trust_domain).to_string();
        Ok(Self { subject, caller, reason: Reason::Entry(entry.id.clone()), provenance: None })
    }

    /// Admits a node's agent to the identity of a service account that `pod`, on its node, runs as.
    ///
    /// `caller` is the record of the node whose agent was authenticated in this very call; the pod was found alive at `confirmed_at`. No
    /// certificate of it is renewed by itself: its line says since when nobody has looked.
    ///
    /// # Errors
    /// [`AdmissionError::Banned`], [`AdmissionError::OtherPod`] or [`AdmissionError::NoAccount`].
    pub fn for_live_pod(
        trust_domain: &TrustDomain,
        caller: &NodeRecord,
        id: SpiffeId,
        pod: LivePod,
        confirmed_at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        check_standing(caller)?;
        if pod.node != caller.node.as_str() {
            return Err(AdmissionError::OtherPod { pod, node: caller.node.clone() });
        }
        if id.trust_domain() != trust_domain || id.is_reserved() || id.path().is_empty() {
            return Err(AdmissionError::NoAccount { id, trust_domain: trust_domain.clone() });
        }
        let subject = LeafSubject { id, dns_names: Vec::new(), ip_addresses: Vec::new(), ttl: None, ends_by: None };
        let caller = SystemIdentity::Agent(caller.node.clone()).id(trust_domain).to_string();
        let provenance = Some(Provenance { grounds: RenewalGrounds::LivePod(pod.clone()), line_start: confirmed_at });
        Ok(Self { subject, caller, reason: Reason::LivePod(pod), provenance })
    }

    /// Admits a node to the identity of its own agent.
    ///
    /// `node` is the record of the node that proved itself in this very call: by token and node key, by node key, or by its SVID.
    ///
    /// # Errors
    /// [`AdmissionError::Banned`].
    pub fn for_agent(
        trust_domain: &TrustDomain,
        node: &NodeRecord,
        issuance: AgentIssuance,
        ttl: Duration,
    ) -> Result<Self, AdmissionError> {
        check_standing(node)?;
        let id = SystemIdentity::Agent(node.node.clone()).id(trust_domain);
        let (caller, reason) = match issuance {
            AgentIssuance::Attestation => (format!("node {}", node.node), Reason::Attestation),
            AgentIssuance::Renewal => (id.to_string(), Reason::AgentRenewal),
        };
        let subject = LeafSubject { id, dns_names: Vec::new(), ip_addresses: Vec::new(), ttl: Some(ttl), ends_by: None };
        Ok(Self { subject, caller, reason, provenance: None })
    }

    /// Admits the CA to its own serving certificate.
    pub fn for_serving(
        trust_domain: &TrustDomain,
        replica: &ReplicaName,
        dns_names: Vec<DnsName>,
        ip_addresses: Vec<IpAddr>,
    ) -> Self {
        let id = SystemIdentity::Ca(replica.clone()).id(trust_domain);
        let caller = id.to_string();
        let subject = LeafSubject { id, dns_names, ip_addresses, ttl: None, ends_by: None };
        Self { subject, caller, reason: Reason::Serving, provenance: None }
    }

    /// What the leaf shall name.
    #[must_use]
    pub fn subject(&self) -> &LeafSubject {
        &self.subject
    }

    /// Who asked, for the ledger.
    #[must_use]
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// Why, for the ledger.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The line that the leaf will belong to; `None` when its holder cannot renew it.
    #[must_use]
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }
}

fn check_standing(node: &NodeRecord) -> Result<(), AdmissionError> {
    match node.state {
        NodeState::Attested => Ok(()),
        NodeState::Banned => Err(AdmissionError::Banned { node: node.node.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use identity::{AliasName, Selector};

    use super::*;
    use crate::records::{ClusterObject, Hint, NewEntry, Parent};

    fn domain() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    fn node(name: &str, state: NodeState) -> NodeRecord {
        NodeRecord {
            node: NodeName::parse(name).unwrap(),
            node_key_spki: None,
            state,
            current: None,
            previous: None,
            attested_at: Timestamp::from_unix_seconds(0),
        }
    }

    fn entry(id: &str, parent: &str) -> Entry {
        Entry {
            id: EntryId::parse("0123456789abcdef0123456789abcdef").unwrap(),
            spec: NewEntry {
                spiffe_id: SpiffeId::parse(id).unwrap(),
                selectors: vec!["unix:uid:1000".parse::<Selector>().unwrap()],
                parent: Parent::Node(NodeName::parse(parent).unwrap()),
                ttl: Some(Duration::from_secs(60)),
                dns_names: vec![DnsName::parse("web.local").unwrap()],
                hint: Hint::default(),
                federates_with: BTreeSet::new(),
                expires_at: None,
            },
            created_at: at(0),
            revision: 1,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn admit(caller: &NodeRecord, entry: &Entry) -> Result<Admitted, AdmissionError> {
        Admitted::for_entry(&domain(), caller, &Memberships::default(), entry, at(100))
    }

    #[test]
    fn an_entry_is_issued_to_its_own_node_only() {
        let entry = entry("spiffe://example.org/web", "n1");
        let admitted = admit(&node("n1", NodeState::Attested), &entry).unwrap();
        assert_eq!(admitted.subject().id, entry.spec.spiffe_id);
        assert_eq!(admitted.subject().dns_names, entry.spec.dns_names);
        assert_eq!(admitted.subject().ttl, entry.spec.ttl);
        assert_eq!(admitted.caller(), "spiffe://example.org/signet/agent/n1");
        assert_eq!(admitted.reason(), &Reason::Entry(entry.id.clone()));
        let other = admit(&node("n2", NodeState::Attested), &entry).unwrap_err();
        assert!(matches!(other, AdmissionError::OtherNode { .. }), "{other}");
    }

    #[test]
    fn an_entry_of_an_alias_is_issued_to_its_members_only() {
        let alias = |name: &str| AliasName::parse(name).unwrap();
        let mut entry = entry("spiffe://example.org/web", "n1");
        entry.spec.parent = Parent::Alias(alias("web"));
        let caller = node("n1", NodeState::Attested);
        let admit = |aliases: &[&str]| {
            let aliases = aliases.iter().map(|name| alias(name)).collect();
            let memberships = Memberships { aliases, cluster: Some("web".to_owned()) };
            Admitted::for_entry(&domain(), &caller, &memberships, &entry, at(100))
        };
        assert_eq!(admit(&["db", "web"]).unwrap().subject().id, entry.spec.spiffe_id);
        // That a node bears the name of the alias does not make it a member.
        for others in [&[][..], &["db"], &["n1"]] {
            assert!(matches!(admit(others), Err(AdmissionError::OtherNode { .. })), "{others:?}");
        }
        let namesake =
            Admitted::for_entry(&domain(), &node("web", NodeState::Attested), &Memberships::default(), &entry, at(100));
        assert!(matches!(namesake, Err(AdmissionError::OtherNode { .. })));
    }

    #[test]
    fn an_entry_of_an_object_is_issued_to_nodes_of_its_cluster_only() {
        let mut entry = entry("spiffe://example.org/ns/shop/web", "n1");
        let [cluster, namespace, name, uid] = ["east", "shop", "web", "u"].map(str::to_owned);
        entry.spec.parent = Parent::Object(Box::new(ClusterObject { cluster, namespace, name, uid }));
        let admit = |cluster: Option<&str>| {
            let aliases = BTreeSet::from([AliasName::parse("east").unwrap()]);
            let memberships = Memberships { aliases, cluster: cluster.map(str::to_owned) };
            Admitted::for_entry(&domain(), &node("east", NodeState::Attested), &memberships, &entry, at(100))
        };
        assert_eq!(admit(Some("east")).unwrap().subject().id, entry.spec.spiffe_id);
        for other in [None, Some("west"), Some("")] {
            assert!(matches!(admit(other), Err(AdmissionError::OtherNode { .. })), "{other:?}");
        }
    }

    #[test]
    fn an_entry_grants_until_its_end_and_no_second_longer() {
        let caller = node("n1", NodeState::Attested);
        let ending = |end| {
            let mut entry = entry("spiffe://example.org/web", "n1");
            entry.spec.expires_at = Some(at(end));
            admit(&caller, &entry)
        };
        assert_eq!(ending(101).unwrap().subject().ends_by, Some(at(101)));
        for over in [100, 99, 0] {
            assert!(matches!(ending(over), Err(AdmissionError::Ended { .. })), "{over}");
        }
    }

    #[test]
    fn a_banned_node_is_admitted_to_nothing() {
        let banned = node("n1", NodeState::Banned);
        let by_entry = admit(&banned, &entry("spiffe://example.org/web", "n1")).unwrap_err();
        assert!(matches!(by_entry, AdmissionError::Banned { .. }), "{by_entry}");
        let ttl = Duration::from_secs(60);
        let itself = Admitted::for_agent(&domain(), &banned, AgentIssuance::Renewal, ttl).unwrap_err();
        assert!(matches!(itself, AdmissionError::Banned { .. }), "{itself}");
        let standing = node("n1", NodeState::Attested);
        let admitted = Admitted::for_agent(&domain(), &standing, AgentIssuance::Renewal, ttl).unwrap();
        assert_eq!(admitted.subject().id.as_str(), "spiffe://example.org/signet/agent/n1");
    }

    #[test]
    fn a_live_pod_admits_the_agent_of_its_own_node_to_a_workloads_identity() {
        let pod = |name: &str| LivePod { cluster: "east".to_owned(), node: name.to_owned(), pod: "shop/web-1 u1".to_owned() };
        let admit = |state, id: &str, of: &str| {
            Admitted::for_live_pod(&domain(), &node("n1", state), SpiffeId::parse(id).unwrap(), pod(of), at(40))
        };
        let id = "spiffe://example.org/ns/shop/sa/web";
        let admitted = admit(NodeState::Attested, id, "n1").unwrap();
        assert_eq!((admitted.subject().id.as_str(), admitted.caller()), (id, "spiffe://example.org/signet/agent/n1"));
        assert_eq!(admitted.reason(), &Reason::LivePod(pod("n1")));
        assert_eq!(admitted.provenance.as_ref().map(|provenance| provenance.line_start), Some(at(40)));
        assert!(matches!(admit(NodeState::Banned, id, "n1"), Err(AdmissionError::Banned { .. })));
        assert!(matches!(admit(NodeState::Attested, id, "n2"), Err(AdmissionError::OtherPod { .. })));
        for other in ["spiffe://other.org/ns/shop/sa/web", "spiffe://example.org/signet/ca/x", "spiffe://example.org"] {
            assert!(matches!(admit(NodeState::Attested, other, "n1"), Err(AdmissionError::NoAccount { .. })), "{other}");
        }
    }

    #[test]
    fn an_entry_names_neither_a_part_of_signet_nor_another_trust_domain() {
        let caller = node("n1", NodeState::Attested);
        for id in ["spiffe://example.org/signet/ca/x", "spiffe://other.org/web", "spiffe://example.org"] {
            let error = admit(&caller, &entry(id, "n1")).unwrap_err();
            assert!(matches!(error, AdmissionError::NotAWorkload { .. }), "{error}");
        }
        assert!(admit(&caller, &entry("spiffe://example.org/signets", "n1")).is_ok());
    }

    #[test]
    fn the_serving_certificate_names_the_replica() {
        let replica = ReplicaName::parse("ca-1").unwrap();
        let admitted = Admitted::for_serving(&domain(), &replica, Vec::new(), vec![IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(admitted.subject().id.as_str(), "spiffe://example.org/signet/ca/ca-1");
        assert_eq!(admitted.reason(), &Reason::Serving);
    }
}
