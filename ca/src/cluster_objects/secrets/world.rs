//! What the watches know, put together: which account and which Secret there are of a name, and whether their namespace is managed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubernetes::follower::Index;
use kubernetes::metadata::{Namespace, ServiceAccount};
use kubernetes::secrets::Secret;
use kubernetes::{Known, Watcher};
use runtime::shutdown::Shutdown;
use tokio::sync::Notify;

use super::index::{Accounts, Secrets};
use super::names::SECRET_TYPE;
use super::namespaces::{Decision, Ground, LabelRule, NamespaceRule};
use super::plan::{Account, Kept};
use crate::cluster_objects::changes::Changes;
use crate::cluster_objects::namespaces::Namespaces;
use crate::cluster_objects::queue::Key;
use crate::cluster_objects::watching::WatchParts;
use crate::config::SecretsScope;

/// Why a namespace of the configuration has a path.
const CHECKED: &str = "the configuration takes names of namespaces alone";

/// The objects of a namespace, or (`None`) of the cluster.
struct Scope {
    namespace: Option<String>,
    accounts: Known<Accounts>,
    secrets: Known<Secrets>,
}

/// All that is known. One for the process.
pub(crate) struct World {
    scopes: Vec<Scope>,
    namespaces: Option<Known<Namespaces>>,
    rule: NamespaceRule,
    /// Rung when something may have changed.
    news: Arc<Notify>,
}

/// What is known of one account.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) decision: Decision,
    pub(crate) account: Option<Account>,
    pub(crate) secret: Option<Kept>,
}

/// One task that watches.
pub(crate) enum WorldWatcher {
    Accounts(Watcher<Accounts>, Arc<Notify>),
    Secrets(Watcher<Secrets>, Arc<Notify>),
    Namespaces(Watcher<Namespaces>, Arc<Notify>),
}

impl World {
    /// As the configuration says it, and who watches. Nothing is asked yet.
    pub(crate) fn new(scope: &SecretsScope, parts: &WatchParts<'_>) -> (Self, Vec<WorldWatcher>) {
        let (rule, places) = match scope.clone() {
            SecretsScope::Namespaces { managed, released } => {
                let places = managed.iter().chain(&released).cloned().map(Some).collect::<Vec<_>>();
                (NamespaceRule { listed: managed, labels: None }, places)
            }
            SecretsScope::Cluster { listed, environment, default } => {
                (NamespaceRule { listed, labels: Some(LabelRule { environment, default }) }, vec![None])
            }
        };
        let news = Arc::new(Notify::new());
        let mut watchers = Vec::new();
        let mut scopes = Vec::new();
        for namespace in places {
            let (accounts, watcher) = parts.watcher(ServiceAccount::all(namespace.as_deref()).expect(CHECKED));
            watchers.push(WorldWatcher::Accounts(watcher, Arc::clone(&news)));
            let (secrets, watcher) = parts.watcher(Secret::of_type(SECRET_TYPE, namespace.as_deref()).expect(CHECKED));
            watchers.push(WorldWatcher::Secrets(watcher, Arc::clone(&news)));
            scopes.push(Scope { namespace, accounts, secrets });
        }
        let namespaces = rule.labels.is_some().then(|| {
            let (known, watcher) = parts.watcher(Namespace::all());
            watchers.push(WorldWatcher::Namespaces(watcher, Arc::clone(&news)));
            known
        });
        (Self { scopes, namespaces, rule, news }, watchers)
    }

    /// Resolves when something may have changed since it last did.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }

    /// What is known of an account; `None` while not all lists that count for it were read.
    pub(crate) fn look(&self, key: &Key) -> Option<Look> {
        let (namespace, _) = key;
        let scope = self.scopes.iter().find(|scope| scope.namespace.as_ref().is_none_or(|named| named == namespace))?;
        let decision = self.decision(namespace)?;
        let account = {
            let known = scope.accounts.locked();
            known.index().is_listed().then(|| known.index().get(key).cloned())?
        };
        let known = scope.secrets.locked();
        let secret = known.index().is_listed().then(|| known.index().get(key).cloned())?;
        Some(Look { decision, account, secret })
    }

