//! `[istio]`: a CA that speaks Istio's certificate API, and the identities that this node gets from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use identity::{DnsName, HostPort, Selector, SpiffeId, TrustDomain};
use runtime::config::{Section, absolute_path};

use crate::ca_client::CredentialSource;
use crate::entry::MAX_HINT_BYTES;

/// The most identities: one CSR each at every renewal.
const MAX_IDENTITIES: usize = 1000;
/// The longest life asked for: what Istio's CA allows at most.
const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);

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

/// One identity, which processes may hold it, and what proves it to the CA.
#[derive(Clone, Debug)]
pub struct IstioIdentity {
    /// Of the agent's trust domain, with a path, not below `/signet`.
    pub spiffe_id: SpiffeId,
    /// What a process must show; never empty.
    pub selectors: BTreeSet<Selector>,
    /// What proves it.
    pub credential: CredentialSource,
    /// DNS names that its certificates must bear; the CA decides by its own rules.
    pub dns_names: Vec<DnsName>,
    /// The life asked for; `None` leaves it to the CA.
    pub ttl: Option<Duration>,
    /// Tells a workload's identities apart; may be empty.
    pub hint: String,
}

/// Reads the table. Faults go to its document; `None` when one of them leaves nothing to use.
pub(super) fn read(section: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<IstioConfig> {
    let address = section.required("address", HostPort::from_str);
    let roots = section.required("roots", absolute_path);
    let server_id = section.optional("server_id", SpiffeId::parse);
    let tables = section.sections("identity");
    if tables.len() > MAX_IDENTITIES {
        section.fault("identity", format!("{} identities, at most {MAX_IDENTITIES} are kept", tables.len()));
    }
    let mut identities: Vec<IstioIdentity> = Vec::new();
    for table in &tables {
        if let Some(identity) = read_identity(table, trust_domain) {
            let same = |other: &IstioIdentity| other.spiffe_id == identity.spiffe_id && other.selectors == identity.selectors;
            if identities.iter().any(same) {
                table.fault("spiffe_id", "given twice with the same selectors: keep one of the two");
            }
            identities.push(identity);
        }
    }
    Some(IstioConfig { address: address?, roots: roots?, server_id, identities })
}

fn read_identity(table: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<IstioIdentity> {
    let spiffe_id = table.required("spiffe_id", |text| {
        let id = SpiffeId::parse(text).map_err(|error| error.to_string())?;
        match trust_domain {
            Some(ours) if id.trust_domain() != ours => Err(format!("{id} is not of this agent's trust domain {ours}")),
            _ if id.path().is_empty() || id.is_reserved() => Err(format!("{id} cannot be the identity of a workload")),
            _ => Ok(id),
        }
    });
    let selectors: BTreeSet<_> = table.list("selectors", Selector::parse).into_iter().collect();
    if selectors.is_empty() {
        table.fault("selectors", "none are given, so every process would match: name at least one, such as \"unix:uid:1000\"");
    }
    let token = table.optional("token_file", absolute_path).map(CredentialSource::TokenFile);
    let directory = table.optional("certificate_directory", absolute_path).map(CredentialSource::CertificateDirectory);
    let credential = match (token, directory) {
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some(_), Some(_)) => {
            table.fault(
                "certificate_directory",
                "given together with token_file: a call shows one credential, keep one of the two",
            );
            None
        }
        (None, None) => {
            table.fault(
                "token_file",
                "neither token_file nor certificate_directory proves this identity to the CA: set one of them",
            );
            None
        }
    };
    let dns_names = table.list("dns", DnsName::parse);
    let ttl = table.duration("ttl");
    if ttl.is_some_and(|ttl| ttl.subsec_nanos() != 0 || ttl.is_zero() || ttl > MAX_TTL) {
        table.fault("ttl", "expected whole seconds, at most 90 days");
    }
    let hint = table.optional("hint", |text| {
        if text.len() > MAX_HINT_BYTES { Err(format!("over {MAX_HINT_BYTES} bytes")) } else { Ok(text.to_owned()) }
    });
    if selectors.is_empty() {
        return None;
    }
    Some(IstioIdentity {
        spiffe_id: spiffe_id?,
        selectors,
        credential: credential?,
        dns_names,
        ttl,
        hint: hint.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
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
        assert_eq!((web.ttl, web.dns_names.len()), (Some(Duration::from_secs(7200)), 1));
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
            ("provider = \"istio\"", "provider = \"vault\"", "provider"),
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
