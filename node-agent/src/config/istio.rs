//! `[istio]`: a CA that speaks Istio's certificate API, and the identities that this node gets from it.

use std::path::PathBuf;
use std::str::FromStr;

use identity::{HostPort, SpiffeId, TrustDomain};
use runtime::config::{Section, absolute_path};

use super::configured::{ConfiguredIdentity, read_identities};
use crate::ca_client::CredentialSource;

/// A CA that speaks `istio.v1.auth.IstioCertificateService`.
#[derive(Clone, Debug)]
pub struct IstioConfig {
    /// Where it listens; without `server_id`, its certificate must bear this host.
    pub address: HostPort,
    /// PEM file with the only roots that count: for its server certificate, and for what its answers may bring. Absolute.
    pub roots: PathBuf,
    /// The SPIFFE ID that its server certificate must have instead of the host.
    pub server_id: Option<SpiffeId>,
    /// What this node gets from it, in the order in which a caller that matches several finds them.
    pub identities: Vec<IstioIdentity>,
}

/// One identity, and what proves it to the CA.
#[derive(Clone, Debug)]
pub struct IstioIdentity {
    /// Whose, and for which processes.
    pub identity: ConfiguredIdentity,
    /// What proves it.
    pub credential: CredentialSource,
}

/// Reads the table. Faults go to its document; `None` when one of them leaves nothing to use.
pub(super) fn read(section: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<IstioConfig> {
    let address = section.required("address", HostPort::from_str);
    let roots = section.required("roots", absolute_path);
    let server_id = section.optional("server_id", SpiffeId::parse);
    let identities = read_identities(section, trust_domain, read_credential);
    let identities = identities.into_iter().map(|(identity, credential)| IstioIdentity { identity, credential }).collect();
    Some(IstioConfig { address: address?, roots: roots?, server_id, identities })
}

fn read_credential(table: &Section<'_>) -> Option<CredentialSource> {
    let token = table.optional("token_file", absolute_path).map(CredentialSource::TokenFile);
    let directory = table.optional("certificate_directory", absolute_path).map(CredentialSource::CertificateDirectory);
    match (token, directory) {
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some(_), Some(_)) => {
            let what = "given together with token_file: a call shows one credential, keep one of the two";
            table.fault("certificate_directory", what);
            None
        }
        (None, None) => {
            let what = "neither token_file nor certificate_directory proves this identity to the CA: set one of them";
            table.fault("token_file", what);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{AgentConfig, Provider};
    use super::*;

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nprovider = \"istio\"\n";
    const CA: &str = "[istio]\naddress = \"istiod.example.org:15012\"\nroots = \"/roots.pem\"\n";
    const WEB: &str = "[[istio.identity]]\nspiffe_id = \"spiffe://example.org/web\"\nselectors = [\"unix:uid:1\"]\n";

    fn faults(text: &str) -> String {
        AgentConfig::parse("f", text).unwrap_err().to_string()
    }

    #[test]
    fn a_ca_of_istio_and_its_identities_are_read() {
        let text = format!("{HEAD}{CA}{WEB}token_file = \"/t\"\nttl = \"2h\"\ndns = [\"web.example.org\"]\n");
        let Provider::Istio(istio) = AgentConfig::parse("f", &text).unwrap().provider else { panic!("another provider") };
        assert_eq!(istio.address.as_str(), "istiod.example.org:15012");
        let [web] = istio.identities.as_slice() else { panic!("one identity") };
        assert_eq!(web.credential, CredentialSource::TokenFile("/t".into()));
        assert_eq!((web.identity.ttl, web.identity.dns_names.len()), (Some(Duration::from_secs(7200)), 1));
        assert!(AgentConfig::parse("f", &format!("{HEAD}{CA}")).is_ok(), "identities may all come by callers' own credentials");
    }

    #[test]
    fn each_fault_names_its_key() {
        let good = format!("{HEAD}{CA}{WEB}token_file = \"/t\"\n");
        assert!(AgentConfig::parse("f", &good).is_ok());
        for (from, to, key) in [
            ("roots = \"/roots.pem\"\n", "", "istio.roots"),
            ("example.org/web", "example.com/web", "istio.identity[0].spiffe_id"),
            ("example.org/web", "example.org/signet/ca/x", "istio.identity[0].spiffe_id"),
            ("[\"unix:uid:1\"]", "[]", "istio.identity[0].selectors"),
            ("token_file = \"/t\"\n", "", "istio.identity[0].token_file"),
            ("token_file", "certificate_directory = \"/d\"\ntoken_file", "istio.identity[0].certificate_directory"),
            ("token_file", "ttl = \"91d\"\ntoken_file", "istio.identity[0].ttl"),
            ("provider", "ca_address = \"ca:1\"\nprovider", "ca_address"),
            ("provider", "join_token_file = \"/t\"\nprovider", "join_token_file"),
            ("provider = \"istio\"", "provider = \"vaulted\"", "provider"),
            ("provider = \"istio\"", "provider = \"vault\"", "istio"),
        ] {
            let text = good.replacen(from, to, 1);
            assert!(faults(&text).contains(&format!("{key}: ")), "{key} in {}", faults(&text));
        }
        let twice = format!("{good}{WEB}token_file = \"/u\"\n");
        assert!(faults(&twice).contains("twice"), "{}", faults(&twice));
        let signet = good.replacen("provider = \"istio\"", "ca_address = \"ca:1\"", 1);
        assert!(faults(&signet).contains("provider"), "a table that would do nothing: {}", faults(&signet));
    }
}
