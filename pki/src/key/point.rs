//! Whether the points of public keys are sound (SEC 1 section 3.2.2.1; RFC 8032 section 8.9 on small orders).
//!
//! Everything here is public data, so nothing needs constant time.

use x509_parser::num_bigint::BigUint;

use super::{KeyError, PublicKeyAlgorithm};

struct Curve {
    coordinate_bytes: usize,
    /// The prime of the field, big-endian.
    prime: &'static [u8],
    /// The constant b of y^2 = x^3 - 3x + b.
    b: &'static [u8],
}

/// Checks an uncompressed point on one of the NIST curves. Their cofactor is one, so a point on the curve other than the
/// one at infinity, which has no uncompressed form, is a sound key.
pub(super) fn check_point(algorithm: PublicKeyAlgorithm, point: &[u8]) -> Result<(), KeyError> {
    let curve = match algorithm {
        PublicKeyAlgorithm::EcdsaP256 => &P256,
        PublicKeyAlgorithm::EcdsaP384 => &P384,
        PublicKeyAlgorithm::Ed25519 | PublicKeyAlgorithm::Rsa { .. } => return Ok(()),
    };
    let fault = KeyError::PointForm { form: point.first().copied().unwrap_or(0), length: point.len() };
    let Some((4, coordinates)) = point.split_first() else { return Err(fault) };
    if coordinates.len() != 2 * curve.coordinate_bytes {
        return Err(fault);
    }
    let (x, y) = coordinates.split_at(curve.coordinate_bytes);
    if is_on_curve(curve, &BigUint::from_bytes_be(x), &BigUint::from_bytes_be(y)) {
        Ok(())
    } else {
        Err(KeyError::PointNotOnCurve)
    }
}

fn is_on_curve(curve: &Curve, x: &BigUint, y: &BigUint) -> bool {
    let p = BigUint::from_bytes_be(curve.prime);
    if *x >= p || *y >= p {
        return false;
    }
    let minus_three = &p - 3_u32;
    let right = (x * x * x + minus_three * x + BigUint::from_bytes_be(curve.b)) % &p;
    (y * y) % &p == right
}

/// Checks an Ed25519 key: 32 bytes, and none of the points whose order divides 8.
pub(super) fn check_ed25519(key: &[u8]) -> Result<(), KeyError> {
    let Ok(mut y): Result<[u8; 32], _> = key.try_into() else { return Err(KeyError::Ed25519Length { found: key.len() }) };
    // The top bit is the sign of x; each of these y has small order under either sign.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    if SMALL_ORDER_Y.contains(&y) { Err(KeyError::Ed25519SmallOrder) } else { Ok(()) }
}

static P256: Curve = Curve {
    coordinate_bytes: 32,
    prime: &hex::<32>(b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    b: &hex::<32>(b"5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
};

static P384: Curve = Curve {
    coordinate_bytes: 48,
    prime: &hex::<48>(b"fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff"),
    b: &hex::<48>(b"b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef"),
};

/// The y coordinates, little-endian, of the points of order 1, 2, 4 and 8, with the two that have a second encoding.
static SMALL_ORDER_Y: [[u8; 32]; 7] = [
    hex(b"0000000000000000000000000000000000000000000000000000000000000000"),
    hex(b"0100000000000000000000000000000000000000000000000000000000000000"),
    hex(b"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    hex(b"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    hex(b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex(b"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex(b"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
];

/// Decodes a constant at compile time, where a slip fails the build.
const fn hex<const N: usize>(text: &[u8]) -> [u8; N] {
    assert!(text.len() == 2 * N, "the constant has the wrong length");
    let mut out = [0; N];
    let mut at = 0;
    while at < N {
        out[at] = nibble(text[2 * at]) * 16 + nibble(text[2 * at + 1]);
        at += 1;
    }
    out
}

const fn nibble(digit: u8) -> u8 {
    assert!(matches!(digit, b'0'..=b'9' | b'a'..=b'f'), "the constant is not lower-case hex");
    if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 }
}
