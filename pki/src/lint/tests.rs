//! Each lint has a certificate that trips it alone, made by changing one thing in a clean one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::der::{self, BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};
use crate::unsigned::signature_algorithm_der;
use crate::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, PublicKeyAlgorithm, ReplicaByte,
    SERIAL_RANDOM_BYTES, SerialNumber, Timestamp, prepare_authority, prepare_leaf,
};

/// 2026-11-20T11:00:00Z.
const NOW_SECONDS: u64 = 1_795_172_400;
const ID: &str = "spiffe://example.org/web";

const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];

const URI: u8 = 0x86;
const DNS: u8 = 0x82;
const IP: u8 = 0x87;
const EMAIL: u8 = 0x81;

/// A certificate taken apart, to be put together with one part changed.
#[derive(Clone)]
struct Draft {
    version: u8,
    serial: Vec<u8>,
    inner_algorithm: Vec<u8>,
    outer_algorithm: Vec<u8>,
    issuer: Vec<u8>,
    not_before: Vec<u8>,
    not_after: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    unique_ids: Vec<u8>,
    extensions: Vec<Extension>,
}

#[derive(Clone)]
struct Extension {
    oid: Vec<u8>,
    critical: bool,
    value: Vec<u8>,
}

impl Draft {
    fn of(certificate: &Certificate, not_before: &str, not_after: &str) -> Self {
        let id = SpiffeId::parse(ID).unwrap();
        let input = Input::parse(certificate.der(), None, Names::Leaf(&id)).unwrap().certificate;
        let algorithm = signature_algorithm_der(PublicKeyAlgorithm::EcdsaP256);
        let extension = |extension: &x509_parser::extensions::X509Extension<'_>| Extension {
            oid: extension.oid.as_bytes().to_vec(),
            critical: extension.critical,
            value: extension.value.to_vec(),
        };
        Self {
            version: 2,
            serial: input.tbs_certificate.raw_serial().to_vec(),
            inner_algorithm: algorithm.clone(),
            outer_algorithm: algorithm,
            issuer: input.issuer().as_raw().to_vec(),
            not_before: utc_time(not_before),
            not_after: utc_time(not_after),
            subject: input.subject().as_raw().to_vec(),
            spki: input.public_key().raw.to_vec(),
            unique_ids: Vec::new(),
            extensions: input.extensions().iter().map(extension).collect(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let version = der::encode(0xa0, &[&der::encode(INTEGER, &[&[self.version]])]);
        let serial = der::encode(INTEGER, &[&self.serial]);
        let validity = der::encode(SEQUENCE, &[&self.not_before, &self.not_after]);
        let extensions: Vec<Vec<u8>> = self.extensions.iter().map(Extension::der).collect();
        let extensions = der::encode(0xa3, &[&der::encode(SEQUENCE, &[&extensions.concat()])]);
        let parts: [&[u8]; 9] = [
            &version,
            &serial,
            &self.inner_algorithm,
            &self.issuer,
            &validity,
            &self.subject,
            &self.spki,
            &self.unique_ids,
            &extensions,
        ];
        let tbs = der::encode(SEQUENCE, &parts);
        let signature = der::encode(BIT_STRING, &[&[0, 0x30, 0]]);
        der::encode(SEQUENCE, &[&tbs, &self.outer_algorithm, &signature]).to_vec()
    }

    fn extension(&mut self, oid: &[u8]) -> &mut Extension {
        self.extensions.iter_mut().find(|extension| extension.oid == oid).unwrap()
    }

    fn set(&mut self, oid: &[u8], value: Vec<u8>) {
        self.extension(oid).value = value;
    }

    fn remove(&mut self, oid: &[u8]) {
        let before = self.extensions.len();
        self.extensions.retain(|extension| extension.oid != oid);
        assert_eq!(self.extensions.len(), before - 1);
    }

    fn add(&mut self, oid: &[u8], value: Vec<u8>) {
        self.extensions.push(Extension { oid: oid.to_vec(), critical: false, value });
    }
}

impl Extension {
    fn der(&self) -> Vec<u8> {
        let critical: &[u8] = if self.critical { &[0x01, 0x01, 0xff] } else { &[] };
        let oid = der::encode(OBJECT_IDENTIFIER, &[&self.oid]);
        der::encode(SEQUENCE, &[&oid, critical, &der::encode(OCTET_STRING, &[&self.value])]).to_vec()
    }
}

fn utc_time(text: &str) -> Vec<u8> {
    der::encode(0x17, &[text.as_bytes()]).to_vec()
}

fn generalized_time(text: &str) -> Vec<u8> {
    der::encode(0x18, &[text.as_bytes()]).to_vec()
}

fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names.iter().map(|(tag, name)| der::encode(*tag, &[name]).to_vec()).collect();
    der::encode(SEQUENCE, &[&names.concat()]).to_vec()
}

