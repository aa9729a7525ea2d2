//! What stands between a leaf and its authority, or does not (RFC 5280 section 6.1).

use super::certificate::{
    ALTERNATIVE_NAMES, BASIC_CONSTRAINTS, DAY, KEY_USAGE, Made, NAME_CONSTRAINTS, NO_REVOCATION, PURPOSES, Plan, common_name, uri,
};
use super::{Case, NOW, good, issuer, root};
use crate::der;
use crate::keys::TestKey;

fn bad(name: &str, about: &str, chain: Vec<Vec<u8>>, bundle: Vec<Vec<u8>>, by: &str) -> Case {
    super::bad(name, about, chain, bundle, &format!("SvidError::{by}"), "base")
}

pub(super) fn cases() -> Vec<Case> {
    [accepted(), intermediates(), paths()].into_iter().flatten().collect()
}

/// A leaf below `count` issuing CAs, leaf first, without the root.
fn ladder(root: &Made, count: usize) -> Vec<Vec<u8>> {
    let mut chain = Vec::new();
    let mut above = Plan::authority("rung 0").under(root);
    for rung in 1..count {
        let below = Plan::authority(&format!("rung {rung}")).under(&above);
        chain.insert(0, std::mem::replace(&mut above, below).der);
    }
    let leaf = Plan::leaf().under(&above).der;
    [vec![leaf, above.der], chain].concat()
}

fn accepted() -> Vec<Case> {
    let root = root();
    let issuer = issuer(&root);
    let leaf = Plan::leaf().under(&issuer);
    let other = Plan::authority("other").self_signed();
    let top = Plan::authority("top").under(&root);
    let low = Plan::authority("low").under(&top);
    let deep = Plan::leaf().under(&low);
    let crossed = Plan::authority("issuer").under(&other);
    let bundle = || vec![root.der.clone()];
    let chain = || vec![leaf.der.clone(), issuer.der.clone()];
    vec![
        good("chain-with-root", "the root sent along", [chain(), bundle()].concat(), bundle()),
        good("chain-direct", "issued by the authority itself", vec![Plan::leaf().under(&root).der], bundle()),
        good("chain-of-two", "two issuing CAs", vec![deep.der.clone(), low.der.clone(), top.der.clone()], bundle()),
        good("chain-out-of-order", "two issuing CAs in the wrong order", vec![deep.der, top.der, low.der], bundle()),
        good(
            "chain-with-stranger",
            "a CA that the path does not need",
            vec![leaf.der.clone(), other.der.clone(), issuer.der.clone()],
            bundle(),
        ),
        good("chain-twice", "the issuing CA twice", vec![leaf.der.clone(), issuer.der.clone(), issuer.der.clone()], bundle()),
        good("chain-of-six", "as many certificates as are read", ladder(&root, 5), bundle()),
        good(
            "crossed-to-first",
            "an issuing CA that two roots signed, one of them ours",
            vec![leaf.der.clone(), crossed.der.clone(), issuer.der.clone()],
            bundle(),
        ),
        good(
            "crossed-to-second",
            "the same chain under the other root",
            vec![leaf.der.clone(), issuer.der.clone(), crossed.der],
            vec![other.der.clone()],
        ),
        good("issuer-as-anchor", "the issuing CA itself in the bundle", vec![leaf.der], vec![issuer.der]),
        good("issuer-path-length-0", "an issuing CA with the path length 0", issued(path_length(0)).0, bundle()),
        good(
            "issuer-no-names",
            "an issuing CA without alternative names",
            issued(Plan::authority("issuer").without(ALTERNATIVE_NAMES)).0,
            bundle(),
        ),
        good(
            "issuer-address-constraint",
            "name constraints that allow what the leaf has",
            issued(constrained(&[der::value(0x87, &[10, 0, 0, 0, 255, 0, 0, 0])])).0,
            bundle(),
        ),
    ]
}

fn path_length(length: u32) -> Plan {
    Plan::authority("issuer").extension(BASIC_CONSTRAINTS, true, &der::sequence(&[der::boolean(true), der::small(length)]))
}

/// An issuing CA that permits these names alone.
fn constrained(permitted: &[Vec<u8>]) -> Plan {
    let subtrees: Vec<_> = permitted.iter().map(|name| der::sequence(std::slice::from_ref(name))).collect();
    Plan::authority("issuer").extension(NAME_CONSTRAINTS, true, &der::sequence(&[der::of(0xa0, &subtrees)]))
}

/// A leaf below an issuing CA of this plan, and the bundle.
fn issued(plan: Plan) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let root = root();
    let issuer = plan.under(&root);
    (vec![Plan::leaf().under(&issuer).der, issuer.der], vec![root.der])
}

