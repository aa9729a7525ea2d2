//! `[kubernetes.secrets]`: Secrets with key and certificate for the service accounts of some namespaces. Absent: none are made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::kubernetes::names::{is_label, is_name};
use identity::DnsName;
use runtime::config::Section;

use super::AccountName;

/// The section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsConfig {
    /// Where it looks.
    pub scope: SecretsScope,
    /// Names of certificates, by the account that has them.
    pub dns_names: BTreeMap<AccountName, BTreeSet<DnsName>>,
    /// The life of their certificates; `None`: the default of leaves.
    pub ttl: Option<Duration>,
    /// Whether the certificate of an account that was deleted is revoked.
    pub revoke_on_delete: bool,
    /// How many Secrets a second are looked at after a change of the trust bundle: 1 to 1,000.
    pub rewrites_per_second: u32,
}

/// In which namespaces it works, and by which permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretsScope {
    /// In those that are named, by a Role in each of them. Nothing is read of any other.
    Namespaces {
        /// Their accounts have Secrets.
        managed: BTreeSet<String>,
        /// Nothing is written there any more; what is left is shown.
        released: BTreeSet<String>,
    },
    /// In all that the rule chooses, by a ClusterRole: it may read all Secrets of the type, and write any Secret.
    Cluster {
        /// Chosen whatever their labels say.
        listed: BTreeSet<String>,
        /// What `ca.istio.io/env` must say; `None`: that label chooses nothing.
        environment: Option<String>,
        /// Whether a namespace of which nothing is said is chosen.
        default: bool,
    },
}

/// Reads the section below `[kubernetes]`, where there is one. Faults go to the document.
pub(super) fn read(kubernetes: &Section<'_>) -> Option<SecretsConfig> {
    if !kubernetes.has("secrets") {
        return None;
    }
    let section = kubernetes.section("secrets");
    let mode = section.required("mode", |text| match text {
        "namespaces" => Ok(false),
        "cluster" => Ok(true),
        _ => Err("expected \"namespaces\" or \"cluster\""),
    });
    let namespaces = |key: &'static str| {
        let names: BTreeSet<_> = section.list(key, namespace).into_iter().collect();
        if names.len() > MAX_NAMESPACES {
            section.fault(key, format!("{}; at most {MAX_NAMESPACES} are read", names.len()));
        }
        names
    };
    let (listed, released) = (namespaces("namespaces"), namespaces("released"));
    let environment = section.optional("environment", namespace);
    let default = section.boolean("default");
    let scope = if mode? {
        if !released.is_empty() {
            section.fault(
                "released",
                "only with mode = \"namespaces\": otherwise what is left in a namespace that is turned off is seen anyway",
            );
        }
        SecretsScope::Cluster { listed, environment, default: default.unwrap_or_default() }
    } else {
        if environment.is_some() || default.is_some() {
            section
                .fault("mode", "\"namespaces\" reads no labels and has no default: environment and default are for \"cluster\"");
        }
        if listed.is_empty() && released.is_empty() {
            section.fault("namespaces", "empty: nothing would be managed");
        }
        if let Some(both) = listed.intersection(&released).next() {
            section.fault("released", format!("{both} is in namespaces too"));
        }
        SecretsScope::Namespaces { managed: listed, released }
    };
    let mut dns_names = BTreeMap::<AccountName, BTreeSet<DnsName>>::new();
    for (account, name) in section.list("dns_names", dns_name) {
        dns_names.entry(account).or_default().insert(name);
    }
    if dns_names.values().any(|names| names.len() > MAX_DNS_NAMES) {
        section.fault("dns_names", format!("more than {MAX_DNS_NAMES} names of one account"));
    }
    let rewrites = section.integer("rewrites_per_second", 1..=1000).and_then(|rate| u32::try_from(rate).ok());
    Some(SecretsConfig {
        scope,
        dns_names,
        ttl: section.duration("ttl"),
        revoke_on_delete: section.boolean("revoke_on_delete").unwrap_or_default(),
        rewrites_per_second: rewrites.unwrap_or(DEFAULT_REWRITES),
    })
}

/// What agrees with the leaves of the CA: `max_ttl` is the longest life of any.
pub(super) fn check_ttl(root: &Section<'_>, config: &SecretsConfig, max_ttl: Duration) {
    if let Some(ttl) = config.ttl
        && (ttl > max_ttl || ttl < MIN_TTL || ttl.subsec_nanos() != 0)
    {
        let text = format!("{ttl:?} is not whole seconds between {MIN_TTL:?} and the maximum TTL of leaves, {max_ttl:?}");
        root.section("kubernetes").section("secrets").fault("ttl", text);
    }
}

