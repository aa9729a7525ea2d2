//! Lists that their issuer signed and that say what no list may.

use proptest::prelude::*;

use super::*;
use crate::der::{self, BOOLEAN, CONTEXT_0, DerError, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

/// The parts of a list, each as it is encoded; good ones by default.
#[derive(Clone)]
struct Sketch {
    version: Vec<u8>,
    signature: Vec<u8>,
    name: Vec<u8>,
    this_update: Vec<u8>,
    next_update: Vec<u8>,
    entries: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    der::encode(tag, &[content]).to_vec()
}

fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { value(BOOLEAN, &[0xff]) } else { Vec::new() };
    value(SEQUENCE, &[value(OBJECT_IDENTIFIER, oid), critical, value(OCTET_STRING, content)].concat())
}

const KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const NUMBER: &[u8] = &[0x55, 0x1d, 20];

/// ecdsa-with-SHA256, and with SHA384 (RFC 5758 section 3.2).
const SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SHA384: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const SHA1: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];

impl Sketch {
    fn new(issuer: &Holder) -> Self {
        let key_id = value(SEQUENCE, &value(0x80, issuer.certificate.subject_key_id().unwrap()));
        Self {
            version: value(INTEGER, &[1]),
            signature: value(SEQUENCE, SHA256),
            name: issuer.certificate.subject_der().to_vec(),
            this_update: value(0x17, b"261120110000Z"),
            next_update: value(0x17, b"261127110000Z"),
            entries: value(SEQUENCE, &entry(&[0x11], &[])),
            extensions: vec![extension(KEY_ID, false, &key_id), extension(NUMBER, false, &value(INTEGER, &[7]))],
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn tbs(&self) -> Vec<u8> {
        let extensions = match &self.extensions[..] {
            [] => Vec::new(),
            all => value(CONTEXT_0, &value(SEQUENCE, &all.concat())),
        };
        let Self { version, signature, name, this_update, next_update, entries, extensions: _ } = self;
        let parts = [version, signature, name, this_update, next_update, entries, &extensions];
        value(SEQUENCE, &parts.map(Vec::as_slice).concat())
    }

    fn signed(&self, issuer: &Holder) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = issuer.key.sign(&tbs).unwrap();
        let bits = value(der::BIT_STRING, &[&[0], signature.as_slice()].concat());
        value(SEQUENCE, &[tbs, self.signature.clone(), bits].concat())
    }
}

fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = if extensions.is_empty() { Vec::new() } else { value(SEQUENCE, &extensions.concat()) };
    value(SEQUENCE, &[value(INTEGER, serial), value(0x17, b"261120110000Z"), extensions].concat())
}

