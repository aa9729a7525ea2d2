//! What a leaf must not say (X509-SVID sections 2, 4 and 5.2).

use super::certificate::{
    ALTERNATIVE_NAMES, BASIC_CONSTRAINTS, CLIENT_AUTH, DAY, ID, KEY_USAGE, NAME_CONSTRAINTS, NO_REVOCATION, PURPOSES, Plan,
    SERVER_AUTH, common_name, uri,
};
use super::{Case, NOW, issuer, root};
use crate::der;
use crate::keys::TestKey;

const TWIN: &str = "base";

fn good(name: &str, about: &str, plan: Plan) -> Case {
    let root = root();
    let issuer = issuer(&root);
    super::good(name, about, vec![plan.under(&issuer).der, issuer.der], vec![root.der])
}

fn bad(name: &str, about: &str, plan: Plan, by: &str) -> Case {
    Case { refused: Some((format!("SvidError::{by}"), TWIN.to_owned())), ..good(name, about, plan) }
}

pub(super) fn cases() -> Vec<Case> {
    [accepted(), names(), usages(), dates()].into_iter().flatten().collect()
}

fn key_usage(critical: bool, bits: &[u8]) -> Plan {
    Plan::leaf().extension(KEY_USAGE, critical, &der::value(der::BIT_STRING, bits))
}

fn purposes(purposes: &[&str]) -> Plan {
    let purposes: Vec<_> = purposes.iter().map(|oid| der::oid(oid)).collect();
    Plan::leaf().extension(PURPOSES, false, &der::sequence(&purposes))
}

fn accepted() -> Vec<Case> {
    let leaf = Plan::leaf;
    vec![
        good("base", "an SVID below an issuing CA", leaf()),
        good(
            "leaf-dns-beside",
            "a DNS name and an address beside the ID",
            leaf().named(&[uri(ID), der::value(0x82, b"web.example.org"), der::value(0x87, &[10, 0, 0, 1])]),
        ),
        good("leaf-no-purpose", "no extKeyUsage", leaf().without(PURPOSES)),
        good("leaf-third-purpose", "a third purpose beside the two", purposes(&[SERVER_AUTH, CLIENT_AUTH, "1.3.6.1.5.5.7.3.3"])),
        good("leaf-no-basic-constraints", "no basicConstraints: it is no CA", leaf().without(BASIC_CONSTRAINTS)),
        good("leaf-key-agreement", "keyAgreement beside digitalSignature", key_usage(true, &[3, 0x88])),
        good(
            "leaf-subject",
            "a subject, and alternative names that are not critical",
            leaf().with(|plan| plan.subject = common_name("web")).extension(ALTERNATIVE_NAMES, false, &der::sequence(&[uri(ID)])),
        ),
        good(
            "leaf-names-not-critical",
            "no subject, and alternative names that are not critical, which issuers must not do",
            leaf().extension(ALTERNATIVE_NAMES, false, &der::sequence(&[uri(ID)])),
        ),
        good("leaf-no-revocation", "noRevAvail (RFC 9608)", leaf().extension(NO_REVOCATION, false, &der::null())),
        good("leaf-unknown", "an unknown extension that is not critical", leaf().extension("1.2.3.4", false, &der::null())),
        good("leaf-rsa", "an RSA key of 2048 bits", leaf().key(TestKey::rsa2048())),
        good("leaf-p256", "a key on P-256", leaf().key(TestKey::p256())),
        good("leaf-p384", "a key on P-384", leaf().key(TestKey::p384())),
        good("leaf-one-second", "valid in this one second", leaf().valid(NOW, NOW)),
        good("leaf-long-serial", "a serial of 20 bytes", leaf().with(|plan| plan.serial = der::unsigned(&[0x7f; 20]))),
    ]
}

