//! Certificates and keys that inputs are held against. `examples/seeds.rs` made the files; no private key of an authority is kept.

use std::sync::LazyLock;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, JwtKey, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, Timestamp,
    TrustBundle, certificates_from_pem, prepare_authority,
};

/// When the fixtures are valid, in Unix seconds: 2026-11-20T11:00:00Z.
pub const NOW: u64 = 1_795_172_400;

/// Whose they are.
pub const TRUST_DOMAIN: &str = "example.org";

/// The key that the JWT target signs with. Known to everybody.
pub const JWT_KEY_PEM: &[u8] = include_bytes!("../../pki/testdata/p256-pkcs8.pem");

/// Chains, leaf first, and the roots that they lead to.
pub(crate) struct Chains {
    /// The root of the trust domain.
    pub(crate) bundle: TrustBundle,
    /// Another root that calls itself the same.
    pub(crate) foreign: TrustBundle,
    /// Valid at [`NOW`] under `bundle`.
    pub(crate) genuine: Vec<Vec<Certificate>>,
    /// Ended before, or under `foreign`.
    pub(crate) refused: Vec<Vec<Certificate>>,
}

pub(crate) static CHAINS: LazyLock<Chains> = LazyLock::new(|| {
    let chain = |pem: &[u8]| certificates_from_pem(pem).expect("a fixture is PEM");
    let bundle = |pem: &[u8]| TrustBundle::from_pem(trust_domain(), pem, 1).expect("a fixture is a root");
    Chains {
        bundle: bundle(include_bytes!("../fixtures/root.pem")),
        foreign: bundle(include_bytes!("../fixtures/foreign-root.pem")),
        genuine: vec![chain(include_bytes!("../fixtures/web.pem")), chain(include_bytes!("../fixtures/api.pem"))],
        refused: vec![chain(include_bytes!("../fixtures/ended.pem")), chain(include_bytes!("../fixtures/foreign.pem"))],
    }
});

/// A known key as a JWT authority, and another one.
pub(crate) static JWT_KEYS: LazyLock<[JwtKey; 2]> = LazyLock::new(|| {
    [JWT_KEY_PEM, include_bytes!("../../pki/testdata/p256-sec1.pem")].map(|pem| {
        let key = PrivateKey::from_pem(pem).expect("a test key is a key");
        JwtKey::new(key).expect("a test key is on P-256")
    })
});

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse(TRUST_DOMAIN).expect("it is a name")
}

pub(crate) fn web() -> SpiffeId {
    SpiffeId::parse("spiffe://example.org/web").expect("it is an ID")
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

/// DER of one value.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => vec![tag, 0],
        ([short @ 0..=0x7f], _) => vec![tag, *short],
        (long, count) => [&[tag, 0x80 | count.unwrap_or(8)], long].concat(),
    };
    [head, content].concat()
}

/// A root with the key that is known to everybody, so that any list can be signed.
#[derive(Debug)]
pub struct ListIssuer {
    /// Its certificate.
    pub certificate: Certificate,
    /// It alone.
    pub bundle: TrustBundle,
}

/// Always of the same name and key.
pub static LIST_ISSUER: LazyLock<ListIssuer> = LazyLock::new(|| {
    let key = PrivateKey::from_pem(JWT_KEY_PEM).expect("a test key is a key");
    let replica = ReplicaByte::new(1).expect("1 is in range");
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &trust_domain(),
        public_key: key.public_key(),
        lifetime: Duration::from_secs(3600),
        serial: SerialNumber::new(replica, [1; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let unsigned = prepare_authority(&spec, None).expect("a root can be made");
    let certificate = unsigned.sign(&key).expect("its own key signs it");
    let bundle = TrustBundle::new(trust_domain(), vec![certificate.clone()], 1).expect("it is a root");
    ListIssuer { certificate, bundle }
});

/// A list (RFC 5280 section 5.1.1) with these to-be-signed bytes, signed by the key of [`LIST_ISSUER`].
#[must_use]
pub fn list_of(to_be_signed: &[u8]) -> Vec<u8> {
    let [key, _] = &*JWT_KEYS;
    let signature = key.private_key().sign(to_be_signed).expect("a test key signs");
    der(0x30, &[to_be_signed, ECDSA_WITH_SHA256, &der(0x03, &[&[0], &signature])])
}

/// A request (RFC 2986) with this subject and these attributes, both DER, signed by the known key.
#[must_use]
pub fn csr_of(subject: &[u8], attributes: &[u8]) -> Vec<u8> {
    let [key, _] = &*JWT_KEYS;
    let key = key.private_key();
    let info = der(0x30, &[&[0x02, 0x01, 0x00], subject, key.public_key().spki_der(), &der(0xa0, &[attributes])]);
    let signature = key.sign(&info).expect("a test key signs");
    der(0x30, &[&info, ECDSA_WITH_SHA256, &der(0x03, &[&[0], &signature])])
}

/// AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