#[test]
fn each_fault_has_its_error() {
    use CrlError as E;
    let h = Hierarchy::new();
    let sketch = || Sketch::new(&h.issuer);
    let read = |sketch: Sketch| RevocationList::verify(&sketch.signed(&h.issuer), h.issuer.certificate.der(), &h.bundle);
    let good = read(sketch()).unwrap();
    assert!(good.contains(&"11".parse().unwrap()));
    let oid = |oid: &str| oid.to_owned();

    // What is not understood and not critical is left alone; so are reasons.
    let invalidity = extension(&[0x55, 0x1d, 24], false, &value(0x18, b"20261120110000Z"));
    let reason = |code: &[u8]| extension(&[0x55, 0x1d, 21], false, &value(0x0a, code));
    let freshest = extension(&[0x55, 0x1d, 46], false, &[5, 0]);
    for good in [
        sketch().with(|list| list.extensions.push(freshest.clone())),
        sketch().with(|list| list.entries = value(SEQUENCE, &entry(&[0x11], &[reason(&[1]), invalidity.clone()]))),
        sketch().with(|list| list.entries = Vec::new()),
        sketch().with(|list| list.next_update = value(0x18, b"20501127110000Z")),
    ] {
        assert!(read(good).is_ok());
    }

    let entries = |entries: Vec<u8>| sketch().with(|list| list.entries = value(SEQUENCE, &entries));
    let extended = |extension: Vec<u8>| sketch().with(|list| list.extensions.push(extension));
    let instead = |at: usize, extension: Vec<u8>| sketch().with(|list| list.extensions[at] = extension);
    let key_id = |content: &[u8]| instead(0, extension(KEY_ID, false, content));
    for (bad, error) in [
        (sketch().with(|list| list.version = Vec::new()), E::Version),
        (sketch().with(|list| list.version = value(INTEGER, &[2])), E::Version),
        (sketch().with(|list| list.signature = value(SEQUENCE, SHA1)), E::SignatureAlgorithm { oid: oid("1.2.840.10045.4.1") }),
        (
            sketch().with(|list| list.name = h.root.certificate.subject_der().to_vec()),
            E::OtherIssuer { issuer: "CN=issuer".to_owned() },
        ),
        (
            key_id(&value(SEQUENCE, &value(0x80, h.root.certificate.subject_key_id().unwrap()))),
            E::OtherIssuer { issuer: "CN=issuer".to_owned() },
        ),
        (sketch().with(|list| list.this_update = value(0x17, b"261320110000Z")), E::Date),
        (sketch().with(|list| list.this_update = value(0x18, b"19691231235959Z")), E::Date),
        (sketch().with(|list| list.next_update = Vec::new()), E::NextUpdateMissing),
        (
            sketch().with(|list| list.next_update = list.this_update.clone()),
            E::Updates { this_update: now(), next_update: now() },
        ),
        (entries(Vec::new()), E::EmptyEntries),
        (entries(entry(&[0x91], &[])), E::Serial(crate::SerialNumberError::Negative)),
        (entries(entry(&[0], &[])), E::Serial(crate::SerialNumberError::Zero)),
        (entries(entry(&[1; 21], &[])), E::Serial(crate::SerialNumberError::Length(21))),
        (entries(entry(&[1], &[reason(&[8])])), E::Delta),
        (entries(entry(&[1], &[reason(&[1, 1])])), E::MalformedExtension { oid: oid("2.5.29.21") }),
        (entries(entry(&[1], &[extension(&[0x55, 0x1d, 29], true, &[5, 0])])), E::Scope),
        (entries(entry(&[1], &[extension(&[0x2a, 3], true, &[5, 0])])), E::UnknownCriticalExtension { oid: oid("1.2.3") }),
        (entries(entry(&[1], &[reason(&[1]), reason(&[1])])), E::DuplicateExtension { oid: oid("2.5.29.21") }),
        (entries(value(SEQUENCE, &value(INTEGER, &[1]))), E::Der(DerError::Truncated)),
        (extended(extension(&[0x55, 0x1d, 27], true, &value(INTEGER, &[1]))), E::Delta),
        (extended(extension(&[0x55, 0x1d, 28], true, &[0x30, 0])), E::Scope),
        // An empty BIT STRING inside, at which a known parser panicked (RUSTSEC-2026-0104).
        (extended(extension(&[0x55, 0x1d, 28], true, &[0x30, 2, 0x83, 0])), E::Scope),
        (extended(extension(&[0x2a, 3], true, &[5, 0])), E::UnknownCriticalExtension { oid: oid("1.2.3") }),
        (extended(extension(NUMBER, false, &value(INTEGER, &[8]))), E::DuplicateExtension { oid: oid("2.5.29.20") }),
        (instead(1, extension(NUMBER, false, &value(INTEGER, &[0x80]))), E::MalformedExtension { oid: oid("2.5.29.20") }),
        (instead(1, extension(NUMBER, false, &value(INTEGER, &[1; 21]))), E::MalformedExtension { oid: oid("2.5.29.20") }),
        (key_id(&[5, 0]), E::MalformedExtension { oid: oid("2.5.29.35") }),
        (key_id(&[0x30, 0]), E::MissingExtension { name: "authorityKeyIdentifier with a key identifier" }),
        (
            sketch().with(|list| drop(list.extensions.remove(0))),
            E::MissingExtension { name: "authorityKeyIdentifier with a key identifier" },
        ),
        (sketch().with(|list| drop(list.extensions.pop())), E::MissingExtension { name: "cRLNumber" }),
        (sketch().with(|list| list.extensions.clear()), E::MissingExtension { name: "cRLNumber" }),
        (sketch().with(|list| list.entries.extend([5, 0])), E::Der(DerError::Trailing { bytes: list_rest(&h.issuer) })),
    ] {
        assert_eq!(read(bad).unwrap_err(), error);
    }
}