fn names() -> Vec<Case> {
    let id = |name, about, id: &str, by: &str| bad(name, about, Plan::leaf().id(id), &format!("SpiffeId {{ {by} }}"));
    let names = |name, about, names: &[Vec<u8>], by| bad(name, about, Plan::leaf().named(names), by);
    let dns = || der::value(0x82, b"web.example.org");
    let long = format!("spiffe://example.org/{}", "a".repeat(2049 - "spiffe://example.org/".len()));
    let malformed = "Certificate { Leaf, MalformedExtension }";
    let other = uri("spiffe://example.org/admin");
    vec![
        bad("names-missing", "no alternative names", Plan::leaf().without(ALTERNATIVE_NAMES), "UriSanCount"),
        names("names-empty", "an empty list of names", &[], "UriSanCount"),
        names("names-dns-alone", "a DNS name and no URI", &[dns()], "UriSanCount"),
        names("names-dns-like-an-id", "the ID as a DNS name", &[der::value(0x82, ID.as_bytes())], "UriSanCount"),
        names("names-two-ids", "two IDs", &[uri(ID), other.clone()], "UriSanCount"),
        names("names-two-ids-turned", "two IDs, the other one first", &[other.clone(), uri(ID)], "UriSanCount"),
        names("names-two-ids-apart", "two IDs, a DNS name between", &[uri(ID), dns(), other], "UriSanCount"),
        names("names-one-id-twice", "the ID twice", &[uri(ID), uri(ID)], "UriSanCount"),
        names("names-id-and-address", "an ID and an address of the web", &[uri(ID), uri("https://example.org/")], "UriSanCount"),
        names("names-address-first", "an address of the web and an ID", &[uri("https://example.org/"), uri(ID)], "UriSanCount"),
        id("id-https", "an address of the web alone", "https://example.org/web", "Scheme"),
        id("id-empty", "an empty URI", "", "Scheme"),
        id("id-upper-scheme", "the scheme in upper case", "SPIFFE://example.org/web", "Scheme"),
        id("id-no-trust-domain", "no trust domain", "spiffe:///web", "TrustDomain(Empty)"),
        id("id-upper-trust-domain", "the trust domain in upper case", "spiffe://EXAMPLE.ORG/web", "TrustDomain(Character)"),
        id("id-port", "a port", "spiffe://example.org:8443/web", "TrustDomain(Character)"),
        id("id-user", "a user", "spiffe://user@example.org/web", "TrustDomain(Character)"),
        id(
            "id-encoded-trust-domain",
            "an encoded letter in the trust domain",
            "spiffe://ex%61mple.org/web",
            "TrustDomain(Character)",
        ),
        id("id-trailing-slash", "a slash at the end", "spiffe://example.org/web/", "EmptySegment"),
        id("id-slash-alone", "a path of a slash", "spiffe://example.org/", "EmptySegment"),
        id("id-empty-segment", "an empty segment", "spiffe://example.org//web", "EmptySegment"),
        id("id-dot", "a segment of a dot", "spiffe://example.org/./web", "DotSegment"),
        id("id-dot-dot", "a segment of two dots", "spiffe://example.org/a/../web", "DotSegment"),
        id("id-encoded", "an encoded letter", "spiffe://example.org/%77eb", "Character"),
        id("id-nul", "a NUL and something behind it", "spiffe://example.org/web\0.attacker.test", "Character"),
        id("id-newline", "a line end and a made-up line of log", "spiffe://example.org/web\nINFO admitted", "Character"),
        id("id-space", "a space", "spiffe://example.org/we b", "Character"),
        id("id-query", "a query", "spiffe://example.org/web?a=b", "Character"),
        id("id-fragment", "a fragment", "spiffe://example.org/web#a", "Character"),
        id("id-long", "2,049 bytes", &long, "TooLong"),
        bad("id-no-path", "the ID of the trust domain", Plan::leaf().id("spiffe://example.org"), "NoPath"),
        bad(
            "id-other-trust-domain",
            "an ID of another trust domain, issued by ours",
            Plan::leaf().id("spiffe://other.org/web"),
            "TrustDomain",
        ),
        bad(
            "id-longer-trust-domain",
            "a trust domain that ours is a part of",
            Plan::leaf().id("spiffe://example.org.attacker.test/web"),
            "TrustDomain",
        ),
        bad(
            "id-sub-trust-domain",
            "a name below our trust domain",
            Plan::leaf().id("spiffe://sub.example.org/web"),
            "TrustDomain",
        ),
        bad("id-homoglyph", "a letter of another script", Plan::leaf().id("spiffe://ex\u{0430}mple.org/web"), malformed),
        names(
            "names-short-address",
            "an address of 5 bytes beside the ID",
            &[uri(ID), der::value(0x87, &[10, 0, 0, 0, 1])],
            malformed,
        ),
        names("names-unknown-kind", "a name of a kind that there is not", &[uri(ID), der::value(0x89, b"x")], malformed),
    ]
}

