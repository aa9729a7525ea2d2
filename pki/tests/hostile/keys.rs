//! Test keys whose signatures are the same at each run, so that the corpora can be made anew and compared.
//!
//! Ed25519 and PKCS#1 v1.5 are deterministic as they are. ECDSA is signed here with the nonce 1, which gives the private half
//! away to everybody: these keys are published with this file anyway.

use data_encoding::{BASE64, HEXLOWER};
use pki::{PrivateKey, sha256};
use x509_parser::num_bigint::BigUint;

use crate::der;

/// A key and how it signs.
pub(crate) struct TestKey {
    /// The whole SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
    /// The content of the BIT STRING inside it.
    pub(crate) public: Vec<u8>,
    /// The AlgorithmIdentifier of its signatures, a whole value.
    pub(crate) algorithm: Vec<u8>,
    signer: Signer,
}

enum Signer {
    Deterministic(Box<PrivateKey>),
    Ecdsa { curve: &'static Curve, secret: BigUint },
}

struct Curve {
    /// The x coordinate of the generator, which is r when the nonce is 1.
    generator_x: &'static str,
    order: &'static str,
    /// What stands before the secret in its PKCS#8.
    secret_header: [u8; 2],
    secret_bytes: usize,
}

/// SP 800-186 section 3.2.1.3.
const P256: Curve = Curve {
    generator_x: "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    order: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    secret_header: [0x04, 0x20],
    secret_bytes: 32,
};
/// SP 800-186 section 3.2.1.4.
const P384: Curve = Curve {
    generator_x: "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
    order: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    secret_header: [0x04, 0x30],
    secret_bytes: 48,
};

pub(crate) const ED25519: &str = "1.3.101.112";
pub(crate) const RSA: &str = "1.2.840.113549.1.1.1";
pub(crate) const RSA_SHA256: &str = "1.2.840.113549.1.1.11";
pub(crate) const EC: &str = "1.2.840.10045.2.1";
pub(crate) const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";

impl TestKey {
    /// An Ed25519 key (RFC 8410 section 7) whose seed is the hash of its name.
    pub(crate) fn ed25519(name: &str) -> Self {
        let seed = sha256(format!("signet test key: {name}").as_bytes());
        let pkcs8 = der::sequence(&[der::small(0), der::sequence(&[der::oid(ED25519)]), der::octets(&der::octets(&seed))]);
        Self::deterministic(PrivateKey::from_pkcs8_der(&pkcs8).unwrap(), der::sequence(&[der::oid(ED25519)]))
    }

    pub(crate) fn rsa2048() -> Self {
        let key = PrivateKey::from_pem(include_bytes!("../../testdata/rsa2048-pkcs1.pem")).unwrap();
        Self::deterministic(key, der::sequence(&[der::oid(RSA_SHA256), der::null()]))
    }

    pub(crate) fn p256() -> Self {
        Self::ecdsa(&P256, include_bytes!("../../testdata/p256-sec1.pem"))
    }

    /// It signs SHA-256 too: nothing else is at hand.
    pub(crate) fn p384() -> Self {
        Self::ecdsa(&P384, include_bytes!("../../testdata/p384-sec1.pem"))
    }

    fn deterministic(key: PrivateKey, algorithm: Vec<u8>) -> Self {
        let spki = key.public_key().spki_der().to_vec();
        Self { public: public_bits(&spki), spki, algorithm, signer: Signer::Deterministic(Box::new(key)) }
    }

    fn ecdsa(curve: &'static Curve, pem: &[u8]) -> Self {
        let key = PrivateKey::from_pem(pem).unwrap();
        let pkcs8 = key.pkcs8_der();
        let at = pkcs8.windows(2).position(|window| window == curve.secret_header).unwrap() + 2;
        let secret = BigUint::from_bytes_be(&pkcs8[at..at + curve.secret_bytes]);
        let spki = key.public_key().spki_der().to_vec();
        let algorithm = der::sequence(&[der::oid(ECDSA_SHA256)]);
        Self { public: public_bits(&spki), spki, algorithm, signer: Signer::Ecdsa { curve, secret } }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.signer {
            Signer::Deterministic(key) => key.sign(message).unwrap(),
            Signer::Ecdsa { .. } => {
                let (r, s) = self.ecdsa_numbers(message);
                der::sequence(&[der::unsigned(&r.to_bytes_be()), der::unsigned(&s.to_bytes_be())])
            }
        }
    }

    /// r and s of an ECDSA signature over SHA-256 with the nonce 1: r = x(G), s = H(m) + r d (FIPS 186-5 section 6.4.1).
    pub(crate) fn ecdsa_numbers(&self, message: &[u8]) -> (BigUint, BigUint) {
        let Signer::Ecdsa { curve, secret } = &self.signer else { panic!("not an ECDSA key") };
        let order = number(curve.order);
        let r = number(curve.generator_x) % &order;
        let s = (BigUint::from_bytes_be(&sha256(message)) + &r * secret) % &order;
        (r, s)
    }

    /// The order of an ECDSA key's curve.
    pub(crate) fn order(&self) -> BigUint {
        let Signer::Ecdsa { curve, .. } = &self.signer else { panic!("not an ECDSA key") };
        number(curve.order)
    }
}

/// The modulus and the private exponent of [`TestKey::rsa2048`], for signatures with a padding of one's own.
pub(crate) fn rsa2048_numbers() -> (BigUint, BigUint) {
    let pem = include_str!("../../testdata/rsa2048-pkcs1.pem");
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = BASE64.decode(base64.as_bytes()).unwrap();
    // SEQUENCE header of four bytes, then version, modulus, publicExponent, privateExponent (RFC 8017 appendix A.1.2).
    let mut rest = &key[4..];
    let mut numbers = Vec::new();
    while numbers.len() < 4 {
        let (length, header) = match rest[1] {
            0x82 => (usize::from(rest[2]) * 256 + usize::from(rest[3]), 4),
            0x81 => (usize::from(rest[2]), 3),
            short => (usize::from(short), 2),
        };
        numbers.push(BigUint::from_bytes_be(&rest[header..header + length]));
        rest = &rest[header + length..];
    }
    (numbers[1].clone(), numbers[3].clone())
}

pub(crate) fn number(hex: &str) -> BigUint {
    BigUint::from_bytes_be(&HEXLOWER.decode(hex.as_bytes()).unwrap())
}

/// What stands in the BIT STRING at the end of a SubjectPublicKeyInfo: behind the algorithm's identifier.
fn public_bits(spki: &[u8]) -> Vec<u8> {
    let header = |at: usize| if spki[at + 1] < 0x80 { 2 } else { 2 + usize::from(spki[at + 1] & 0x7f) };
    let algorithm = header(0);
    let bit_string = algorithm + 2 + usize::from(spki[algorithm + 1]);
    spki[bit_string + header(bit_string) + 1..].to_vec()
}
