//! What the watches know, put together.

use std::collections::BTreeSet;
use std::sync::Arc;

use kubernetes::config_maps::ConfigMap;
use kubernetes::follower::{Follower, Index};
use kubernetes::metadata::Namespace;
use kubernetes::webhooks::{MutatingWebhooks, ValidatingWebhooks, WebhookKind};
use kubernetes::{Known, Watcher};
use runtime::shutdown::Shutdown;
use tokio::sync::Notify;

use super::index::{Maps, SeenMap, SeenWebhooks, Webhooks};
use super::names::{MapKind, Target};
use super::plan::is_chosen;
use crate::cluster_objects::changes::Changes;
use crate::cluster_objects::namespaces::Namespaces;
use crate::cluster_objects::queue::Key;
use crate::cluster_objects::watching::WatchParts;
use crate::config::{TrustConfig, WebhookName};

/// Why what is watched has a name.
const CHECKED: &str = "the configuration takes names of webhook configurations alone, and those of ConfigMaps are ours";

/// All that is known. One for the process.
pub(crate) struct World {
    config: TrustConfig,
    namespaces: Known<Namespaces>,
    roots: Known<Maps>,
    lists: Option<Known<Maps>>,
    webhooks: Vec<(WebhookName, KnownWebhooks)>,
    /// Rung when something may have changed.
    news: Arc<Notify>,
}

enum KnownWebhooks {
    Validating(Known<Webhooks<ValidatingWebhooks>>),
    Mutating(Known<Webhooks<MutatingWebhooks>>),
}

/// One task that watches.
pub(crate) enum TrustWatcher {
    Namespaces(Watcher<Namespaces>, Arc<Notify>),
    Maps(Watcher<Maps>, Arc<Notify>),
    Validating(Watcher<Webhooks<ValidatingWebhooks>>, Arc<Notify>),
    Mutating(Watcher<Webhooks<MutatingWebhooks>>, Arc<Notify>),
}

impl World {
    /// As the configuration says it, and who watches. Nothing is asked yet.
    pub(crate) fn new(config: TrustConfig, parts: &WatchParts<'_>) -> (Self, Vec<TrustWatcher>) {
        let news = Arc::new(Notify::new());
        let (namespaces, watcher) = parts.watcher(Namespace::all());
        let mut watchers = vec![TrustWatcher::Namespaces(watcher, Arc::clone(&news))];
        let mut maps = |kind: MapKind| {
            let (known, watcher) = parts.watcher::<Maps>(ConfigMap::named(kind.name()).expect(CHECKED));
            watchers.push(TrustWatcher::Maps(watcher, Arc::clone(&news)));
            known
        };
        let roots = maps(MapKind::Roots);
        let lists = config.revocation_lists.then(|| maps(MapKind::Lists));
        let mut webhooks = Vec::new();
        for name in &config.webhooks {
            let known = if name.is_mutating {
                let (known, watcher) = parts.watcher(MutatingWebhooks::named(&name.name).expect(CHECKED));
                watchers.push(TrustWatcher::Mutating(watcher, Arc::clone(&news)));
                KnownWebhooks::Mutating(known)
            } else {
                let (known, watcher) = parts.watcher(ValidatingWebhooks::named(&name.name).expect(CHECKED));
                watchers.push(TrustWatcher::Validating(watcher, Arc::clone(&news)));
                KnownWebhooks::Validating(known)
            };
            webhooks.push((name.clone(), known));
        }
        (Self { config, namespaces, roots, lists, webhooks, news }, watchers)
    }

    /// Resolves when something may have changed since it last did.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }

    /// Whether a namespace has ConfigMaps, and its one of a kind; `None` while not all lists that count for it were read.
    pub(crate) fn map(&self, kind: MapKind, namespace: &str) -> Option<(bool, Option<SeenMap>)> {
        let is_chosen = {
            let known = self.namespaces.locked();
            let index = known.index();
            index.is_listed().then(|| index.get(namespace).is_some_and(|facts| is_chosen(&self.config, namespace, facts)))?
        };
        let known = self.maps(kind)?.locked();
        known.index().is_listed().then(|| (is_chosen, known.index().get(namespace).cloned()))
    }

    /// A webhook configuration, if it is there; `None` while that is not known.
    pub(crate) fn webhooks(&self, name: &WebhookName) -> Option<Option<SeenWebhooks>> {
        let (_, known) = self.webhooks.iter().find(|(named, _)| named == name)?;
        match known {
            KnownWebhooks::Validating(known) => seen(known),
            KnownWebhooks::Mutating(known) => seen(known),
        }
    }