fn usages() -> Vec<Case> {
    let leaf = Plan::leaf;
    let dns = der::value(0x82, b"example.org");
    let ca = |content: Vec<Vec<u8>>| leaf().extension(BASIC_CONSTRAINTS, true, &der::sequence(&content));
    vec![
        bad("ca-leaf", "a leaf that is a CA", ca(vec![der::boolean(true)]), "LeafIsCa"),
        bad(
            "ca-leaf-path-length",
            "a leaf that is a CA with the path length 0",
            ca(vec![der::boolean(true), der::small(0)]),
            "LeafIsCa",
        ),
        bad(
            "ca-leaf-not-critical",
            "a leaf that is a CA, not critical",
            leaf().extension(BASIC_CONSTRAINTS, false, &der::sequence(&[der::boolean(true)])),
            "LeafIsCa",
        ),
        bad(
            "leaf-name-constraints",
            "a leaf with name constraints",
            leaf().extension(NAME_CONSTRAINTS, true, &der::sequence(&[der::of(0xa0, &[der::sequence(&[dns])])])),
            "LeafNameConstraints",
        ),
        bad("usage-missing", "no keyUsage", leaf().without(KEY_USAGE), "KeyUsageMissing"),
        bad("usage-not-critical", "keyUsage that is not critical", key_usage(false, &[7, 0x80]), "KeyUsageNotCritical"),
        bad("usage-cert-sign", "keyCertSign", key_usage(true, &[2, 0x84]), "LeafMaySignCertificates"),
        bad("usage-crl-sign", "cRLSign", key_usage(true, &[1, 0x82]), "LeafMaySignRevocations"),
        bad("usage-every", "every key usage", key_usage(true, &[7, 0xff, 0x80]), "LeafMaySignCertificates"),
        bad("usage-no-signature", "keyAgreement alone", key_usage(true, &[3, 0x08]), "DigitalSignatureMissing"),
        bad("usage-encipherment", "keyEncipherment alone", key_usage(true, &[5, 0x20]), "DigitalSignatureMissing"),
        bad("usage-none", "no key usage at all", key_usage(true, &[0]), "DigitalSignatureMissing"),
        bad("purpose-client", "clientAuth alone", purposes(&[CLIENT_AUTH]), "ExtendedKeyUsage"),
        bad("purpose-server", "serverAuth alone", purposes(&[SERVER_AUTH]), "ExtendedKeyUsage"),
        bad("purpose-any", "anyExtendedKeyUsage alone", purposes(&["2.5.29.37.0"]), "ExtendedKeyUsage"),
        bad(
            "purpose-any-and-client",
            "anyExtendedKeyUsage and clientAuth",
            purposes(&["2.5.29.37.0", CLIENT_AUTH]),
            "ExtendedKeyUsage",
        ),
        bad("purpose-other", "codeSigning alone", purposes(&["1.3.6.1.5.5.7.3.3"]), "ExtendedKeyUsage"),
        bad("purpose-none", "an empty list of purposes", purposes(&[]), "ExtendedKeyUsage"),
        bad(
            "critical-unknown",
            "an unknown critical extension",
            leaf().extension("1.2.3.4", true, &der::null()),
            "UnknownCriticalExtension { Leaf }",
        ),
        bad(
            "critical-policy-constraints",
            "critical policy constraints, which are not processed",
            leaf().extension("2.5.29.36", true, &der::sequence(&[der::value(0x80, &[0])])),
            "UnknownCriticalExtension { Leaf }",
        ),
    ]
}

fn dates() -> Vec<Case> {
    let at = |name, about, from, to, by| bad(name, about, Plan::leaf().valid(from, to), by);
    let raw = |name, about, dates: [Vec<u8>; 2], by| bad(name, about, Plan::leaf().with(|plan| plan.dates = dates), by);
    let general = |text: &[u8]| der::value(der::GENERALIZED_TIME, text);
    let utc = |text: &[u8]| der::value(der::UTC_TIME, text);
    vec![
        at("expired-one-second", "it ended a second ago", NOW - 3600, NOW - 1, "Expired { Leaf }"),
        at("expired-long-ago", "it ended a year ago", NOW - 730 * DAY, NOW - 365 * DAY, "Expired { Leaf }"),
        at("early-one-second", "it begins in a second: no skew is granted", NOW + 1, NOW + 3600, "NotYetValid { Leaf }"),
        at("early-one-day", "it begins tomorrow", NOW + DAY, NOW + 2 * DAY, "NotYetValid { Leaf }"),
        at("dates-turned", "it ends before it begins", NOW + 1, NOW - 1, "Certificate { Leaf, Validity }"),
        raw("date-1969", "it begins before 1970", [utc(b"691231235959Z"), utc(b"271231235959Z")], "Certificate { Leaf, Date }"),
        raw(
            "date-month-13",
            "a thirteenth month",
            [utc(b"261301000000Z"), utc(b"271231235959Z")],
            "Certificate { Leaf, Structure }",
        ),
        raw(
            "date-day-30-february",
            "the thirtieth of February",
            [utc(b"260230000000Z"), utc(b"271231235959Z")],
            "Certificate { Leaf, Structure }",
        ),
        raw(
            "date-no-seconds",
            "a time without seconds",
            [utc(b"2601010000Z"), utc(b"271231235959Z")],
            "Certificate { Leaf, Der(NotCanonical) }",
        ),
        raw(
            "date-offset",
            "a time with an offset",
            [utc(b"260101000000+0000"), utc(b"271231235959Z")],
            "Certificate { Leaf, Der(NotCanonical) }",
        ),
        raw(
            "date-fraction",
            "a time with a fraction",
            [general(b"20260101000000.5Z"), utc(b"271231235959Z")],
            "Certificate { Leaf, Der(NotCanonical) }",
        ),
        raw("date-number", "a number as a date", [der::small(1), utc(b"271231235959Z")], "Certificate { Leaf, Structure }"),
        raw("date-one", "one date", [utc(b"260101000000Z"), Vec::new()], "Certificate { Leaf, Structure }"),
    ]
}
