//! Every way in which a set of files can be wrong, each beside the set that passes.

use futures_util::FutureExt;
use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafRequest, PrivateKey, PublicKey, ReplicaByte, SERIAL_RANDOM_BYTES,
    SerialNumber, certificates_to_pem, prepare_authority, prepare_leaf,
};

use super::*;

/// 2030-01-01T00:00:00Z, for the certificates of `testdata/make.sh`.
const IN_2030: u64 = 1_893_456_000;

const DAY: Duration = Duration::from_secs(86_400);

struct Pair {
    certificate: Certificate,
    key: PrivateKey,
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES])
}

/// What a test wants to differ.
struct Wanted<'a> {
    role: AuthorityRole,
    domain: &'a str,
    begin: Timestamp,
    lifetime: Duration,
    number: u8,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { role: AuthorityRole::Issuer, domain: "example.org", begin: now(), lifetime: 365 * DAY, number: 2 }
    }
}

fn make(wanted: &Wanted<'_>, issuer: Option<&Pair>, key: PrivateKey) -> Pair {
    let trust_domain = TrustDomain::parse(wanted.domain).unwrap();
    let spec = AuthoritySpec {
        role: wanted.role,
        trust_domain: &trust_domain,
        public_key: key.public_key(),
        lifetime: wanted.lifetime,
        serial: serial(wanted.number),
        now: wanted.begin,
    };
    let unsigned = prepare_authority(&spec, issuer.map(|issuer| &issuer.certificate)).unwrap();
    let certificate = unsigned.sign(issuer.map_or(&key, |issuer| &issuer.key)).unwrap();
    Pair { certificate, key }
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn root() -> Pair {
    make(&Wanted { role: AuthorityRole::Root, lifetime: 3650 * DAY, number: 1, ..Wanted::default() }, None, key())
}

fn issuer(root: &Pair) -> Pair {
    make(&Wanted::default(), Some(root), key())
}

fn pem(certificates: &[&Certificate]) -> Option<Vec<u8>> {
    Some(certificates_to_pem(certificates.iter().copied()).into_bytes())
}

fn files(ca: &Pair, roots: &[&Certificate]) -> AuthorityFiles {
    let file = |name: &str, content| AuthorityFile { path: PathBuf::from("/a").join(name), content };
    AuthorityFiles {
        certificate: file("ca-cert.pem", pem(&[&ca.certificate])),
        key: AuthorityFile {
            path: "/a/ca-key.pem".into(),
            content: Some(KeyContent::Pem(PrivatePem(Zeroizing::new(ca.key.to_pkcs8_pem().as_bytes().to_vec())))),
        },
        chain: Some(file("cert-chain.pem", Some(Vec::new()))),
        roots: file("root-cert.pem", pem(roots)),
        protection: KeyProtection::Plain,
    }
}

fn verify(files: AuthorityFiles) -> Result<SigningAuthority, AuthorityError> {
    verify_at(files, now())
}

fn verify_at(files: AuthorityFiles, at: Timestamp) -> Result<SigningAuthority, AuthorityError> {
    SigningAuthority::verify(files, &domain(), at).now_or_never().expect("a key in memory keeps nobody waiting")
}

#[track_caller]
fn refused(files: AuthorityFiles, words: &[&str]) -> AuthorityError {
    let error = verify(files).unwrap_err();
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing in: {error}");
    }
    error
}

#[test]
fn a_whole_set_passes_and_knows_its_path() {
    let root = root();
    let issuer = issuer(&root);
    let authority = verify(files(&issuer, &[&root.certificate])).unwrap();
    assert_eq!(authority.path(), std::slice::from_ref(&issuer.certificate));
    assert_eq!(authority.root(), &root.certificate);
    assert_eq!(authority.roots(), std::slice::from_ref(&root.certificate));
    // Istio's habit: the chain file repeats the CA certificate. A root of the past beside the present one is kept too.
    let other = make(&Wanted { role: AuthorityRole::Root, number: 7, ..Wanted::default() }, None, key());
    let mut repeated = files(&issuer, &[&other.certificate, &root.certificate]);
    repeated.chain.as_mut().unwrap().content = pem(&[&issuer.certificate]);
    let authority = verify(repeated).unwrap();
    assert_eq!((authority.root(), authority.roots().len(), authority.path().len()), (&root.certificate, 2, 1));
    // A root that signs by itself is sent by nobody: agents have it.
    let alone = verify(files(&root, &[&root.certificate])).unwrap();
    assert!(alone.path().is_empty());
}

