//! The PKI secrets engine, with one role: what it signs is signed for real.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use identity::{DnsName, SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, PublicKey, ReplicaByte,
    SerialNumber, Timestamp, TrustBundle, VerifiedRequest, X509Svid, certificates_to_pem, prepare_authority, prepare_leaf,
    request_from_pem,
};
use runtime::clock::SystemClock;
use runtime::entropy::{SystemEntropy, bytes};
use serde_json::{Value, json};

use super::VaultMood;

const HOUR: Duration = Duration::from_secs(3600);

/// A root and an issuing CA below it.
pub(super) struct Hierarchy {
    trust_domain: TrustDomain,
    root: Certificate,
    root_key: PrivateKey,
    issuer: Certificate,
    issuer_key: PrivateKey,
}

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made")
}

fn serial() -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(7).expect("seven is in range"), bytes(&SystemEntropy))
}

/// A CA certificate under `issuer`, or a root.
fn ca(
    trust_domain: &TrustDomain,
    public_key: &PublicKey,
    lifetime: Duration,
    issuer: Option<&Certificate>,
    signer: &PrivateKey,
) -> Certificate {
    let role = if issuer.is_some() { AuthorityRole::Issuer } else { AuthorityRole::Root };
    let spec = AuthoritySpec { role, trust_domain, public_key, lifetime, serial: serial(), now: now() };
    prepare_authority(&spec, issuer).expect("a CA").sign(signer).expect("the key signs")
}

impl Hierarchy {
    pub(super) fn new(trust_domain: &str) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).expect("a domain");
        let [root_key, issuer_key] = [(); 2].map(|()| new_key());
        let root = ca(&trust_domain, root_key.public_key(), HOUR * 10_000, None, &root_key);
        let issuer = ca(&trust_domain, issuer_key.public_key(), HOUR * 5_000, Some(&root), &root_key);
        Self { trust_domain, root, root_key, issuer, issuer_key }
    }

    pub(super) fn root(&self) -> &Certificate {
        &self.root
    }

    pub(super) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(self.trust_domain.clone(), vec![self.root.clone()], 1).expect("one root is a bundle")
    }

    /// A certificate for a server or a client of this name.
    pub(super) fn server(&self, name: &str) -> X509Svid {
        let key = new_key();
        let id = SpiffeId::parse(&format!("spiffe://{}/{name}", self.trust_domain)).expect("a name");
        let names = [DnsName::parse(name).expect("a name")];
        let leaf = self.leaf(&id, &names, &[], key.public_key(), HOUR * 24);
        X509Svid::new(vec![leaf, self.issuer.clone()], key, now()).expect("key and chain belong together")
    }

    fn leaf(&self, id: &SpiffeId, dns_names: &[DnsName], ip_addresses: &[IpAddr], key: &PublicKey, ttl: Duration) -> Certificate {
        let profile = LeafProfile::new(ttl, ttl).expect("a life");
        let request = LeafRequest { id, dns_names, ip_addresses, public_key: key, ttl: None, serial: serial(), now: now() };
        prepare_leaf(&profile, &request, &self.issuer).expect("a leaf").sign(&self.issuer_key).expect("the key signs")
    }
}

/// The engine at `pki`, whose role `web` signs for every identity of `example.org`.
pub(super) struct Engine {
    authority: Hierarchy,
}

type Refusal = (u16, String);

impl Engine {
    pub(super) fn new() -> Self {
        Self { authority: Hierarchy::new("example.org") }
    }

    pub(super) fn authority(&self) -> &Hierarchy {
        &self.authority
    }

    /// What is told of the issuer that signs CAs: the root.
    pub(super) fn issuer(&self) -> Value {
        data(&self.authority.root, &[&self.authority.root])
    }

    /// The data of an answer.
    pub(super) fn sign(&self, path: &str, body: &Value, mood: VaultMood) -> Result<Value, Refusal> {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let bad = |why: &str| (400, why.to_owned());
        let csr = request_from_pem(text("csr").as_bytes()).map_err(|_| bad("no certificate request in csr"))?;
        let csr = VerifiedRequest::parse(&csr).map_err(|error| bad(&error.to_string()))?;
        let own = new_key();
        let key = if mood == VaultMood::WrongKey { own.public_key() } else { csr.public_key() };
        let foreign = (mood == VaultMood::ForeignChain).then(|| Hierarchy::new("example.org"));
        let authority = foreign.as_ref().unwrap_or(&self.authority);
        let ttl = text("ttl").strip_suffix('s').and_then(|seconds| seconds.parse().ok()).map_or(HOUR, Duration::from_secs);
        let ttl = if mood == VaultMood::LongLife { HOUR * 240 } else { ttl };
        match path.strip_prefix("pki/").map(|path| path.strip_prefix("issuer/current/").unwrap_or(path)) {
            Some("sign/web") => {
                let uri = if mood == VaultMood::OtherUri { "spiffe://example.org/other" } else { text("uri_sans") };
                let id = SpiffeId::parse(uri).map_err(|error| bad(&error.to_string()))?;
                if id.trust_domain() != &self.authority.trust_domain {
                    return Err(bad(&format!("the uri {id} is not allowed by this role")));
                }
                let extra = (mood == VaultMood::ExtraDns).then_some("extra.example.org");
                let names = text("alt_names").split(',').filter(|name| !name.is_empty()).chain(extra);
                let names: Result<Vec<_>, _> = names.map(DnsName::parse).collect();
                let names = names.map_err(|error| bad(&error.to_string()))?;
                let addresses = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))];
                let addresses = if mood == VaultMood::ExtraAddress { &addresses[..] } else { &[] };
                let leaf = authority.leaf(&id, &names, addresses, key, ttl);
                Ok(data(&leaf, &[&authority.issuer, &authority.root]))
            }
            Some("root/sign-intermediate" | "sign-intermediate") => {
                if body["max_path_length"] != json!(0) {
                    return Err(bad("this server signs CAs with a path length of 0 only"));
                }
                let id = SpiffeId::parse(text("uri_sans")).map_err(|error| bad(&error.to_string()))?;
                let signed = ca(id.trust_domain(), key, ttl, Some(&authority.root), &authority.root_key);
                Ok(data(&signed, &[&authority.root]))
            }
            Some(path) if path.starts_with("sign/") => Err(bad(&format!("unknown role: {}", &path[5..]))),
            _ => Err((404, format!("no handler for route \"{path}\". route entry not found."))),
        }
    }
}

fn data(certificate: &Certificate, above: &[&Certificate]) -> Value {
    let pem = |certificate: &Certificate| certificates_to_pem([certificate]);
    let chain: Vec<_> = above.iter().map(|certificate| pem(certificate)).collect();
    json!({
        "certificate": pem(certificate),
        "issuing_ca": chain.first(),
        "ca_chain": chain,
        "expiration": certificate.not_after().unix_seconds(),
        "serial_number": certificate.serial().to_string(),
    })
}
