//! What is known of accounts and Secrets, as far as it is decided on, and what of it has changed since it was last asked.

use std::collections::BTreeMap;

use kubernetes::follower::Index;
use kubernetes::metadata::{ObjectMetadata, ServiceAccount};
use kubernetes::secrets::Secret;
use pki::Certificate;

use super::names::account_of;
use super::plan::{Account, Kept};
use crate::cluster_objects::changes::Changes;
use crate::cluster_objects::queue::Key;

/// Service accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    accounts: BTreeMap<Key, Account>,
    is_listed: bool,
    changes: Changes<Key>,
}

/// Secrets of the type, by the accounts whose names they have; others of the type are not kept.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    secrets: BTreeMap<Key, Kept>,
    is_listed: bool,
    changes: Changes<Key>,
    interned: Interned,
}

/// One copy of each certificate that many Secrets have: those of issuing CAs.
#[derive(Debug, Default)]
struct Interned(Vec<Certificate>);

/// More issuing CAs than this are not in use at once.
const MOST_INTERNED: usize = 16;

impl Interned {
    fn one_copy(&mut self, certificate: Certificate) -> Certificate {
        if let Some(known) = self.0.iter().find(|known| **known == certificate) {
            return known.clone();
        }
        if self.0.len() >= MOST_INTERNED {
            self.0.remove(0);
        }
        self.0.push(certificate.clone());
        certificate
    }
}

impl Accounts {
    /// Whether there was a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// One of them.
    pub(crate) fn get(&self, key: &Key) -> Option<&Account> {
        self.accounts.get(key)
    }

    /// All of them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.accounts.keys()
    }

    /// What has changed since this was last called.
    pub(crate) fn take_changes(&mut self) -> Changes<Key> {
        self.changes.take()
    }
}

impl Secrets {
    /// Whether there was a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// That of an account.
    pub(crate) fn get(&self, key: &Key) -> Option<&Kept> {
        self.secrets.get(key)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Kept)> {
        self.secrets.iter()
    }

    /// What has changed since this was last called.
    pub(crate) fn take_changes(&mut self) -> Changes<Key> {
        self.changes.take()
    }

    fn keep(&mut self, secret: &Secret) -> Option<Key> {
        let account = account_of(&secret.name)?;
        let kept = Kept::of(secret, account, |certificate| self.interned.one_copy(certificate));
        let key = (secret.namespace.clone(), account.to_owned());
        self.secrets.insert(key.clone(), kept);
        Some(key)
    }
}

impl Index for Accounts {
    type Object = ServiceAccount;

    fn replace(&mut self, objects: Vec<ServiceAccount>) {
        self.accounts =
            objects.iter().filter_map(|ServiceAccount(account)| Some((key_of(account)?, Account::of(account)))).collect();
        self.is_listed = true;
        self.changes = Changes::All;
    }

    fn apply(&mut self, ServiceAccount(account): ServiceAccount) {
        let Some(key) = key_of(&account) else { return };
        let now = Account::of(&account);
        // Its version grows with whatever anybody notes on it.
        if self.accounts.get(&key) != Some(&now) {
            self.accounts.insert(key.clone(), now);
            self.changes.add(key);
        }
    }

    fn remove(&mut self, ServiceAccount(account): &ServiceAccount) {
        let Some(key) = key_of(account) else { return };
        self.accounts.remove(&key);
        self.changes.add(key);
    }

    fn count(&self) -> usize {
        self.accounts.len()
    }
}

impl Index for Secrets {
    type Object = Secret;

    fn replace(&mut self, objects: Vec<Secret>) {
        self.secrets.clear();
        for secret in objects {
            let _key = self.keep(&secret);
        }
        self.is_listed = true;
        self.changes = Changes::All;
    }

    fn apply(&mut self, secret: Secret) {
        if let Some(key) = self.keep(&secret) {
            self.changes.add(key);
        }
    }

    fn remove(&mut self, secret: &Secret) {
        let Some(account) = account_of(&secret.name) else { return };
        let key = (secret.namespace.clone(), account.to_owned());
        self.secrets.remove(&key);
        self.changes.add(key);
    }

    fn count(&self) -> usize {
        self.secrets.len()
    }
}

fn key_of(account: &ObjectMetadata) -> Option<Key> {
    Some((account.namespace.clone()?, account.name.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    fn account(name: &str, version: u32, uid: &str) -> ServiceAccount {
        let metadata = json!({ "namespace": "shop", "name": name, "uid": uid, "resourceVersion": version.to_string() });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn secret(name: &str) -> Secret {
        let metadata = json!({ "namespace": "shop", "name": name, "uid": "u", "resourceVersion": "1" });
        serde_json::from_value(json!({ "metadata": metadata, "type": "istio.io/key-and-cert" })).unwrap()
    }

    #[test]
    fn what_counts_of_an_account_changes_it_and_nothing_else() {
        let mut accounts = Accounts::default();
        assert!(!accounts.is_listed());
        accounts.replace(vec![account("web", 1, "a")]);
        assert!(accounts.is_listed());
        assert_eq!(accounts.take_changes(), Changes::All);
        accounts.apply(account("web", 2, "a"));
        assert_eq!(accounts.take_changes(), Changes::None, "somebody noted something on it");
        accounts.apply(account("web", 3, "b"));
        accounts.apply(account("api", 4, "c"));
        assert_eq!(accounts.take_changes(), Changes::Some([key("api"), key("web")].into()));
        accounts.remove(&account("web", 5, "b"));
        assert_eq!((accounts.get(&key("web")), accounts.count()), (None, 1));
        assert_eq!(accounts.take_changes(), Changes::Some([key("web")].into()));
    }

    #[test]
    fn secrets_are_those_of_accounts_by_their_names() {
        let mut secrets = Secrets::default();
        secrets.replace(vec![secret("istio.web"), secret("other"), secret("istio")]);
        assert_eq!(secrets.all().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key("web")]);
        assert_eq!(secrets.take_changes(), Changes::All);
        secrets.apply(secret("other"));
        assert_eq!(secrets.take_changes(), Changes::None);
        secrets.remove(&secret("istio.web"));
        assert!(secrets.get(&key("web")).is_none());
        assert_eq!(secrets.take_changes(), Changes::Some([key("web")].into()));
    }
}
