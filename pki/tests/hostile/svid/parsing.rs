//! Leaves that are no certificates that may be read: version, serial, algorithms, keys, extensions, signatures (RFC 5280 section
//! 4.1).

use x509_parser::num_bigint::BigUint;

use super::certificate::{ALTERNATIVE_NAMES, Made, Plan, extension};
use super::{Case, issuer, root};
use crate::der;
use crate::keys::{EC, ECDSA_SHA256, ED25519, RSA, RSA_SHA256, TestKey};

const TWIN: &str = "base";

/// A leaf, below the usual issuing CA.
fn chain(name: &str, about: &str, leaf: impl FnOnce(&Made) -> Vec<u8>, by: &str) -> Case {
    let root = root();
    let issuer = issuer(&root);
    super::bad(name, about, vec![leaf(&issuer), issuer.der], vec![root.der], &format!("SvidError::{by}"), TWIN)
}

fn unread(name: &str, about: &str, plan: Plan, why: &str) -> Case {
    chain(name, about, |issuer| plan.under(issuer).der, &format!("Certificate {{ Leaf, {why} }}"))
}

fn changed(change: impl FnOnce(&mut Plan)) -> Plan {
    Plan::leaf().with(change)
}

pub(super) fn cases() -> Vec<Case> {
    [fields(), algorithms(), keys(), extensions(), bytes(), signatures()].into_iter().flatten().collect()
}

fn fields() -> Vec<Case> {
    let version = |name, about, version| unread(name, about, changed(|plan| plan.version = version), "Version");
    let serial = |name, about, serial, by| unread(name, about, changed(|plan| plan.serial = serial), by);
    let identifier = |tag: u8| der::value(tag, &[0, 0x42]);
    vec![
        version("version-1", "no version, which means 1", Vec::new()),
        version("version-1-said", "version 1 said", der::of(0xa0, &[der::small(0)])),
        version("version-2", "version 2", der::of(0xa0, &[der::small(1)])),
        version("version-4", "version 4", der::of(0xa0, &[der::small(3)])),
        serial("serial-zero", "the serial 0", der::small(0), "Serial(Zero)"),
        serial("serial-negative", "a negative serial", vec![2, 1, 0x80], "Serial(Negative)"),
        serial("serial-21-bytes", "a serial of 21 bytes", der::unsigned(&[0x7f; 21]), "Serial(Length(21))"),
        serial("serial-padded", "a serial with a zero too many", vec![2, 2, 0, 1], "Der(NotCanonical)"),
        serial("serial-text", "text as the serial", der::value(der::UTF8_STRING, b"1"), "Der(Tag)"),
        unread(
            "issuer-id",
            "an issuer's unique identifier",
            changed(|plan| plan.before_extensions = identifier(0x81)),
            "UniqueIdentifier",
        ),
        unread(
            "subject-id",
            "a subject's unique identifier",
            changed(|plan| plan.before_extensions = identifier(0x82)),
            "UniqueIdentifier",
        ),
        unread(
            "subject-not-a-name",
            "a number in the subject",
            changed(|plan| plan.subject = der::sequence(&[der::small(1)])),
            "Der(Tag)",
        ),
        unread(
            "issuer-not-a-name",
            "a number in the issuer",
            changed(|plan| plan.issuer = Some(der::sequence(&[der::small(1)]))),
            "Der(Tag)",
        ),
        unread(
            "field-unknown",
            "a field that there is not",
            changed(|plan| plan.before_extensions = der::value(0x84, &[0])),
            "Der(Trailing)",
        ),
    ]
}

fn algorithms() -> Vec<Case> {
    let both = |name, about, algorithm: Vec<u8>| {
        let plan = changed(|plan| {
            plan.inner_algorithm = Some(algorithm.clone());
            plan.outer_algorithm = Some(algorithm);
        });
        unread(name, about, plan, "SignatureAlgorithm")
    };
    let identifier = |oid: &str, parameters: Vec<u8>| der::sequence(&[der::oid(oid), parameters]);
    let mismatch = |name, about, plan| unread(name, about, plan, "SignatureAlgorithmMismatch");
    vec![
        both("algorithm-md5", "MD5 with RSA", identifier("1.2.840.113549.1.1.4", der::null())),
        both("algorithm-sha1", "SHA-1 with RSA", identifier("1.2.840.113549.1.1.5", der::null())),
        both("algorithm-ecdsa-sha1", "SHA-1 with ECDSA", identifier("1.2.840.10045.4.1", Vec::new())),
        both("algorithm-pss", "RSASSA-PSS", identifier("1.2.840.113549.1.1.10", der::sequence(&[]))),
        both("algorithm-ml-dsa", "ML-DSA-65", identifier("2.16.840.1.101.3.4.3.18", Vec::new())),
        both("algorithm-none", "noSignature (RFC 9925)", identifier("1.3.6.1.5.5.7.6.36", Vec::new())),
        both("algorithm-parameters", "Ed25519 with parameters", identifier(ED25519, der::null())),
        mismatch(
            "algorithm-inner",
            "another algorithm inside",
            changed(|plan| plan.inner_algorithm = Some(identifier(ECDSA_SHA256, Vec::new()))),
        ),
        mismatch(
            "algorithm-outer",
            "another algorithm outside",
            changed(|plan| plan.outer_algorithm = Some(identifier(RSA_SHA256, der::null()))),
        ),
    ]
}