    /// Whether a namespace is managed; `None` while that is not known. One that is gone is not.
    pub(crate) fn decision(&self, namespace: &str) -> Option<Decision> {
        let Some(namespaces) = &self.namespaces else { return Some(self.rule.judge(namespace, &BTreeMap::new())) };
        let known = namespaces.locked();
        if !known.index().is_listed() {
            return None;
        }
        Some(match known.index().get(namespace) {
            Some(facts) => self.rule.judge(namespace, &facts.labels),
            None => Decision { is_managed: false, ground: Ground::Default },
        })
    }

    /// Accounts whose state may have changed since this was last called.
    pub(crate) fn take_changes(&self) -> BTreeSet<Key> {
        let namespaces = self.namespaces.as_ref().map(|known| known.locked().index_mut().take_changes()).unwrap_or_default();
        if namespaces == Changes::All {
            for scope in &self.scopes {
                drop((scope.accounts.locked().index_mut().take_changes(), scope.secrets.locked().index_mut().take_changes()));
            }
            return self.keys();
        }
        let mut changed = BTreeSet::new();
        for scope in &self.scopes {
            let accounts = scope.accounts.locked().index_mut().take_changes();
            let secrets = scope.secrets.locked().index_mut().take_changes();
            for changes in [accounts, secrets] {
                match changes {
                    Changes::None => {}
                    Changes::Some(keys) => changed.extend(keys),
                    Changes::All => changed.extend(scope.keys()),
                }
            }
        }
        if let Changes::Some(names) = namespaces {
            changed.extend(self.keys().into_iter().filter(|(namespace, _)| names.contains(namespace)));
        }
        changed
    }

    /// All accounts, and all whose Secrets are there.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.scopes.iter().flat_map(Scope::keys).collect()
    }

    /// What is asked of each Secret that is known.
    pub(crate) fn secrets<T>(&self, mut of_one: impl FnMut(&Key, &Kept) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for scope in &self.scopes {
            found.extend(scope.secrets.locked().index().all().filter_map(|(key, kept)| of_one(key, kept)));
        }
        found
    }

    /// How many accounts and Secrets are known.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let of_one = |scope: &Scope| (scope.accounts.locked().index().count(), scope.secrets.locked().index().count());
        self.scopes.iter().map(of_one).fold((0, 0), |(accounts, secrets), (more, others)| (accounts + more, secrets + others))
    }

    /// Whether all lists were read.
    pub(crate) fn is_listed(&self) -> bool {
        let is_listed = |scope: &Scope| scope.accounts.locked().index().is_listed() && scope.secrets.locked().index().is_listed();
        self.namespaces.as_ref().is_none_or(|known| known.locked().index().is_listed()) && self.scopes.iter().all(is_listed)
    }

    /// What operators should know of the watches.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut tell = |place: &str, fault: Option<&str>| {
            if let Some(fault) = fault {
                lines.push(format!(
                    "Secrets of service accounts {place} are not kept up with: {fault} (docs/kubernetes.md, Role signet-secrets)"
                ));
            }
        };
        for scope in &self.scopes {
            let place =
                scope.namespace.as_ref().map_or_else(|| "of the cluster".to_owned(), |name| format!("in namespace {name}"));
            tell(&place, scope.accounts.locked().fault());
            tell(&place, scope.secrets.locked().fault());
        }
        if let Some(namespaces) = &self.namespaces {
            tell("of the cluster", namespaces.locked().fault());
        }
        lines
    }
}

impl Scope {
    fn keys(&self) -> BTreeSet<Key> {
        let mut keys: BTreeSet<_> = self.accounts.locked().index().keys().cloned().collect();
        keys.extend(self.secrets.locked().index().all().map(|(key, _)| key.clone()));
        keys
    }
}

impl WorldWatcher {
    /// Watches until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> std::io::Result<()> {
        // Whoever hears it asks what has changed; nothing is no harm.
        match self {
            Self::Accounts(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
            Self::Secrets(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
            Self::Namespaces(watcher, news) => watcher.run(shutdown, |_| news.notify_one()).await,
        }
    }
}
