//! Registration entries as the node holds them: which process may hold which identity.
//!
//! An entry from the CA is still input: it is parsed whole or refused whole, and a refused entry gives nobody an identity.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::{AliasName, DnsName, NodeName, Selector, SpiffeId, TrustDomain};
use pki::Timestamp;
use proto::v1;

/// The longest entry ID that is taken, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The longest hint, in bytes (SPIFFE Workload API section 5.2.1).
pub(crate) const MAX_HINT_BYTES: usize = 1024;

/// The name that the CA gave an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Takes 1 to 128 bytes of printable ASCII.
    ///
    /// # Errors
    /// [`EntryError::Id`] for anything else.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.is_empty() || text.len() > MAX_ID_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EntryError::Id);
        }
        Ok(Self(text.into()))
    }

    /// Stands for a service account. No entry of the CA's has such a name.
    #[must_use]
    pub fn of_account(account: &ServiceAccount) -> Self {
        let ServiceAccount { namespace, name } = account;
        let told = format!("account:{namespace}/{name}");
        if told.len() <= MAX_ID_BYTES {
            return Self(told.into());
        }
        Self(format!("account:{}", HEXLOWER.encode(&pki::sha256(told.as_bytes()))).into())
    }

    /// Whether it stands for a service account.
    #[must_use]
    pub fn is_of_account(&self) -> bool {
        self.0.starts_with("account:")
    }

    /// The ID, as the CA sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who, on this node, may hold which identity. A caller matches when its selectors include all of `selectors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Chosen by the CA.
    pub id: EntryId,
    /// The identity: in the agent's trust domain, with a path, and not below `/signet`.
    pub spiffe_id: SpiffeId,
    /// What a caller must show; never empty (an empty set would match every process).
    pub selectors: BTreeSet<Selector>,
    /// DNS names that the CA adds to the certificate.
    pub dns_names: Vec<DnsName>,
    /// The life asked of each certificate, in seconds; zero is the CA's default.
    pub ttl_seconds: u32,
    /// Tells the workload's identities apart; at most 1024 bytes, may be empty (SPIFFE Workload API section 5.2.1).
    pub hint: String,
    /// From here on it grants nothing; `None`: never ends.
    pub expires_at: Option<Timestamp>,
    /// The alias by which this node has it; `None`: by its own name.
    pub alias: Option<AliasName>,
    /// Its identity is revoked: it grants nothing until an operator restores it.
    pub revoked: bool,
    /// Other trust domains whose bundles its holders get as well, as far as the CA has them.
    pub federates_with: BTreeSet<TrustDomain>,
    /// When the operator made it; entries are ordered by this, then by ID.
    pub created_at: Timestamp,
    /// The service account that the node made it for by its rule: it counts for those who match no entry of the CA, and the CA is asked for the
    /// account. `None`: the CA has it.
    pub account: Option<ServiceAccount>,
}

