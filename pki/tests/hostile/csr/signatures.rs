//! Signatures that prove nothing: by others, over other bytes, of weak algorithms, or no numbers at all.

use pki::sha256;
use x509_parser::num_bigint::BigUint;

use super::request::{Pieces, requester};
use super::{Case, bad, good};
use crate::der;
use crate::keys::{ECDSA_SHA256, ED25519, RSA_SHA256, TestKey, rsa2048_numbers};

const WRONG: &str = "CsrError::Signature";
const NOT_ALLOWED: &str = "CsrError::SignatureAlgorithm";

pub(super) fn cases() -> Vec<Case> {
    [edwards(), ecdsa(), rsa(), algorithms()].into_iter().flatten().collect()
}

fn edwards() -> Vec<Case> {
    let key = requester();
    let pieces = Pieces::of(&key);
    let made = key.sign(&pieces.info());
    let wrong = |file, about, signature: &[u8]| bad(file, about, pieces.with_signature(&der::bits(signature)), WRONG, "base.der");
    let flipped = |at: usize| made.iter().enumerate().map(|(index, byte)| byte ^ u8::from(index == at)).collect::<Vec<_>>();
    // The order of the group (RFC 8032 section 5.1): S + L verifies where S is not bounded.
    let order = (BigUint::from(1_u8) << 252_u32) + "27742317777372353535851937790883648493".parse::<BigUint>().unwrap();
    let mut shifted = (BigUint::from_bytes_le(&made[32..]) + order).to_bytes_le();
    shifted.resize(32, 0);
    let other = TestKey::ed25519("somebody else");
    let unused = der::value(der::BIT_STRING, &[&[1][..], &made[..63], &[made[63] & 0xfe]].concat());
    vec![
        wrong("signature-of-another-key.der", "made by another key", &other.sign(&pieces.info())),
        wrong("signature-of-other-bytes.der", "made over something else", &key.sign(b"something else")),
        wrong("signature-of-the-digest.der", "made over the digest of what should be signed", &key.sign(&sha256(&pieces.info()))),
        wrong("signature-of-the-content.der", "made over the signed part without its header", &key.sign(&pieces.info()[2..])),
        wrong("signature-first-bit.der", "its first byte changed", &flipped(0)),
        wrong("signature-last-bit.der", "its last byte changed", &flipped(63)),
        wrong("signature-zeros.der", "64 zeros", &[0; 64]),
        wrong("signature-empty.der", "no bytes", &[]),
        wrong("signature-short.der", "63 bytes", &made[..63]),
        wrong("signature-long.der", "65 bytes", &[&made[..], &[0]].concat()),
        wrong("signature-twice.der", "the signature two times", &made.repeat(2)),
        wrong("signature-s-plus-order.der", "S + L, a second spelling", &[&made[..32], &shifted].concat()),
        wrong("signature-r-identity.der", "R the neutral point, S zero", &[&[1][..], &[0; 63]].concat()),
        bad(
            "signature-bits-unused.der",
            "unused bits behind it",
            pieces.with_signature(&unused),
            "CsrError::Der(NotCanonical)",
            "base.der",
        ),
        bad("changed-after-signing.der", "attributes added after it was signed", added_later(&key), WRONG, "wish-names.der"),
        bad("key-exchanged.der", "another key put in after it was signed", exchanged(&key, &other), WRONG, "base.der"),
    ]
}

fn added_later(key: &TestKey) -> Vec<u8> {
    let made = der::bits(&key.sign(&Pieces::of(key).info()));
    let wish = super::request::extension_request(&[super::request::names(&[super::request::uri(super::ADMITTED)])]);
    Pieces::of(key).asking(&[wish]).with_signature(&made)
}

fn exchanged(key: &TestKey, other: &TestKey) -> Vec<u8> {
    let made = der::bits(&key.sign(&Pieces::of(key).info()));
    Pieces::of(key).with(|pieces| pieces.spki = other.spki.clone()).with_signature(&made)
}

