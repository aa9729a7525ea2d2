use proptest::prelude::*;

use super::*;
use crate::der::{self, BIT_STRING, NULL, OBJECT_IDENTIFIER, SEQUENCE};
use crate::pem;
use crate::test_pki::replace;

const P256_SEC1: &[u8] = include_bytes!("../../testdata/p256-sec1.pem");
const P384_SEC1: &[u8] = include_bytes!("../../testdata/p384-sec1.pem");
const P256_PKCS8: &[u8] = include_bytes!("../../testdata/p256-pkcs8.pem");
const RSA_PKCS1: &[u8] = include_bytes!("../../testdata/rsa2048-pkcs1.pem");
const RSA_PKCS8: &[u8] = include_bytes!("../../testdata/rsa2048-pkcs8.pem");
const ED25519_PKCS8: &[u8] = include_bytes!("../../testdata/ed25519-pkcs8.pem");

#[test]
fn every_form_loads_signs_and_is_written_as_pkcs8() {
    for (pem, algorithm) in [
        (P256_SEC1, PublicKeyAlgorithm::EcdsaP256),
        (P384_SEC1, PublicKeyAlgorithm::EcdsaP384),
        (P256_PKCS8, PublicKeyAlgorithm::EcdsaP256),
        (RSA_PKCS1, PublicKeyAlgorithm::Rsa { bits: 2048 }),
        (RSA_PKCS8, PublicKeyAlgorithm::Rsa { bits: 2048 }),
        (ED25519_PKCS8, PublicKeyAlgorithm::Ed25519),
    ] {
        let key = PrivateKey::from_pem(pem).unwrap();
        assert_eq!(key.public_key().algorithm(), algorithm);
        assert_eq!(format!("{key:?}"), format!("PrivateKey({algorithm})"));
        let signature = key.sign(b"message").unwrap();
        assert_eq!(key.public_key().verify(b"message", &signature), Ok(()));
        assert_eq!(key.public_key().verify(b"massage", &signature), Err(SignatureInvalid));

        let text = key.to_pkcs8_pem();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let again = PrivateKey::from_pem(text.as_bytes()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(*again.pkcs8_der(), *key.pkcs8_der());
        assert_eq!(PublicKey::from_spki_der(key.public_key().spki_der()).as_ref(), Ok(key.public_key()));
    }
    // Both forms of one key are the same key, and come out the same.
    let [pkcs1, pkcs8] = [RSA_PKCS1, RSA_PKCS8].map(|pem| PrivateKey::from_pem(pem).unwrap());
    assert_eq!(*pkcs1.pkcs8_der(), *pkcs8.pkcs8_der());
}

#[test]
fn fresh_keys_differ_and_sign() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
        let [one, two] = [(); 2].map(|()| PrivateKey::generate(algorithm).unwrap());
        assert_ne!(one.public_key(), two.public_key());
        let signature = one.sign(b"m").unwrap();
        assert_eq!(one.public_key().verify(b"m", &signature), Ok(()));
        assert_eq!(two.public_key().verify(b"m", &signature), Err(SignatureInvalid));
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn fresh_rsa_keys_have_the_size_asked_for_and_sign() {
    for (size, bits) in [(RsaSize::Bits3072, 3072), (RsaSize::Bits4096, 4096)] {
        assert!(KeyAlgorithm::Rsa(size).is_made_here());
        let key = PrivateKey::generate(KeyAlgorithm::Rsa(size)).unwrap();
        assert_eq!(key.public_key().algorithm(), PublicKeyAlgorithm::Rsa { bits });
        let signature = key.sign(b"m").unwrap();
        assert_eq!(key.public_key().verify(b"m", &signature), Ok(()));
        assert_eq!(key.public_key().verify(b"n", &signature), Err(SignatureInvalid));
        let again = PrivateKey::from_pem(key.to_pkcs8_pem().as_bytes()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
    }
}

#[cfg(feature = "ring")]
#[test]
fn fresh_rsa_keys_are_refused_by_name() {
    for size in [RsaSize::Bits3072, RsaSize::Bits4096] {
        let algorithm = KeyAlgorithm::Rsa(size);
        assert!(!algorithm.is_made_here());
        let refused = PrivateKey::generate(algorithm).unwrap_err();
        assert_eq!(refused, KeyError::GenerationNotInBackend { algorithm, backend: "ring" });
    }
    assert!(KeyAlgorithm::EcdsaP256.is_made_here());
}

#[test]
fn refused_private_keys_each_by_its_own_error() {
    use KeyError as E;
    let twice = [P256_PKCS8, P384_SEC1].concat();
    let certificate = String::from_utf8(P256_PKCS8.to_vec()).unwrap().replace("PRIVATE KEY", "CERTIFICATE");
    let label = |label: &str| E::Label { label: label.to_owned() };
    for (pem, error) in [
        (&b""[..], E::PrivateKeyCount { found: 0 }),
        (&twice, E::PrivateKeyCount { found: 2 }),
        (certificate.as_bytes(), label("CERTIFICATE")),
        (include_bytes!("../../testdata/p256-compressed-public.pem"), label("PUBLIC KEY")),
        (include_bytes!("../../testdata/p256-encrypted-pkcs8.pem"), E::Encrypted),
        (include_bytes!("../../testdata/p256-encrypted-sec1.pem"), E::LegacyEncryption),
        (include_bytes!("../../testdata/p256-explicit-sec1.pem"), E::CurveNotNamed),
        (include_bytes!("../../testdata/p521-sec1.pem"), E::Curve { oid: "1.3.132.0.35".to_owned() }),
        (include_bytes!("../../testdata/p256-no-public-sec1.pem"), E::PublicPointMissing),
        (include_bytes!("../../testdata/rsa1024-pkcs1.pem"), E::RsaBits { bits: 1024 }),
        (include_bytes!("../../testdata/rsa2048-e3-pkcs8.pem"), E::RsaExponent),
    ] {
        assert_eq!(PrivateKey::from_pem(pem).unwrap_err(), error);
    }
}

#[test]
fn halves_that_do_not_belong_together_and_foreign_containers_are_refused() {
    let one = PrivateKey::from_pem(P256_PKCS8).unwrap();
    let other = PrivateKey::from_pem(P256_SEC1).unwrap();
    let mixed = replace(one.pkcs8_der(), one.public_key().bits(), other.public_key().bits());
    assert!(matches!(PrivateKey::from_pkcs8_der(&mixed), Err(KeyError::Rejected { .. })));

    let p256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let secp256k1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x0a];
    let foreign = replace(one.pkcs8_der(), p256, secp256k1);
    assert_eq!(PrivateKey::from_pkcs8_der(&foreign).unwrap_err(), KeyError::Curve { oid: "1.2.840.10045.3.1.10".to_owned() });
    // The public half of a private key is judged by the rules for public keys, before the backend sees it.
    let point = one.public_key().bits();
    let hybrid = replace(one.pkcs8_der(), point, &[&[6], &point[1..]].concat());
    assert_eq!(PrivateKey::from_pkcs8_der(&hybrid).unwrap_err(), KeyError::PointForm { form: 6, length: 65 });
    let trailing = [one.pkcs8_der().as_slice(), &[0]].concat();
    assert_eq!(PrivateKey::from_pkcs8_der(&trailing).unwrap_err(), KeyError::Der(der::DerError::Trailing { bytes: 1 }));
    assert!(PrivateKey::from_pkcs8_der(one.pkcs8_der()).is_ok());

    // SEC1 naming P-384 inside PKCS#8 naming P-256.
    let blocks = pem::blocks(P384_SEC1).unwrap();
    let p256_identifier = der::encode(SEQUENCE, &[&PublicKeyAlgorithm::EcdsaP256.key_identifier()]);
    let two_curves =
        der::encode(SEQUENCE, &[&[0x02, 0x01, 0x00], &p256_identifier, &der::encode(der::OCTET_STRING, &[&blocks[0].der])]);
    assert_eq!(PrivateKey::from_pkcs8_der(&two_curves).unwrap_err(), KeyError::CurveMismatch);
}

#[test]
fn refused_public_keys_each_by_its_own_error() {
    use KeyError as E;
    let p256 = PrivateKey::from_pem(P256_PKCS8).unwrap().public_key().clone();
    let identifier = PublicKeyAlgorithm::EcdsaP256.key_identifier();
    let point = p256.bits();
    let off_curve = [&point[..64], &[point[64] ^ 1]].concat();
    let beyond_prime = [&[4][..], &[0xff; 64]].concat();
    let hybrid = [&[6][..], &point[1..]].concat();
    let ed25519 = PublicKeyAlgorithm::Ed25519.key_identifier();
    let identity_point = [&[1][..], &[0; 31]].concat();
    let ec_public_key = der::encode(OBJECT_IDENTIFIER, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]]);
    let with = |parameters: &[u8]| [&ec_public_key, parameters].concat();
    let p521 = with(&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23]);
    let dsa = der::encode(OBJECT_IDENTIFIER, &[&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01]]);
    let ed25519_with_null = [&ed25519, &[NULL, 0][..]].concat();
    let rsa = PublicKeyAlgorithm::Rsa { bits: 0 }.key_identifier();
    let rsa_key = |modulus: &[u8], exponent: &[u8]| {
        der::encode(SEQUENCE, &[&der::encode(der::INTEGER, &[&[0], modulus]), &der::encode(der::INTEGER, &[exponent])])
    };
    let odd = [&[0x80][..], &[0x01; 255]].concat();
    let f4 = &[1, 0, 1];
    let point_form = |form, length| E::PointForm { form, length };
    for (identifier, bits, error) in [
        (&identifier[..], &point[..64], point_form(4, 64)),
        (&identifier, &point[..33], point_form(4, 33)),
        (&identifier, &hybrid, point_form(6, 65)),
        (&identifier, &[0], point_form(0, 1)),
        (&identifier, &off_curve, E::PointNotOnCurve),
        (&identifier, &beyond_prime, E::PointNotOnCurve),
        (&ec_public_key, point, E::CurveNotNamed),
        (&with(&[NULL, 0]), point, E::CurveNotNamed),
        (&with(&[SEQUENCE, 0]), point, E::CurveNotNamed),
        (&p521, point, E::Curve { oid: "1.3.132.0.35".to_owned() }),
        (&dsa, point, E::Algorithm { oid: "1.2.840.10040.4.1".to_owned() }),
        (&ed25519, &[7; 31], E::Ed25519Length { found: 31 }),
        (&ed25519, &identity_point, E::Ed25519SmallOrder),
        (&ed25519_with_null, &[7; 32], E::AlgorithmParameters { oid: "1.3.101.112".to_owned() }),
        (&rsa, &rsa_key(&odd[..128], f4), E::RsaBits { bits: 1024 }),
        (&rsa, &rsa_key(&[0x80; 513], f4), E::RsaBits { bits: 4104 }),
        (&rsa, &rsa_key(&[&odd[..255], &[2]].concat(), f4), E::RsaModulusEven),
        (&rsa, &rsa_key(&odd, &[3]), E::RsaExponent),
        (&rsa, &rsa_key(&odd, &[1]), E::RsaExponent),
        (&rsa, &rsa_key(&odd, &[1, 0, 0, 0, 1]), E::RsaExponent),
    ] {
        assert_eq!(PublicKey::from_bits(identifier, bits).unwrap_err(), error);
    }
    assert!(PublicKey::from_bits(&identifier, point).is_ok());
    assert!(PublicKey::from_bits(&rsa, &rsa_key(&odd, f4)).is_ok());
    assert!(PublicKey::from_bits(&ed25519, &[7; 32]).is_ok());

    let trailing = [p256.spki_der(), &[0]].concat();
    assert_eq!(PublicKey::from_spki_der(&trailing).unwrap_err(), E::Der(der::DerError::Trailing { bytes: 1 }));
    let unused_bits = replace(p256.spki_der(), &[BIT_STRING, 0x42, 0x00], &[BIT_STRING, 0x42, 0x01]);
    assert!(matches!(PublicKey::from_spki_der(&unused_bits), Err(E::Der(der::DerError::NotCanonical { .. }))));
}