#[test]
fn each_missing_file_is_named() {
    let root = root();
    let issuer = issuer(&root);
    let set = || files(&issuer, &[&root.certificate]);
    let mut no_certificate = set();
    no_certificate.certificate.content = None;
    refused(no_certificate, &["/a/ca-cert.pem: missing"]);
    let mut no_key = set();
    no_key.key.content = None;
    refused(no_key, &["/a/ca-key.pem: missing"]);
    let mut no_chain = set();
    no_chain.chain.as_mut().unwrap().content = None;
    refused(no_chain, &["/a/cert-chain.pem: missing"]);
    let mut no_roots = set();
    no_roots.roots.content = None;
    refused(no_roots, &["/a/root-cert.pem: missing"]);
    // The layout without a chain file does not miss it.
    let mut tls = set();
    tls.chain = None;
    assert!(verify(tls).is_ok());
}

#[test]
fn a_file_without_sense_is_named() {
    let root = root();
    let issuer = issuer(&root);
    let set = || files(&issuer, &[&root.certificate]);
    for (name, empty) in [("ca-cert.pem", "holds no certificate"), ("root-cert.pem", "holds no certificate")] {
        let mut files = set();
        let file = if name == "ca-cert.pem" { &mut files.certificate } else { &mut files.roots };
        file.content = Some(Vec::new());
        refused(files, &[name, empty]);
    }
    let mut garbage = set();
    garbage.roots.content = Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
    assert!(matches!(refused(garbage, &["/a/root-cert.pem"]), AuthorityError::Certificate { .. }));
    let mut bad_key = set();
    bad_key.key.content = Some(KeyContent::Pem(PrivatePem(Zeroizing::new(b"no key".to_vec()))));
    assert!(matches!(refused(bad_key, &["/a/ca-key.pem"]), AuthorityError::Key { .. }));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let root = root();
    let mut set = files(&issuer(&root), &[&root.certificate]);
    set.key.content = Some(KeyContent::Pem(PrivatePem(Zeroizing::new(key().to_pkcs8_pem().as_bytes().to_vec()))));
    refused(set, &["/a/ca-key.pem", "does not match", "/a/ca-cert.pem"]);
}

#[test]
fn an_expired_or_future_ca_is_refused_at_the_second() {
    let root = root();
    let issuer = issuer(&root);
    let set = || files(&issuer, &[&root.certificate]);
    let at = |now: Timestamp| verify_at(set(), now);
    let second = Duration::from_secs(1);
    assert!(at(issuer.certificate.not_before()).is_ok());
    let early = at(issuer.certificate.not_before().minus(second)).unwrap_err();
    assert!(matches!(early, AuthorityError::NotYetValid { .. }), "{early}");
    // Two seconds before the end a leaf of the shortest life still fits.
    assert!(at(issuer.certificate.not_after().minus(second)).is_ok());
    let late = at(issuer.certificate.not_after().plus(second)).unwrap_err();
    assert!(matches!(late, AuthorityError::Expired { .. }), "{late}");
    assert!(late.to_string().contains(&issuer.certificate.not_after().to_string()), "{late}");
}