fn purposes(oids: &[&[u8]]) -> Vec<u8> {
    let oids: Vec<Vec<u8>> = oids.iter().map(|oid| der::encode(OBJECT_IDENTIFIER, &[oid]).to_vec()).collect();
    der::encode(SEQUENCE, &[&oids.concat()]).to_vec()
}

/// A keyUsage from its first byte, digitalSignature being the highest bit.
fn usage(bits: u8) -> Vec<u8> {
    let unused = u8::try_from(bits.trailing_zeros()).unwrap();
    if bits == 0 { vec![0x03, 0x01, 0x00] } else { vec![0x03, 0x02, unused, bits] }
}

fn key_id_reference(key_id: &[u8]) -> Vec<u8> {
    der::encode(SEQUENCE, &[&der::encode(0x80, &[key_id])]).to_vec()
}

fn serial(byte: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).unwrap(), [byte; SERIAL_RANDOM_BYTES])
}

/// A root, an issuing CA and a leaf as this crate makes them (unsigned: lints do not verify).
struct Made {
    root: Certificate,
    issuer: Certificate,
    leaf: Certificate,
}

fn made() -> Made {
    let trust_domain = domain();
    let key = || PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap().public_key().clone();
    let [root_key, issuer_key, leaf_key] = [key(), key(), key()];
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let spec = |role, public_key, lifetime, byte| AuthoritySpec {
        role,
        trust_domain: &trust_domain,
        public_key,
        lifetime,
        serial: serial(byte),
        now: Timestamp::from_unix_seconds(NOW_SECONDS),
    };
    let root = prepare_authority(&spec(AuthorityRole::Root, &root_key, days(730), 1), None).unwrap();
    let root = root.dummy_signed().clone();
    let issuer = prepare_authority(&spec(AuthorityRole::Issuer, &issuer_key, days(365), 2), Some(&root)).unwrap();
    let issuer = issuer.dummy_signed().clone();
    let hour = Duration::from_secs(3600);
    let request = LeafRequest {
        id: &SpiffeId::parse(ID).unwrap(),
        dns_names: &["web.local".parse().unwrap()],
        ip_addresses: &[[10, 0, 0, 1].into()],
        public_key: &leaf_key,
        ttl: None,
        serial: serial(3),
        now: Timestamp::from_unix_seconds(NOW_SECONDS),
    };
    let leaf = prepare_leaf(&LeafProfile::new(hour, hour).unwrap(), &request, &issuer).unwrap().dummy_signed().clone();
    Made { root, issuer, leaf }
}

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn leaf_findings(der: &[u8], id: &str, issuer: &Certificate) -> Vec<&'static str> {
    let id = SpiffeId::parse(id).unwrap();
    let sets = [shared::LINTS, shared::ISSUED_LINTS, leaf::LINTS];
    run(&sets, der, Some(issuer), Names::Leaf(&id)).into_iter().map(|finding| finding.lint).collect()
}

fn authority_findings(der: &[u8], issuer: Option<&Certificate>) -> Vec<&'static str> {
    let sets = authority_sets(issuer.map_or(AuthorityRole::Root, |_| AuthorityRole::Issuer));
    run(&sets, der, issuer, Names::Authority(&domain())).into_iter().map(|finding| finding.lint).collect()
}