/// How many bytes stand behind the entries of a good sketch, with a NULL before them.
fn list_rest(issuer: &Holder) -> usize {
    2 + value(CONTEXT_0, &value(SEQUENCE, &Sketch::new(issuer).extensions.concat())).len()
}

#[test]
fn what_nobody_vouches_for_or_signed_is_refused() {
    use CrlError as E;
    let (h, other) = (Hierarchy::new(), Hierarchy::new());
    let der = list_of(&h.issuer, &[serial(1)]);
    let issuer = h.issuer.certificate.der();
    let verify = |der: &[u8], issuer: &[u8]| RevocationList::verify(der, issuer, &h.bundle).map(|_| ());
    assert_eq!(verify(&der, issuer), Ok(()));
    assert_eq!(RevocationList::verify(&der, issuer, &other.bundle), Err(E::UnknownIssuer { issuer: "CN=issuer".to_owned() }));
    // The same names, another hierarchy.
    let forged = list_of(&other.issuer, &[]);
    assert_eq!(verify(&forged, issuer), Err(E::OtherIssuer { issuer: "CN=issuer".to_owned() }));
    let same_names = Sketch::new(&h.issuer).signed(&other.issuer);
    assert_eq!(verify(&same_names, issuer), Err(E::Signature { issuer: "CN=issuer".to_owned() }));
    let leaf = Plan::leaf("spiffe://example.org/web").under(&h.issuer);
    assert_eq!(verify(&der, leaf.certificate.der()), Err(E::UnknownIssuer { issuer: leaf.certificate.subject() }));
    assert!(matches!(verify(&der, &issuer[1..]), Err(E::Issuer(_))));
    // A CA below one that may have none below itself.
    let last = Plan::authority("last")
        .with(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0)))
        .self_signed();
    let below = Plan::authority("below").under(&last);
    let bundle = crate::test_pki::bundle_of(&[&last]);
    assert!(RevocationList::verify(&list_of(&last, &[]), last.certificate.der(), &bundle).is_ok());
    let refused = RevocationList::verify(&list_of(&below, &[]), below.certificate.der(), &bundle);
    assert_eq!(refused, Err(E::UnknownIssuer { issuer: "CN=below".to_owned() }));

    assert_eq!(verify(&[&der[..], &[0]].concat(), issuer), Err(E::Der(DerError::Trailing { bytes: 1 })));
    assert_eq!(verify(&der[..der.len() - 1], issuer), Err(E::Der(DerError::Truncated)));
    assert_eq!(verify(&[], issuer), Err(E::Der(DerError::Truncated)));
    assert_eq!(verify(&vec![0; MAX_CRL_BYTES + 1], issuer), Err(E::TooLarge { found: MAX_CRL_BYTES + 1 }));
    // ecdsa-with-SHA384 inside, ecdsa-with-SHA256 outside.
    let mixed = Sketch::new(&h.issuer).with(|list| list.signature = value(SEQUENCE, SHA384)).tbs();
    let signature = h.issuer.key.sign(&mixed).unwrap();
    let bits = value(der::BIT_STRING, &[&[0], signature.as_slice()].concat());
    let mixed = value(SEQUENCE, &[mixed, value(SEQUENCE, SHA256), bits].concat());
    assert_eq!(verify(&mixed, issuer), Err(E::SignatureAlgorithmMismatch));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_changed_bytes_panic_and_none_verify(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let root = Plan::authority("root").with_key(
            PrivateKey::from_pem(include_bytes!("../../../testdata/ed25519-pkcs8.pem")).unwrap(),
        ).self_signed();
        let bundle = crate::test_pki::bundle_of(&[&root]);
        let good = list_of(&root, &[serial(1), serial(2)]);
        let mut der = good.clone();
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        let verified = RevocationList::verify(&der, root.certificate.der(), &bundle).is_ok();
        prop_assert_eq!(verified, der == good);
        let cut = cut.index(good.len());
        prop_assert!(RevocationList::verify(&good[..cut], root.certificate.der(), &bundle).is_err());
    }
}
