//! Namespaces, as a watch tells of them. Pure.

use std::collections::BTreeMap;

use kubernetes::follower::Index;
use kubernetes::metadata::Namespace;

use super::changes::Changes;

/// Namespaces, by name.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    namespaces: BTreeMap<String, NamespaceFacts>,
    is_listed: bool,
    changes: Changes<String>,
}

/// What counts of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceFacts {
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// It is about to go: nothing can be made in it.
    pub(crate) is_terminating: bool,
}

impl Namespaces {
    /// Whether there was a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// One of them; `None` when there is none of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&NamespaceFacts> {
        self.namespaces.get(name)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &NamespaceFacts)> {
        self.namespaces.iter()
    }

    /// What has changed since this was last called.
    pub(crate) fn take_changes(&mut self) -> Changes<String> {
        self.changes.take()
    }
}

impl Index for Namespaces {
    type Object = Namespace;

    fn replace(&mut self, objects: Vec<Namespace>) {
        self.namespaces = objects.into_iter().map(|Namespace(namespace)| (namespace.name.clone(), facts(&namespace))).collect();
        self.is_listed = true;
        self.changes = Changes::All;
    }

    fn apply(&mut self, Namespace(namespace): Namespace) {
        let now = facts(&namespace);
        // Its version grows with whatever anybody notes on it.
        if self.namespaces.get(&namespace.name) != Some(&now) {
            self.namespaces.insert(namespace.name.clone(), now);
            self.changes.add(namespace.name);
        }
    }

    fn remove(&mut self, Namespace(namespace): &Namespace) {
        self.namespaces.remove(&namespace.name);
        self.changes.add(namespace.name.clone());
    }

    fn count(&self) -> usize {
        self.namespaces.len()
    }
}

fn facts(namespace: &kubernetes::metadata::ObjectMetadata) -> NamespaceFacts {
    NamespaceFacts { labels: namespace.labels.clone(), is_terminating: namespace.is_terminating }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(name: &str, label: &str, ends: bool) -> Namespace {
        let mut metadata = json!({ "name": name, "uid": "u", "resourceVersion": "1", "labels": { "team": label } });
        if ends {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn labels_and_the_end_of_a_namespace_change_it_and_nothing_else() {
        let mut namespaces = Namespaces::default();
        assert!(!namespaces.is_listed());
        namespaces.replace(vec![namespace("shop", "a", false)]);
        assert_eq!((namespaces.is_listed(), namespaces.take_changes()), (true, Changes::All));
        namespaces.apply(namespace("shop", "a", false));
        assert_eq!(namespaces.take_changes(), Changes::None);
        for changed in [namespace("shop", "b", false), namespace("shop", "b", true)] {
            namespaces.apply(changed);
            assert_eq!(namespaces.take_changes(), Changes::Some(["shop".to_owned()].into()));
        }
        assert!(namespaces.get("shop").unwrap().is_terminating);
        namespaces.remove(&namespace("shop", "b", true));
        assert!(namespaces.get("shop").is_none() && namespaces.all().next().is_none());
    }
}
