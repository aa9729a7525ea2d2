//! `[vault]`: the PKI secrets engine of Vault or OpenBao, and the identities that this node gets from it.

use std::path::PathBuf;

use ::vault::{PathName, VaultConfig};
use identity::TrustDomain;
use runtime::config::{Section, absolute_path};

use super::configured::{ConfiguredIdentity, read_identities};

/// A server whose PKI secrets engine signs by roles.
#[derive(Clone, Debug)]
pub struct VaultProviderConfig {
    /// Where it is, and what proves this node to it.
    pub server: VaultConfig,
    /// PEM file with the authorities of the trust domain, read anew when it changes: what is signed must stand under them. Absolute.
    pub trust_bundle: PathBuf,
    /// What this node gets from it, in the order in which a caller that matches several finds them.
    pub identities: Vec<VaultIdentity>,
}

/// One identity, and the role of the engine by which it is signed.
#[derive(Clone, Debug)]
pub struct VaultIdentity {
    /// Whose, and for which processes.
    pub identity: ConfiguredIdentity,
    /// The role.
    pub role: PathName,
}

/// Reads the table. Faults go to its document; `None` when one of them leaves nothing to use.
pub(super) fn read(section: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<VaultProviderConfig> {
    let server = VaultConfig::read(section);
    let trust_bundle = section.required("trust_bundle", absolute_path);
    let role = section.optional("role", PathName::segment);
    let identities = read_identities(section, trust_domain, |table| {
        let own = table.optional("role", PathName::segment);
        let found = own.or_else(|| role.clone());
        if found.is_none() && !section.has("role") && !table.has("role") {
            table.fault("role", "no role signs this identity: name it here, or for all in [vault]");
        }
        found
    });
    if identities.is_empty() && !section.has("identity") {
        section.fault("identity", "none is given, so that this node would hold nothing: name each in [[vault.identity]]");
    }
    let identities = identities.into_iter().map(|(identity, role)| VaultIdentity { identity, role }).collect();
    Some(VaultProviderConfig { server: server?, trust_bundle: trust_bundle?, identities })
}

#[cfg(test)]
mod tests {
    use super::super::{AgentConfig, Provider};

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nprovider = \"vault\"\n";
    const SERVER: &str = "[vault]\naddress = \"https://vault.example:8200\"\nroots = \"/roots.pem\"\n\
                          trust_bundle = \"/bundle.pem\"\nrole = \"web\"\n";
    const AUTH: &str = "[vault.auth]\nmethod = \"token\"\ntoken_file = \"/t\"\n";
    const WEB: &str = "[[vault.identity]]\nspiffe_id = \"spiffe://example.org/web\"\nselectors = [\"unix:uid:1\"]\n";

    fn faults(text: &str) -> String {
        AgentConfig::parse("f", text).unwrap_err().to_string()
    }

    #[test]
    fn a_server_and_its_identities_are_read_each_with_its_role() {
        let other = "[[vault.identity]]\nspiffe_id = \"spiffe://example.org/db\"\nselectors = [\"unix:uid:2\"]\nrole = \"db\"\n";
        let text = format!("{HEAD}{SERVER}{AUTH}{WEB}{other}");
        let Provider::Vault(vault) = AgentConfig::parse("f", &text).unwrap().provider else { panic!("another provider") };
        let roles: Vec<_> = vault.identities.iter().map(|identity| identity.role.as_str()).collect();
        assert_eq!(roles, ["web", "db"]);
        assert_eq!((vault.server.mount.as_str(), vault.trust_bundle.to_str().unwrap()), ("pki", "/bundle.pem"));
    }

    #[test]
    fn each_fault_names_its_key() {
        let good = format!("{HEAD}{SERVER}{AUTH}{WEB}");
        assert!(AgentConfig::parse("f", &good).is_ok());
        for (from, to, key) in [
            ("roots = \"/roots.pem\"\n", "", "vault.roots"),
            ("trust_bundle = \"/bundle.pem\"\n", "", "vault.trust_bundle"),
            ("role = \"web\"\n", "", "vault.identity[0].role"),
            ("role = \"web\"", "role = \"a/b\"", "vault.role"),
            (AUTH, "", "vault.auth"),
            (WEB, "", "vault.identity"),
            ("example.org/web", "example.com/web", "vault.identity[0].spiffe_id"),
            ("[\"unix:uid:1\"]", "[]", "vault.identity[0].selectors"),
            ("provider", "ca_address = \"ca:1\"\nprovider", "ca_address"),
            ("provider = \"vault\"", "provider = \"istio\"", "vault"),
            ("[vault]\n", "[sds]\nbearer_tokens = true\n[vault]\n", "sds.bearer_tokens"),
        ] {
            let text = good.replacen(from, to, 1);
            assert!(faults(&text).contains(&format!("{key}: ")), "{key} in {}", faults(&text));
        }
        let twice = format!("{good}{WEB}");
        assert!(faults(&twice).contains("twice"), "{}", faults(&twice));
        let signet = good.replacen("provider = \"vault\"", "ca_address = \"ca:1\"", 1);
        assert!(faults(&signet).contains("vault: given without provider"), "{}", faults(&signet));
    }
}
