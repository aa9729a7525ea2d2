//! What a caller may be entitled to at a moment, good and bad, made with real certificates when the process starts.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use identity::SpiffeId;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
    Timestamp, TrustBundle, X509Svid, prepare_authority, prepare_leaf,
};
use sds::SecretState;

use crate::fixture::{NOW, trust_domain};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) struct States {
    /// Any of these may come at any time.
    pub(super) any: Vec<Arc<SecretState>>,
    /// A good one that is not among them.
    pub(super) settled: Arc<SecretState>,
    /// Another, of the same identities.
    pub(super) after: Arc<SecretState>,
    /// Every bundle of all of them.
    pub(super) bundles: Vec<Arc<TrustBundle>>,
}

pub(super) static STATES: LazyLock<States> = LazyLock::new(|| {
    let (authority, other) = (Authority::new(1), Authority::new(2));
    let one = bundle(&[&authority]);
    let both = bundle(&[&authority, &other]);
    let web = [1, 2, 3, 4].map(|number| authority.svid("web", number, DAY));
    let [api, last_api] = [5, 6].map(|number| authority.svid("api", number, DAY));
    let brief = authority.svid("web", 7, Duration::from_secs(60));
    let foreign = other.svid("web", 8, DAY);
    let [first, second, settled, after] = &web;
    let without_bundle = SecretState { known: true, svids: vec![Arc::clone(first)], ..SecretState::default() };
    let pending = SecretState { known: true, pending: vec![id("web")], bundle: Some(Arc::clone(&one)), ..SecretState::default() };
    States {
        any: vec![
            state(&[first], &one),
            Arc::new(SecretState::default()),
            state(&[], &one),
            state(&[second], &one),
            state(&[first], &both),
            state(&[second, &api], &both),
            state(&[&api, first], &one),
            state(&[&brief, &api], &one),
            state(&[&foreign], &one),
            state(&[&foreign, &api], &both),
            Arc::new(without_bundle),
            Arc::new(pending),
        ],
        settled: state(&[settled, &api], &both),
        after: state(&[after, &last_api], &both),
        bundles: vec![one, both],
    }
});

struct Authority {
    root: Certificate,
    issuer: Certificate,
    issuer_key: PrivateKey,
}

impl Authority {
    fn new(number: u8) -> Self {
        let keys = [0, 1].map(|_| PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("the system gives randomness"));
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

    fn svid(&self, name: &str, number: u8, ttl: Duration) -> Arc<X509Svid> {
        let now = Timestamp::from_unix_seconds(NOW);
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("the system gives randomness");
        let request = LeafRequest {
            id: &id(name),
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: Some(ttl),
            serial: serial(number),
            now,
        };
        let profile = LeafProfile::new(DAY, DAY).expect("a day is in range");
        let unsigned = prepare_leaf(&profile, &request, &self.issuer).expect("a leaf like any other");
        let leaf = unsigned.sign(&self.issuer_key).expect("the issuer signs");
        Arc::new(X509Svid::new(vec![leaf, self.issuer.clone()], key, now).expect("chain and key belong together"))
    }
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).expect("1 is in range"), [number; pki::SERIAL_RANDOM_BYTES])
}

fn id(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/{name}")).expect("it is an ID")
}

fn bundle(authorities: &[&Authority]) -> Arc<TrustBundle> {
    let roots = authorities.iter().map(|authority| authority.root.clone()).collect();
    Arc::new(TrustBundle::new(trust_domain(), roots, 1).expect("they are roots"))
}

fn state(svids: &[&Arc<X509Svid>], bundle: &Arc<TrustBundle>) -> Arc<SecretState> {
    let svids = svids.iter().map(|svid| Arc::clone(svid)).collect();
    Arc::new(SecretState { known: true, svids, bundle: Some(Arc::clone(bundle)), ..SecretState::default() })
}