/// A service account of the cluster that the node is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// Why an entry that the CA sent is refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The ID is empty, too long or not printable.
    #[error("the entry ID is not 1 to {MAX_ID_BYTES} bytes of printable ASCII")]
    Id,
    /// The identity does not parse.
    #[error(transparent)]
    SpiffeId(#[from] identity::SpiffeIdError),
    /// The identity is of another trust domain.
    #[error("{id} is not in this agent's trust domain {trust_domain}")]
    ForeignTrustDomain {
        /// What the entry names.
        id: SpiffeId,
        /// Where this agent belongs.
        trust_domain: TrustDomain,
    },
    /// The identity is the trust domain itself, or Signet's own.
    #[error("{0} cannot be the identity of a workload")]
    Reserved(SpiffeId),
    /// A selector does not parse.
    #[error(transparent)]
    Selector(#[from] identity::SelectorError),
    /// No selectors: every process would match.
    #[error("the entry has no selectors, so every process would match it")]
    NoSelectors,
    /// The hint is too long.
    #[error("the hint has {found} bytes, at most {MAX_HINT_BYTES} are allowed")]
    Hint {
        /// Its length in bytes.
        found: usize,
    },
    /// A DNS name does not parse.
    #[error(transparent)]
    DnsName(#[from] identity::DnsNameError),
    /// The parent's name, of a node or an alias, does not parse.
    #[error(transparent)]
    NodeName(#[from] identity::NodeNameError),
    /// A trust domain to federate with does not parse.
    #[error("a trust domain to federate with: {0}")]
    FederatesWith(#[from] identity::TrustDomainError),
    /// The entry is another node's.
    #[error("the entry belongs to node {found}, this is {node}")]
    OtherNode {
        /// Whose it is.
        found: NodeName,
        /// This node.
        node: NodeName,
    },
}

impl Entry {
    /// Parses an entry for `node` of `trust_domain`.
    ///
    /// # Errors
    /// [`EntryError`] naming the first fault: the whole entry is then refused.
    pub fn from_wire(entry: v1::Entry, trust_domain: &TrustDomain, node: &NodeName) -> Result<Self, EntryError> {
        let v1::Entry {
            id,
            spiffe_id,
            selectors,
            parent_node,
            parent_alias,
            ttl_seconds,
            dns_names,
            created_at,
            hint,
            expires_at,
            revision: _,
            revoked,
            federates_with,
            // By what the node has it is the CA's affair.
            object: _,
        } = entry;
        let id = EntryId::parse(&id)?;
        let spiffe_id = SpiffeId::parse(&spiffe_id)?;
        if spiffe_id.trust_domain() != trust_domain {
            return Err(EntryError::ForeignTrustDomain { id: spiffe_id, trust_domain: trust_domain.clone() });
        }
        if spiffe_id.path().is_empty() || spiffe_id.is_reserved() {
            return Err(EntryError::Reserved(spiffe_id));
        }
        let found = NodeName::parse(&parent_node)?;
        if found != *node {
            return Err(EntryError::OtherNode { found, node: node.clone() });
        }
        let selectors = selectors.iter().map(|text| Selector::parse(text)).collect::<Result<BTreeSet<_>, _>>()?;
        if selectors.is_empty() {
            return Err(EntryError::NoSelectors);
        }
        let dns_names = dns_names.iter().map(|text| DnsName::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let created_at = Timestamp::from_unix_seconds(created_at.map_or(0, |time| u64::try_from(time.seconds).unwrap_or(0)));
        if hint.len() > MAX_HINT_BYTES {
            return Err(EntryError::Hint { found: hint.len() });
        }
        let expires_at = expires_at.map(|time| Timestamp::from_unix_seconds(u64::try_from(time.seconds).unwrap_or(0)));
        let alias = if parent_alias.is_empty() { None } else { Some(AliasName::parse(&parent_alias)?) };
        let federates_with = federates_with.iter().map(|text| TrustDomain::parse(text)).collect::<Result<BTreeSet<_>, _>>()?;
        Ok(Self {
            id,
            spiffe_id,
            selectors,
            dns_names,
            ttl_seconds,
            hint,
            expires_at,
            alias,
            revoked,
            federates_with,
            created_at,
            account: None,
        })
    }

    /// The entry as the admin service shows it; `node` is `None` where the agent's own configuration made it.
    #[must_use]
    pub fn to_wire(&self, node: Option<&NodeName>) -> v1::Entry {
        v1::Entry {
            id: self.id.to_string(),
            spiffe_id: self.spiffe_id.to_string(),
            selectors: self.selectors.iter().map(ToString::to_string).collect(),
            parent_node: node.map(ToString::to_string).unwrap_or_default(),
            ttl_seconds: self.ttl_seconds,
            dns_names: self.dns_names.iter().map(ToString::to_string).collect(),
            created_at: Some(std::time::SystemTime::from(self.created_at).into()),
            hint: self.hint.clone(),
            expires_at: self.expires_at.map(|time| std::time::SystemTime::from(time).into()),
            parent_alias: self.alias.as_ref().map(ToString::to_string).unwrap_or_default(),
            revision: 0,
            revoked: self.revoked,
            federates_with: self.federates_with.iter().map(ToString::to_string).collect(),
            object: None,
        }
    }

    /// Whether it grants its identity at `now`: not from its end on.
    #[must_use]
    pub fn grants_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Where the entry stands among others: by creation, then by ID. The first that a caller matches is its `default`.
    #[must_use]
    pub fn order(&self) -> (Timestamp, &EntryId) {
        (self.created_at, &self.id)
    }

    /// Whether a certificate with this last second lasts as long as the entry: another would last no longer.
    #[must_use]
    pub fn ends_with(&self, not_after: Timestamp) -> bool {
        // The last second of a certificate is part of its life; the end of an entry is not.
        self.expires_at.is_some_and(|end| not_after.plus(Duration::from_secs(1)) >= end)
    }

    /// Whether a certificate issued for `other` is also what this entry asks for.
    #[must_use]
    pub fn same_certificate(&self, other: &Self) -> bool {
        self.spiffe_id == other.spiffe_id && self.dns_names == other.dns_names && self.ttl_seconds == other.ttl_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::Entry {
        v1::Entry {
            id: "e1".to_owned(),
            spiffe_id: "spiffe://example.org/web".to_owned(),
            selectors: vec!["unix:uid:1000".to_owned(), "unix:path:/bin/web".to_owned()],
            parent_node: "n1".to_owned(),
            ttl_seconds: 60,
            dns_names: vec!["web.example.org".to_owned()],
            created_at: Some(prost_types::Timestamp { seconds: 5, nanos: 7 }),
            hint: "internal".to_owned(),
            expires_at: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }),
            parent_alias: "web".to_owned(),
            revision: 3,
            revoked: true,
            federates_with: vec!["other.org".to_owned()],
            object: None,
        }
    }

    fn parse(entry: v1::Entry) -> Result<Entry, EntryError> {
        Entry::from_wire(entry, &TrustDomain::parse("example.org").unwrap(), &NodeName::parse("n1").unwrap())
    }

    #[test]
    fn a_whole_entry_is_taken_and_goes_back_as_it_came() {
        let entry = parse(wire()).unwrap();
        assert_eq!(entry.selectors.len(), 2);
        let back = entry.to_wire(Some(&NodeName::parse("n1").unwrap()));
        assert_eq!(parse(back).unwrap(), entry);
    }

    #[test]
    fn each_fault_refuses_the_whole_entry() {
        let refused = |change: fn(&mut v1::Entry)| {
            let mut entry = wire();
            change(&mut entry);
            parse(entry).unwrap_err()
        };
        assert!(matches!(refused(|e| e.id.clear()), EntryError::Id));
        assert!(matches!(refused(|e| e.id = "a b".into()), EntryError::Id));
        assert!(matches!(refused(|e| e.spiffe_id = "web".into()), EntryError::SpiffeId(_)));
        assert!(matches!(refused(|e| e.spiffe_id = "spiffe://other.org/web".into()), EntryError::ForeignTrustDomain { .. }));
        for reserved in ["spiffe://example.org", "spiffe://example.org/signet/ca/x", "spiffe://example.org/signet"] {
            let mut entry = wire();
            reserved.clone_into(&mut entry.spiffe_id);
            assert!(matches!(parse(entry), Err(EntryError::Reserved(_))), "{reserved}");
        }
        assert!(matches!(refused(|e| e.selectors.clear()), EntryError::NoSelectors));
        assert!(matches!(refused(|e| e.selectors.push("k8s:namespace:a".into())), EntryError::Selector(_)));
        assert!(matches!(refused(|e| e.hint = "h".repeat(1025)), EntryError::Hint { found: 1025 }));
        assert!(matches!(refused(|e| e.dns_names.push("*".into())), EntryError::DnsName(_)));
        assert!(matches!(refused(|e| e.federates_with.push("Other".into())), EntryError::FederatesWith(_)));
        assert!(matches!(refused(|e| e.parent_node = "n2".into()), EntryError::OtherNode { .. }));
        assert!(matches!(refused(|e| e.parent_node.clear()), EntryError::NodeName(_)));
        assert!(matches!(refused(|e| e.parent_alias.push('/')), EntryError::NodeName(_)));
    }

    #[test]
    fn an_end_is_the_first_second_without_the_entry() {
        let at = Timestamp::from_unix_seconds;
        let entry = parse(wire()).unwrap();
        assert!(entry.grants_at(at(8)) && !entry.grants_at(at(9)));
        assert!(!entry.ends_with(at(7)) && entry.ends_with(at(8)));
        let lasting = parse(v1::Entry { expires_at: None, ..wire() }).unwrap();
        assert!(lasting.grants_at(at(u64::MAX)) && !lasting.ends_with(at(u64::MAX)));
        // A time that cannot be is one that is over.
        let odd = parse(v1::Entry { expires_at: Some(prost_types::Timestamp { seconds: -1, nanos: 0 }), ..wire() }).unwrap();
        assert!(!odd.grants_at(at(0)));
    }
}
