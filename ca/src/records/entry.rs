//! Registration entries, and the sets of nodes that they may hang on.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::{AliasName, DnsName, NodeName, Selector, SpiffeId, TrustDomain};
use pki::Timestamp;

use super::is_hex_128;

/// The longest hint, in bytes (SPIFFE Workload API section 5.2.1).
const MAX_HINT_BYTES: usize = 1024;

/// Names an entry: 16 random bytes in lower-case hex, chosen by the CA.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(String);

/// Why a text names no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry id has 32 characters of 0-9 and a-f")]
pub struct EntryIdError;

/// What an operator asks for with `entry create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Of the CA's own trust domain, with a path, not reserved.
    pub spiffe_id: SpiffeId,
    /// What the process must show: all of them; 1 to 64. The store keeps them sorted and without repeats.
    pub selectors: Vec<Selector>,
    /// Whose agents may hold the identity.
    pub parent: Parent,
    /// How long certificates live; none: the CA's default.
    pub ttl: Option<Duration>,
    /// DNS names that go into the certificate beside the SPIFFE ID.
    pub dns_names: Vec<DnsName>,
    /// Tells the identities of one workload apart.
    pub hint: Hint,
    /// From here on the entry grants nothing; none: it has no end.
    pub expires_at: Option<Timestamp>,
    /// Other trust domains whose bundles its holders get as well; nothing of one that there is no relationship with.
    pub federates_with: BTreeSet<TrustDomain>,
}

/// A registration entry: who may hold which identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// What was asked for.
    pub spec: NewEntry,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts its changes, from 1.
    pub revision: u64,
}

/// What of an entry is to be another; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryEdit {
    /// As [`NewEntry::selectors`].
    pub selectors: Option<Vec<Selector>>,
    /// As [`NewEntry::ttl`].
    pub ttl: Option<Option<Duration>>,
    /// As [`NewEntry::dns_names`].
    pub dns_names: Option<Vec<DnsName>>,
    /// As [`NewEntry::hint`].
    pub hint: Option<Hint>,
    /// As [`NewEntry::expires_at`].
    pub expires_at: Option<Option<Timestamp>>,
    /// As [`NewEntry::federates_with`].
    pub federates_with: Option<BTreeSet<TrustDomain>>,
}

/// Whose agents may hold the identity of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parent {
    /// One node. It need not have attested yet.
    Node(NodeName),
    /// Every node that is a member of the alias at the time.
    Alias(AliasName),
    /// Every node that the cluster vouches for at the time, since an object there asks for the entry. It lives and dies with the object.
    Object(Box<ClusterObject>),
}

/// An object of a cluster that asks for an entry: an `IdentityEntry` (docs/kubernetes-entries.md).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterObject {
    /// The name that the configuration gives the cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells it from another of its name.
    pub uid: String,
}

/// What an operator writes on an entry so that a workload with several identities can choose: at most 1024 bytes without control
/// characters, may be empty (SPIFFE Workload API sections 5.2.1 and 6.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint(String);

/// Why a text is no hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// Over the longest.
    #[error("the hint has {found} bytes, at most {MAX_HINT_BYTES} are allowed")]
    TooLong {
        /// Its length, in bytes.
        found: usize,
    },
    /// It would steer a terminal or break a line.
    #[error("the hint has a control character; use printable characters only")]
    ControlCharacter,
}

/// A named set of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAlias {
    /// Its name.
    pub name: AliasName,
    /// Its members. They need not have attested yet.
    pub nodes: BTreeSet<NodeName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many entries hang on it.
    pub entries: u64,
}

/// By what a node has entries that are not of it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memberships {
    /// The aliases that it is a member of.
    pub aliases: BTreeSet<AliasName>,
    /// The cluster whose API server vouched for its agent, by the node key that is on record now.
    pub cluster: Option<String>,
}

/// What a node has, read at one moment.
#[derive(Clone, Debug, Default)]
pub struct NodeEntries {
    memberships: Memberships,
    entries: Vec<Entry>,
    positions: HashMap<EntryId, usize>,
}

/// Certificates that were issued for an entry and have not ended. An intent without a result counts: it may have been signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// How many; at least one.
    pub count: u64,
    /// The last second of the one that ends last.
    pub until: Timestamp,
}

