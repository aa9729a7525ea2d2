//! Pods by the node that they are bound to.

use std::collections::{BTreeMap, HashMap};

use super::Pod;
use crate::follower::Index;

/// Pods that are bound to a node, by it, and where each is. Those that are bound to none are not kept.
#[derive(Debug, Default)]
pub struct PodsOfNodes {
    of_nodes: HashMap<String, BTreeMap<Key, Pod>>,
    places: HashMap<Key, String>,
}

/// Namespace and name.
type Key = (String, String);

impl PodsOfNodes {
    /// The pods that are bound to a node, as far as they are known.
    pub fn pods_of(&self, node: &str) -> impl Iterator<Item = &Pod> {
        self.of_nodes.get(node).into_iter().flat_map(BTreeMap::values)
    }

    fn take(&mut self, key: &Key) {
        let Some(node) = self.places.remove(key) else { return };
        if let Some(pods) = self.of_nodes.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.of_nodes.remove(&node);
            }
        }
    }
}

impl Index for PodsOfNodes {
    type Object = Pod;

    fn replace(&mut self, pods: Vec<Pod>) {
        *self = Self::default();
        pods.into_iter().for_each(|pod| self.apply(pod));
    }

    fn apply(&mut self, pod: Pod) {
        let key = (pod.namespace.clone(), pod.name.clone());
        self.take(&key);
        if let Some(node) = pod.node.clone() {
            self.places.insert(key.clone(), node.clone());
            self.of_nodes.entry(node).or_default().insert(key, pod);
        }
    }

    fn remove(&mut self, pod: &Pod) {
        self.take(&(pod.namespace.clone(), pod.name.clone()));
    }

    fn count(&self) -> usize {
        self.places.len()
    }
}
