//! What a request asks for besides names (RFC 2985 section 5.4). Wishes are not granted, so most are simply dropped; what is
//! refused is a request that could be read in two ways.

use super::request::{asking, attribute, extension, extension_request, extensions};
use super::{Case, bad, good};
use crate::der;

pub(super) fn cases() -> Vec<Case> {
    wishes().into_iter().chain(refused()).collect()
}

const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const CHALLENGE: &str = "1.2.840.113549.1.9.7";

fn wishes() -> Vec<Case> {
    let wish = |file, about, oid, critical, value: &[u8]| good(file, about, extensions(&[extension(oid, critical, value)]));
    let general = |tag: u8, content: &[u8]| der::value(tag, content);
    let access = |method: &str, url: &str| der::sequence(&[der::oid(method), general(0x86, url.as_bytes())]);
    let bait = "http://169.254.169.254/latest/meta-data/iam";
    let point = der::of(0xa0, &[der::of(0xa0, &[general(0x86, bait.as_bytes())])]);
    let subtree = der::sequence(&[general(0x82, b"example.org")]);
    let key_usage = |bits: &[u8]| der::value(der::BIT_STRING, bits);
    vec![
        wish("wish-ca.der", "to be a CA", BASIC_CONSTRAINTS, true, &der::sequence(&[der::boolean(true)])),
        wish(
            "wish-path-length.der",
            "to be a CA with a path length",
            BASIC_CONSTRAINTS,
            true,
            &der::sequence(&[der::boolean(true), der::small(9)]),
        ),
        wish("wish-cert-sign.der", "keyCertSign", "2.5.29.15", true, &key_usage(&[2, 0x04])),
        wish("wish-every-usage.der", "every key usage", "2.5.29.15", true, &key_usage(&[7, 0xff, 0x80])),
        wish("wish-any-purpose.der", "anyExtendedKeyUsage", "2.5.29.37", false, &der::sequence(&[der::oid("2.5.29.37.0")])),
        wish(
            "wish-code-signing.der",
            "codeSigning and OCSPSigning",
            "2.5.29.37",
            true,
            &der::sequence(&[der::oid("1.3.6.1.5.5.7.3.3"), der::oid("1.3.6.1.5.5.7.3.9")]),
        ),
        wish(
            "wish-timestamps.der",
            "certificate transparency timestamps of its own",
            "1.3.6.1.4.1.11129.2.4.2",
            false,
            &der::octets(&[0; 100]),
        ),
        wish("wish-poison.der", "to be a precertificate", "1.3.6.1.4.1.11129.2.4.3", true, &der::null()),
        wish(
            "wish-authority-key-id.der",
            "another issuer's key identifier",
            "2.5.29.35",
            false,
            &der::sequence(&[general(0x80, &[0x42; 20])]),
        ),
        wish("wish-subject-key-id.der", "a key identifier of its own", "2.5.29.14", false, &der::octets(&[0x42; 20])),
        wish("wish-name-constraints.der", "name constraints", "2.5.29.30", true, &der::sequence(&[der::of(0xa0, &[subtree])])),
        wish(
            "wish-issuer-url.der",
            "an issuer's address inside the CA's network",
            "1.3.6.1.5.5.7.1.1",
            false,
            &der::sequence(&[access("1.3.6.1.5.5.7.48.2", bait), access("1.3.6.1.5.5.7.48.1", "file:///etc/shadow")]),
        ),
        wish(
            "wish-revocation-url.der",
            "a revocation list's address inside the CA's network",
            "2.5.29.31",
            false,
            &der::sequence(&[der::sequence(&[point])]),
        ),
        wish(
            "wish-policies.der",
            "a certificate policy",
            "2.5.29.32",
            false,
            &der::sequence(&[der::sequence(&[der::oid("2.23.140.1.2.1")])]),
        ),
        wish("wish-must-staple.der", "to need stapled status", "1.3.6.1.5.5.7.1.24", false, &der::sequence(&[der::small(5)])),
        wish("wish-no-revocation.der", "noRevAvail", "2.5.29.56", false, &der::null()),
        wish("wish-unknown-critical.der", "a critical extension nobody knows", "1.2.3.4", true, &der::null()),
        wish("wish-garbage.der", "an extension whose value is no DER", "1.2.3.4", false, &[0xff; 300]),
        good("attribute-challenge.der", "a challenge password", asking(&[attribute(CHALLENGE, &[der::value(0x13, b"hunter2")])])),
        good("attribute-unknown.der", "an attribute nobody knows", asking(&[attribute("1.2.3.4", &[der::null()])])),
        good(
            "attribute-unknown-twice.der",
            "an unknown attribute twice",
            asking(&[attribute("1.2.3.4", &[der::null()]), attribute("1.2.3.4", &[der::null()])]),
        ),
        good("attribute-many.der", "four hundred attributes", asking(&vec![attribute("1.2.3.4", &[der::null()]); 400])),
    ]
}