fn keys() -> Vec<Case> {
    let key = |name, about, algorithm: &[Vec<u8>], public: &[u8], by: &str| {
        let spki = der::sequence(&[der::sequence(algorithm), der::bits(public)]);
        unread(name, about, changed(|plan| plan.spki = spki), &format!("Key({by})"))
    };
    let rsa = |bits: u32, exponent: u32| {
        let modulus = (BigUint::from(1_u8) << (bits - 1)) + 1_u8;
        der::sequence(&[der::unsigned(&modulus.to_bytes_be()), der::small(exponent)])
    };
    let p256 = TestKey::p256().public;
    let curve = || der::oid("1.2.840.10045.3.1.7");
    vec![
        key("key-rsa-1024", "an RSA key of 1024 bits", &[der::oid(RSA), der::null()], &rsa(1024, 65537), "RsaBits"),
        key("key-rsa-e-3", "an RSA key with e = 3", &[der::oid(RSA), der::null()], &rsa(2048, 3), "RsaExponent"),
        key("key-p521", "a key on P-521", &[der::oid(EC), der::oid("1.3.132.0.35")], &[4; 133], "Curve"),
        key(
            "key-explicit-curve",
            "a curve spelled out",
            &[der::oid(EC), der::sequence(&[der::small(1)])],
            &p256,
            "CurveNotNamed",
        ),
        key(
            "key-off-curve",
            "a point beside its curve",
            &[der::oid(EC), curve()],
            &[&p256[..64], &[p256[64] ^ 1]].concat(),
            "PointNotOnCurve",
        ),
        key("key-compressed", "a compressed point", &[der::oid(EC), curve()], &[&[2][..], &p256[1..33]].concat(), "PointForm"),
        key(
            "key-small-order",
            "an Ed25519 point of small order",
            &[der::oid(ED25519)],
            &[&[1][..], &[0; 31]].concat(),
            "Ed25519SmallOrder",
        ),
        key("key-ed448", "an Ed448 key", &[der::oid("1.3.101.113")], &[0x42; 57], "Algorithm"),
        key("key-ml-dsa", "an ML-DSA-65 key", &[der::oid("2.16.840.1.101.3.4.3.18")], &[0x42; 1952], "Algorithm"),
    ]
}

fn extensions() -> Vec<Case> {
    let plan = Plan::leaf();
    let encoded: Vec<_> = plan.extensions.iter().map(|(oid, critical, content)| extension(oid, *critical, content)).collect();
    let list = |more: &[Vec<u8>]| der::of(0xa3, &[der::sequence(&[&encoded[..], more].concat())]);
    let raw =
        |name, about, extensions: Vec<u8>, by| unread(name, about, changed(|plan| plan.raw_extensions = Some(extensions)), by);
    let content =
        |name, about, oid, content: &[u8]| unread(name, about, Plan::leaf().extension(oid, true, content), "MalformedExtension");
    let names = extension(ALTERNATIVE_NAMES, true, &der::sequence(&[super::certificate::uri("spiffe://example.org/admin")]));
    let unknown = || extension("1.2.3.4", false, &der::null());
    let tail = der::sequence(&[der::oid("1.2.3.4"), der::octets(&[]), der::null()]);
    vec![
        raw("names-extension-twice", "alternative names twice", list(&[names]), "DuplicateExtension"),
        raw("unknown-extension-twice", "an unknown extension twice", list(&[unknown(), unknown()]), "DuplicateExtension"),
        raw("extension-tail", "a NULL behind an extension's value", list(&[tail]), "Der(Trailing)"),
        raw("extension-number", "a number among the extensions", list(&[der::small(1)]), "Der(Tag)"),
        raw(
            "extension-no-value",
            "an extension without a value",
            list(&[der::sequence(&[der::oid("1.2.3.4")])]),
            "Der(Truncated)",
        ),
        raw("extensions-twice", "two lists of extensions", list(&[]).repeat(2), "Der(Trailing)"),
        raw("extensions-set", "extensions in a SET", der::of(0xa3, &[der::set(&encoded)]), "Der(Tag)"),
        raw(
            "extension-critical-one",
            "critical said in BER",
            list(&[der::sequence(&[der::oid("1.2.3.4"), vec![1, 1, 1], der::octets(&[])])]),
            "Der(NotCanonical)",
        ),
        content(
            "names-tail",
            "a NULL behind the names",
            ALTERNATIVE_NAMES,
            &[der::sequence(&[super::certificate::uri(super::certificate::ID)]), der::null()].concat(),
        ),
        content("names-no-der", "alternative names that are no DER", ALTERNATIVE_NAMES, &[0xff; 8]),
        content("usage-no-der", "a keyUsage that is no DER", super::certificate::KEY_USAGE, &[0xff; 8]),
        content("constraints-no-der", "basicConstraints that are no DER", super::certificate::BASIC_CONSTRAINTS, &[0xff; 8]),
        chain(
            "extensions-none",
            "no extensions",
            |issuer| changed(|plan| plan.raw_extensions = Some(Vec::new())).under(issuer).der,
            "UriSanCount",
        ),
    ]
}

