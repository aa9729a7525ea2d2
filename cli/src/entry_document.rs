//! Documents of entries, as `entry apply` and `entry explain --with-entry` read them and `entry export` writes them: YAML, and so
//! JSON. What a document holds is parsed into the nouns of `identity` here, so that what is wrong is told with its line.

use std::path::Path;
use std::time::Duration;

use identity::{AliasName, DnsName, NodeName, Selector, SpiffeId, TrustDomain};
use pki::Timestamp;
use proto::v1;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::args::{span, time};
use crate::failure::Failure;
use crate::input;

/// The largest document, in bytes: ten thousand entries of the usual kind are below it.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A set of entries, and what it speaks for.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryDocument {
    /// Which entries it is the whole set of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<DocumentScope>,
    /// The entries.
    pub(crate) entries: Vec<DocumentEntry>,
}

/// What a document speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentScope {
    /// Entries that hang on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<NodeName>,
    /// Entries that hang on this alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<AliasName>,
    /// Entries with this path or one below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path_prefix: Option<String>,
    /// Every entry of the CA.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) everything: bool,
}

/// One entry. Without a node or alias of its own it has that of the scope.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) spiffe_id: SpiffeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<NodeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<AliasName>,
    pub(crate) selectors: Vec<Selector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Span>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_names: Vec<DnsName>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) hint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<EndTime>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) federates_with: Vec<TrustDomain>,
}

/// A span such as `1h`, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// A time such as `2027-01-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndTime(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        span(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Without the spaces that humantime puts between the parts, since it reads them without.
        let text = humantime::format_duration(self.0).to_string().replace(' ', "");
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for EndTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        time(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for EndTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl EntryDocument {
    /// Reads a document from a file, or from standard input for `-`.
    ///
    /// # Errors
    /// [`Failure`] naming the file, and line and column of what is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = input::read(path, MAX_BYTES)?;
        let parsed = std::str::from_utf8(&bytes).map_err(|error| error.to_string()).and_then(Self::parse);
        parsed.map_err(|why| {
            let name = if path == Path::new("-") { "on standard input".to_owned() } else { path.display().to_string() };
            Failure::failed(format!("the document {name} is refused"))
                .because(why)
                .advise("what a document looks like is told by `signet entry apply --help`")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_documents: 1, max_depth: 8, flow_nesting_limit: 8, max_nodes: 1_000_000, max_events: 4_000_000 },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000, max_replay_stack_depth: 4 },
            duplicate_keys: DuplicateKeyPolicy::Error,
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            reject_unsupported_tags: true,
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| match error.location() {
            // The first line alone: what follows is a picture of the text.
            Some(at) => {
                let told = error.without_snippet().to_string();
                let first = told.lines().next().unwrap_or_default();
                if first.contains("line ") {
                    first.to_owned()
                } else {
                    format!("line {}, column {}: {first}", at.line(), at.column())
                }
            }
            None => error.without_snippet().to_string(),
        })
    }

    /// As YAML.
    ///
    /// # Errors
    /// When the serialiser fails, which it does for nothing that this type can hold.
    pub(crate) fn to_yaml(&self) -> Result<String, Failure> {
        serde_saphyr::to_string(self).map_err(|error| Failure::failed("the entries cannot be written as YAML").because(error))
    }

    /// The entries as the services take them.
    pub(crate) fn wanted(self) -> Vec<v1::WantedEntry> {
        let scope = self.scope.unwrap_or_default();
        self.entries.into_iter().map(|entry| entry.wanted(&scope)).collect()
    }
}

impl DocumentScope {
    /// As the CA takes it.
    pub(crate) fn to_wire(&self) -> v1::EntryScope {
        let Self { node, alias, path_prefix, everything } = self;
        v1::EntryScope {
            parent_node: text_of(node.as_ref()),
            parent_alias: text_of(alias.as_ref()),
            path_prefix: path_prefix.clone().unwrap_or_default(),
            everything: *everything,
        }
    }
}

impl DocumentEntry {
    fn wanted(self, scope: &DocumentScope) -> v1::WantedEntry {
        let Self { id, spiffe_id, node, alias, selectors, ttl, dns_names, hint, expires_at, federates_with } = self;
        let (node, alias) = match (node, alias) {
            (None, None) => (scope.node.clone(), scope.alias.clone()),
            own => own,
        };
        let entry = v1::CreateEntryRequest {
            spiffe_id: spiffe_id.to_string(),
            selectors: selectors.iter().map(ToString::to_string).collect(),
            parent_node: text_of(node.as_ref()),
            ttl_seconds: ttl.map_or(0, |Span(ttl)| u32::try_from(ttl.as_secs()).expect("the parser of spans bounds it")),
            dns_names: dns_names.iter().map(ToString::to_string).collect(),
            hint,
            expires_at: expires_at.map(|EndTime(end)| std::time::SystemTime::from(end).into()),
            parent_alias: text_of(alias.as_ref()),
            federates_with: federates_with.iter().map(ToString::to_string).collect(),
        };
        v1::WantedEntry { id: id.unwrap_or_default(), entry: Some(entry) }
    }

    /// What the CA told, to be written; without what stands in the scope.
    ///
    /// # Errors
    /// [`Failure`] naming what this program cannot read: the CA is of a later version.
    pub(crate) fn of(entry: &v1::Entry, scope: &DocumentScope) -> Result<Self, Failure> {
        let odd = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("entry {} cannot be written", entry.id))
                .because(error)
                .advise("use the version of signet that the CA runs")
        };
        let parsed = || -> Result<Self, Box<dyn std::error::Error>> {
            let node = (!entry.parent_node.is_empty()).then(|| NodeName::parse(&entry.parent_node)).transpose()?;
            let alias = (!entry.parent_alias.is_empty()).then(|| AliasName::parse(&entry.parent_alias)).transpose()?;
            let in_scope = (&node, &alias) == (&scope.node, &scope.alias);
            let end = entry.expires_at.as_ref().map(|end| u64::try_from(end.seconds)).transpose()?;
            Ok(Self {
                id: None,
                spiffe_id: SpiffeId::parse(&entry.spiffe_id)?,
                node: node.filter(|_| !in_scope),
                alias: alias.filter(|_| !in_scope),
                selectors: entry.selectors.iter().map(|text| Selector::parse(text)).collect::<Result<_, _>>()?,
                ttl: (entry.ttl_seconds != 0).then(|| Span(Duration::from_secs(entry.ttl_seconds.into()))),
                dns_names: entry.dns_names.iter().map(|text| DnsName::parse(text)).collect::<Result<_, _>>()?,
                hint: entry.hint.clone(),
                expires_at: end.map(Timestamp::from_unix_seconds).map(EndTime),
                federates_with: entry.federates_with.iter().map(|text| TrustDomain::parse(text)).collect::<Result<_, _>>()?,
            })
        };
        parsed().map_err(|error| odd(&error))
    }
}

fn text_of(name: Option<&impl ToString>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
