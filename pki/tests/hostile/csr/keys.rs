//! Keys that nobody should certify: of other algorithms, on other curves, weak, or no points at all (RFC 5480, RFC 8017, RFC 8410,
//! CVE-2017-15361).

use x509_parser::num_bigint::BigUint;

use super::request::{Pieces, requester};
use super::{Case, bad, good};
use crate::der;
use crate::keys::{EC, ED25519, RSA, TestKey, number};

/// A request with this key, signed with `algorithm` by somebody else: the key is judged before any signature is.
fn with_key(spki: Vec<u8>, like: &TestKey) -> Vec<u8> {
    let pieces = Pieces::of(like).with(|pieces| pieces.spki = spki);
    pieces.signed(like)
}

fn spki(algorithm: &[Vec<u8>], public: &[u8]) -> Vec<u8> {
    der::sequence(&[der::sequence(algorithm), der::bits(public)])
}

pub(super) fn cases() -> Vec<Case> {
    [sound(), rsa(), elliptic(), edwards(), algorithms()].into_iter().flatten().collect()
}

fn sound() -> Vec<Case> {
    let signed = |key: &TestKey| Pieces::of(key).signed(key);
    vec![
        good("base-rsa.der", "an RSA key of 2048 bits", signed(&TestKey::rsa2048())),
        good("base-p256.der", "a key on P-256", signed(&TestKey::p256())),
        good("base-p384.der", "a key on P-384", signed(&TestKey::p384())),
    ]
}