fn bytes() -> Vec<Case> {
    let base = |issuer: &Made| Plan::leaf().under(issuer).der;
    let unread = |name, about, change: &dyn Fn(Vec<u8>) -> Vec<u8>, by| {
        chain(name, about, |issuer| change(base(issuer)), &format!("Certificate {{ Leaf, {by} }}"))
    };
    vec![
        unread("der-empty", "no bytes", &|_| Vec::new(), "Der(Truncated)"),
        unread("der-trailing", "a byte behind it", &|der| [&der[..], &[0]].concat(), "Der(Trailing)"),
        unread("der-two", "two leaves as one", &|der| der.repeat(2), "Der(Trailing)"),
        unread("der-cut", "its last byte is missing", &|der| der[..der.len() - 1].to_vec(), "Der(Truncated)"),
        unread(
            "der-indefinite",
            "an indefinite length",
            &|der| [&[0x30, 0x80][..], &der[4..], &[0, 0]].concat(),
            "Der(IndefiniteLength)",
        ),
        unread("der-length", "a length with a zero in front", &|der| [&[0x30, 0x83, 0][..], &der[2..]].concat(), "Der(Length)"),
        unread("der-deep", "values nested some thousand deep", &|_| der::nested(1000), "Der(Depth)"),
        unread("der-text", "PEM where DER is read", &|_| b"-----BEGIN CERTIFICATE-----".to_vec(), "Der(Truncated)"),
        unread("der-large", "more than 32 KiB", &|_| der::sequence(&[der::octets(&[0; 32 * 1024])]), "TooLarge"),
    ]
}

fn signatures() -> Vec<Case> {
    let signature = |name, about, bits: Vec<u8>, by| {
        chain(name, about, |issuer| changed(|plan| plan.signature = Some(bits)).under(issuer).der, by)
    };
    let other = |issuer: &Made| {
        let stranger = Plan::authority("stranger").self_signed();
        changed(|plan| plan.issuer = Some(issuer.subject.clone())).under(&stranger).der
    };
    let wrong = "Signature";
    let by_curve = |name, about, bits: Vec<u8>| {
        let root = root();
        let issuer = Plan::authority("curve").key(TestKey::p256()).under(&root);
        let leaf = changed(|plan| plan.signature = Some(bits)).under(&issuer);
        super::bad(name, about, vec![leaf.der, issuer.der], vec![root.der], "SvidError::Signature", "issuer-p256")
    };
    let zero = || der::small(0);
    let root = root();
    let curve = Plan::authority("curve").key(TestKey::p256()).under(&root);
    let below_curve = Plan::leaf().under(&curve);
    vec![
        super::good("issuer-p256", "an issuing CA with a key on P-256", vec![below_curve.der, curve.der], vec![root.der]),
        chain("signature-of-another", "signed by somebody else in the issuer's name", other, wrong),
        signature("signature-zeros", "64 zeros", der::bits(&[0; 64]), wrong),
        signature("signature-empty", "no signature", der::bits(&[]), wrong),
        signature("signature-short", "63 bytes", der::bits(&[0x42; 63]), wrong),
        signature("signature-octets", "an OCTET STRING", der::octets(&[0; 64]), "Certificate { Leaf, Der(Tag) }"),
        signature(
            "signature-unused-bits",
            "unused bits",
            der::value(der::BIT_STRING, &[&[1][..], &[0; 64]].concat()),
            "Certificate { Leaf, Der(NotCanonical) }",
        ),
        by_curve("signature-ecdsa-zeros", "r = s = 0 (CVE-2022-21449)", der::bits(&der::sequence(&[zero(), zero()]))),
        by_curve("signature-ecdsa-order", "r = s = n", {
            let order = || der::unsigned(&TestKey::p256().order().to_bytes_be());
            der::bits(&der::sequence(&[order(), order()]))
        }),
    ]
}
