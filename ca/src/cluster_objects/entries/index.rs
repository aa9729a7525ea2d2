//! The objects, as a watch tells of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubernetes::follower::Index;
use kubernetes::identity_entries::IdentityEntry;

use crate::cluster_objects::changes::Changes;
use crate::cluster_objects::queue::Key;

/// All of them, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Objects {
    objects: BTreeMap<Key, Arc<IdentityEntry>>,
    is_listed: bool,
    changes: Changes<Key>,
    /// Whether what they ask for has changed, whatever else did.
    asks_anew: bool,
}

impl Objects {
    /// Whether there was a whole list. Before that nobody knows that an object is gone.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// One of them.
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<IdentityEntry>> {
        self.objects.get(key)
    }

    /// Those whose end nobody has asked for.
    pub(super) fn living(&self) -> Vec<Arc<IdentityEntry>> {
        self.objects.values().filter(|object| !object.is_terminating).cloned().collect()
    }

    /// What all of them are called.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        self.objects.keys().cloned().collect()
    }

    /// What has changed since this was last called.
    pub(super) fn take_changes(&mut self) -> Changes<Key> {
        self.changes.take()
    }

    /// Whether what they ask for has changed since this was last called.
    pub(super) fn take_asks(&mut self) -> bool {
        std::mem::take(&mut self.asks_anew)
    }
}

fn key_of(object: &IdentityEntry) -> Key {
    (object.namespace.clone(), object.name.clone())
}

/// Whether both ask for the same.
fn asks_alike(one: &IdentityEntry, other: &IdentityEntry) -> bool {
    let asked = |object: &IdentityEntry| (object.generation, object.is_terminating);
    one.uid == other.uid && asked(one) == asked(other) && one.spec == other.spec
}

impl Index for Objects {
    type Object = IdentityEntry;

    fn replace(&mut self, objects: Vec<IdentityEntry>) {
        self.objects = objects.into_iter().map(|object| (key_of(&object), Arc::new(object))).collect();
        (self.is_listed, self.changes, self.asks_anew) = (true, Changes::All, true);
    }

    fn apply(&mut self, object: IdentityEntry) {
        let key = key_of(&object);
        // Each status that is written here comes back as a change of the object.
        self.asks_anew |= !self.objects.get(&key).is_some_and(|before| asks_alike(before, &object));
        self.objects.insert(key.clone(), Arc::new(object));
        self.changes.add(key);
    }

    fn remove(&mut self, object: &IdentityEntry) {
        let key = key_of(object);
        self.asks_anew |= self.objects.remove(&key).is_some();
        self.changes.add(key);
    }

    fn count(&self) -> usize {
        self.objects.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_objects::entries::judgement::tests::object;

    #[test]
    fn what_is_asked_for_changes_by_the_spec_and_the_end_and_by_no_status() {
        let mut objects = Objects::default();
        assert!(!objects.is_listed() && !objects.take_asks());
        objects.replace(vec![object("shop", "web")]);
        assert!(objects.is_listed() && objects.take_asks());
        assert_eq!(objects.take_changes(), Changes::All);
        let changed = |change: fn(&mut IdentityEntry)| {
            let mut object = object("shop", "web");
            change(&mut object);
            object
        };
        objects.apply(changed(|object| {
            object.version = "2".to_owned();
            object.status.observed_generation = 1;
        }));
        assert!(!objects.take_asks());
        assert_eq!(objects.take_changes(), Changes::Some([("shop".to_owned(), "web".to_owned())].into()));
        let changes: [fn(&mut IdentityEntry); 4] = [
            |object| object.generation = 2,
            |object| object.uid = "another".to_owned(),
            |object| object.spec = Err("not read".to_owned()),
            |object| object.is_terminating = true,
        ];
        for change in changes {
            objects.apply(changed(change));
            assert!(objects.take_asks());
        }
        assert!(objects.living().is_empty() && objects.count() == 1, "it is about to go");
        objects.remove(&object("shop", "web"));
        assert!(objects.take_asks());
        objects.remove(&object("shop", "web"));
        assert!(!objects.take_asks() && objects.keys().is_empty());
    }
}