fn rsa() -> Vec<Case> {
    let like = TestKey::rsa2048();
    let key = |modulus: Vec<u8>, exponent: Vec<u8>| {
        with_key(spki(&[der::oid(RSA), der::null()], &der::sequence(&[modulus, exponent])), &like)
    };
    let bad = |file, about, content, by| bad(file, about, content, by, "base-rsa.der");
    // An odd number of this many bits: sound enough, since only its length is judged first.
    let odd = |bits: u32| der::unsigned(&((BigUint::from(1_u8) << (bits - 1)) + 1_u8).to_bytes_be());
    let modulus = der::unsigned(&crate::keys::rsa2048_numbers().0.to_bytes_be());
    let exponent = |exponent: u32| key(modulus.clone(), der::small(exponent));
    let even = &crate::keys::rsa2048_numbers().0 - 1_u8;
    // Congruent to 1, a power of 65537, modulo every prime that the flawed generator uses.
    let primes = (3_u32..=167).filter(|n| (2..*n).all(|d| n % d != 0));
    let primorial = primes.fold(BigUint::from(2_u8), |product, prime| product * prime);
    let flawed = (&primorial << (2047 - u32::try_from(primorial.bits()).unwrap() + 1)) + 1_u8;
    assert_eq!(flawed.bits(), 2048);
    let e65537 = || der::small(65537);
    let bits = "CsrError::Key(RsaBits)";
    let wrong_exponent = "CsrError::Key(RsaExponent)";
    vec![
        bad("rsa-512.der", "512 bits", key(odd(512), e65537()), bits),
        bad("rsa-1023.der", "1023 bits", key(odd(1023), e65537()), bits),
        bad("rsa-1024.der", "1024 bits", key(odd(1024), e65537()), bits),
        bad("rsa-2047.der", "one bit less than is allowed", key(odd(2047), e65537()), bits),
        bad("rsa-4097.der", "one bit more than is allowed", key(odd(4097), e65537()), bits),
        bad("rsa-8192.der", "8192 bits", key(odd(8192), e65537()), bits),
        bad("rsa-16384.der", "16384 bits", key(odd(16384), e65537()), bits),
        bad("rsa-zero.der", "a modulus of zero", key(der::small(0), e65537()), bits),
        bad("rsa-e-0.der", "e = 0", exponent(0), wrong_exponent),
        bad("rsa-e-1.der", "e = 1: every message is its own signature", exponent(1), wrong_exponent),
        bad("rsa-e-3.der", "e = 3", exponent(3), wrong_exponent),
        bad("rsa-e-17.der", "e = 17", exponent(17), wrong_exponent),
        bad("rsa-e-65536.der", "an even exponent", exponent(65536), wrong_exponent),
        bad("rsa-e-65539.der", "the next prime after 65537", exponent(65539), wrong_exponent),
        bad("rsa-e-huge.der", "an exponent as long as the modulus", key(modulus.clone(), odd(2047)), wrong_exponent),
        bad(
            "rsa-e-negative.der",
            "a negative exponent",
            key(modulus.clone(), vec![2, 1, 0xff]),
            "CsrError::Key(Der(NotCanonical))",
        ),
        bad(
            "rsa-negative.der",
            "a negative modulus",
            key(der::value(der::INTEGER, &[0x80; 256]), e65537()),
            "CsrError::Key(Der(NotCanonical))",
        ),
        bad(
            "rsa-even.der",
            "an even modulus",
            key(der::unsigned(&even.to_bytes_be()), e65537()),
            "CsrError::Key(RsaModulusEven)",
        ),
        bad(
            "rsa-flawed.der",
            "the fingerprint of CVE-2017-15361",
            key(der::unsigned(&flawed.to_bytes_be()), e65537()),
            "CsrError::Key(RsaRoca)",
        ),
        bad(
            "rsa-three-numbers.der",
            "a third number in the key",
            key(modulus.clone(), [e65537(), e65537()].concat()),
            "CsrError::Key(Der(Trailing))",
        ),
        bad("rsa-one-number.der", "no exponent", key(modulus.clone(), Vec::new()), "CsrError::Key(Der(Truncated))"),
        bad(
            "rsa-not-a-sequence.der",
            "bytes where RSAPublicKey should be",
            with_key(spki(&[der::oid(RSA), der::null()], &[0; 256]), &like),
            "CsrError::Key(Der(Trailing))",
        ),
        bad(
            "rsa-no-parameters.der",
            "without the NULL of its parameters",
            with_key(spki(&[der::oid(RSA)], &like.public), &like),
            "CsrError::Key(AlgorithmParameters)",
        ),
        bad(
            "rsa-pss-key.der",
            "a key for RSASSA-PSS alone",
            with_key(spki(&[der::oid("1.2.840.113549.1.1.10")], &like.public), &like),
            "CsrError::Key(Algorithm)",
        ),
        bad(
            "rsa-oaep-key.der",
            "a key for RSAES-OAEP",
            with_key(spki(&[der::oid("1.2.840.113549.1.1.7")], &like.public), &like),
            "CsrError::Key(Algorithm)",
        ),
    ]
}

const P256: &str = "1.2.840.10045.3.1.7";