fn ecdsa() -> Vec<Case> {
    let key = TestKey::p256();
    let pieces = Pieces::of(&key);
    let (r, s) = key.ecdsa_numbers(&pieces.info());
    let order = key.order();
    let number = |number: &BigUint| der::unsigned(&number.to_bytes_be());
    let pair = |r: Vec<u8>, s: Vec<u8>| der::sequence(&[r, s]);
    let content = |signature: &[u8]| pieces.with_signature(&der::bits(signature));
    let wrong = |file, about, signature: Vec<u8>| bad(file, about, content(&signature), WRONG, "base-p256.der");
    let zero = BigUint::from(0_u8);
    let one = BigUint::from(1_u8);
    let fixed = |number: &BigUint| [vec![0; 32 - number.to_bytes_be().len()], number.to_bytes_be()].concat();
    let padded = der::value(der::INTEGER, &[&[0, 0][..], &r.to_bytes_be()].concat());
    let negative = der::value(der::INTEGER, &[0xff]);
    let good_pair = pair(number(&r), number(&s));
    vec![
        good("ecdsa-high-s.der", "n - s, which verifies as s does", content(&pair(number(&r), number(&(&order - &s))))),
        wrong("ecdsa-zeros.der", "r = s = 0 (CVE-2022-21449)", pair(number(&zero), number(&zero))),
        wrong("ecdsa-r-zero.der", "r = 0", pair(number(&zero), number(&s))),
        wrong("ecdsa-s-zero.der", "s = 0", pair(number(&r), number(&zero))),
        wrong("ecdsa-ones.der", "r = s = 1", pair(number(&one), number(&one))),
        wrong("ecdsa-order.der", "r = s = n", pair(number(&order), number(&order))),
        wrong("ecdsa-r-plus-order.der", "r + n, a second spelling", pair(number(&(&r + &order)), number(&s))),
        wrong("ecdsa-s-plus-order.der", "s + n, a second spelling", pair(number(&r), number(&(&s + &order)))),
        wrong("ecdsa-turned.der", "r and s exchanged", pair(number(&s), number(&r))),
        wrong("ecdsa-negative.der", "a negative r", pair(negative, number(&s))),
        wrong("ecdsa-padded.der", "r with zeros too many", pair(padded, number(&s))),
        wrong("ecdsa-tail.der", "a NULL behind s", der::sequence(&[number(&r), number(&s), der::null()])),
        wrong("ecdsa-behind.der", "a byte behind the pair", [&good_pair[..], &[0]].concat()),
        wrong("ecdsa-fixed.der", "r and s without DER (RFC 7518 section 3.4)", [fixed(&r), fixed(&s)].concat()),
        wrong("ecdsa-set.der", "r and s in a SET", der::set(&[number(&r), number(&s)])),
        wrong("ecdsa-indefinite.der", "an indefinite length inside", [&[0x30, 0x80][..], &good_pair[2..], &[0, 0]].concat()),
        wrong("ecdsa-empty.der", "an empty pair", der::sequence(&[])),
    ]
}

/// The DigestInfo of SHA-256 up to the digest (RFC 8017 section 9.2).
const SHA256_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

fn rsa() -> Vec<Case> {
    let key = TestKey::rsa2048();
    let pieces = Pieces::of(&key);
    let (modulus, secret) = rsa2048_numbers();
    let digest = sha256(&pieces.info());
    let raw = |block: &[u8]| {
        let number = BigUint::from_bytes_be(block).modpow(&secret, &modulus).to_bytes_be();
        [vec![0; 256 - number.len()], number].concat()
    };
    // 00 <kind> <fill> 00 <what>, and anything behind it.
    let block = |kind: u8, fill: u8, what: &[u8], behind: &[u8]| {
        let filled = 256 - 3 - what.len() - behind.len();
        [&[0, kind][..], &vec![fill; filled], &[0], what, behind].concat()
    };
    let info = [&SHA256_INFO[..], &digest].concat();
    // Without the NULL of the digest's parameters, both lengths two less.
    let bare = [&[0x30, 0x2f, 0x30, 0x0b][..], &SHA256_INFO[4..15], &[0x04, 0x20], &digest].concat();
    let of_sha1 =
        [&[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14][..], &digest[..20]].concat();
    let signed = |signature: &[u8]| pieces.with_signature(&der::bits(signature));
    let wrong = |file, about, signature: &[u8]| bad(file, about, signed(signature), WRONG, "base-rsa.der");
    assert_eq!(raw(&block(1, 0xff, &info, &[])), key.sign(&pieces.info()), "the padding of the twin is the one of PKCS#1");
    vec![
        wrong("rsa-signature-zeros.der", "256 zeros", &[0; 256]),
        wrong("rsa-signature-one.der", "the number 1", &[vec![0; 255], vec![1]].concat()),
        wrong("rsa-signature-ones.der", "a number above the modulus", &[0xff; 256]),
        wrong("rsa-signature-modulus.der", "the modulus itself", &modulus.to_bytes_be()),
        wrong("rsa-signature-short.der", "without its first byte", &key.sign(&pieces.info())[1..]),
        wrong("rsa-signature-long.der", "a zero before it", &[&[0][..], &key.sign(&pieces.info())].concat()),
        wrong("rsa-padding-behind.der", "bytes behind the digest (CVE-2006-4339)", &raw(&block(1, 0xff, &info, &[0; 100]))),
        wrong("rsa-padding-kind-2.der", "the padding of encryption", &raw(&block(2, 0xff, &info, &[]))),
        wrong("rsa-padding-kind-0.der", "the padding of block type 0", &raw(&block(0, 0, &info, &[]))),
        wrong("rsa-padding-fill.der", "another byte as padding", &raw(&block(1, 0xfe, &info, &[]))),
        wrong("rsa-padding-bare.der", "a DigestInfo without NULL", &raw(&block(1, 0xff, &bare, &[]))),
        wrong("rsa-padding-sha1.der", "a DigestInfo of SHA-1", &raw(&block(1, 0xff, &of_sha1, &[]))),
        wrong("rsa-padding-digest-alone.der", "the digest without its DigestInfo", &raw(&block(1, 0xff, &digest, &[]))),
        wrong("rsa-padding-none.der", "the digest without any padding", &raw(&digest)),
    ]
}