/// Lint, the identity expected, and the change that trips it.
type LeafCase = (&'static str, &'static str, fn(&mut Draft, &Made));

const LEAF_CASES: &[LeafCase] = &[
    ("version_3", ID, |d, _| d.version = 1),
    ("serial_positive", ID, |d, _| d.serial = vec![0x80; 18]),
    ("serial_not_too_long", ID, |d, _| d.serial = vec![1; 21]),
    ("serial_not_too_short", ID, |d, _| d.serial = vec![1; 8]),
    ("signature_algorithms_agree", ID, |d, _| {
        d.outer_algorithm = signature_algorithm_der(PublicKeyAlgorithm::EcdsaP384);
    }),
    ("signature_algorithm_of_issuer_key", ID, |d, _| {
        d.outer_algorithm = signature_algorithm_der(PublicKeyAlgorithm::EcdsaP384);
        d.inner_algorithm = d.outer_algorithm.clone();
    }),
    ("validity_in_order", ID, |d, _| d.not_before = d.not_after.clone()),
    ("validity_time_form", ID, |d, _| d.not_before = generalized_time("20261120105900Z")),
    ("no_unique_identifiers", ID, |d, _| d.unique_ids = vec![0x81, 0x02, 0x00, 0xff]),
    ("extensions_unique", ID, |d, _| {
        let again = d.extension(SUBJECT_KEY_ID).clone();
        d.extensions.push(again);
    }),
    ("public_key_allowed", ID, |d, _| *d.spki.last_mut().unwrap() ^= 1),
    ("subject_key_identifier_present", ID, |d, _| d.remove(SUBJECT_KEY_ID)),
    ("subject_key_identifier_not_critical", ID, |d, _| d.extension(SUBJECT_KEY_ID).critical = true),
    ("subject_key_identifier_length", ID, |d, _| d.set(SUBJECT_KEY_ID, vec![0x04, 0x02, 1, 2])),
    ("authority_key_identifier_not_critical", ID, |d, _| d.extension(AUTHORITY_KEY_ID).critical = true),
    ("authority_key_identifier_by_key_only", ID, |d, made| {
        let key_id = der::encode(0x80, &[made.issuer.subject_key_id().unwrap()]);
        d.set(AUTHORITY_KEY_ID, der::encode(SEQUENCE, &[&key_id, &[0x82, 1, 1]]).to_vec());
    }),
    ("key_usage_present", ID, |d, _| d.remove(KEY_USAGE)),
    ("key_usage_critical", ID, |d, _| d.extension(KEY_USAGE).critical = false),
    ("basic_constraints_present", ID, |d, _| d.remove(BASIC_CONSTRAINTS)),
    ("basic_constraints_critical", ID, |d, _| d.extension(BASIC_CONSTRAINTS).critical = false),
    ("subject_alternative_name_present", ID, |d, _| d.remove(SUBJECT_ALT_NAME)),
    ("one_uri_name", ID, |d, _| d.set(SUBJECT_ALT_NAME, names(&[(URI, ID.as_bytes()), (URI, ID.as_bytes())]))),
    ("one_uri_name", ID, |d, _| d.set(SUBJECT_ALT_NAME, names(&[(DNS, b"web.local")]))),
    ("issuer_name_is_issuers_subject", ID, |d, made| d.issuer = made.root.subject_der().to_vec()),
    ("authority_key_identifier_present", ID, |d, _| d.remove(AUTHORITY_KEY_ID)),
    ("authority_key_identifier_is_issuers", ID, |d, _| d.set(AUTHORITY_KEY_ID, key_id_reference(&[7; 20]))),
    ("begins_within_issuer", ID, |d, _| d.not_before = utc_time("261120104959Z")),
    ("ends_within_issuer", ID, |d, _| {
        d.not_before = utc_time("271119110000Z");
        d.not_after = utc_time("271120110000Z");
    }),
    ("key_is_not_the_issuers", ID, |d, made| d.spki = made.issuer.public_key().spki_der().to_vec()),
    ("leaf_known_extensions_only", ID, |d, _| d.add(&[0x2a, 3, 4], vec![0x05, 0x00])),
    ("leaf_subject_empty", ID, |d, made| d.subject = made.root.subject_der().to_vec()),
    ("leaf_san_critical", ID, |d, _| d.extension(SUBJECT_ALT_NAME).critical = false),
    ("leaf_id_expected", "spiffe://example.org/api", |_, _| ()),
    ("leaf_id_has_path", "spiffe://example.org", |d, _| {
        d.set(SUBJECT_ALT_NAME, names(&[(URI, b"spiffe://example.org")]));
    }),
    ("leaf_of_issuers_trust_domain", "spiffe://other.org/web", |d, _| {
        d.set(SUBJECT_ALT_NAME, names(&[(URI, b"spiffe://other.org/web")]));
    }),
    ("leaf_san_kinds", ID, |d, _| d.set(SUBJECT_ALT_NAME, names(&[(URI, ID.as_bytes()), (EMAIL, b"a@b.org")]))),
    ("leaf_dns_names_valid", ID, |d, _| d.set(SUBJECT_ALT_NAME, names(&[(URI, ID.as_bytes()), (DNS, b"*.b.org")]))),
    ("leaf_ip_addresses_valid", ID, |d, _| d.set(SUBJECT_ALT_NAME, names(&[(URI, ID.as_bytes()), (IP, &[1; 5])]))),
    ("leaf_san_distinct", ID, |d, _| {
        d.set(SUBJECT_ALT_NAME, names(&[(URI, ID.as_bytes()), (DNS, b"b.org"), (DNS, b"b.org")]));
    }),
    ("leaf_not_ca", ID, |d, _| d.set(BASIC_CONSTRAINTS, vec![0x30, 0x03, 0x01, 0x01, 0xff])),
    ("leaf_no_path_length", ID, |d, _| d.set(BASIC_CONSTRAINTS, vec![0x30, 0x03, 0x02, 0x01, 0x00])),
    ("leaf_digital_signature", ID, |d, _| d.set(KEY_USAGE, usage(0))),
    ("leaf_no_cert_sign", ID, |d, _| d.set(KEY_USAGE, usage(0x84))),
    ("leaf_no_crl_sign", ID, |d, _| d.set(KEY_USAGE, usage(0x82))),
    ("leaf_no_other_usage", ID, |d, _| d.set(KEY_USAGE, usage(0xa0))),
    ("leaf_extended_key_usage_present", ID, |d, _| d.remove(EXTENDED_KEY_USAGE)),
    ("leaf_server_auth", ID, |d, _| d.set(EXTENDED_KEY_USAGE, purposes(&[CLIENT_AUTH]))),
    ("leaf_client_auth", ID, |d, _| d.set(EXTENDED_KEY_USAGE, purposes(&[SERVER_AUTH]))),
    ("leaf_no_other_purpose", ID, |d, _| {
        d.set(EXTENDED_KEY_USAGE, purposes(&[SERVER_AUTH, CLIENT_AUTH, ANY_PURPOSE]));
    }),
    ("leaf_life_bounded", ID, |d, _| d.not_after = utc_time("270218110000Z")),
];