fn elliptic() -> Vec<Case> {
    let like = TestKey::p256();
    let bad = |file, about, content, by| bad(file, about, content, by, "base-p256.der");
    let point = |point: &[u8]| with_key(spki(&[der::oid(EC), der::oid(P256)], point), &like);
    let parameters = |parameters: &[Vec<u8>]| with_key(spki(&[&[der::oid(EC)], parameters].concat(), &like.public), &like);
    let (x, y) = (&like.public[1..33], &like.public[33..]);
    let form = |form: u8, rest: &[&[u8]]| point(&[&[form][..], &rest.concat()].concat());
    let prime = number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff").to_bytes_be();
    let off = [&x[..31], &[x[31] ^ 1]].concat();
    // y = sqrt(b) at x = 0; with x = p the same point has a second spelling.
    let at_zero = number("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4").to_bytes_be();
    let explicit = der::sequence(&[der::small(1), der::sequence(&[der::oid("1.2.840.10045.1.1"), der::unsigned(&prime)])]);
    let by_form = "CsrError::Key(PointForm)";
    let off_curve = "CsrError::Key(PointNotOnCurve)";
    let curve = |file, name, oid| bad(file, name, parameters(&[der::oid(oid)]), "CsrError::Key(Curve)");
    vec![
        bad("point-infinity.der", "the point at infinity", point(&[0]), by_form),
        bad("point-empty.der", "no point", point(&[]), by_form),
        bad("point-compressed-even.der", "a compressed point, even", form(2, &[x]), by_form),
        bad("point-compressed-odd.der", "a compressed point, odd", form(3, &[x]), by_form),
        bad("point-hybrid.der", "a hybrid point", form(6 + (y[31] & 1), &[x, y]), by_form),
        bad("point-x-only.der", "one coordinate", point(x), by_form),
        bad("point-short.der", "a byte short", form(4, &[x, &y[..31]]), by_form),
        bad("point-long.der", "a byte long", form(4, &[x, y, &[0]]), by_form),
        bad("point-infinity-long.der", "zeros of a point's length", point(&[0; 65]), by_form),
        bad("point-of-p384.der", "a point of P-384 said to be on P-256", point(&TestKey::p384().public), by_form),
        bad("point-zero.der", "the coordinates 0 and 0", form(4, &[&[0; 64]]), off_curve),
        bad("point-off-curve.der", "one bit beside the curve", form(4, &[&off, y]), off_curve),
        bad("point-turned.der", "its coordinates exchanged", form(4, &[y, x]), off_curve),
        bad("point-x-is-prime.der", "x = p, a second spelling of x = 0", form(4, &[&prime, &at_zero]), off_curve),
        bad("point-y-is-prime.der", "y = p", form(4, &[x, &prime]), off_curve),
        bad("point-all-ones.der", "coordinates far above p", form(4, &[&[0xff; 64]]), off_curve),
        bad(
            "point-bits-unused.der",
            "unused bits behind the point",
            with_key(unused_bits(&like), &like),
            "CsrError::Key(Der(NotCanonical))",
        ),
        curve("curve-p192.der", "P-192", "1.2.840.10045.3.1.1"),
        curve("curve-p224.der", "P-224", "1.3.132.0.33"),
        curve("curve-p521.der", "P-521", "1.3.132.0.35"),
        curve("curve-secp256k1.der", "secp256k1", "1.3.132.0.10"),
        curve("curve-brainpool.der", "brainpoolP256r1", "1.3.36.3.3.2.8.1.1.7"),
        curve("curve-sm2.der", "SM2", "1.2.156.10197.1.301"),
        curve("curve-binary.der", "a binary curve, sect233k1", "1.3.132.0.26"),
        bad("curve-missing.der", "no parameters", parameters(&[]), "CsrError::Key(CurveNotNamed)"),
        bad("curve-inherited.der", "parameters inherited (NULL)", parameters(&[der::null()]), "CsrError::Key(CurveNotNamed)"),
        bad(
            "curve-explicit.der",
            "the curve spelled out (CVE-2020-0601)",
            parameters(&[explicit]),
            "CsrError::Key(CurveNotNamed)",
        ),
        bad("curve-number.der", "a number as parameters", parameters(&[der::small(7)]), "CsrError::Key(AlgorithmParameters)"),
        bad("curve-twice.der", "two curves", parameters(&[der::oid(P256), der::oid(P256)]), "CsrError::Key(Der(Trailing))"),
        bad(
            "curve-of-p384.der",
            "a point of P-256 said to be on P-384",
            with_key(spki(&[der::oid(EC), der::oid("1.3.132.0.34")], &like.public), &like),
            by_form,
        ),
    ]
}

fn unused_bits(like: &TestKey) -> Vec<u8> {
    let point = [&[1][..], &like.public[..64], &[like.public[64] & 0xfe]].concat();
    der::sequence(&[der::sequence(&[der::oid(EC), der::oid(P256)]), der::value(der::BIT_STRING, &point)])
}

