//! Authorities of the trust domain, with keys that are made when the process starts and known to nobody else.

use std::time::Duration;

use identity::SpiffeId;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
    Timestamp, prepare_authority, prepare_leaf,
};

use crate::fixture::{NOW, trust_domain};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A root, and an issuing CA below it.
pub(crate) struct Authority {
    pub(crate) root: Certificate,
    pub(crate) issuer: Certificate,
    issuer_key: PrivateKey,
}

impl Authority {
    /// `number` tells one from another.
    pub(crate) fn new(number: u8) -> Self {
        let keys = [0, 1].map(|_| fresh_key());
        let mint = |role, key: &PrivateKey, serial, issuer: Option<&Certificate>| {
            let (trust_domain, now) = (trust_domain(), Timestamp::from_unix_seconds(NOW - 3600));
            let spec = AuthoritySpec {
                role,
                trust_domain: &trust_domain,
                public_key: key.public_key(),
                lifetime: 90 * DAY,
                serial,
                now,
            };
            let unsigned = prepare_authority(&spec, issuer).expect("an authority like any other");
            let [root_key, _] = &keys;
            unsigned.sign(root_key).expect("the root signs")
        };
        let [root_key, issuer_key] = &keys;
        let root = mint(AuthorityRole::Root, root_key, serial(0x40 + number), None);
        let issuer = mint(AuthorityRole::Issuer, issuer_key, serial(0x50 + number), Some(&root));
        let [_, issuer_key] = keys;
        Self { root, issuer, issuer_key }
    }

    /// A leaf for the workload `name`, from [`NOW`] on.
    pub(crate) fn leaf(&self, name: &str, number: u8, ttl: Duration, key: &PrivateKey) -> Certificate {
        let request = LeafRequest {
            id: &id(name),
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: Some(ttl),
            serial: serial(number),
            now: Timestamp::from_unix_seconds(NOW),
        };
        let profile = LeafProfile::new(DAY, DAY).expect("a day is in range");
        let unsigned = prepare_leaf(&profile, &request, &self.issuer).expect("a leaf like any other");
        unsigned.sign(&self.issuer_key).expect("the issuer signs")
    }
}

pub(crate) fn fresh_key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("the system gives randomness")
}

pub(crate) fn id(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/{name}")).expect("it is an ID")
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).expect("1 is in range"), [number; pki::SERIAL_RANDOM_BYTES])
}
