//! Contents of real certificates, each with one thing wrong.

use std::collections::HashSet;

use data_encoding::BASE64;
use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafRequest, ReplicaByte, SERIAL_RANDOM_BYTES, certificates_to_pem,
    prepare_authority, prepare_leaf,
};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

pub(in super::super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority, and what it makes.
pub(in super::super) struct Issuer {
    pub(in super::super) certificate: Certificate,
    pub(in super::super) key: PrivateKey,
}

struct Revoked(HashSet<SerialNumber>);

impl RevocationSource for Revoked {
    fn is_revoked(&self, serial: &SerialNumber) -> bool {
        self.0.contains(serial)
    }

    fn is_denied(&self, _: &SpiffeId) -> bool {
        false
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(7).unwrap(), [number; SERIAL_RANDOM_BYTES])
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/ns/shop/sa/{account}")).unwrap()
}

impl Issuer {
    pub(in super::super) fn root() -> Self {
        let key = key();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &domain(),
            public_key: key.public_key(),
            lifetime: DAY * 30,
            serial: serial(1),
            now: now(),
        };
        Self { certificate: prepare_authority(&spec, None).unwrap().sign(&key).unwrap(), key }
    }

    fn leaf(&self, account: &str, dns: &[&str], ttl: Duration, key: &PrivateKey) -> Certificate {
        let dns: Vec<_> = dns.iter().map(|name| DnsName::parse(name).unwrap()).collect();
        let request = LeafRequest {
            id: &id(account),
            dns_names: &dns,
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: Some(ttl),
            serial: serial(9),
            now: now(),
        };
        let profile = LeafProfile::new(Duration::from_secs(2), DAY * 2).unwrap();
        prepare_leaf(&profile, &request, &self.certificate).unwrap().sign(&self.key).unwrap()
    }

    pub(in super::super) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(domain(), vec![self.certificate.clone()], 1).unwrap()
    }
}

fn data(chain: &str, key: &str, roots: &str) -> SecretData {
    let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    [(CHAIN_FILE, bytes(chain)), (KEY_FILE, bytes(key)), (ROOTS_FILE, bytes(roots))].into()
}

fn read(data: &SecretData) -> Result<Content, IssueReason> {
    Content::read(data, |certificate| certificate)
}

/// A good content of `web`, under this issuer.
pub(in super::super) fn content(issuer: &Issuer, ttl: Duration) -> Content {
    let key = key();
    let chain = certificates_to_pem([&issuer.leaf("web", &["web.shop.svc"], ttl, &key)]);
    read(&data(&chain, &key.to_pkcs8_pem(), &issuer.bundle().to_pem())).unwrap()
}

/// The data of a Secret whose content is good, as JSON has it.
pub(in super::super) fn encoded(issuer: &Issuer) -> serde_json::Value {
    let own = key();
    let chain = certificates_to_pem([&issuer.leaf("web", &[], DAY, &own)]);
    let base64 = |text: &str| BASE64.encode(text.as_bytes());
    let (pem, roots) = (own.to_pkcs8_pem(), issuer.bundle().to_pem());
    serde_json::json!({ CHAIN_FILE: base64(&chain), KEY_FILE: base64(&pem), ROOTS_FILE: base64(&roots) })
}

struct Asked<'a> {
    content: &'a Content,
    bundle: TrustBundle,
    account: &'a str,
    dns: &'a [&'a str],
    revoked: &'a [SerialNumber],
    now: Timestamp,
}

impl Asked<'_> {
    fn verdict(&self) -> Verdict {
        let dns_names = self.dns.iter().map(|name| DnsName::parse(name).unwrap()).collect();
        let revocation = Revoked(self.revoked.iter().cloned().collect());
        let (id, roots) = (id(self.account), sha256(self.bundle.to_pem().as_bytes()));
        let (bundle, now) = (&self.bundle, self.now);
        self.content.judge(&Standard { id: &id, dns_names: &dns_names, bundle, roots, revocation: &revocation, now })
    }
}

fn asked<'a>(content: &'a Content, issuer: &Issuer) -> Asked<'a> {
    Asked { content, bundle: issuer.bundle(), account: "web", dns: &["web.shop.svc"], revoked: &[], now: now() }
}