fn namespace(text: &str) -> Result<String, String> {
    if is_label(text) { Ok(text.to_owned()) } else { Err("expected the name of a namespace".to_owned()) }
}

fn dns_name(text: &str) -> Result<(AccountName, DnsName), String> {
    let (account, name) = text.split_once(':').ok_or("expected NAMESPACE/ACCOUNT:DNS_NAME")?;
    let parts = account.split_once('/').filter(|(namespace, name)| is_label(namespace) && is_name(name));
    let (namespace, account) = parts.ok_or("expected NAMESPACE/ACCOUNT before the colon")?;
    let name = DnsName::parse(name).map_err(|error| error.to_string())?;
    Ok((AccountName { namespace: namespace.to_owned(), name: account.to_owned() }, name))
}

/// Each is watched on connections of its own.
const MAX_NAMESPACES: usize = 64;
const MAX_DNS_NAMES: usize = 32;
const DEFAULT_REWRITES: u32 = 100;
/// The kubelet takes up to two minutes until a pod sees what was written.
const MIN_TTL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaConfig;

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n[kubernetes]\n";

    fn read(text: &str) -> Result<Option<SecretsConfig>, String> {
        let config = CaConfig::parse("f", &format!("{HEAD}{text}")).map_err(|error| error.to_string())?;
        Ok(config.kubernetes.unwrap().secrets)
    }

    #[test]
    fn nothing_is_managed_that_nobody_asked_for() {
        assert_eq!(read("").unwrap(), None);
        let config = read("[kubernetes.secrets]\nmode = \"cluster\"\n").unwrap().unwrap();
        assert_eq!(config.scope, SecretsScope::Cluster { listed: BTreeSet::new(), environment: None, default: false });
        assert!(!config.revoke_on_delete && config.ttl.is_none() && config.dns_names.is_empty());
        assert_eq!(config.rewrites_per_second, 100);
    }

    #[test]
    fn each_key_is_read_and_bounded() {
        let text = "[kubernetes.secrets]\nmode = \"namespaces\"\nnamespaces = [\"shop\"]\nreleased = [\"old\"]\nttl = \"12h\"\nrevoke_on_delete = true\n\
                    rewrites_per_second = 7\ndns_names = [\"shop/web:web.shop.svc\", \"shop/web:web.shop\"]\n";
        let config = read(text).unwrap().unwrap();
        let set = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(config.scope, SecretsScope::Namespaces { managed: set("shop"), released: set("old") });
        assert_eq!((config.ttl, config.revoke_on_delete), (Some(Duration::from_secs(12 * 3600)), true));
        assert_eq!((config.rewrites_per_second, config.dns_names.len()), (7, 1));
        assert_eq!(config.dns_names.values().next().unwrap().len(), 2);
        let bad = [
            ("", "mode"),
            ("mode = \"all\"", "mode"),
            ("mode = \"namespaces\"", "namespaces"),
            ("mode = \"namespaces\"\nnamespaces = [\"a.b\"]", "namespaces"),
            ("mode = \"namespaces\"\nnamespaces = [\"a\"]\nreleased = [\"a\"]", "released"),
            ("mode = \"namespaces\"\nnamespaces = [\"a\"]\ndefault = true", "mode"),
            ("mode = \"cluster\"\nreleased = [\"a\"]", "released"),
            ("mode = \"cluster\"\nttl = \"48h\"", "ttl"),
            ("mode = \"cluster\"\nttl = \"1s\"", "ttl"),
            ("mode = \"cluster\"\nrewrites_per_second = 0", "rewrites_per_second"),
            ("mode = \"cluster\"\ndns_names = [\"web:a.b\"]", "dns_names"),
            ("mode = \"cluster\"\ndns_names = [\"shop/web\"]", "dns_names"),
            ("mode = \"cluster\"\ndns_names = [\"shop/web:*bad*\"]", "dns_names"),
            ("mode = \"cluster\"\nname = \"a\"", "name"),
        ];
        for (text, key) in bad {
            let faults = read(&format!("[kubernetes.secrets]\n{text}\n")).unwrap_err();
            assert!(faults.contains(&format!("kubernetes.secrets.{key}")), "{key} in {faults}");
        }
    }
}