/// Lint and the change to an issuing CA's certificate that trips it.
type AuthorityCase = (&'static str, fn(&mut Draft, &Made));

const ISSUER_CASES: &[AuthorityCase] = &[
    ("authority_known_extensions_only", |d, _| d.add(EXTENDED_KEY_USAGE, purposes(&[SERVER_AUTH]))),
    ("authority_is_ca", |d, _| d.set(BASIC_CONSTRAINTS, vec![0x30, 0x00])),
    ("authority_cert_sign", |d, _| d.set(KEY_USAGE, usage(0x02))),
    ("authority_crl_sign", |d, _| d.set(KEY_USAGE, usage(0x04))),
    ("authority_no_other_usage", |d, _| d.set(KEY_USAGE, usage(0x86))),
    ("authority_id_is_trust_domain", |d, _| d.set(SUBJECT_ALT_NAME, names(&[(URI, ID.as_bytes())]))),
    ("authority_names_only_itself", |d, _| {
        d.set(SUBJECT_ALT_NAME, names(&[(URI, b"spiffe://example.org"), (DNS, b"ca.local")]));
    }),
    ("authority_subject_unique", |d, _| *d.serial.last_mut().unwrap() ^= 1),
    ("issuer_path_length_zero", |d, _| d.set(BASIC_CONSTRAINTS, vec![0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x01])),
    ("issuer_path_length_zero", |d, _| d.set(BASIC_CONSTRAINTS, vec![0x30, 0x03, 0x01, 0x01, 0xff])),
    ("issuer_not_self_issued", |d, made| {
        d.subject = d.issuer.clone();
        d.serial = made.root.serial().as_bytes().to_vec();
    }),
];

const ROOT_CASES: &[AuthorityCase] = &[
    ("root_no_path_length", |d, _| d.set(BASIC_CONSTRAINTS, vec![0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x01])),
    ("root_names_itself", |d, made| d.issuer = made.issuer.subject_der().to_vec()),
    ("root_key_identifiers_agree", |d, _| d.set(AUTHORITY_KEY_ID, key_id_reference(&[7; 20]))),
];

#[test]
fn each_lint_is_tripped_alone() {
    let made = made();
    let leaf = Draft::of(&made.leaf, "261120105900Z", "261120115959Z");
    let issuer = Draft::of(&made.issuer, "261120105000Z", "271120105959Z");
    let root = Draft::of(&made.root, "261120105000Z", "281119105959Z");
    // The passing twins.
    assert_eq!(leaf_findings(&leaf.der(), ID, &made.issuer), [""; 0]);
    assert_eq!(authority_findings(&issuer.der(), Some(&made.root)), [""; 0]);
    assert_eq!(authority_findings(&root.der(), None), [""; 0]);

    for (lint, id, change) in LEAF_CASES {
        let mut draft = leaf.clone();
        change(&mut draft, &made);
        assert_eq!(leaf_findings(&draft.der(), id, &made.issuer), [*lint]);
    }
    for (lint, change) in ISSUER_CASES {
        let mut draft = issuer.clone();
        change(&mut draft, &made);
        assert_eq!(authority_findings(&draft.der(), Some(&made.root)), [*lint]);
    }
    for (lint, change) in ROOT_CASES {
        let mut draft = root.clone();
        change(&mut draft, &made);
        assert_eq!(authority_findings(&draft.der(), None), [*lint]);
    }
}

#[test]
fn every_lint_has_a_case_and_a_name_of_its_own() {
    let sets =
        [shared::LINTS, shared::ISSUED_LINTS, leaf::LINTS, authority::LINTS, authority::ROOT_LINTS, authority::ISSUER_LINTS];
    let all: Vec<&str> = sets.iter().flat_map(|set| set.iter()).map(|lint| lint.name).collect();
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
    let leaf_cases = LEAF_CASES.iter().map(|(lint, _, _)| *lint);
    let cases: BTreeSet<&str> = leaf_cases.chain(ISSUER_CASES.iter().chain(ROOT_CASES).map(|(lint, _)| *lint)).collect();
    assert_eq!(cases, distinct);
}

#[test]
fn what_does_not_parse_is_a_finding() {
    let made = made();
    let clean = Draft::of(&made.leaf, "261120105900Z", "261120115959Z");
    let mut broken_extension = clean.clone();
    broken_extension.set(KEY_USAGE, vec![0xff]);
    let trailing = [clean.der(), vec![0]].concat();
    for der in [Vec::new(), vec![0x30], trailing, broken_extension.der()] {
        assert_eq!(leaf_findings(&der, ID, &made.issuer), ["certificate_parses"]);
    }
}
