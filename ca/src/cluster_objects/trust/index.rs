//! What watches know of ConfigMaps and webhook configurations, as far as it is decided on: no content is kept, but its digest. Pure.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use kubernetes::ObjectVersion;
use kubernetes::config_maps::ConfigMap;
use kubernetes::follower::Index;
use kubernetes::webhooks::{WebhookConfiguration, WebhookKind};
use pki::{Sha256Digest, sha256};

use super::names::{FIELD_MANAGER, LABEL, LISTS_FILE, LISTS_MAP, ROOTS_FILE};
use crate::cluster_objects::changes::Changes;

/// What is known of one ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenMap {
    /// By which it is written.
    pub(crate) version: ObjectVersion,
    /// Of its file, if it has that.
    pub(crate) file: Option<Sha256Digest>,
    /// It has the label.
    pub(crate) is_labelled: bool,
    /// Fields of it are ours.
    pub(crate) is_ours: bool,
    /// It cannot be written: it is immutable, or its file is no text.
    pub(crate) is_fixed: bool,
    /// Somebody has asked for its end.
    pub(crate) is_terminating: bool,
}

/// ConfigMaps of one name, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    maps: BTreeMap<String, SeenMap>,
    is_listed: bool,
    changes: Changes<String>,
}

/// What is known of one webhook configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenWebhooks {
    /// By which it is written.
    pub(crate) version: ObjectVersion,
    /// The names of its webhooks, with the digests of what they are verified by.
    pub(crate) webhooks: Vec<(String, Sha256Digest)>,
    /// Somebody has asked for its end.
    pub(crate) is_terminating: bool,
}

/// A webhook configuration of one name, if there is one.
#[derive(Debug)]
pub(crate) struct Webhooks<K> {
    seen: Option<SeenWebhooks>,
    is_listed: bool,
    is_changed: bool,
    of: PhantomData<fn() -> K>,
}

impl SeenMap {
    /// What counts of a ConfigMap.
    pub(crate) fn of(map: &ConfigMap) -> Self {
        let file = if map.name == LISTS_MAP { LISTS_FILE } else { ROOTS_FILE };
        let (key, value) = LABEL;
        Self {
            version: ObjectVersion { uid: map.uid.clone(), version: map.version.clone() },
            file: map.data.get(file).map(|content| sha256(content.as_bytes())),
            is_labelled: map.labels.get(key).is_some_and(|label| label == value),
            is_ours: map.managers.contains(FIELD_MANAGER),
            is_fixed: map.is_immutable || map.binary_files.contains(file),
            is_terminating: map.is_terminating,
        }
    }
}

impl Maps {
    /// Whether there was a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// That of a namespace.
    pub(crate) fn get(&self, namespace: &str) -> Option<&SeenMap> {
        self.maps.get(namespace)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &SeenMap)> {
        self.maps.iter()
    }

    /// What has changed since this was last called.
    pub(crate) fn take_changes(&mut self) -> Changes<String> {
        self.changes.take()
    }
}

impl Index for Maps {
    type Object = ConfigMap;

    fn replace(&mut self, objects: Vec<ConfigMap>) {
        self.maps = objects.iter().map(|map| (map.namespace.clone(), SeenMap::of(map))).collect();
        self.is_listed = true;
        self.changes = Changes::All;
    }

    fn apply(&mut self, map: ConfigMap) {
        let seen = SeenMap::of(&map);
        self.maps.insert(map.namespace.clone(), seen);
        self.changes.add(map.namespace);
    }

    fn remove(&mut self, map: &ConfigMap) {
        self.maps.remove(&map.namespace);
        self.changes.add(map.namespace.clone());
    }

    fn count(&self) -> usize {
        self.maps.len()
    }
}

impl<K> Default for Webhooks<K> {
    fn default() -> Self {
        Self { seen: None, is_listed: false, is_changed: false, of: PhantomData }
    }
}

impl<K> Webhooks<K> {
    /// Whether there was a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The configuration.
    pub(crate) fn get(&self) -> Option<&SeenWebhooks> {
        self.seen.as_ref()
    }

    /// Whether it has changed since this was last called.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    fn keep(&mut self, seen: Option<SeenWebhooks>) {
        self.seen = seen;
        self.is_changed = true;
    }
}

impl<K: WebhookKind> Index for Webhooks<K> {
    type Object = K;

    fn replace(&mut self, objects: Vec<K>) {
        self.is_listed = true;
        self.keep(objects.first().map(|object| seen_webhooks(object.configuration())));
    }

    fn apply(&mut self, object: K) {
        self.keep(Some(seen_webhooks(object.configuration())));
    }

    fn remove(&mut self, _: &K) {
        self.keep(None);
    }

    fn count(&self) -> usize {
        usize::from(self.seen.is_some())
    }
}

fn seen_webhooks(configuration: &WebhookConfiguration) -> SeenWebhooks {
    let WebhookConfiguration { name: _, uid, version, is_terminating, webhooks } = configuration;
    SeenWebhooks {
        version: ObjectVersion { uid: uid.clone(), version: version.clone() },
        webhooks: webhooks.iter().map(|webhook| (webhook.name.clone(), sha256(&webhook.ca_bundle))).collect(),
        is_terminating: *is_terminating,
    }
}
