use std::time::Duration;

use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
    prepare_authority, prepare_leaf,
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn serial(last: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).unwrap(), [last; 17])
}

struct Authority {
    root: Certificate,
    key: PrivateKey,
}

fn authority() -> Authority {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &trust_domain,
        public_key: key.public_key(),
        lifetime: HOUR * 1000,
        serial: serial(1),
        now: now(),
    };
    let root = prepare_authority(&spec, None).unwrap().sign(&key).unwrap();
    Authority { root, key }
}

impl Authority {
    fn leaf(&self, id: &str, dns_names: &[&str]) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let dns_names: Vec<_> = dns_names.iter().map(|name| DnsName::parse(name).unwrap()).collect();
        let request = LeafRequest {
            id: &SpiffeId::parse(id).unwrap(),
            dns_names: &dns_names,
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: None,
            serial: serial(2),
            now: now(),
        };
        prepare_leaf(&LeafProfile::new(HOUR, HOUR).unwrap(), &request, &self.root).unwrap().sign(&self.key).unwrap()
    }

    fn source(&self, template: &str) -> ProvisioningSource {
        ProvisioningSource { roots: TrustedRoots::new(vec![self.root.clone()]).unwrap(), template: template.parse().unwrap() }
    }
}

fn judged(sources: &[ProvisioningSource], leaf: &Certificate, now: Timestamp) -> Result<String, ProvisioningError> {
    judge(sources, &[leaf.der().clone()], now).map(|provisioned| provisioned.node.to_string())
}

#[test]
fn a_template_is_strict_and_shows_as_it_was_written() {
    for good in ["spiffe://example.org/vm/{node}", "spiffe://example.org/{node}/agent", "dns:{node}.vm.example.org"] {
        assert_eq!(good.parse::<NodeTemplate>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "{node}",
        "spiffe://example.org/vm",
        "spiffe://example.org/vm/x{node}",
        "spiffe://example.org/vm/{node}x",
        "spiffe://example.org/{node}/{node}",
        "spiffe://{node}/vm",
        "spiffe://example.org/signet/agent/{node}",
        "spiffe://EXAMPLE.org/vm/{node}",
        "dns:vm.{node}.example.org",
        "dns:{node}",
        "dns:{node}.",
        "dns:{node}.*.org",
    ] {
        assert!(bad.parse::<NodeTemplate>().is_err(), "{bad}");
    }
}

#[test]
fn a_spiffe_id_gives_the_one_segment_and_nothing_that_only_looks_like_it() {
    let ca = authority();
    let sources = [ca.source("spiffe://example.org/vm/{node}/agent")];
    assert_eq!(judged(&sources, &ca.leaf("spiffe://example.org/vm/n1/agent", &[]), now()).unwrap(), "n1");
    for other in [
        "spiffe://example.org/vm/n1",
        "spiffe://example.org/vm/n1/x/agent",
        "spiffe://example.org/vm/agent",
        "spiffe://example.org/other/n1/agent",
        "spiffe://example.org/vm/n1/agents",
    ] {
        let refused = judged(&sources, &ca.leaf(other, &[]), now()).unwrap_err();
        assert!(matches!(refused, ProvisioningError::Name(NodeNameFault::NoMatch { .. })), "{other}: {refused}");
    }
    let wide = [ca.source("spiffe://example.org/{node}/agent/n1")];
    let reserved = judged(&wide, &ca.leaf("spiffe://example.org/signet/agent/n1", &[]), now()).unwrap_err();
    assert!(matches!(reserved, ProvisioningError::Name(NodeNameFault::Reserved { .. })), "{reserved}");
}

#[test]
fn a_dns_name_gives_its_first_label_when_exactly_one_fits() {
    let ca = authority();
    let sources = [ca.source("dns:{node}.vm.example.org")];
    let leaf = |names: &[&str]| ca.leaf("spiffe://example.org/x", names);
    assert_eq!(judged(&sources, &leaf(&["n1.vm.example.org", "n1.lan"]), now()).unwrap(), "n1");
    for none in [&["vm.example.org"][..], &["a.n1.vm.example.org"], &["n1.vm.example.com"], &[]] {
        let refused = judged(&sources, &leaf(none), now()).unwrap_err();
        assert!(matches!(refused, ProvisioningError::Name(NodeNameFault::NoMatch { .. })), "{none:?}: {refused}");
    }
    let two = judged(&sources, &leaf(&["n1.vm.example.org", "n2.vm.example.org"]), now()).unwrap_err();
    assert!(matches!(two, ProvisioningError::Name(NodeNameFault::Several { .. })), "{two}");
}

#[test]
fn only_a_configured_root_counts_and_only_while_the_certificate_is_valid() {
    let (ca, other) = (authority(), authority());
    let sources = [ca.source("spiffe://example.org/vm/{node}")];
    let leaf = ca.leaf("spiffe://example.org/vm/n1", &[]);
    assert_eq!(judged(&sources, &leaf, now()).unwrap(), "n1");
    assert_eq!(judged(&[], &leaf, now()), Err(ProvisioningError::NotConfigured));
    let strange = judged(&sources, &other.leaf("spiffe://example.org/vm/n1", &[]), now()).unwrap_err();
    assert!(matches!(strange, ProvisioningError::Chain(_)), "{strange}");
    let late = judged(&sources, &leaf, now().plus(2 * HOUR)).unwrap_err();
    assert!(matches!(late, ProvisioningError::Chain(SvidError::Expired { .. })), "{late}");
    let both = [other.source("spiffe://example.org/vm/{node}"), sources[0].clone()];
    assert_eq!(judged(&both, &leaf, now()).unwrap(), "n1", "each source is asked");
}

#[test]
fn a_certificate_that_two_sources_name_differently_is_nobody() {
    let ca = authority();
    let leaf = ca.leaf("spiffe://example.org/vm/n1", &["n2.vm.example.org"]);
    let (by_id, by_dns) = (ca.source("spiffe://example.org/vm/{node}"), ca.source("dns:{node}.vm.example.org"));
    assert_eq!(judged(std::slice::from_ref(&by_id), &leaf, now()).unwrap(), "n1");
    assert_eq!(judged(std::slice::from_ref(&by_dns), &leaf, now()).unwrap(), "n2");
    assert!(matches!(judged(&[by_id, by_dns], &leaf, now()), Err(ProvisioningError::Ambiguous { .. })));
}