#[test]
fn what_is_as_it_should_be_is_good_until_it_is_due() {
    let issuer = Issuer::root();
    let content = content(&issuer, DAY);
    let Verdict::Good { due } = asked(&content, &issuer).verdict() else { panic!("it is good") };
    let half = now().plus(DAY / 2);
    assert!(due >= half.minus(DAY / 20) && due <= half.plus(DAY / 20), "{due}");
    let just = Duration::from_secs(1);
    assert_eq!(Asked { now: due.minus(just), ..asked(&content, &issuer) }.verdict(), Verdict::Good { due });
    assert_eq!(Asked { now: due, ..asked(&content, &issuer) }.verdict(), Verdict::Bad(IssueReason::Due));
    let ended = content.leaf().not_after().plus(just);
    assert_eq!(Asked { now: ended, ..asked(&content, &issuer) }.verdict(), Verdict::Bad(IssueReason::Ended));
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    let (issuer, other) = (Issuer::root(), Issuer::root());
    let content = content(&issuer, DAY);
    let usual = || asked(&content, &issuer);
    let bad = |asked: Asked<'_>| match asked.verdict() {
        Verdict::Bad(reason) => reason,
        good @ (Verdict::Good { .. } | Verdict::OldRoots { .. }) => panic!("{good:?}"),
    };
    assert_eq!(bad(Asked { account: "api", ..usual() }), IssueReason::OtherIdentity);
    for dns in [&[][..], &["web.shop"], &["web.shop.svc", "web.shop"]] {
        assert_eq!(bad(Asked { dns, ..usual() }), IssueReason::OtherNames, "{dns:?}");
    }
    assert_eq!(bad(Asked { revoked: &[serial(9)], ..usual() }), IssueReason::Revoked);
    assert_eq!(bad(Asked { bundle: other.bundle(), ..usual() }), IssueReason::Untrusted);
    let tainted = issuer.bundle().with_tainted_keys([issuer.key.public_key().fingerprint()].into());
    assert_eq!(bad(Asked { bundle: tainted, ..usual() }), IssueReason::Tainted);
    let both = TrustBundle::new(domain(), vec![issuer.certificate.clone(), other.certificate.clone()], 2).unwrap();
    assert!(matches!(Asked { bundle: both, ..usual() }.verdict(), Verdict::OldRoots { .. }), "only the roots are written anew");
}

#[test]
fn what_cannot_be_read_and_a_key_of_somebody_else_are_refused() {
    let issuer = Issuer::root();
    let own = key();
    let chain = certificates_to_pem([&issuer.leaf("web", &[], DAY, &own)]);
    let (pem, roots) = (own.to_pkcs8_pem(), issuer.bundle().to_pem());
    assert!(read(&data(&chain, &pem, &roots)).is_ok());
    assert_eq!(read(&data(&chain, &key().to_pkcs8_pem(), &roots)).unwrap_err(), IssueReason::KeyMismatch);
    let long = chain.repeat(MAX_CHAIN + 1);
    for (chain, pem) in [("", pem.as_str()), ("x", &pem), (&chain, ""), (&chain, "x"), (&long, &pem), (&roots, "")] {
        assert_eq!(read(&data(chain, pem, &roots)).unwrap_err(), IssueReason::Unreadable, "{chain} {pem}");
    }
    let none: SecretData = [(KEY_FILE, Zeroizing::new(pem.as_bytes().to_vec()))].into();
    assert_eq!(read(&none).unwrap_err(), IssueReason::Unreadable);
}

#[test]
fn a_short_life_is_replaced_ten_minutes_before_its_end_and_never_at_once() {
    let issuer = Issuer::root();
    let due_after = |ttl: u64| due(&issuer.leaf("web", &[], Duration::from_secs(ttl), &key())).since(now()).as_secs();
    assert!((2700..=3300).contains(&due_after(6000)), "half of 100 minutes");
    // The last second is part of a life.
    assert_eq!(due_after(1001), 400, "ten minutes before the end of 1000 s");
    assert_eq!(due_after(601), 150, "a quarter where there are no ten minutes");
    assert_eq!(due_after(61), 15);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever its life: it is due within it, not before a quarter, and not after 55 % of it.
    #[test]
    fn every_certificate_is_due_within_its_life(ttl in 4_u64..=2 * 24 * 3600) {
        let issuer = Issuer::root();
        let after = due(&issuer.leaf("web", &[], Duration::from_secs(ttl), &key())).since(now()).as_secs();
        prop_assert!(after >= (ttl - 1) / 4 && after <= ttl * 55 / 100 + 1, "{after} of {ttl}");
    }
}
