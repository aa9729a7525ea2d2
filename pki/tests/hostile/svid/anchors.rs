//! Bundles that must not be loaded, and authorities that vouch for nothing.

use x509_parser::num_bigint::BigUint;

use super::certificate::{
    ALTERNATIVE_NAMES, BASIC_CONSTRAINTS, CLIENT_AUTH, DAY, KEY_USAGE, Made, NAME_CONSTRAINTS, NO_REVOCATION, PURPOSES, Plan,
    SERVER_AUTH, uri,
};
use super::{Case, NOW, good, issuer, root};
use crate::der;
use crate::keys::{RSA, TestKey};

pub(super) fn cases() -> Vec<Case> {
    [refused_bundles(), admitted(), dates(), limits()].into_iter().flatten().collect()
}

/// A leaf straight below `root`.
fn below(root: &Made) -> Vec<Vec<u8>> {
    vec![Plan::leaf().under(root).der]
}

fn plan() -> Plan {
    Plan::authority("root")
}

fn bad(name: &str, about: &str, root: Plan, by: &str, twin: &str) -> Case {
    let root = root.self_signed();
    super::bad(name, about, below(&root), vec![root.der], by, twin)
}

fn refused_bundles() -> Vec<Case> {
    let anchor =
        |name, about, plan: Plan, why: &str| bad(name, about, plan, &format!("BundleError::Anchor {{ {why} }}"), "chain-direct");
    let unread = |name, about, plan: Plan, why: &str| {
        bad(name, about, plan, &format!("BundleError::Unreadable {{ {why} }}"), "chain-direct")
    };
    let key_usage = |bits: &[u8]| plan().extension(KEY_USAGE, true, &der::value(der::BIT_STRING, bits));
    let rsa = |bits: u32, exponent: u32| {
        let modulus = (BigUint::from(1_u8) << (bits - 1)) + 1_u8;
        let key = der::sequence(&[der::unsigned(&modulus.to_bytes_be()), der::small(exponent)]);
        let spki = der::sequence(&[der::sequence(&[der::oid(RSA), der::null()]), der::bits(&key)]);
        plan().with(|plan| plan.spki = spki)
    };
    let algorithm = |oid: &str| {
        let algorithm = der::sequence(&[der::oid(oid), der::null()]);
        plan().with(|plan| {
            plan.inner_algorithm = Some(algorithm.clone());
            plan.outer_algorithm = Some(algorithm);
        })
    };
    let root = root();
    let leaf = Plan::leaf().under(&issuer(&root));
    let whole = |name, about, bundle: Vec<Vec<u8>>, by: &str| {
        super::bad(name, about, vec![leaf.der.clone(), issuer(&root).der], bundle, &format!("BundleError::{by}"), "base")
    };
    let many: Vec<_> = (0..65).map(|number| Plan::authority(&format!("root {number}")).self_signed().der).collect();
    vec![
        anchor("anchor-not-ca", "a root that is no CA", plan().extension(BASIC_CONSTRAINTS, true, &der::sequence(&[])), "NotCa"),
        anchor("anchor-no-constraints", "a root without basicConstraints", plan().without(BASIC_CONSTRAINTS), "NotCa"),
        anchor(
            "anchor-constraints-not-critical",
            "a root whose basicConstraints is not critical",
            plan().extension(BASIC_CONSTRAINTS, false, &der::sequence(&[der::boolean(true)])),
            "BasicConstraintsNotCritical",
        ),
        anchor("anchor-no-usage", "a root without keyUsage", plan().without(KEY_USAGE), "KeyCertSignMissing"),
        anchor("anchor-no-cert-sign", "a root that may sign revocations alone", key_usage(&[1, 0x02]), "KeyCertSignMissing"),
        anchor(
            "anchor-purpose",
            "a root for code signing",
            plan().extension(PURPOSES, false, &der::sequence(&[der::oid("1.3.6.1.5.5.7.3.3")])),
            "ExtendedKeyUsage",
        ),
        anchor(
            "anchor-unknown-critical",
            "a root with an unknown critical extension",
            plan().extension("1.2.3.4", true, &der::null()),
            "UnknownCriticalExtension",
        ),
        anchor(
            "anchor-no-subject",
            "a root without a subject",
            plan().with(|plan| plan.subject = der::sequence(&[])),
            "EmptySubject",
        ),
        anchor(
            "anchor-other-trust-domain",
            "a root of another trust domain",
            plan().named(&[uri("spiffe://other.org")]),
            "UriSan",
        ),
        anchor("anchor-workload", "a root with a workload's ID", plan().named(&[uri("spiffe://example.org/web")]), "UriSan"),
        anchor(
            "anchor-no-revocation",
            "a root with noRevAvail (RFC 9608)",
            plan().extension(NO_REVOCATION, false, &der::null()),
            "NoRevocationAvailable",
        ),
        unread("anchor-version-1", "a root of version 1", plan().with(|plan| plan.version = Vec::new()), "Version"),
        unread("anchor-serial-zero", "a root with the serial 0", plan().with(|plan| plan.serial = der::small(0)), "Serial(Zero)"),
        unread(
            "anchor-serial-long",
            "a root with a serial of 21 bytes",
            plan().with(|plan| plan.serial = der::unsigned(&[0x7f; 21])),
            "Serial(Length(21))",
        ),
        unread("anchor-rsa-1024", "a root with an RSA key of 1024 bits", rsa(1024, 65537), "Key(RsaBits)"),
        unread("anchor-rsa-e-3", "a root with e = 3", rsa(2048, 3), "Key(RsaExponent)"),
        unread("anchor-sha1", "a root signed with SHA-1", algorithm("1.2.840.113549.1.1.5"), "SignatureAlgorithm"),
        unread("anchor-md5", "a root signed with MD5", algorithm("1.2.840.113549.1.1.4"), "SignatureAlgorithm"),
        unread("anchor-dates-turned", "a root that ends before it begins", plan().valid(NOW, NOW - 1), "Validity"),
        unread(
            "anchor-extension-twice",
            "a root with an extension twice",
            plan().with(|plan| {
                let twice = [plan.extensions.clone(), plan.extensions[..1].to_vec()].concat();
                plan.extensions = twice;
            }),
            "DuplicateExtension",
        ),
        whole("bundle-empty", "no authority", Vec::new(), "Count"),
        whole("bundle-of-65", "more authorities than a bundle holds", many, "Count"),
        whole("bundle-twice", "one root twice", vec![root.der.clone(), root.der.clone()], "Duplicate"),
        whole("bundle-of-a-leaf", "a leaf as an anchor (CVE-2024-2048)", vec![leaf.der.clone()], "Anchor { NotCa }"),
        whole("bundle-with-a-leaf", "a leaf beside the root", vec![root.der.clone(), leaf.der.clone()], "Anchor { NotCa }"),
        whole(
            "bundle-with-garbage",
            "bytes that are no certificate beside the root",
            vec![root.der.clone(), vec![0x30, 0]],
            "Unreadable { Der(Truncated) }",
        ),
    ]
}

