//! Changes, as replicas tell them to each other through the server.

use std::collections::BTreeSet;

use identity::NodeName;
use serde::{Deserialize, Serialize};

use crate::store::Change;

/// The channel of a database. Whoever may connect to the database may speak there: what is heard makes us look, and says nothing else.
pub(super) const CHANNEL: &str = "signet_changes";

/// The most bytes of a notification, well below what the server takes (8,000).
const MAX_BYTES: usize = 7_000;

/// What a replica heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The writer's session, by the number that the server gave it; `None` where that cannot be read.
    pub(super) by: Option<i64>,
    /// What changed; [`Change::Unknown`] where that cannot be read.
    pub(super) changes: Vec<Change>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Told {
    by: i64,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    entries: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    nodes: BTreeSet<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clusters: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    revocations: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    authorities: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    federations: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    everything: bool,
}

/// What the others are to hear of these changes of a session, if anything.
pub(super) fn payload(changes: &[Change], by: i64) -> Option<String> {
    if changes.is_empty() {
        return None;
    }
    let mut told = Told { by, ..Told::default() };
    for change in changes {
        match change {
            Change::Entries(nodes) => told.entries.extend(nodes.iter().map(ToString::to_string)),
            Change::Node(node) => {
                told.nodes.insert(node.to_string());
            }
            Change::EntriesOfClusters => told.clusters = true,
            Change::Revocations => told.revocations = true,
            Change::Authorities => told.authorities = true,
            Change::Federations => told.federations = true,
            Change::Unknown => told.everything = true,
        }
    }
    let text = serde_json::to_string(&told).ok().filter(|text| text.len() <= MAX_BYTES);
    Some(text.unwrap_or_else(|| format!(r#"{{"by":{by},"everything":true}}"#)))
}

/// What was told.
pub(super) fn heard(payload: &str) -> Heard {
    let told: Option<Told> = serde_json::from_str(payload).ok();
    let by = told.as_ref().map(|told| told.by);
    Heard { by, changes: told.and_then(changes).unwrap_or_else(|| vec![Change::Unknown]) }
}

fn changes(told: Told) -> Option<Vec<Change>> {
    let Told { by: _, entries, nodes, clusters, revocations, authorities, federations, everything } = told;
    if everything {
        return None;
    }
    let names = |names: BTreeSet<String>| names.iter().map(|name| NodeName::parse(name).ok()).collect::<Option<Vec<_>>>();
    let mut changes: Vec<_> = names(nodes)?.into_iter().map(Change::Node).collect();
    // An entry of an alias without members concerns nobody, and is a change all the same.
    changes.push(Change::Entries(names(entries)?.into()));
    changes.extend(clusters.then_some(Change::EntriesOfClusters));
    changes.extend(revocations.then_some(Change::Revocations));
    changes.extend(authorities.then_some(Change::Authorities));
    changes.extend(federations.then_some(Change::Federations));
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn what_is_told_is_heard() {
        assert_eq!(payload(&[], 7), None);
        let told = [
            Change::Node(node("n2")),
            Change::Entries([node("n1")].into()),
            Change::EntriesOfClusters,
            Change::Revocations,
            Change::Authorities,
            Change::Federations,
        ];
        assert_eq!(heard(&payload(&told, 7).unwrap()), Heard { by: Some(7), changes: told.to_vec() });
    }

    #[test]
    fn what_is_too_long_or_cannot_be_read_is_everything() {
        let many: Vec<_> = (0..1_000).map(|number| node(&format!("node-{number}"))).collect();
        let text = payload(&[Change::Entries(many.into())], 7).unwrap();
        assert!(text.len() <= MAX_BYTES);
        assert_eq!(heard(&text), Heard { by: Some(7), changes: vec![Change::Unknown] });
        for text in ["", "no JSON", r#"{"entries":["NOT A NODE"]}"#, r#"{"by":7,"other":1}"#, r#"{"everything":true}"#] {
            let Heard { by, changes } = heard(text);
            assert!(by != Some(7) && changes == [Change::Unknown], "{text}");
        }
    }
}