#[test]
fn an_expired_root_is_borne_beside_a_good_one_and_refused_where_the_ca_stands_under_it() {
    let good = root();
    let past =
        Wanted { role: AuthorityRole::Root, begin: now().minus(20 * DAY), lifetime: 10 * DAY, number: 9, ..Wanted::default() };
    let expired = make(&past, None, key());
    // The CA that rotated its roots starts again after the old one has ended, and says that it has.
    let authority = verify(files(&issuer(&good), &[&expired.certificate, &good.certificate])).unwrap();
    assert_eq!(authority.root(), &good.certificate);
    let bundle = pki::TrustBundle::new(domain(), authority.roots().to_vec(), 1).unwrap();
    assert!(matches!(&bundle.lapsed_at(now())[..], [pki::AnchorLapse::Ended { .. }]));
    assert!(bundle.lapsed_at(now().minus(15 * DAY)).iter().all(|lapse| matches!(lapse, pki::AnchorLapse::NotBegun { .. })));

    // An issuing CA that outlives its root: no mint makes one, so it is signed under a longer certificate of the same key and name.
    let same_key = PrivateKey::from_pkcs8_der(expired.key.pkcs8_der()).unwrap();
    let longer = make(&Wanted { begin: now(), ..past }, None, same_key);
    assert!(verify(files(&issuer(&longer), &[&good.certificate, &longer.certificate])).is_ok());
    let error = refused(files(&issuer(&longer), &[&good.certificate, &expired.certificate]), &["/a/root-cert.pem", "expired"]);
    assert!(matches!(error, AuthorityError::Expired { .. }));
}

#[test]
fn a_ca_that_no_root_signed_is_unchained() {
    let [root, stranger] = [root(), root()];
    let issuer = issuer(&root);
    refused(files(&issuer, &[&stranger.certificate]), &["/a/root-cert.pem", "does not chain"]);
    assert!(verify(files(&issuer, &[&stranger.certificate, &root.certificate])).is_ok());
}

fn leaf(issuer: &Pair) -> Pair {
    let key = key();
    let request = LeafRequest {
        id: &identity::SpiffeId::parse("spiffe://example.org/web").unwrap(),
        dns_names: &[],
        ip_addresses: &[],
        public_key: key.public_key(),
        ttl: None,
        serial: serial(8),
        now: now(),
    };
    let profile = LeafProfile::new(DAY, DAY).unwrap();
    let certificate = prepare_leaf(&profile, &request, &issuer.certificate).unwrap().sign(&issuer.key).unwrap();
    Pair { certificate, key }
}

#[test]
fn a_leaf_is_no_ca() {
    let root = root();
    let issuer = issuer(&root);
    let leaf = leaf(&issuer);
    let mut set = files(&leaf, &[&root.certificate]);
    set.chain.as_mut().unwrap().content = pem(&[&issuer.certificate]);
    assert!(matches!(refused(set, &["/a/ca-cert.pem", "not a CA"]), AuthorityError::NotCa { .. }));
    assert!(matches!(refused(files(&issuer, &[&leaf.certificate]), &["/a/root-cert.pem"]), AuthorityError::NotCa { .. }));
}

#[test]
fn a_root_signed_by_another_is_no_root() {
    let root = root();
    let issuer = issuer(&root);
    let error = refused(files(&issuer, &[&issuer.certificate]), &["/a/root-cert.pem", "not self-signed"]);
    assert!(matches!(error, AuthorityError::RootNotSelfSigned { .. }));
}

#[test]
fn a_path_length_that_does_not_hold_is_refused() {
    // An issuing CA has path length 0, so it may not stand above another.
    let root = root();
    let middle = issuer(&root);
    let below = make(&Wanted { number: 3, lifetime: 30 * DAY, ..Wanted::default() }, Some(&middle), key());
    let mut set = files(&below, &[&root.certificate]);
    set.chain.as_mut().unwrap().content = pem(&[&middle.certificate]);
    assert!(matches!(refused(set, &["/a/cert-chain.pem"]), AuthorityError::PathLength { allowed: 0, found: 1, .. }));
}

#[test]
fn another_trust_domains_ca_is_refused() {
    let root = root();
    let other = make(&Wanted { domain: "other.org", ..Wanted::default() }, Some(&root), key());
    let error = refused(files(&other, &[&root.certificate]), &["/a/ca-cert.pem", "spiffe://other.org", "example.org"]);
    assert!(matches!(error, AuthorityError::OtherTrustDomain { .. }));
}