    /// Which webhook configurations are kept.
    pub(crate) fn webhook_names(&self) -> impl Iterator<Item = &WebhookName> {
        self.webhooks.iter().map(|(name, _)| name)
    }

    /// The namespaces that have ConfigMaps; `None` while they are not known.
    pub(crate) fn chosen(&self) -> Option<BTreeSet<String>> {
        let known = self.namespaces.locked();
        if !known.index().is_listed() {
            return None;
        }
        let chosen = known.index().all().filter(|(name, facts)| is_chosen(&self.config, name, facts));
        Some(chosen.map(|(name, _)| name.clone()).collect())
    }

    /// What is asked of each ConfigMap of a kind that is known.
    pub(crate) fn each_map(&self, kind: MapKind, mut of_one: impl FnMut(&str, &SeenMap)) {
        if let Some(known) = self.maps(kind) {
            known.locked().index().all().for_each(|(namespace, seen)| of_one(namespace, seen));
        }
    }

    /// Whether there are ConfigMaps of a kind.
    pub(crate) fn has(&self, kind: MapKind) -> bool {
        self.maps(kind).is_some()
    }

    /// Objects whose state may have changed since this was last called.
    pub(crate) fn take_changes(&self) -> BTreeSet<Key> {
        let mut changed = BTreeSet::new();
        let namespaces = self.namespaces.locked().index_mut().take_changes();
        for kind in [MapKind::Roots, MapKind::Lists] {
            let Some(maps) = self.maps(kind) else { continue };
            let of_maps = maps.locked().index_mut().take_changes();
            for changes in [&namespaces, &of_maps] {
                match changes {
                    Changes::None => {}
                    Changes::Some(names) => changed.extend(names.iter().map(|name| Target::Map(kind, name.clone()).key())),
                    Changes::All => changed.extend(self.keys_of(kind)),
                }
            }
        }
        for (name, known) in &self.webhooks {
            let is_changed = match known {
                KnownWebhooks::Validating(known) => known.locked().index_mut().take_changed(),
                KnownWebhooks::Mutating(known) => known.locked().index_mut().take_changed(),
            };
            if is_changed {
                changed.insert(Target::Webhook(name.clone()).key());
            }
        }
        changed
    }

    /// All objects that there should be.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        let mut keys = self.keys_of(MapKind::Roots);
        keys.extend(self.keys_of(MapKind::Lists));
        keys.extend(self.webhooks.iter().map(|(name, _)| Target::Webhook(name.clone()).key()));
        keys
    }

    /// Those of a kind; none where the kind is not kept.
    pub(crate) fn keys_of(&self, kind: MapKind) -> BTreeSet<Key> {
        if !self.has(kind) {
            return BTreeSet::new();
        }
        self.namespaces.locked().index().all().map(|(name, _)| Target::Map(kind, name.clone()).key()).collect()
    }

    /// Why something is not kept up with, by the objects that it is about.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut tell = |what: &str, fault: Option<String>| faults.extend(fault.map(|fault| (what.to_owned(), fault)));
        tell("namespaces", fault(&self.namespaces.locked()));
        for kind in [MapKind::Roots, MapKind::Lists] {
            tell(kind.name(), self.maps(kind).and_then(|known| fault(&known.locked())));
        }
        for (name, known) in &self.webhooks {
            let fault = match known {
                KnownWebhooks::Validating(known) => fault(&known.locked()),
                KnownWebhooks::Mutating(known) => fault(&known.locked()),
            };
            tell(&name.name, fault);
        }
        faults
    }

    fn maps(&self, kind: MapKind) -> Option<&Known<Maps>> {
        match kind {
            MapKind::Roots => Some(&self.roots),
            MapKind::Lists => self.lists.as_ref(),
        }
    }
}

fn seen<K: WebhookKind>(known: &Known<Webhooks<K>>) -> Option<Option<SeenWebhooks>> {
    let known = known.locked();
    known.index().is_listed().then(|| known.index().get().cloned())
}

fn fault<I>(known: &Follower<I>) -> Option<String>
where
    I: Index,
{
    known.fault().map(str::to_owned)
}

impl TrustWatcher {
    /// Watches until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> std::io::Result<()> {
        // Whoever hears it asks what has changed; nothing is no harm.
        match self {
            Self::Namespaces(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
            Self::Maps(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
            Self::Validating(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
            Self::Mutating(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
        }
    }
}