/// The y coordinates of the points whose order divides 8 (RFC 7748 section 7, RFC 8032 section 8.9), little-endian.
const SMALL_ORDER: [(&str, &str); 7] = [
    ("order-4", "0000000000000000000000000000000000000000000000000000000000000000"),
    ("order-1", "0100000000000000000000000000000000000000000000000000000000000000"),
    ("order-8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ("order-8-other", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ("order-2", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ("order-4-spelled-twice", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ("order-1-spelled-twice", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
];

fn edwards() -> Vec<Case> {
    let like = requester();
    let bad = |file: &str, about: &str, content, by| bad(file, about, content, by, "base.der");
    let key = |public: &[u8]| with_key(spki(&[der::oid(ED25519)], public), &like);
    let mut cases = vec![
        bad("ed25519-short.der", "31 bytes", key(&like.public[..31]), "CsrError::Key(Ed25519Length)"),
        bad("ed25519-long.der", "33 bytes", key(&[&like.public[..], &[0]].concat()), "CsrError::Key(Ed25519Length)"),
        bad("ed25519-empty.der", "no bytes", key(&[]), "CsrError::Key(Ed25519Length)"),
        bad(
            "ed25519-null.der",
            "parameters, which must be absent",
            with_key(spki(&[der::oid(ED25519), der::null()], &like.public), &like),
            "CsrError::Key(AlgorithmParameters)",
        ),
    ];
    for (name, y) in SMALL_ORDER {
        let mut y = number(y).to_bytes_be();
        // What is lost of leading zeros comes back.
        y.splice(0..0, vec![0; 32 - y.len()]);
        let small = "CsrError::Key(Ed25519SmallOrder)";
        cases.push(bad(&format!("ed25519-{name}.der"), "a point of small order", key(&y), small));
        y[31] |= 0x80;
        cases.push(bad(&format!("ed25519-{name}-signed.der"), "a point of small order, x negative", key(&y), small));
    }
    cases
}

fn algorithms() -> Vec<Case> {
    let like = requester();
    let other = |file, about, oid: &str, bytes: usize| {
        bad(file, about, with_key(spki(&[der::oid(oid)], &vec![0x42; bytes]), &like), "CsrError::Key(Algorithm)", "base.der")
    };
    let broken = |file, about, spki: Vec<u8>, by| bad(file, about, with_key(spki, &like), by, "base.der");
    let sound = spki(&[der::oid(ED25519)], &like.public);
    vec![
        other("key-dsa.der", "DSA", "1.2.840.10040.4.1", 128),
        other("key-dh.der", "Diffie-Hellman", "1.2.840.113549.1.3.1", 256),
        other("key-x25519.der", "X25519, which does not sign", "1.3.101.110", 32),
        other("key-x448.der", "X448", "1.3.101.111", 56),
        other("key-ed448.der", "Ed448", "1.3.101.113", 57),
        other("key-ml-dsa-44.der", "ML-DSA-44", "2.16.840.1.101.3.4.3.17", 1312),
        other("key-ml-dsa-65.der", "ML-DSA-65", "2.16.840.1.101.3.4.3.18", 1952),
        other("key-ml-dsa-87.der", "ML-DSA-87", "2.16.840.1.101.3.4.3.19", 2592),
        other("key-slh-dsa.der", "SLH-DSA-SHA2-128s", "2.16.840.1.101.3.4.3.20", 32),
        other("key-ml-kem-768.der", "ML-KEM-768", "2.16.840.1.101.3.4.4.2", 1184),
        other("key-gost.der", "GOST R 34.10-2012", "1.2.643.7.1.1.1.1", 66),
        other("key-unknown.der", "an algorithm nobody knows", "1.2.3.4.5", 32),
        broken("key-no-algorithm.der", "an empty algorithm", spki(&[], &like.public), "CsrError::Key(Der(Truncated))"),
        broken(
            "key-no-bits.der",
            "an algorithm without a key",
            der::sequence(&[der::sequence(&[der::oid(ED25519)])]),
            "CsrError::Key(Der(Truncated))",
        ),
        broken(
            "key-octets.der",
            "the key in an OCTET STRING",
            der::sequence(&[der::sequence(&[der::oid(ED25519)]), der::octets(&like.public)]),
            "CsrError::Key(Der(Tag))",
        ),
        broken(
            "key-tail.der",
            "a NULL behind the key",
            der::sequence(&[sound[2..].to_vec(), der::null()]),
            "CsrError::Key(Der(Trailing))",
        ),
    ]
}
