//! Well-formed DER that is no PKCS#10 (RFC 2986 section 4).

use super::request::{Pieces, changed, requester};
use super::{Case, bad, good};
use crate::der;

pub(super) fn cases() -> Vec<Case> {
    let bad = |file, about, content, by| bad(file, about, content, by, "base.der");
    let key = requester();
    let pieces = Pieces::of(&key);
    let signature = der::bits(&key.sign(&pieces.info()));
    let version = |version: Vec<u8>| changed(|pieces| pieces.version = version);
    let subject = |subject: Vec<u8>| changed(|pieces| pieces.subject = subject);
    let attributes = |attributes: Vec<u8>| changed(|pieces| pieces.attributes = attributes);
    let name = |value: Vec<u8>| der::sequence(&[der::set(&[der::sequence(&[der::oid("2.5.4.3"), value])])]);
    let hostile_name = b"web\r\n2026-11-20 ERROR \x1b[2J\x1b]0;owned\x07 admin";
    vec![
        good("subject-common-name.der", "a common name", subject(name(der::value(der::UTF8_STRING, b"web")))),
        good(
            "subject-escapes.der",
            "line ends and terminal escapes in the common name",
            subject(name(der::value(der::UTF8_STRING, hostile_name))),
        ),
        good(
            "subject-right-to-left.der",
            "a common name that reads another way",
            subject(name(der::value(der::UTF8_STRING, "\u{202e}nimda".as_bytes()))),
        ),
        good("subject-nul.der", "a NUL in the common name", subject(name(der::value(der::UTF8_STRING, b"web\0admin")))),
        good("subject-not-utf8.der", "a UTF8String that is not", subject(name(der::value(der::UTF8_STRING, &[0xff, 0xfe])))),
        good("subject-long.der", "a common name of 4,000 bytes", subject(name(der::value(der::UTF8_STRING, &[b'a'; 4000])))),
        bad("version-2.der", "version 2", version(der::small(1)), "CsrError::Version"),
        bad("version-3.der", "version 3, which certificates have", version(der::small(2)), "CsrError::Version"),
        bad("version-256.der", "a version whose last byte is zero", version(der::small(256)), "CsrError::Version"),
        bad("version-negative.der", "version -1", version(vec![2, 1, 0xff]), "CsrError::Version"),
        bad("version-padded.der", "version 1 with a zero too many", version(vec![2, 2, 0, 0]), "CsrError::Der(NotCanonical)"),
        bad("version-missing.der", "no version", version(Vec::new()), "CsrError::Der(Tag)"),
        bad("version-enumerated.der", "an ENUMERATED version", version(vec![0x0a, 1, 0]), "CsrError::Der(Tag)"),
        bad(
            "version-tagged.der",
            "the version in [0], as certificates have it",
            version(der::of(0xa0, &[der::small(0)])),
            "CsrError::Der(Tag)",
        ),
        bad("subject-missing.der", "no subject", subject(Vec::new()), "CsrError::Der(Tag)"),
        bad("subject-set.der", "a SET as the subject", subject(der::set(&[])), "CsrError::Der(Tag)"),
        bad("subject-not-a-name.der", "a number in the subject", subject(der::sequence(&[der::small(1)])), "CsrError::Der(Tag)"),
        bad(
            "subject-half-a-part.der",
            "a part of the subject without a value",
            subject(der::sequence(&[der::set(&[der::sequence(&[der::oid("2.5.4.3")])])])),
            "CsrError::Der(Truncated)",
        ),
        bad("key-missing.der", "no key", changed(|pieces| pieces.spki = Vec::new()), "CsrError::Key(Der(Tag))"),
        bad("key-twice.der", "two keys", changed(|pieces| pieces.spki = pieces.spki.repeat(2)), "CsrError::Der(Trailing)"),
        bad("attributes-set.der", "attributes as a SET without their tag", attributes(der::set(&[])), "CsrError::Der(Trailing)"),
        bad("attributes-context-1.der", "attributes under [1]", attributes(der::of(0xa1, &[])), "CsrError::Der(Trailing)"),
        bad(
            "attributes-primitive.der",
            "attributes under a primitive [0]",
            attributes(der::value(0x80, &[])),
            "CsrError::Der(Trailing)",
        ),
        bad("attributes-twice.der", "attributes twice", attributes(der::of(0xa0, &[]).repeat(2)), "CsrError::Der(Trailing)"),
        bad("attributes-missing.der", "no attributes, not even empty ones", attributes(Vec::new()), "CsrError::Structure"),
        bad(
            "info-tail.der",
            "a NULL at the end of the signed part",
            changed(|pieces| pieces.info_tail = der::null()),
            "CsrError::Der(Trailing)",
        ),
        bad("tail.der", "a NULL behind the signature", changed(|pieces| pieces.tail = der::null()), "CsrError::Der(Trailing)"),
        bad("info-alone.der", "the signed part alone", der::sequence(&[pieces.info()]), "CsrError::Der(Truncated)"),
        bad("unsigned.der", "no signature", pieces.with_signature(&[]), "CsrError::Der(Truncated)"),
        bad(
            "signature-octets.der",
            "the signature in an OCTET STRING",
            pieces.with_signature(&der::octets(&[0; 64])),
            "CsrError::Der(Tag)",
        ),
        bad(
            "signature-first.der",
            "the signature before its algorithm",
            der::sequence(&[pieces.info(), signature, pieces.algorithm.clone()]),
            "CsrError::Der(Tag)",
        ),
        bad("info-set.der", "the signed part as a SET", changed_info_tag(&pieces), "CsrError::Der(Tag)"),
    ]
}

fn changed_info_tag(pieces: &Pieces) -> Vec<u8> {
    let key = requester();
    let info = [&[der::SET][..], &pieces.info()[1..]].concat();
    let signature = der::bits(&key.sign(&info));
    der::sequence(&[info, pieces.algorithm.clone(), signature])
}