fn intermediates() -> Vec<Case> {
    let spoiled = |name: &str, about: &str, plan: Plan, by: &str| {
        let (chain, bundle) = issued(plan);
        bad(name, about, chain, bundle, by)
    };
    let issuer = || Plan::authority("issuer");
    let key_usage = |bits: &[u8]| issuer().extension(KEY_USAGE, true, &der::value(der::BIT_STRING, bits));
    let both = |algorithm: Vec<u8>| {
        issuer().with(|plan| {
            plan.inner_algorithm = Some(algorithm.clone());
            plan.outer_algorithm = Some(algorithm);
        })
    };
    let sha1 = der::sequence(&[der::oid("1.2.840.113549.1.1.5"), der::null()]);
    let first = "Intermediate(1)";
    let position = |rule: &str| format!("{rule} {{ {first} }}");
    let unread = |why: &str| format!("Certificate {{ {first}, {why} }}");
    let subtree = |tag: u8, base: &[u8]| der::value(tag, base);
    vec![
        spoiled(
            "issuer-expired",
            "an issuing CA that ended a second ago",
            issuer().valid(NOW - DAY, NOW - 1),
            "Expired { Intermediate(1) }",
        ),
        spoiled(
            "issuer-early",
            "an issuing CA that begins in a second",
            issuer().valid(NOW + 1, NOW + DAY),
            "NotYetValid { Intermediate(1) }",
        ),
        spoiled(
            "issuer-not-ca",
            "an issuer that is no CA",
            issuer().extension(BASIC_CONSTRAINTS, true, &der::sequence(&[])),
            "IntermediateNotCa",
        ),
        spoiled(
            "issuer-no-constraints",
            "an issuer without basicConstraints",
            issuer().without(BASIC_CONSTRAINTS),
            "IntermediateNotCa",
        ),
        spoiled(
            "issuer-no-cert-sign",
            "an issuing CA that may sign revocations alone",
            key_usage(&[1, 0x02]),
            &position("IntermediateKeyUsage"),
        ),
        spoiled(
            "issuer-signature-alone",
            "an issuing CA with digitalSignature alone",
            key_usage(&[7, 0x80]),
            &position("IntermediateKeyUsage"),
        ),
        spoiled(
            "issuer-no-usage",
            "an issuing CA without keyUsage",
            issuer().without(KEY_USAGE),
            &position("IntermediateKeyUsage"),
        ),
        spoiled(
            "issuer-other-trust-domain",
            "an issuing CA of another trust domain",
            issuer().named(&[uri("spiffe://other.org")]),
            &position("IntermediateUriSan"),
        ),
        spoiled(
            "issuer-with-path",
            "an issuing CA with a workload's ID",
            issuer().named(&[uri("spiffe://example.org/web")]),
            &position("IntermediateUriSan"),
        ),
        spoiled(
            "issuer-two-names",
            "an issuing CA of two trust domains",
            issuer().named(&[uri("spiffe://example.org"), uri("spiffe://other.org")]),
            &position("IntermediateUriSan"),
        ),
        spoiled(
            "issuer-unknown-critical",
            "an issuing CA with an unknown critical extension",
            issuer().extension("1.2.3.4", true, &der::null()),
            &position("UnknownCriticalExtension"),
        ),
        spoiled(
            "issuer-no-revocation",
            "an issuing CA with noRevAvail (RFC 9608)",
            issuer().extension(NO_REVOCATION, false, &der::null()),
            &position("IntermediateNoRevocation"),
        ),
        spoiled(
            "issuer-purpose",
            "an issuing CA for code signing",
            issuer().extension(PURPOSES, false, &der::sequence(&[der::oid("1.3.6.1.5.5.7.3.3")])),
            "IssuerExtendedKeyUsage",
        ),
        spoiled(
            "issuer-purpose-any",
            "an issuing CA for anyExtendedKeyUsage, which is not taken for both",
            issuer().extension(PURPOSES, false, &der::sequence(&[der::oid("2.5.29.37.0")])),
            "IssuerExtendedKeyUsage",
        ),
        spoiled(
            "issuer-uri-constraint",
            "name constraints on URIs that would permit the ID",
            constrained(&[subtree(0x86, b"example.org")]),
            "NameConstraints",
        ),
        spoiled(
            "issuer-uri-constraint-other",
            "name constraints on URIs that do not permit the ID",
            constrained(&[subtree(0x86, b"other.org")]),
            "NameConstraints",
        ),
        spoiled(
            "issuer-version-1",
            "an issuing CA of version 1",
            issuer().with(|plan| plan.version = Vec::new()),
            &unread("Version"),
        ),
        spoiled(
            "issuer-serial-zero",
            "an issuing CA with the serial 0",
            issuer().with(|plan| plan.serial = der::small(0)),
            &unread("Serial(Zero)"),
        ),
        spoiled("issuer-sha1", "an issuing CA signed with SHA-1", both(sha1), &unread("SignatureAlgorithm")),
        spoiled(
            "issuer-broken",
            "an issuing CA whose signature is zeros",
            issuer().with(|plan| plan.signature = Some(der::bits(&[0; 64]))),
            "Signature",
        ),
        spoiled(
            "issuer-self-signed",
            "an issuing CA that signed itself",
            issuer().with(|plan| plan.issuer = Some(common_name("issuer"))),
            "UnknownAuthority",
        ),
    ]
}