fn refused() -> Vec<Case> {
    let wish = extension(BASIC_CONSTRAINTS, true, &der::sequence(&[der::boolean(true)]));
    let request = extension_request(std::slice::from_ref(&wish));
    let twice = "CsrError::DuplicateExtensionRequest";
    let bad = |file, about, content, by| bad(file, about, content, by, "wish-ca.der");
    let request_oid = "1.2.840.113549.1.9.14";
    let values = |values: &[Vec<u8>]| asking(&[attribute(request_oid, values)]);
    let raw = |extension: &[Vec<u8>]| extensions(&[der::sequence(extension)]);
    let ca = der::sequence(&[der::boolean(true)]);
    let structure = "CsrError::Structure";
    vec![
        bad("request-twice.der", "extensions asked for twice", asking(&[request.clone(), request.clone()]), twice),
        bad(
            "request-twice-apart.der",
            "asked for twice, something between",
            asking(&[request.clone(), attribute(CHALLENGE, &[der::value(0x13, b"x")]), request]),
            twice,
        ),
        bad(
            "request-two-values.der",
            "two lists of extensions in one attribute",
            values(&[der::sequence(std::slice::from_ref(&wish)), der::sequence(std::slice::from_ref(&wish))]),
            twice,
        ),
        bad(
            "request-second-empty.der",
            "a second, empty list of extensions",
            values(&[der::sequence(std::slice::from_ref(&wish)), der::sequence(&[])]),
            twice,
        ),
        bad("request-no-value.der", "extensions asked for without a list", values(&[]), "CsrError::Structure"),
        bad("request-not-a-list.der", "a number where extensions should be", values(&[der::small(1)]), "CsrError::Structure"),
        bad(
            "request-octets.der",
            "extensions in an OCTET STRING",
            values(&[der::octets(&der::sequence(std::slice::from_ref(&wish)))]),
            "CsrError::Structure",
        ),
        bad("attribute-not-a-sequence.der", "a number among the attributes", asking(&[der::small(1)]), "CsrError::Structure"),
        bad("attribute-empty.der", "an empty attribute", asking(&[der::sequence(&[])]), "CsrError::Structure"),
        bad(
            "attribute-no-values.der",
            "an attribute without values",
            asking(&[der::sequence(&[der::oid("1.2.3.4")])]),
            "CsrError::Structure",
        ),
        bad(
            "attribute-values-sequence.der",
            "values in a SEQUENCE",
            asking(&[der::sequence(&[der::oid("1.2.3.4"), der::sequence(&[der::null()])])]),
            "CsrError::Structure",
        ),
        bad(
            "attribute-tail.der",
            "a NULL behind the values",
            asking(&[der::sequence(&[der::oid("1.2.3.4"), der::set(&[der::null()]), der::null()])]),
            "CsrError::Der(Trailing)",
        ),
        bad("extension-empty.der", "an empty extension", raw(&[]), structure),
        bad("extension-no-value.der", "an extension without a value", raw(&[der::oid(BASIC_CONSTRAINTS)]), structure),
        bad("extension-no-name.der", "an extension without a name", raw(&[der::octets(&ca)]), structure),
        bad(
            "extension-not-octets.der",
            "a value outside of its OCTET STRING",
            raw(&[der::oid(BASIC_CONSTRAINTS), ca.clone()]),
            structure,
        ),
        bad(
            "extension-critical-one.der",
            "critical said in BER",
            raw(&[der::oid(BASIC_CONSTRAINTS), vec![1, 1, 1], der::octets(&ca)]),
            "CsrError::Der(NotCanonical)",
        ),
        bad(
            "extension-critical-number.der",
            "critical said by a number",
            raw(&[der::oid(BASIC_CONSTRAINTS), der::small(1), der::octets(&ca)]),
            structure,
        ),
        bad(
            "extension-tail.der",
            "a NULL behind the value",
            raw(&[der::oid(BASIC_CONSTRAINTS), der::octets(&ca), der::null()]),
            "CsrError::Der(Trailing)",
        ),
        bad("extension-number.der", "a number among the extensions", extensions(&[der::small(1)]), structure),
    ]
}