#[test]
fn warnings_begin_at_half_life_and_readiness_ends_before_the_ca_does() {
    let root = root();
    let issuer = issuer(&root);
    let authority = verify(files(&issuer, &[&root.certificate])).unwrap();
    let second = Duration::from_secs(1);
    let (begin, end) = (issuer.certificate.not_before(), issuer.certificate.not_after());
    assert_eq!(authority.half_life(), begin.plus(end.since(begin) / 2));
    assert!(!authority.is_past_half_life(authority.half_life().minus(second)));
    assert!(authority.is_past_half_life(authority.half_life()));

    let profile = LeafProfile::new(DAY, DAY).unwrap();
    let last_ready = end.plus(second).minus(3 * DAY);
    assert_eq!(authority.check_ready(&profile, last_ready), Ok(()));
    let why = authority.check_ready(&profile, last_ready.plus(second)).unwrap_err();
    assert!(why.to_string().contains("signet ca issuer renew"), "{why}");
    assert!(authority.check_ready(&profile, begin.minus(second)).is_err());
}

/// A set made by OpenSSL, with keys and habits that are not ours.
#[test]
fn sets_made_elsewhere_load() {
    let at = Timestamp::from_unix_seconds(IN_2030);
    for (name, ca, key) in [
        ("rsa", &include_bytes!("../../testdata/rsa-ca-cert.pem")[..], &include_bytes!("../../testdata/rsa-ca-key.pem")[..]),
        ("sec1", include_bytes!("../../testdata/ec-ca-cert.pem"), include_bytes!("../../testdata/ec-ca-key.pem")),
        // Two organizational units, a name that not every encoder repeats byte for byte.
        ("units", include_bytes!("../../testdata/ec-ca-two-units.pem"), include_bytes!("../../testdata/ec-ca-key.pem")),
    ] {
        let file = |content: &[u8]| AuthorityFile { path: name.into(), content: Some(content.to_vec()) };
        let files = AuthorityFiles {
            certificate: file(ca),
            key: AuthorityFile { path: name.into(), content: Some(KeyContent::Pem(PrivatePem(Zeroizing::new(key.to_vec())))) },
            chain: Some(file(b"")),
            roots: file(include_bytes!("../../testdata/openssl-root-cert.pem")),
            protection: KeyProtection::Plain,
        };
        let authority = verify_at(files, at).unwrap();
        let key: &PublicKey = authority.certificate().public_key();
        assert_eq!(authority.key().public_key(), key);
    }
}

#[test]
fn ca_certificates_with_faults_made_elsewhere_are_refused() {
    let at = Timestamp::from_unix_seconds(IN_2030);
    let check = |ca: &[u8]| {
        let file = |name: &str, content: &[u8]| AuthorityFile { path: name.into(), content: Some(content.to_vec()) };
        let key = include_bytes!("../../testdata/ec-ca-key.pem").to_vec();
        let files = AuthorityFiles {
            certificate: file("ca-cert.pem", ca),
            key: AuthorityFile { path: "ca-key.pem".into(), content: Some(KeyContent::Pem(PrivatePem(Zeroizing::new(key)))) },
            chain: Some(file("cert-chain.pem", b"")),
            roots: file("root-cert.pem", include_bytes!("../../testdata/openssl-root-cert.pem")),
            protection: KeyProtection::Plain,
        };
        verify_at(files, at).map(|_| ()).unwrap_err()
    };
    let no_sign = check(include_bytes!("../../testdata/ec-ca-no-cert-sign.pem"));
    assert!(matches!(no_sign, AuthorityError::NoCertSign { .. }), "{no_sign}");
    let no_key_id = check(include_bytes!("../../testdata/ec-ca-no-key-id.pem"));
    assert!(matches!(no_key_id, AuthorityError::NoKeyIdentifier { .. }), "{no_key_id}");
    let outlives = check(include_bytes!("../../testdata/ec-ca-outlives.pem"));
    assert!(matches!(outlives, AuthorityError::OutlivesIssuer { .. }), "{outlives}");
}