fn paths() -> Vec<Case> {
    let root = root();
    let issuer = issuer(&root);
    let leaf = Plan::leaf().under(&issuer);
    let bundle = || vec![root.der.clone()];
    let short = path_length(0).under(&root);
    let below = Plan::authority("below").under(&short);
    let too_deep = Plan::leaf().under(&below);
    // A workload that signs for another one, with its own SVID as the issuer.
    let workload = Plan::leaf().with(|plan| plan.subject = common_name("workload")).under(&issuer);
    let by_workload = Plan::leaf().key(TestKey::ed25519("victim")).under(&workload);
    // The same names throughout, another root's key.
    let foreign_root = Plan::authority("root").key(TestKey::ed25519("foreign root")).self_signed();
    let foreign_issuer = Plan::authority("issuer").key(TestKey::ed25519("foreign issuer")).under(&foreign_root);
    let foreign = Plan::leaf().under(&foreign_issuer);
    let other_root = Plan::authority("other").self_signed();
    let under_other = Plan::leaf().under(&other_root);
    // Two CAs that signed each other.
    let one_key = Plan::authority("one").self_signed();
    let two = Plan::authority("two").under(&one_key);
    let one = Plan::authority("one").under(&two);
    let circled = Plan::leaf().under(&one);
    let excluded = der::of(0xa1, &[der::sequence(&[der::value(0x82, b"example.org")])]);
    let excluding = Plan::authority("issuer").extension(NAME_CONSTRAINTS, true, &der::sequence(&[excluded])).under(&root);
    let named = Plan::leaf().named(&[uri(super::certificate::ID), der::value(0x82, b"web.example.org")]).under(&excluding);
    vec![
        bad("chain-empty", "no certificate", Vec::new(), bundle(), "EmptyChain"),
        bad("chain-of-seven", "one certificate more than is read", ladder(&root, 6), bundle(), "ChainTooLong"),
        bad(
            "chain-of-hundred",
            "a hundred times the issuing CA",
            [vec![leaf.der.clone()], vec![issuer.der.clone(); 100]].concat(),
            bundle(),
            "ChainTooLong",
        ),
        bad("chain-without-issuer", "the leaf alone", vec![leaf.der.clone()], bundle(), "UnknownAuthority"),
        bad(
            "chain-issuer-first",
            "the issuing CA before the leaf",
            vec![issuer.der.clone(), leaf.der.clone()],
            bundle(),
            "NoPath",
        ),
        bad("chain-of-root-alone", "the root as a leaf", vec![root.der.clone()], bundle(), "NoPath"),
        bad(
            "chain-garbage-behind",
            "bytes that are no certificate behind a good chain",
            vec![leaf.der.clone(), issuer.der.clone(), vec![0; 10]],
            bundle(),
            "Certificate { Intermediate(2), Der(Trailing) }",
        ),
        bad(
            "path-length",
            "a CA below one with the path length 0",
            vec![too_deep.der, below.der, short.der],
            bundle(),
            "PathLength",
        ),
        bad(
            "issued-by-a-leaf",
            "issued by a workload",
            vec![by_workload.der, workload.der, issuer.der.clone()],
            bundle(),
            "IntermediateNotCa",
        ),
        bad(
            "foreign-same-names",
            "a foreign hierarchy with our names",
            vec![foreign.der.clone(), foreign_issuer.der.clone()],
            bundle(),
            "Signature",
        ),
        bad(
            "foreign-with-our-root",
            "a foreign hierarchy with our root sent along",
            vec![foreign.der.clone(), foreign_issuer.der, root.der.clone()],
            bundle(),
            "Signature",
        ),
        bad(
            "foreign-leaf-our-issuer",
            "a foreign leaf with our issuing CA sent along",
            vec![foreign.der, issuer.der.clone()],
            bundle(),
            "Signature",
        ),
        bad(
            "foreign-other-names",
            "a foreign root that signs IDs of our trust domain",
            vec![under_other.der.clone()],
            bundle(),
            "UnknownAuthority",
        ),
        bad(
            "foreign-root-sent-along",
            "the same, its root sent along",
            vec![under_other.der, other_root.der],
            bundle(),
            "UnknownAuthority",
        ),
        bad("circle", "two CAs that signed each other", vec![circled.der, one.der, two.der], bundle(), "UnknownAuthority"),
        bad(
            "excluded-name",
            "a DNS name beside the ID that the issuing CA excludes",
            vec![named.der, excluding.der],
            bundle(),
            "NameConstraints",
        ),
    ]
}