impl EntryId {
    /// The name made of 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(HEXLOWER.encode(&random))
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`EntryIdError`] when the text is not 32 characters of lower-case hex.
    pub fn parse(text: &str) -> Result<Self, EntryIdError> {
        if is_hex_128(text) { Ok(Self(text.to_owned())) } else { Err(EntryIdError) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Found by its text. The text is all that there is of it, so both compare and hash alike.
impl std::borrow::Borrow<str> for EntryId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Hint {
    /// Reads a hint.
    ///
    /// # Errors
    /// [`HintError`].
    pub fn parse(text: &str) -> Result<Self, HintError> {
        if text.len() > MAX_HINT_BYTES {
            return Err(HintError::TooLong { found: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(HintError::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// The hint as text; empty for none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Alias(alias) => write!(f, "alias {alias}"),
            Self::Object(object) => write!(f, "{object}"),
        }
    }
}

impl fmt::Display for ClusterObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, namespace, name, uid } = self;
        write!(f, "IdentityEntry {namespace}/{name} {uid} of {cluster}")
    }
}

impl Memberships {
    /// Whether a node of this name has what hangs on `parent`.
    #[must_use]
    pub fn give(&self, node: &NodeName, parent: &Parent) -> bool {
        match parent {
            Parent::Node(its_own) => its_own == node,
            Parent::Alias(alias) => self.aliases.contains(alias),
            Parent::Object(object) => self.cluster.as_ref() == Some(&object.cluster),
        }
    }
}

impl NewEntry {
    /// Brings the selectors into the form in which sets of them are compared.
    pub fn sort_selectors(&mut self) {
        self.selectors.sort();
        self.selectors.dedup();
    }
}

impl Entry {
    /// Whether it grants nothing any more.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.spec.expires_at.is_some_and(|end| now >= end)
    }
}

impl EntryEdit {
    /// What the entry asks for once this is done to it.
    #[must_use]
    pub fn apply_to(self, spec: &NewEntry) -> NewEntry {
        let Self { selectors, ttl, dns_names, hint, expires_at, federates_with } = self;
        NewEntry {
            spiffe_id: spec.spiffe_id.clone(),
            parent: spec.parent.clone(),
            selectors: selectors.unwrap_or_else(|| spec.selectors.clone()),
            ttl: ttl.unwrap_or(spec.ttl),
            dns_names: dns_names.unwrap_or_else(|| spec.dns_names.clone()),
            hint: hint.unwrap_or_else(|| spec.hint.clone()),
            expires_at: expires_at.unwrap_or(spec.expires_at),
            federates_with: federates_with.unwrap_or_else(|| spec.federates_with.clone()),
        }
    }
}

impl NodeEntries {
    /// What a node is a member of, and the entries with the node or one of these as parent.
    #[must_use]
    pub fn new(memberships: Memberships, entries: Vec<Entry>) -> Self {
        let positions = entries.iter().enumerate().map(|(position, entry)| (entry.id.clone(), position)).collect();
        Self { memberships, entries, positions }
    }

    /// What the node is a member of.
    #[must_use]
    pub fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    /// Entries with the node, one of its aliases or its cluster as parent, expired ones among them, in the order in which they were made.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The one with this name, as a caller wrote it.
    #[must_use]
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.positions.get(id).and_then(|position| self.entries.get(*position))
    }

    /// The entries that grant something now.
    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| !entry.is_expired(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_are_32_lower_case_hex_digits_and_nothing_else() {
        assert_eq!(EntryId::parse(&"0f".repeat(16)).unwrap(), EntryId::from_random([0x0f; 16]));
        for bad in ["", "a7", &"A7".repeat(16), &"a7".repeat(17), &"é".repeat(16), &"g".repeat(32)] {
            assert!(EntryId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hint_is_bounded_and_steers_no_terminal() {
        for good in ["", "internal", "for the database: replica 2", &"h".repeat(1024)] {
            assert_eq!(Hint::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(Hint::parse(&"h".repeat(1025)), Err(HintError::TooLong { found: 1025 }));
        for bad in ["a\nb", "\u{1b}[31m", "\u{7f}", "\u{85}", "\0"] {
            assert_eq!(Hint::parse(bad), Err(HintError::ControlCharacter), "{bad:?}");
        }
    }
}