fn admitted() -> Vec<Case> {
    let root = root();
    let issuer = issuer(&root);
    let chain = || vec![Plan::leaf().under(&issuer).der, issuer.der.clone()];
    let same_name = plan().key(TestKey::ed25519("another root")).self_signed();
    let nameless = plan().without(ALTERNATIVE_NAMES).self_signed();
    let many: Vec<_> = (1..64).map(|number| Plan::authority(&format!("root {number}")).self_signed().der).collect();
    let other_domain = |name, about, twin: &str| {
        let root = Plan::authority("root").without(ALTERNATIVE_NAMES).self_signed();
        let case = super::bad(name, about, below(&root), vec![root.der], "SvidError::TrustDomain", twin);
        case.with(|case| case.trust_domain = "other.org".to_owned())
    };
    vec![
        good("bundle-of-64", "as many authorities as a bundle holds", chain(), [many, vec![root.der.clone()]].concat()),
        good(
            "bundle-same-name",
            "two roots of one name, ours the second",
            chain(),
            vec![same_name.der.clone(), root.der.clone()],
        ),
        good("anchor-no-names", "a root without alternative names", below(&nameless), vec![nameless.der.clone()]),
        good("anchor-kept", "the bundle changed, our root still in it", chain(), vec![root.der.clone()])
            .with(|case| case.later_bundle = Some(vec![same_name.der.clone(), root.der.clone()])),
        super::bad(
            "anchor-same-name-alone",
            "a root of our root's name with another key",
            chain(),
            vec![same_name.der.clone()],
            "SvidError::Signature",
            "bundle-same-name",
        ),
        super::bad(
            "anchor-removed",
            "our root left the bundle after the handshake",
            chain(),
            vec![root.der.clone()],
            "SvidError::UnknownAuthority",
            "anchor-kept",
        )
        .with(|case| case.later_bundle = Some(vec![Plan::authority("successor").self_signed().der])),
        super::bad(
            "anchor-exchanged",
            "our root gave way to another of its name",
            chain(),
            vec![root.der.clone()],
            "SvidError::Signature",
            "anchor-kept",
        )
        .with(|case| case.later_bundle = Some(vec![same_name.der])),
        other_domain("bundle-of-other-domain", "the bundle of another trust domain that holds the same root", "anchor-no-names"),
    ]
}

