//! Lengths, tags, depth, size and primitives that DER does not allow (ITU-T X.690 sections 8 and 10), and what is no request at
//! all.

use pki::MAX_CSR_BYTES;

use super::request::{asking, attribute, changed, extension, extension_request, requester};
use super::{Case, bad, good};
use crate::der;
use crate::keys::TestKey;

const BASE: &str = "base.der";

pub(super) fn cases() -> Vec<Case> {
    [lengths(), tags(), primitives(), sizes(), strangers()].into_iter().flatten().collect()
}

fn base() -> Vec<u8> {
    changed(|_| ())
}

/// The content of the outermost value, whose length has one byte: it is 127.
fn inside() -> Vec<u8> {
    base().split_off(2)
}

fn with_length(length: &[u8]) -> Vec<u8> {
    [&[der::SEQUENCE][..], length, &inside()].concat()
}

fn lengths() -> Vec<Case> {
    let bad = |file, about, content, by| bad(file, about, content, by, BASE);
    let base = base();
    let size = u8::try_from(inside().len()).unwrap();
    let cut = |to: usize| base[..to].to_vec();
    vec![
        good(BASE, "an Ed25519 key and nothing else", base.clone()),
        bad("empty.der", "no bytes", Vec::new(), "CsrError::Der(Truncated)"),
        bad("one-byte.der", "a tag without a length", vec![0x30], "CsrError::Der(Truncated)"),
        bad("empty-sequence.der", "a sequence with nothing in it", vec![0x30, 0], "CsrError::Der(Truncated)"),
        bad("cut-by-one.der", "the last byte is missing", cut(base.len() - 1), "CsrError::Der(Truncated)"),
        bad("cut-in-half.der", "the second half is missing", cut(base.len() / 2), "CsrError::Der(Truncated)"),
        bad("cut-in-length.der", "it ends inside its first length", cut(2), "CsrError::Der(Truncated)"),
        bad(
            "length-plus-one.der",
            "it says one byte more than it has",
            with_length(&[0x81, size + 1]),
            "CsrError::Der(Truncated)",
        ),
        bad("length-minus-one.der", "it says one byte less than it has", with_length(&[size - 1]), "CsrError::Der(Trailing)"),
        bad("length-zero.der", "it says that it is empty", with_length(&[0]), "CsrError::Der(Trailing)"),
        bad("length-2-31.der", "it says 2^31 bytes", with_length(&[0x84, 0x80, 0, 0, 0]), "CsrError::Der(Truncated)"),
        bad(
            "length-2-32.der",
            "it says 2^32 - 1 bytes",
            with_length(&[0x84, 0xff, 0xff, 0xff, 0xff]),
            "CsrError::Der(Truncated)",
        ),
        bad("length-2-63.der", "it says 2^63 bytes", with_length(&[0x88, 0x80, 0, 0, 0, 0, 0, 0, 0]), "CsrError::Der(Length)"),
        bad(
            "length-2-64.der",
            "it says 2^64 - 1 bytes",
            with_length(&[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            "CsrError::Der(Length)",
        ),
        bad("length-of-five.der", "its length in five bytes", with_length(&[0x85, 0, 0, 0, 0, size]), "CsrError::Der(Length)"),
        bad("length-padded.der", "its length with a zero in front", with_length(&[0x82, 0, size]), "CsrError::Der(Length)"),
        bad("length-reserved.der", "the reserved length 0xff", with_length(&[0xff]), "CsrError::Der(Length)"),
        bad(
            "indefinite.der",
            "an indefinite length with its end mark",
            [with_length(&[0x80]), vec![0, 0]].concat(),
            "CsrError::Der(IndefiniteLength)",
        ),
        bad(
            "indefinite-inside.der",
            "the subject has an indefinite length",
            changed(|pieces| pieces.subject = vec![0x30, 0x80, 0, 0]),
            "CsrError::Der(IndefiniteLength)",
        ),
        bad(
            "long-form-inside.der",
            "the subject's length in the long form",
            changed(|pieces| pieces.subject = vec![0x30, 0x81, 0]),
            "CsrError::Der(Length)",
        ),
        bad("trailing-zero.der", "a zero behind it", [&base[..], &[0]].concat(), "CsrError::Der(Trailing)"),
        bad(
            "trailing-newline.der",
            "a line end behind it, as text tools leave it",
            [&base[..], b"\n"].concat(),
            "CsrError::Der(Trailing)",
        ),
        bad("two-requests.der", "two requests, one after the other", base.clone(), "CsrError::Der(Trailing)").repeated(2),
        bad("wrapped.der", "a request inside a sequence", der::sequence(std::slice::from_ref(&base)), "CsrError::Der(Truncated)"),
    ]
}

fn tags() -> Vec<Case> {
    let bad = |file, about, content, by| bad(file, about, content, by, BASE);
    let outer = |tag: u8| [&[tag][..], &base()[1..]].concat();
    let subject = |value: &[u8]| changed(|pieces| pieces.subject = value.to_vec());
    let key = requester();
    let pieces = super::request::Pieces::of(&key);
    let signature = key.sign(&pieces.info());
    let cut_signature = der::of(0x23, &[der::bits(&signature[..32]), der::bits(&signature[32..])]);
    vec![
        bad("outer-set.der", "a SET around it", outer(0x31), "CsrError::Der(Tag)"),
        bad("outer-octets.der", "an OCTET STRING around it", outer(0x04), "CsrError::Der(Tag)"),
        bad("outer-context.der", "a context tag around it", outer(0xa0), "CsrError::Der(Tag)"),
        bad("outer-application.der", "an application tag around it", outer(0x60), "CsrError::Der(Tag)"),
        bad("outer-primitive.der", "a SEQUENCE that says it is primitive", outer(0x10), "CsrError::Der(NotCanonical)"),
        bad(
            "outer-high-tag.der",
            "a tag of two bytes",
            [&[0x3f, 0x10][..], &base()[1..]].concat(),
            "CsrError::Der(HighTagNumber)",
        ),
        bad(
            "inner-high-tag.der",
            "a tag of many bytes in the subject",
            subject(&der::sequence(&[vec![0x1f, 0xff, 0xff, 0x7f, 0]])),
            "CsrError::Der(HighTagNumber)",
        ),
        bad(
            "cut-octets.der",
            "an OCTET STRING in pieces",
            subject(&der::sequence(&[der::of(0x24, &[der::octets(b"a"), der::octets(b"b")])])),
            "CsrError::Der(NotCanonical)",
        ),
        bad(
            "cut-text.der",
            "a UTF8String in pieces",
            subject(&der::sequence(&[der::of(0x2c, &[der::value(0x0c, b"a")])])),
            "CsrError::Der(NotCanonical)",
        ),
        bad("cut-signature.der", "a signature in pieces", pieces.with_signature(&cut_signature), "CsrError::Der(NotCanonical)"),
        bad(
            "constructed-integer.der",
            "an INTEGER that says it is constructed",
            changed(|pieces| pieces.version = der::of(0x22, &[der::small(0)])),
            "CsrError::Der(NotCanonical)",
        ),
        bad("end-of-contents.der", "an end mark where a subject should be", subject(&[0, 0]), "CsrError::Der(Tag)"),
    ]
}

fn primitives() -> Vec<Case> {
    let in_attribute = |value: &[u8]| asking(&[attribute("1.2.3.4", &[value.to_vec()])]);
    let bad = |file, about, value: &[u8]| bad(file, about, in_attribute(value), "CsrError::Der(NotCanonical)", "primitives.der");
    let fine = [
        der::boolean(true),
        der::boolean(false),
        der::small(128),
        der::null(),
        der::oid("2.999.1"),
        der::value(der::BIT_STRING, &[3, 0xf8]),
        der::value(der::UTC_TIME, b"261120110000Z"),
        der::value(der::GENERALIZED_TIME, b"20261120110000Z"),
    ];
    vec![
        good("primitives.der", "an unknown attribute with a value of each primitive kind", in_attribute(&der::sequence(&fine))),
        bad("boolean-one.der", "a BOOLEAN of 1", &[0x01, 1, 1]),
        bad("boolean-empty.der", "a BOOLEAN without content", &[0x01, 0]),
        bad("boolean-long.der", "a BOOLEAN of two bytes", &[0x01, 2, 0xff, 0xff]),
        bad("integer-empty.der", "an INTEGER without content", &[0x02, 0]),
        bad("integer-padded.der", "an INTEGER with a zero too many", &[0x02, 2, 0, 0x7f]),
        bad("integer-padded-negative.der", "a negative INTEGER with a byte too many", &[0x02, 2, 0xff, 0x80]),
        bad("enumerated-padded.der", "an ENUMERATED with a zero too many", &[0x0a, 2, 0, 1]),
        bad("null-with-content.der", "a NULL with a byte in it", &[0x05, 1, 0]),
        bad("oid-empty.der", "an empty object identifier", &[0x06, 0]),
        bad("oid-open.der", "an object identifier that ends inside an arc", &[0x06, 2, 0x2a, 0x86]),
        bad("oid-padded.der", "an object identifier with a padded arc", &[0x06, 3, 0x2a, 0x80, 0x01]),
        bad("bits-empty.der", "a BIT STRING without its first byte", &[0x03, 0]),
        bad("bits-eight-unused.der", "a BIT STRING with eight unused bits", &[0x03, 2, 8, 0]),
        bad("bits-unused-set.der", "a BIT STRING whose unused bits are set", &[0x03, 2, 3, 0xff]),
        bad("bits-unused-of-none.der", "unused bits in an empty BIT STRING", &[0x03, 1, 3]),
        bad("utctime-short.der", "a UTCTime without seconds", &der::value(der::UTC_TIME, b"2611201100Z")),
        bad("utctime-offset.der", "a UTCTime with an offset", &der::value(der::UTC_TIME, b"261120110000+0100")),
        bad(
            "generalizedtime-fraction.der",
            "a GeneralizedTime with a fraction",
            &der::value(der::GENERALIZED_TIME, b"20261120110000.5Z"),
        ),
        bad("sequence-primitive.der", "a primitive SEQUENCE inside", &[0x10, 0]),
    ]
}

fn sizes() -> Vec<Case> {
    let deep = |count: usize| asking(&[attribute("1.2.3.4", &[der::nested(count)])]);
    // Request, info, attributes, attribute and the set of values are five levels of the 24.
    let padded = |filler: usize| asking(&[attribute("1.2.3.4", &[der::octets(&vec![0; filler])])]);
    // All lengths around the filler have two bytes here as there.
    let filler = 10_000 + MAX_CSR_BYTES - padded(10_000).len();
    let largest = padded(filler);
    assert_eq!(largest.len(), MAX_CSR_BYTES);
    vec![
        good("depth-at-limit.der", "values nested as deep as is read", deep(19)),
        bad(
            "depth-over-limit.der",
            "values nested one level deeper than is read",
            deep(20),
            "CsrError::Der(Depth)",
            "depth-at-limit.der",
        ),
        bad(
            "depth-thousands.der",
            "values nested some four thousand deep",
            deep(4000),
            "CsrError::Der(Depth)",
            "depth-at-limit.der",
        ),
        bad(
            "depth-open.der",
            "nothing but openings of indefinite length",
            [0x30, 0x80].repeat(8000),
            "CsrError::Der(IndefiniteLength)",
            BASE,
        ),
        good("size-at-limit.der", "as many bytes as are read", largest),
        bad("size-over-limit.der", "one byte more than is read", padded(filler + 1), "CsrError::TooLarge", "size-at-limit.der"),
        bad("size-64-kib.der", "64 KiB that begin like a request", base(), "CsrError::TooLarge", BASE)
            .repeated(64 * 1024 / base().len()),
        bad("size-1-mib.der", "1 MiB of openings", vec![0x30, 0x84], "CsrError::TooLarge", BASE).repeated(512 * 1024),
        bad("size-16-mib.der", "16 MiB of zeros", vec![0; 1024], "CsrError::TooLarge", BASE).repeated(16 * 1024),
        bad(
            "depth-10k.der",
            "ten thousand nested values, which are over the size",
            der::nested(10_000),
            "CsrError::TooLarge",
            BASE,
        ),
    ]
}

fn strangers() -> Vec<Case> {
    let bad = |file, about, content: &[u8], by| bad(file, about, content.to_vec(), by, BASE);
    let spkac = der::sequence(&[
        der::sequence(&[requester().spki, der::value(0x16, b"challenge")]),
        requester().algorithm,
        der::bits(&[0; 64]),
    ]);
    let signed_data = der::sequence(&[der::oid("1.2.840.113549.1.7.2"), der::of(0xa0, &[der::sequence(&[])])]);
    let crmf = der::sequence(&[der::sequence(&[der::sequence(&[der::small(0), der::sequence(&[])])])]);
    let pkcs8 = der::sequence(&[der::small(0), requester().algorithm, der::octets(&[0; 34])]);
    let extension = extension_request(&[extension("2.5.29.19", true, &der::sequence(&[der::boolean(true)]))]);
    vec![
        bad("zeros.der", "a hundred zeros", &[0; 100], "CsrError::Der(Trailing)"),
        bad("ones.der", "a hundred bytes 0xff", &[0xff; 100], "CsrError::Der(HighTagNumber)"),
        bad("http.der", "an HTTP request", b"GET / HTTP/1.1\r\nHost: ca\r\n\r\n", "CsrError::Der(Truncated)"),
        bad("json.der", "JSON", b"{\"csr\": null}", "CsrError::Der(Truncated)"),
        bad("text.der", "PEM where DER is read", pki::request_to_pem(&base()).as_bytes(), "CsrError::Der(Trailing)"),
        bad("certificate.der", "a certificate", &crate::svid::issuer_der(), "CsrError::Der(Tag)"),
        bad("spki.der", "a public key alone", &TestKey::ed25519("requester").spki, "CsrError::Der(Tag)"),
        bad("pkcs8.der", "the shape of a private key", &pkcs8, "CsrError::Der(Tag)"),
        bad("spkac.der", "a signed public key and challenge", &spkac, "CsrError::Der(Tag)"),
        bad("cms.der", "CMS signed data", &signed_data, "CsrError::Der(Tag)"),
        bad("crmf.der", "a request in the form of RFC 4211", &crmf, "CsrError::Der(Truncated)"),
        bad("attribute.der", "an attribute alone", &extension, "CsrError::Der(Tag)"),
    ]
}