fn algorithms() -> Vec<Case> {
    let said = |file, about, key: &TestKey, algorithm: Vec<u8>, by, twin| {
        let pieces = Pieces::of(key).with(|pieces| pieces.algorithm = algorithm);
        bad(file, about, pieces.signed(key), by, twin)
    };
    let (edwards, p256, rsa) = (requester(), TestKey::p256(), TestKey::rsa2048());
    let identifier = |oid: &str, parameters: Vec<u8>| der::sequence(&[der::oid(oid), parameters]);
    let none = Vec::new;
    let of_edwards = |file, about, algorithm| said(file, about, &edwards, algorithm, NOT_ALLOWED, "base.der");
    let of_p256 = |file, about, algorithm, by| said(file, about, &p256, algorithm, by, "base-p256.der");
    let of_rsa = |file, about, algorithm| said(file, about, &rsa, algorithm, NOT_ALLOWED, "base-rsa.der");
    let pss = der::sequence(&[der::of(0xa0, &[identifier("2.16.840.1.101.3.4.2.1", der::null())])]);
    vec![
        of_rsa("algorithm-rsa-md2.der", "MD2", identifier("1.2.840.113549.1.1.2", der::null())),
        of_rsa("algorithm-rsa-md5.der", "MD5", identifier("1.2.840.113549.1.1.4", der::null())),
        of_rsa("algorithm-rsa-sha1.der", "SHA-1", identifier("1.2.840.113549.1.1.5", der::null())),
        of_rsa("algorithm-rsa-sha224.der", "SHA-224", identifier("1.2.840.113549.1.1.14", der::null())),
        of_rsa("algorithm-rsa-pss.der", "RSASSA-PSS", identifier("1.2.840.113549.1.1.10", pss)),
        of_rsa("algorithm-rsa-no-null.der", "SHA-256 without its NULL", identifier(RSA_SHA256, none())),
        of_rsa("algorithm-rsa-parameters.der", "SHA-256 with parameters", identifier(RSA_SHA256, der::small(1))),
        of_rsa(
            "algorithm-rsa-encryption.der",
            "rsaEncryption, which is no signature",
            identifier("1.2.840.113549.1.1.1", der::null()),
        ),
        of_rsa("algorithm-of-an-ec-key.der", "ECDSA said of an RSA key", identifier(ECDSA_SHA256, none())),
        of_p256("algorithm-ecdsa-sha1.der", "ECDSA with SHA-1", identifier("1.2.840.10045.4.1", none()), NOT_ALLOWED),
        of_p256("algorithm-ecdsa-sha224.der", "ECDSA with SHA-224", identifier("1.2.840.10045.4.3.1", none()), NOT_ALLOWED),
        of_p256("algorithm-ecdsa-null.der", "ECDSA with parameters", identifier(ECDSA_SHA256, der::null()), NOT_ALLOWED),
        of_p256("algorithm-ecdsa-sha384.der", "SHA-384 said, SHA-256 done", identifier("1.2.840.10045.4.3.3", none()), WRONG),
        of_p256("algorithm-dsa.der", "DSA with SHA-256", identifier("2.16.840.1.101.3.4.3.2", none()), NOT_ALLOWED),
        of_edwards("algorithm-ed25519-null.der", "Ed25519 with parameters", identifier(ED25519, der::null())),
        of_edwards("algorithm-ed448.der", "Ed448", identifier("1.3.101.113", none())),
        of_edwards("algorithm-of-an-rsa-key.der", "RSA said of an Ed25519 key", identifier(RSA_SHA256, der::null())),
        of_edwards("algorithm-hmac.der", "an HMAC", identifier("1.2.840.113549.2.9", der::null())),
        of_edwards("algorithm-none.der", "noSignature (RFC 9925)", identifier("1.3.6.1.5.5.7.6.36", none())),
        of_edwards("algorithm-ml-dsa.der", "ML-DSA-65", identifier("2.16.840.1.101.3.4.3.18", none())),
        of_edwards("algorithm-unknown.der", "an algorithm nobody knows", identifier("1.2.3.4.5", none())),
        said("algorithm-empty.der", "no algorithm", &edwards, der::sequence(&[]), "CsrError::Der(Truncated)", "base.der"),
        said(
            "algorithm-not-an-oid.der",
            "a number as the algorithm",
            &edwards,
            der::sequence(&[der::small(1)]),
            "CsrError::Der(Tag)",
            "base.der",
        ),
        said("algorithm-missing.der", "no AlgorithmIdentifier", &edwards, none(), "CsrError::Der(Tag)", "base.der"),
    ]
}