fn dates() -> Vec<Case> {
    let ended = || plan().valid(NOW - DAY, NOW - 1).self_signed();
    let early = || plan().valid(NOW + 1, NOW + DAY).self_signed();
    let valid = root();
    let lapsed = Plan::authority("old root").valid(NOW - 2 * DAY, NOW - DAY).self_signed();
    let coming = Plan::authority("new root").valid(NOW + DAY, NOW + 2 * DAY).self_signed();
    let renewed = plan().valid(NOW, NOW + DAY).self_signed();
    let case = |name, about, root: Made, by, twin| super::bad(name, about, below(&root), vec![root.der.clone()], by, twin);
    vec![
        good(
            "bundle-rotating",
            "a valid root between one that has ended and one that has not begun",
            below(&valid),
            vec![lapsed.der.clone(), valid.der.clone(), coming.der.clone()],
        ),
        good(
            "anchor-renewed",
            "a root that has ended, and its renewal with the same key",
            below(&ended()),
            vec![ended().der, renewed.der],
        ),
        case("anchor-ended", "a root that ended a second ago", ended(), "SvidError::Expired { Authority }", "chain-direct"),
        case("anchor-early", "a root that begins in a second", early(), "SvidError::NotYetValid { Authority }", "chain-direct"),
        super::bad(
            "bundle-rotating-ended",
            "issued by the root that has ended, others are valid",
            below(&lapsed),
            vec![lapsed.der.clone(), valid.der.clone()],
            "SvidError::Expired { Authority }",
            "bundle-rotating",
        ),
        super::bad(
            "bundle-rotating-early",
            "issued by the root that has not begun, others are valid",
            below(&coming),
            vec![valid.der.clone(), coming.der.clone()],
            "SvidError::NotYetValid { Authority }",
            "bundle-rotating",
        ),
        super::bad(
            "bundle-all-ended",
            "no root is valid any more",
            below(&lapsed),
            vec![lapsed.der, ended().der],
            "SvidError::Expired { Authority }",
            "bundle-rotating",
        ),
    ]
}

fn limits() -> Vec<Case> {
    let with = |plan: Plan| {
        let root = plan.self_signed();
        let issuer = issuer(&root);
        (vec![Plan::leaf().under(&issuer).der, issuer.der], vec![root.der])
    };
    let case = |name, about, plan, by, twin| {
        let (chain, bundle) = with(plan);
        super::bad(name, about, chain, bundle, by, twin)
    };
    let length = |length| plan().extension(BASIC_CONSTRAINTS, true, &der::sequence(&[der::boolean(true), der::small(length)]));
    let purposes = |purposes: &[&str]| {
        let purposes: Vec<_> = purposes.iter().map(|oid| der::oid(oid)).collect();
        plan().extension(PURPOSES, false, &der::sequence(&purposes))
    };
    let permitted =
        |name: Vec<u8>| plan().extension(NAME_CONSTRAINTS, true, &der::sequence(&[der::of(0xa0, &[der::sequence(&[name])])]));
    let fine = |name, about, plan| {
        let (chain, bundle) = with(plan);
        good(name, about, chain, bundle)
    };
    vec![
        fine("anchor-path-length-1", "a root with the path length 1", length(1)),
        fine("anchor-both-purposes", "a root for TLS servers and clients", purposes(&[SERVER_AUTH, CLIENT_AUTH])),
        fine(
            "anchor-address-constraint",
            "a root that permits addresses",
            permitted(der::value(0x87, &[10, 0, 0, 0, 255, 0, 0, 0])),
        ),
        case(
            "anchor-path-length-0",
            "an issuing CA below a root with the path length 0",
            length(0),
            "SvidError::PathLength",
            "anchor-path-length-1",
        ),
        case(
            "anchor-uri-constraint",
            "a root that permits URIs of another host",
            permitted(der::value(0x86, b"other.org")),
            "SvidError::NameConstraints",
            "anchor-address-constraint",
        ),
    ]
}
