//! The pods of one node, by the UID by which the node knows them.

use std::collections::{BTreeMap, HashMap};

use super::PodDetail;
use crate::follower::Index;

/// Pods by the UID that their node has for them. Such whose UID there nobody can tell are counted, and found by none.
#[derive(Debug, Default)]
pub struct PodsOnNode {
    of_uids: HashMap<String, OfUid>,
    places: HashMap<Key, Option<String>>,
    changes: u64,
}

/// The pods that claim one UID, and the change by which they came to be these.
#[derive(Debug, Default)]
struct OfUid {
    pods: BTreeMap<Key, PodDetail>,
    since: u64,
}

/// Namespace and name.
type Key = (String, String);

impl PodsOnNode {
    /// The pods that claim this UID on their node: one, unless somebody has made a pod up.
    pub fn of_uid(&self, uid: &str) -> impl Iterator<Item = &PodDetail> {
        self.of_uids.get(uid).into_iter().flat_map(|claims| claims.pods.values())
    }

    /// All of them, but for those whose UID on their node nobody can tell.
    pub fn pods(&self) -> impl Iterator<Item = &PodDetail> {
        self.of_uids.values().flat_map(|claims| claims.pods.values())
    }

    /// The change by which what claims this UID came to be as it is; `None` when nothing does.
    #[must_use]
    pub fn since(&self, uid: &str) -> Option<u64> {
        self.of_uids.get(uid).map(|claims| claims.since)
    }

    /// Grows with each change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn take(&mut self, key: &Key) {
        let Some(uid) = self.places.remove(key).flatten() else { return };
        if let Some(claims) = self.of_uids.get_mut(&uid) {
            claims.pods.remove(key);
            claims.since = self.changes;
            if claims.pods.is_empty() {
                self.of_uids.remove(&uid);
            }
        }
    }
}

impl Index for PodsOnNode {
    type Object = PodDetail;

    fn replace(&mut self, pods: Vec<PodDetail>) {
        *self = Self { changes: self.changes + 1, ..Self::default() };
        pods.into_iter().for_each(|pod| self.apply(pod));
    }

    fn apply(&mut self, detail: PodDetail) {
        self.changes += 1;
        let key = (detail.pod.namespace.clone(), detail.pod.name.clone());
        self.take(&key);
        let uid = detail.uid_on_node().map(str::to_owned);
        self.places.insert(key.clone(), uid.clone());
        if let Some(uid) = uid {
            let claims = self.of_uids.entry(uid).or_default();
            claims.pods.insert(key, detail);
            claims.since = self.changes;
        }
    }

    fn remove(&mut self, detail: &PodDetail) {
        self.changes += 1;
        self.take(&(detail.pod.namespace.clone(), detail.pod.name.clone()));
    }

    fn count(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, mirror_of: Option<&str>) -> PodDetail {
        let annotations = mirror_of.map(|hash| json!({ "kubernetes.io/config.mirror": hash, "kubernetes.io/config.hash": hash }));
        let pod = json!({
            "metadata": { "namespace": "shop", "name": name, "uid": uid, "resourceVersion": "1", "annotations": annotations },
            "spec": {}, "status": {},
        });
        serde_json::from_value(pod).unwrap()
    }

    fn found(pods: &PodsOnNode, uid: &str) -> Vec<String> {
        pods.of_uid(uid).map(|detail| detail.pod.uid.clone()).collect()
    }

    #[test]
    fn a_pod_is_found_by_the_uid_that_its_node_has_for_it_and_by_no_earlier_one() {
        let mut pods = PodsOnNode::default();
        pods.replace(vec![pod("a", "u1", None), pod("s", "u2", Some("0c"))]);
        assert_eq!((found(&pods, "u1"), found(&pods, "0c"), found(&pods, "u2").len()), (vec!["u1".into()], vec!["u2".into()], 0));
        let before = pods.changes();
        pods.apply(pod("a", "u3", None));
        assert_eq!((found(&pods, "u1").len(), found(&pods, "u3"), pods.count()), (0, vec!["u3".into()], 2));
        pods.apply(pod("b", "u4", Some("0c")));
        assert_eq!(found(&pods, "0c").len(), 2, "both claim to be the one static pod");
        pods.remove(&pod("b", "u4", Some("0c")));
        pods.remove(&pod("a", "u1", None));
        assert_eq!((found(&pods, "0c"), found(&pods, "u3").len(), pods.count()), (vec!["u2".into()], 0, 1));
        assert!(pods.changes() >= before + 4);
        let (of_static, of_other) = (pods.since("0c"), pods.since("u3"));
        pods.apply(pod("c", "u5", None));
        assert_eq!((pods.since("0c"), of_other), (of_static, None), "what has not changed is told as such");
        pods.apply(pod("s", "u2", Some("0c")));
        assert!(pods.since("0c") > of_static);
        let before = pods.changes();
        pods.replace(Vec::new());
        assert!(pods.count() == 0 && found(&pods, "0c").is_empty() && pods.changes() > before);
    }
}