#[test]
fn points_of_the_standards_lie_on_their_curves() {
    // The generators of FIPS 186-5 (SP 800-186 sections 3.2.1.3 and 3.2.1.4).
    for (algorithm, generator) in [
        (
            PublicKeyAlgorithm::EcdsaP256,
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        ),
        (
            PublicKeyAlgorithm::EcdsaP384,
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        ),
    ] {
        let point = data_encoding::HEXLOWER.decode(generator.as_bytes()).unwrap();
        assert!(PublicKey::from_bits(&algorithm.key_identifier(), &point).is_ok());
    }
}

#[test]
fn one_point_has_one_encoding() {
    // A point with a small x, and the same point with the prime of the field added to x.
    let y = "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc";
    let [small, wrapped] = [
        "0000000000000000000000000000000000000000000000000000000000000005",
        "ffffffff00000001000000000000000000000001000000000000000000000004",
    ]
    .map(|x| {
        let point = data_encoding::HEXLOWER.decode(format!("04{x}{y}").as_bytes()).unwrap();
        PublicKey::from_bits(&PublicKeyAlgorithm::EcdsaP256.key_identifier(), &point)
    });
    assert!(small.is_ok());
    assert_eq!(wrapped, Err(KeyError::PointNotOnCurve));
}

proptest! {
    #[test]
    fn no_change_of_one_byte_makes_a_parser_panic_or_takes_the_key_for_another(at in any::<prop::sample::Index>(), byte: u8) {
        let key = PrivateKey::from_pem(P256_SEC1).unwrap();
        let mut pkcs8 = key.pkcs8_der().to_vec();
        let index = at.index(pkcs8.len());
        pkcs8[index] = byte;
        if let Ok(read) = PrivateKey::from_pkcs8_der(&pkcs8) {
            prop_assert_eq!(read.public_key(), key.public_key());
        }
        let mut spki = key.public_key().spki_der().to_vec();
        let index = at.index(spki.len());
        spki[index] = byte;
        if let Ok(read) = PublicKey::from_spki_der(&spki) {
            prop_assert_eq!(&read, key.public_key());
        }
    }
}
