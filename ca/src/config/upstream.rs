//! `[upstream]`: who signs this CA's issuing CAs; `[[downstream]]`: whose issuing CAs this CA signs.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use identity::{HostPort, SpiffeId, TrustDomain};
use runtime::config::{Section, absolute_path};
use vault::VaultConfig;

use crate::upstream::metrics::UpstreamKind;

/// Who signs this CA's issuing CAs, in place of a root of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// How long an issuing CA should be good for; upstream may give less.
    pub ttl: Duration,
    /// How often upstream is asked for its roots.
    pub interval: Duration,
    /// Who it is.
    pub source: UpstreamSource,
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamSource {
    /// Another Signet CA.
    Signet(SignetUpstreamConfig),
    /// The PKI secrets engine of Vault or OpenBao.
    Vault(VaultConfig),
}

/// Another Signet CA, and what this one shows to it: an X.509-SVID that an agent of the other one keeps in files (docs/vm.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignetUpstreamConfig {
    /// Where it listens for agents.
    pub address: HostPort,
    /// The directory of that set of files: `key.pem`, `cert-chain.pem`, `root-cert.pem`. Absolute.
    pub directory: PathBuf,
}

/// Another CA whose issuing CAs this CA signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamConfig {
    /// Who it is: the identity of a workload of this trust domain.
    pub id: SpiffeId,
    /// The longest life of its issuing CAs.
    pub max_ttl: Duration,
}

/// Reads `[upstream]`. `has_directory`: `[authority] directory` is there.
pub(super) fn read(root: &Section<'_>, has_directory: bool) -> Option<UpstreamConfig> {
    if !root.has("upstream") {
        return None;
    }
    let section = root.section("upstream");
    let ttl = section.duration("ttl").unwrap_or(DEFAULT_TTL);
    if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
        section.fault("ttl", format!("not between {MIN_TTL:?} and {MAX_TTL:?}"));
    }
    let interval = section.duration("interval").unwrap_or(DEFAULT_INTERVAL);
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
        section.fault("interval", format!("not between {MIN_INTERVAL:?} and {MAX_INTERVAL:?}"));
    }
    if has_directory {
        section.fault("kind", "root and issuing CA come from [authority] directory already: take out one of both");
    }
    let kind = section.required("kind", |text| match text {
        "signet" => Ok(UpstreamKind::Signet),
        "vault" => Ok(UpstreamKind::Vault),
        other => Err(format!("\"{other}\" is not \"signet\" or \"vault\"")),
    });
    for (other, key) in [(UpstreamKind::Signet, "signet"), (UpstreamKind::Vault, "vault")] {
        if kind.is_some_and(|kind| kind != other) && section.has(key) {
            section.fault(key, format!("given without kind = \"{key}\": it would do nothing"));
        }
    }
    let source = kind.and_then(|kind| match kind {
        UpstreamKind::Vault => VaultConfig::read(&section.section("vault")).map(UpstreamSource::Vault),
        UpstreamKind::Signet | UpstreamKind::Files => read_signet(&section.section("signet")).map(UpstreamSource::Signet),
    });
    Some(UpstreamConfig { ttl, interval, source: source? })
}

fn read_signet(section: &Section<'_>) -> Option<SignetUpstreamConfig> {
    let address = section.required("address", HostPort::from_str);
    let directory = section.required("directory", absolute_path);
    Some(SignetUpstreamConfig { address: address?, directory: directory? })
}

/// Reads `[[downstream]]`.
pub(super) fn read_downstream(root: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Vec<DownstreamConfig> {
    let mut found: Vec<DownstreamConfig> = Vec::new();
    for table in root.sections("downstream") {
        let id = table.required("spiffe_id", SpiffeId::parse);
        let max_ttl = table.duration("max_ttl");
        if !table.has("max_ttl") {
            table.fault("max_ttl", "missing, and it has no default");
        }
        // More than nothing below it is never allowed; the key says so where the CA is allowed.
        let _none_but_zero = table.integer("path_length", 0..=0);
        let (Some(id), Some(max_ttl)) = (id, max_ttl) else { continue };
        if trust_domain.is_some_and(|trust_domain| id.trust_domain() != trust_domain) || id.is_reserved() {
            table.fault("spiffe_id", format!("{id} is not a workload's identity of this trust domain"));
        }
        if found.iter().any(|other| other.id == id) {
            table.fault("spiffe_id", format!("{id} is there twice"));
        }
        if !(MIN_TTL..=MAX_TTL).contains(&max_ttl) {
            table.fault("max_ttl", format!("not between {MIN_TTL:?} and {MAX_TTL:?}"));
        }
        found.push(DownstreamConfig { id, max_ttl });
    }
    found
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_TTL: Duration = DAY.saturating_mul(30);
const MIN_TTL: Duration = Duration::from_secs(60);
const MAX_TTL: Duration = DAY.saturating_mul(3650);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::super::CaConfig;
    use super::*;

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n";
    const VAULT: &str = "[upstream]\nkind = \"vault\"\nttl = \"30d\"\n[upstream.vault]\naddress = \"https://vault.example:8200\"\n\
                         roots = \"/r.pem\"\nissuer = \"root-2026\"\n[upstream.vault.auth]\nmethod = \"token\"\ntoken_file = \"/t\"\n";

    #[test]
    fn vault_as_upstream_is_read_and_each_fault_names_its_key() {
        let good = format!("{HEAD}{VAULT}");
        let upstream = CaConfig::parse("f", &good).unwrap().upstream.unwrap();
        let UpstreamSource::Vault(vault) = upstream.source else { panic!("another upstream") };
        assert_eq!((vault.mount.as_str(), vault.issuer.unwrap().as_str()), ("pki", "root-2026"));
        for (from, to, key) in [
            ("kind = \"vault\"", "kind = \"vaults\"", "upstream.kind"),
            ("kind = \"vault\"", "kind = \"signet\"", "upstream.vault"),
            ("roots = \"/r.pem\"\n", "", "upstream.vault.roots"),
            ("https://", "http://", "upstream.vault.address"),
            ("token_file = \"/t\"", "token = \"hvs.x\"", "upstream.vault.auth.token_file"),
            ("[upstream]\n", "[upstream]\nrole = \"x\"\n", "upstream.role"),
        ] {
            let faults = CaConfig::parse("f", &good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(faults.contains(&format!("{key}: ")), "{key} in {faults}");
        }
    }
}
